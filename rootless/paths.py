"""Opening and making what lies below a root without ever leaving it, whatever links the root has.

openat2(2) with RESOLVE_IN_ROOT does it in the kernel. Where it is missing or filtered, and where missing directories
are made on the way, a walk does the same: every component is opened with O_NOFOLLOW in the directory before it, links
are read as text and followed from the root, and ".." goes back to a directory that we hold open.
"""

from __future__ import annotations

import errno
import os
import stat

from rootless import syscalls
from rootless.constants import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS
from rootless.errors import KernelError

_MAX_LINKS = 40  # as the kernel's MAXSYMLINKS
_MAX_RACES = 128
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_in_root(root_fd: int, path: str, flags: int, mode: int = 0) -> int:
    """Open `path` as a process would whose root directory is `root_fd`. Returns a close-on-exec descriptor."""
    for _ in range(_MAX_RACES):
        try:
            return syscalls.openat2(
                root_fd, path or "/", flags, mode=mode, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
            )
        except OSError as error:
            if error.errno in (errno.ENOSYS, errno.EPERM):
                return _walk_and_open(root_fd, path, flags, mode)
            # EAGAIN: something was renamed while ".." was followed (openat2(2)).
            if error.errno != errno.EAGAIN:
                raise
    return _walk_and_open(root_fd, path, flags, mode)


def make_directories_in_root(root_fd: int, path: str, mode: int) -> int:
    """Open the directory `path` (O_PATH), after making what is missing with `mode`; a dangling link's target, too."""
    try:
        return open_in_root(root_fd, path, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        pass
    walk = _Walk(root_fd)
    try:
        walk.enter(path, missing_mode=mode)
        return walk.take()
    finally:
        walk.close()


def make_file_in_root(root_fd: int, path: str, mode: int) -> int:
    """Open `path` (O_PATH), after making an empty file and its directories (0755) if it is missing."""
    try:
        return open_in_root(root_fd, path, os.O_PATH)
    except FileNotFoundError:
        pass
    walk = _Walk(root_fd)
    try:
        name = walk.enter_parent(path, missing_mode=0o755)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        fd = os.open(name, flags, mode, dir_fd=walk.fd)
        try:
            if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
                os.fchmod(fd, mode)  # the umask took some
        finally:
            os.close(fd)
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=walk.fd)
    finally:
        walk.close()


def read_file_in_root(root_fd: int, path: str, limit_bytes: int) -> bytes:
    """Return a regular file's bytes. Raises KernelError for anything else and for more than `limit_bytes`.

    What it is, is checked before it is opened: opening can block (FIFO) or do something (device).
    """
    probe_fd = open_in_root(root_fd, path, os.O_PATH)
    try:
        _check_regular(os.fstat(probe_fd), path, limit_bytes)
    finally:
        os.close(probe_fd)
    fd = open_in_root(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _check_regular(os.fstat(fd), path, limit_bytes)  # it may have been swapped
        chunks, length = [], 0
        while chunk := os.read(fd, min(65536, limit_bytes + 1 - length)):
            chunks.append(chunk)
            length += len(chunk)
            if length > limit_bytes:
                raise _too_large(path, limit_bytes)
        return b"".join(chunks)
    finally:
        os.close(fd)


def _check_regular(status: os.stat_result, path: str, limit_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KernelError(f"{path} in the container is not a regular file", errno=errno.EINVAL)
    if status.st_size > limit_bytes:
        raise _too_large(path, limit_bytes)


def _too_large(path: str, limit_bytes: int) -> KernelError:
    return KernelError(f"{path} in the container is larger than {limit_bytes} bytes", errno=errno.EFBIG)


def _walk_and_open(root_fd: int, path: str, flags: int, mode: int) -> int:
    """Do what openat2(2) does with RESOLVE_IN_ROOT."""
    walk = _Walk(root_fd)
    try:
        name = walk.enter_parent(path, missing_mode=None, follow_last=not flags & os.O_NOFOLLOW)
        if walk.needs_directory:
            flags |= os.O_DIRECTORY
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=walk.fd)
    finally:
        walk.close()


class _Walk:
    """Descriptors of the directories from the root down to where we are."""

    def __init__(self, root_fd: int) -> None:
        self._stack = [os.open(".", _DIRECTORY, dir_fd=root_fd)]
        self._links = 0
        self.needs_directory = False  # the path, or a link that it ended in, ends in a slash or "."

    @property
    def fd(self) -> int:
        return self._stack[-1]

    def take(self) -> int:
        """Return the last descriptor, which is now the caller's to close."""
        return self._stack.pop()

    def close(self) -> None:
        while self._stack:
            os.close(self._stack.pop())

    def enter(self, path: str, *, missing_mode: int | None) -> None:
        """Go to a directory; make those that are missing if there is a mode for them."""
        rest = _components(path)
        if path.startswith("/"):
            self._to_root()
        while rest:
            name = rest.pop(0)
            if name == "..":
                self._up()
                continue
            target = self._link_target(name)
            if target is None:
                self._stack.append(self._open_or_make(name, missing_mode))
                continue
            if target.startswith("/"):
                self._to_root()
            rest = [*_components(target), *rest]

    def enter_parent(self, path: str, *, missing_mode: int | None, follow_last: bool = True) -> str:
        """Go to the directory that holds the last component, after links; return that component's name or "."."""
        while True:
            rest = _components(path)
            if path.startswith("/"):
                self._to_root()
            if not rest or rest[-1] == "..":
                self.enter("/".join(rest), missing_mode=missing_mode)
                return "."
            self.enter("/".join(rest[:-1]), missing_mode=missing_mode)
            if path.rpartition("/")[2] in ("", "."):
                self.needs_directory = True
            target = self._link_target(rest[-1]) if follow_last or self.needs_directory else None
            if target is None:
                return rest[-1]
            path = target

    def _link_target(self, name: str) -> str | None:
        try:
            target = os.readlink(name, dir_fd=self.fd)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):  # not a link, or nothing at all
                return None
            raise
        self._links += 1
        if self._links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        return target

    def _open_or_make(self, name: str, missing_mode: int | None) -> int:
        try:
            return os.open(name, _DIRECTORY, dir_fd=self.fd)
        except FileNotFoundError:
            if missing_mode is None:
                raise
        try:
            os.mkdir(name, missing_mode, dir_fd=self.fd)
        except FileExistsError:
            return os.open(name, _DIRECTORY, dir_fd=self.fd)  # somebody else made it, or O_NOFOLLOW refuses it
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            if stat.S_IMODE(os.fstat(fd).st_mode) != missing_mode:
                os.fchmod(fd, missing_mode)  # the umask took some
        finally:
            os.close(fd)
        return os.open(name, _DIRECTORY, dir_fd=self.fd)

    def _up(self) -> None:
        if len(self._stack) > 1:
            os.close(self._stack.pop())

    def _to_root(self) -> None:
        while len(self._stack) > 1:
            os.close(self._stack.pop())


def _components(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]
