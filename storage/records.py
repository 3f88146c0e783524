"""JSON records, replaced atomically and read without locks.

A record becomes visible by rename(2); with `durable`, its bytes and its directory are on disk before that is reported.
"""

from __future__ import annotations

import errno
import os

from rootless import jsontext
from storage.errors import NoSpace, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def read(path: str) -> Any:
    """Return the record. Raises FileNotFoundError, or StorageError if it is damaged."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        return jsontext.loads(data)
    except ValueError as error:
        raise StorageError(f"damaged record {path}: {error}", hint="remove the object that it belongs to") from None


def write(path: str, value: object, *, durable: bool = False) -> None:
    """Replace the record. The temporary name ends in `~PID`, so that a sweep knows its writer."""
    write_bytes(path, jsontext.dumps(value).encode() + b"\n", durable=durable)


def write_bytes(path: str, data: bytes, *, durable: bool = False) -> None:
    """Replace a file atomically (mode 0600)."""
    temporary = f"{path}~{os.getpid()}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError as error:
        remove_file(temporary)
        raise disk_error(error, path) from error
    if durable:
        sync_directory(os.path.dirname(path))


def sync_directory(path: str) -> None:
    """Put a directory's entries (renames, new names) on disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_file(path: str) -> None:
    """Remove a file; it may be gone already."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def disk_error(error: OSError, path: str) -> StorageError:
    """Return the error that a user understands for a failed write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(
            f"no space left to write {path}: {os.strerror(error.errno)}",
            hint="free some with 'pyman rmi' or 'pyman rm'; both work on a full disk",
        )
    return StorageError(f"cannot write {path}: {os.strerror(error.errno or 0)}")
