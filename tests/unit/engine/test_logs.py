"""Log files: what is written is what is read, in whatever pieces it came."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.containers import logs
from engine.containers.logs import LogFile

DRIVERS = ["k8s-file", "json-file"]
CHUNKS = st.lists(
    st.tuples(
        st.sampled_from(["stdout", "stderr"]),
        st.one_of(st.binary(max_size=40), st.sampled_from([b"\n", b"x\n", b"y" * 20000, b"z" * 16384 + b"\n"])),
    ),
    max_size=12,
)


def entries(path: Path, driver: str) -> list[logs.Entry]:
    fd = os.open(path, os.O_RDONLY)
    try:
        parsed = [logs.parse_line(line, driver) for line in logs.read_entries(fd)]
    finally:
        os.close(fd)
    assert None not in parsed
    return [entry for entry in parsed if entry is not None]


def text(found: list[logs.Entry], stream: str) -> bytes:
    return b"".join(entry.text + (b"" if entry.partial else b"\n") for entry in found if entry.stream == stream)


@given(CHUNKS)
@settings(max_examples=60, deadline=None)
def test_bytes_survive(chunks: list[tuple[str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "log"
        log = LogFile(str(path), "k8s-file")
        for stream, data in chunks:
            log.write(stream, data)
        log.close()
        found = entries(path, "k8s-file")
    for stream in ("stdout", "stderr"):
        assert text(found, stream) == b"".join(data for name, data in chunks if name == stream)


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_last_lines(tmp_path: Path, driver: str) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path), driver)
    for n in range(3000):
        log.write("stdout", f"line {n} {'x' * (40000 if n % 500 == 0 else n % 70)}\n".encode())
    log.write("stdout", b"unfinished")
    log.close()
    fd = os.open(path, os.O_RDONLY)
    try:
        for count in (0, 1, 2, 3, 700, 3001, 99999):
            os.lseek(fd, logs.last_lines_offset(fd, count, driver), os.SEEK_SET)
            found = [logs.parse_line(line, driver) for line in logs.read_entries(fd)]
            shown = b"".join(e.text + (b"" if e.partial else b"\n") for e in found if e is not None)
            lines = shown.splitlines()
            assert len(lines) == min(count, 3001)
            if count > 1:
                assert lines[0].startswith(b"line %d " % max(0, 3001 - count)) and lines[-1] == b"unfinished"
    finally:
        os.close(fd)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("line", [b"", b"x", b"{}", b"[]", b"5", b"a stdin F x", b"\0\0", b"\xff\xfe", b'{"log": 5}'])
def test_damaged_lines(driver: str, line: bytes) -> None:
    assert logs.parse_line(line, driver) is None


def test_rotation_loses_nothing_between_two_files(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path), "k8s-file", max_bytes=2000)
    for n in range(100):
        log.write("stdout", b"%d\n" % n)
    log.close()
    kept = [int(e.text) for name in ("log.1", "log") for e in entries(tmp_path / name, "k8s-file")]
    assert kept == list(range(kept[0], 100))
    assert path.stat().st_size <= 2000 and (tmp_path / "log.1").stat().st_size <= 2000


def test_a_full_disk_is_counted(tmp_path: Path) -> None:
    log = LogFile("/dev/full", "k8s-file")
    log.write("stdout", b"x\n")
    log.close()
    assert log.lost_bytes > 2
