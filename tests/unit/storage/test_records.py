from __future__ import annotations

import errno
import json
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import records
from storage.errors import NoSpace, StorageError


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()), st.booleans())
def test_there_and_back(tmp_path_factory: pytest.TempPathFactory, value: object, durable: bool) -> None:
    path = str(tmp_path_factory.mktemp("records") / "record.json")
    records.write(path, value, durable=durable)
    assert records.read(path) == value
    assert json.loads(Path(path).read_bytes()) == value


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        records.write(f"{tmp_path}/record", {})
    finally:
        os.umask(old)
    assert (tmp_path / "record").stat().st_mode & 0o777 == 0o600


def test_nothing_else_is_left(tmp_path: Path) -> None:
    for number in range(3):
        records.write(f"{tmp_path}/record", number)
    assert os.listdir(tmp_path) == ["record"]


def test_missing_and_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        records.read(f"{tmp_path}/record")
    for data in (b"", b"{", b"\xff\xfe", b'{"a": 1}x', b"\0" * 100):
        (tmp_path / "record").write_bytes(data)
        with pytest.raises(StorageError, match=f"damaged record {tmp_path}/record"):
            records.read(f"{tmp_path}/record")


def test_what_is_not_json_leaves_the_old_record(tmp_path: Path) -> None:
    records.write(f"{tmp_path}/record", 1)
    with pytest.raises(TypeError):
        records.write(f"{tmp_path}/record", object())
    assert records.read(f"{tmp_path}/record") == 1
    assert os.listdir(tmp_path) == ["record"]


def test_a_failed_write_is_one_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=f"cannot write {tmp_path}/no/record: No such file or directory"):
        records.write(f"{tmp_path}/no/record", {})
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "file").touch()
    with pytest.raises(StorageError, match="Is a directory"):
        records.write(f"{tmp_path}/directory", {})
    assert os.listdir(tmp_path) == ["directory"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_says_what_to_do(number: int) -> None:
    error = records.disk_error(OSError(number, ""), "/x")
    assert isinstance(error, NoSpace)
    assert "no space left to write /x" in str(error)
    assert "rmi" in error.hint


def test_no_space_for_real(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    (tmp_path / f"record~{os.getpid()}").symlink_to("/dev/full")
    records.write(f"{tmp_path}/old", 1)
    with pytest.raises(NoSpace):
        records.write(f"{tmp_path}/record", {"a": 1})
    assert os.listdir(tmp_path) == ["old"]


def test_readers_never_see_half_a_record(tmp_path: Path) -> None:
    path = f"{tmp_path}/record"
    records.write(path, ["x" * 50_000] * 2)
    pid = os.fork()
    if pid == 0:
        try:
            number = 0
            while True:
                number += 1
                records.write(path, [str(number % 10) * 50_000] * 2)
        finally:
            os._exit(0)
    try:
        deadline = time.monotonic() + 0.5
        seen = set()
        while time.monotonic() < deadline:
            first, second = records.read(path)
            assert first == second and len(first) == 50_000
            seen.add(first[0])
        assert len(seen) > 1
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_removing_what_is_gone(tmp_path: Path) -> None:
    records.remove_file(f"{tmp_path}/nothing")
