"""Locks between processes and between descriptors of one process, as the kernel keeps them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from storage import locks
from storage.errors import StorageError
from storage.locks import LIFE, MUTEX, Locked


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "lock").touch()
    return str(tmp_path / "lock")


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def _holder(path: str, byte: int) -> int:
    """Fork a process that holds a lock; returns its pid when it has it."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            locks.acquire(_open(path), byte)
            os.write(write, b"1")
            while True:
                time.sleep(10)
        finally:
            os._exit(0)
    os.close(write)
    assert os.read(read, 1) == b"1"
    os.close(read)
    return pid


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_one_holder_at_a_time(path: str) -> None:
    first, second = _open(path), _open(path)
    assert locks.try_acquire(first, MUTEX)
    assert not locks.try_acquire(second, MUTEX)
    assert locks.try_acquire(first, MUTEX)  # it has it
    locks.release(first, MUTEX)
    assert locks.try_acquire(second, MUTEX)
    os.close(first)
    os.close(second)


def test_the_two_locks_are_independent(path: str) -> None:
    first, second = _open(path), _open(path)
    assert locks.try_acquire(first, MUTEX)
    assert locks.try_acquire(second, LIFE)
    assert not locks.try_acquire(second, MUTEX)
    assert not locks.try_acquire(first, LIFE)
    os.close(first)
    os.close(second)


def test_closing_another_descriptor_of_the_file_does_not_release(path: str) -> None:
    """That is what the classic POSIX locks do."""
    first = _open(path)
    locks.acquire(first, LIFE)
    os.close(_open(path))
    assert locks.held(path, LIFE)
    os.close(first)
    assert not locks.held(path, LIFE)


def test_a_forked_child_keeps_the_lock_until_its_copy_is_closed(path: str) -> None:
    fd = _open(path)
    locks.acquire(fd, LIFE)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    os.close(fd)
    assert locks.held(path, LIFE)
    os.close(write)
    os.waitpid(pid, 0)
    assert not locks.held(path, LIFE)


def test_a_killed_holder_has_released(path: str) -> None:
    pid = _holder(path, LIFE)
    assert locks.held(path, LIFE)
    assert not locks.held(path, MUTEX)
    _end(pid)
    assert not locks.held(path, LIFE)


def test_asking_does_not_disturb(path: str) -> None:
    pid = _holder(path, LIFE)
    for _ in range(100):
        assert locks.held(path, LIFE)
        assert not locks.held(path, MUTEX)
    fd = _open(path)
    assert locks.try_acquire(fd, MUTEX)
    os.close(fd)
    _end(pid)


def test_asking_works_for_who_may_only_read(path: str) -> None:
    pid = _holder(path, LIFE)
    os.chmod(path, 0o400)
    assert locks.held(path, LIFE)
    _end(pid)


def test_a_missing_file_is_not_locked(tmp_path: Path) -> None:
    assert not locks.held(f"{tmp_path}/nothing", LIFE)


def test_acquire_waits(path: str) -> None:
    pid = _holder(path, MUTEX)
    killer = os.fork()
    if killer == 0:
        time.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        os._exit(0)
    before = time.monotonic()
    with Locked(path):
        assert time.monotonic() - before > 0.1
    os.waitpid(killer, 0)
    os.waitpid(pid, 0)


def test_locked_releases_after_an_exception(path: str) -> None:
    with pytest.raises(ZeroDivisionError), Locked(path):
        assert locks.held(path, MUTEX)
        raise ZeroDivisionError
    assert not locks.held(path, MUTEX)


def test_locked_says_when_the_object_has_gone(path: str, tmp_path: Path) -> None:
    os.unlink(path)
    with pytest.raises(StorageError, match=f"{tmp_path}: gone meanwhile"):
        Locked(path).__enter__()


@pytest.mark.parametrize("replaced", [False, True])
def test_locked_notices_a_removal_while_it_waits(path: str, replaced: bool) -> None:
    pid = _holder(path, MUTEX)
    remover = os.fork()
    if remover == 0:
        time.sleep(0.1)
        os.rename(path, f"{path}.old")
        if replaced:
            open(path, "w").close()
        os.kill(pid, signal.SIGKILL)
        os._exit(0)
    with pytest.raises(StorageError, match="gone meanwhile"):
        Locked(path).__enter__()
    os.waitpid(remover, 0)
    os.waitpid(pid, 0)
