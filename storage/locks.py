"""Two locks per container in one file, both gone with their holder.

Open-file-description locks (fcntl(2), Linux 3.15) on single bytes: unlike flock(2), a reader can ask who would be in
the way (F_OFD_GETLK) without ever holding the lock itself, so `ps` never disturbs a start.

- byte 0, MUTEX: held by a verb while it changes the object.
- byte 1, LIFE: held by the monitor for as long as it lives.
"""

from __future__ import annotations

import fcntl
import os
import struct

from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

MUTEX = 0
LIFE = 1
_FLOCK = "hhqqi4x"  # struct flock of 64-bit kernels: type, whence, start, length, pid


def acquire(fd: int, byte: int) -> None:
    """Wait for the lock; it lasts until every copy of `fd` is closed."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))


def try_acquire(fd: int, byte: int) -> bool:
    """Take the lock if nobody holds it."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))
    except (BlockingIOError, PermissionError):
        return False
    return True


def release(fd: int, byte: int) -> None:
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_UNLCK, os.SEEK_SET, byte, 1, 0))


def held(path: str, byte: int) -> bool:
    """Tell whether somebody holds the lock, without taking it. A missing file is not locked."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, question)
        return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
    finally:
        os.close(fd)


class Locked:
    """`with Locked(path):` holds the MUTEX of one object. Raises StorageError if the object has gone meanwhile."""

    def __init__(self, path: str, byte: int = MUTEX) -> None:
        self._path = path
        self._byte = byte
        self._fd = -1

    def __enter__(self) -> Locked:
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            acquire(self._fd, self._byte)
            # The object may have been moved away while we waited: a lock on that file protects nothing.
            if os.stat(self._path).st_ino != os.fstat(self._fd).st_ino:
                raise FileNotFoundError
        except FileNotFoundError:
            self.__exit__(None, None, None)
            raise StorageError(f"{os.path.dirname(self._path)}: gone meanwhile") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
