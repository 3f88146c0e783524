"""Layers appear whole or not at all, once, whoever else works on them; what killed processes leave is swept."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import layers, trees
from storage.errors import ArchiveError, DigestMismatch
from storage.store import Store, open_store
from tests.fixtures.archives import file, layer, sha256

ARCHIVE = layer({"etc/name": b"value", "big": b"x" * 300_000})
DIGITS = sha256(ARCHIVE)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def add(store: Store, data: bytes = ARCHIVE, diff_id: str | None = DIGITS) -> layers.Layer:
    return layers.add(store, iter([data[:1000], data[1000:]]), diff_id=diff_id, single_id=True)


def test_a_layer_and_its_record(store: Store) -> None:
    made = add(store)
    assert made == layers.read(store, DIGITS)
    assert (made.tar_bytes, made.content_bytes, made.entries) == (len(ARCHIVE), 300_005, 2)
    assert Path(layers.layer_dir(store, DIGITS), "diff/etc/name").read_bytes() == b"value"
    assert layers.all_layers(store) == [DIGITS]
    assert os.listdir(layers.staging_dir(store)) == []


def test_the_archive_can_be_rebuilt(store: Store) -> None:
    import zstandard

    add(store)
    kept = Path(layers.layer_dir(store, DIGITS), "headers.zst").read_bytes()
    headers = zstandard.ZstdDecompressor().decompressobj().decompress(kept)
    content = b"value", b"x" * 300_000
    assert headers == ARCHIVE.replace(content[0], b"", 1).replace(content[1], b"", 1)


def test_twice_is_once(store: Store) -> None:
    add(store)
    inode = os.stat(layers.layer_dir(store, DIGITS)).st_ino
    assert add(store).diff_id == add(store, diff_id=None).diff_id == DIGITS
    assert os.stat(layers.layer_dir(store, DIGITS)).st_ino == inode
    assert os.listdir(layers.staging_dir(store)) == []


@pytest.mark.parametrize(
    ("data", "error"), [(layer({"etc/name": b"other"}), DigestMismatch), (ARCHIVE[:5000], ArchiveError)]
)
def test_wrong_content_leaves_nothing(store: Store, data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        add(store, data)
    assert layers.all_layers(store) == []
    assert os.listdir(layers.staging_dir(store)) == []


def test_an_error_of_the_source_leaves_nothing(store: Store) -> None:
    def broken() -> object:
        yield ARCHIVE[:2000]
        raise DigestMismatch("as promised")

    with pytest.raises(DigestMismatch, match="as promised"):
        layers.add(store, broken(), diff_id=DIGITS, single_id=True)  # type: ignore[arg-type]
    assert layers.all_layers(store) == []
    assert os.listdir(layers.staging_dir(store)) == []


def forked(function: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return pid


def test_ten_processes_add_the_same_layer(store: Store) -> None:
    pids = [forked(lambda: add(store)) for _ in range(10)]
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 10
    assert layers.all_layers(store) == [DIGITS]
    assert os.listdir(layers.staging_dir(store)) == []


def test_sweep_takes_what_the_dead_left_and_spares_the_living(store: Store) -> None:
    def hang() -> None:
        with layers.Staging(store) as staging:
            Path(staging.path, "file").write_text("half")
            os.chmod(staging.path, 0)
            time.sleep(60)

    pids = [forked(hang), forked(hang)]
    directory = Path(layers.staging_dir(store))
    deadline = time.monotonic() + 10
    while sum((path.stat().st_mode & 0o777) == 0 for path in directory.iterdir() if path.is_dir()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(pids[0], signal.SIGKILL)
    os.waitpid(pids[0], 0)
    layers.sweep(store)
    left = {path.name for path in directory.iterdir()}
    assert {name.partition("-")[0] for name in left} == {str(pids[1])}
    os.kill(pids[1], signal.SIGKILL)
    os.waitpid(pids[1], 0)
    layers.sweep(store)
    assert list(directory.iterdir()) == []


def test_discarded_layers_are_gone_at_once_and_swept(store: Store) -> None:
    add(store)
    layers.discard(store, DIGITS)
    assert not layers.exists(store, DIGITS)
    assert layers.needs_sweep(store)
    layers.sweep(store)
    assert not layers.needs_sweep(store)
    layers.discard(store, DIGITS)  # again: nothing to do


def test_file_lock_survives_that_its_file_is_removed(tmp_path: Path) -> None:
    """The holder removes the file; the one who waited on it must not believe that it holds the lock."""
    path = str(tmp_path / "lock")
    first, second, third = (layers.FileLock(path) for _ in range(3))
    assert first.acquire()
    assert not second.acquire(wait=False)
    first.release()
    assert second.acquire()
    assert not third.acquire(wait=False)
    second.release()
    assert os.listdir(tmp_path) == []


def test_remove_tree_removes_what_resists(tmp_path: Path) -> None:
    closed = tmp_path / "tree/closed"
    closed.mkdir(parents=True)
    (closed / "file").write_text("1")
    (tmp_path / "target").write_text("kept")
    (tmp_path / "tree/link").symlink_to(tmp_path / "target")
    os.chmod(closed, 0)
    deep = os.open(tmp_path / "tree", os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=deep)
        child = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = child
    os.close(deep)
    trees.remove_tree(str(tmp_path / "tree"))
    assert os.listdir(tmp_path) == ["target"]


def test_headers_are_not_kept_for_what_cannot_be_rebuilt(store: Store) -> None:
    data = file(b"f", b"first") + layer({"f": b"second"})
    made = add(store, data, None)
    assert not made.exact
    assert sorted(os.listdir(layers.layer_dir(store, made.diff_id))) == ["diff", "meta.json"]
