"""Layer archive -> directory, whiteouts included, without ever leaving that directory.

Every step goes through directory descriptors: a name is split into components, each is opened with O_NOFOLLOW below the
one before, and a file is made with O_EXCL in the directory that was reached. Where an archive writes through its own
symbolic link, as Docker and Podman allow (they extract after chroot), the kernel resolves it inside the root
(openat2 with RESOLVE_IN_ROOT). The last directories stay open: an archive names its files directory by directory.

Runs as root of a user namespace, or in single-id mode as the only id there is.
"""

from __future__ import annotations

import errno
import os
import stat

from rootless.constants import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS
from rootless.record import Record
from rootless.syscalls import openat2
from storage import tar_headers
from storage.errors import ArchiveError, NoSpace, StorageError
from storage.tar_headers import DIRECTORY, FIFO, FILE, HARD_LINK, SYMLINK, printable
from storage.trees import remove_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from storage.tar_headers import ChunkReader, Entry

OPAQUE_XATTR = b"user.overlay.opaque"
OWNER_XATTR = b"user.pyman.owner"
_WHITEOUT = b".wh."
_OPAQUE_MARK = b".wh..wh..opq"
_AUFS_PREFIX = b".wh..wh."
# What overlay and we ourselves read from the disk must not come out of an archive.
_FORBIDDEN_XATTRS = (b"user.overlay.", b"user.fuseoverlayfs.", b"user.containers.", b"user.pyman.", b"trusted.")
_KEPT_OPEN = 48

_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Limits(Record):
    """How much one archive may ask for. Far above what real layers need."""

    entries: int = 3_000_000
    total_bytes: int = 1 << 40
    depth: int = 256


class Applied(Record):
    """What was unpacked. `exact` means that the archive can be rebuilt from its headers and the unpacked files."""

    entries: int
    content_bytes: int
    exact: bool


def apply(
    reader: ChunkReader,
    root_fd: int,
    *,
    single_id: bool = False,
    limits: Limits | None = None,
    keep: Callable[[bytes], object] | None = None,
    whiteouts: bool = True,
) -> Applied:
    """Unpack the archive below `root_fd`, an empty directory. The caller has set the umask to 0.

    Raises ArchiveError for malformed or hostile archives, NoSpace, StorageError.
    """
    extractor = _Extractor(root_fd, single_id, limits or Limits(), whiteouts)
    count = 0
    try:
        for entry in tar_headers.entries(reader, keep):
            count += 1
            extractor.add(entry, reader)
            if count > extractor.limits.entries:
                raise ArchiveError(f"the archive has more than {extractor.limits.entries} entries")
        extractor.finish()
    finally:
        extractor.close()
    return Applied(count, extractor.content_bytes, extractor.exact)


def split_name(name: bytes, depth: int = Limits.depth) -> list[bytes]:
    """Return the components of a name relative to the root: absolute names lose their slash, `a/../b` is `b`.

    Raises ArchiveError where the name would leave the root.
    """
    if len(name) > tar_headers.MAX_NAME_BYTES:
        raise ArchiveError(f"{printable(name)}: a name of {len(name)} bytes")
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part in (b"", b"."):
            continue
        if part == b"..":
            if not parts:
                raise ArchiveError(f"{printable(name)}: the name leads out of the archive")
            parts.pop()
            continue
        if len(part) > 255:
            raise ArchiveError(f"{printable(name)}: a component of {len(part)} bytes")
        parts.append(part)
    if len(parts) > depth:
        raise ArchiveError(f"{printable(name)}: more than {depth} directories deep")
    return parts


class _Extractor:
    """The state of one extraction: open directories, times to set at the end, what was seen."""

    def __init__(self, root_fd: int, single_id: bool, limits: Limits, whiteouts: bool) -> None:
        self.limits = limits
        self.content_bytes = 0
        self.exact = True
        self._root_fd = root_fd
        self._single_id = single_id
        self._whiteouts = whiteouts
        self._open_dirs: dict[bytes, int] = {b"": root_fd}
        self._parent_text = b"\0"  # of the last entry, as written; never a real one at first
        self._parent = b""
        self._parent_fd = root_fd
        self._dir_times: dict[bytes, int] = {}

    def add(self, entry: Entry, reader: ChunkReader) -> None:
        """Make one member. Takes its content from the reader."""
        self.content_bytes += entry.size
        if self.content_bytes > self.limits.total_bytes:
            raise ArchiveError(f"the archive unpacks to more than {self.limits.total_bytes} bytes")
        try:
            self._add(entry, reader)
        except OSError as error:
            raise _readable(error, entry) from error

    def _add(self, entry: Entry, reader: ChunkReader) -> None:
        text, slash, name = entry.name.rpartition(b"/")
        if not name or name in (b".", b"..") or len(name) > 255 or text != self._parent_text:
            parts = split_name(entry.name, self.limits.depth)
            if not parts:
                self._set_root(entry, reader)
                return
            name = parts.pop()
            self._enter(parts)
            self._parent_text = text if entry.name.endswith(slash + name) else b"\0"
        if name.startswith(_WHITEOUT) and self._whiteouts:
            self._whiteout(name, entry, reader)
            return
        try:
            self._make(name, entry, reader)
        except FileExistsError:
            self._replace(name, entry, reader)

    def _enter(self, parts: list[bytes]) -> None:
        path = b"/".join(parts)
        fd = self._open_dirs.get(path)
        if fd is None:
            fd = self._open(parts, path)
        self._parent, self._parent_fd = path, fd

    def _open(self, parts: list[bytes], path: bytes) -> int:
        """Open a directory by its components, making what is missing, from the deepest ancestor that is open."""
        known = len(parts)
        fd = None
        while fd is None:
            known -= 1
            fd = self._open_dirs.get(b"/".join(parts[:known]))
        opened = fd
        for index in range(known, len(parts)):
            try:
                child = _open_or_make(parts[index], opened)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                child = self._open_through_link(parts[: index + 1])
            opened = child
            self._keep_open(b"/".join(parts[: index + 1]), child)
        return opened

    def _open_through_link(self, parts: list[bytes]) -> int:
        path = os.fsdecode(b"/".join(parts))
        try:
            return openat2(
                self._root_fd, path, os.O_RDONLY | os.O_DIRECTORY, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
            )
        except OSError as error:
            raise ArchiveError(
                f"{printable(os.fsencode(path))}: is not a directory, but the archive puts files below it"
            ) from error

    def _keep_open(self, path: bytes, fd: int) -> None:
        if len(self._open_dirs) >= _KEPT_OPEN:
            # The ancestors of this directory are the youngest; those that must go are the oldest.
            for old in list(self._open_dirs)[1 : _KEPT_OPEN // 2]:
                if not path.startswith(old + b"/"):
                    os.close(self._open_dirs.pop(old))
        self._open_dirs[path] = fd

    def _forget_dirs(self) -> None:
        """Close all directories: one of them has gone, or its name means another one now."""
        for fd in list(self._open_dirs.values())[1:]:
            os.close(fd)
        self._open_dirs = {b"": self._root_fd}
        self._parent_text = b"\0"

    def _make(self, name: bytes, entry: Entry, reader: ChunkReader) -> None:
        kind = entry.kind
        parent_fd = self._parent_fd
        if kind == FILE:
            mode = entry.mode
            fd = os.open(name, _FILE_FLAGS, mode & 0o1777, dir_fd=parent_fd)
            try:
                _copy(reader, entry.size, fd)
                # Owner first: chown clears the setuid bits (chown(2)). Times last.
                if entry.uid or entry.gid:
                    self._own_fd(fd, entry)
                if mode & 0o6000:
                    os.fchmod(fd, mode)
                if entry.xattrs:
                    _set_xattrs(fd, entry.xattrs)
                os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
            finally:
                os.close(fd)
        elif kind == DIRECTORY:
            os.mkdir(name, entry.mode & 0o1777, dir_fd=parent_fd)
            self._finish_dir(name, entry)
        elif kind == SYMLINK:
            if not entry.link or len(entry.link) >= tar_headers.MAX_NAME_BYTES:
                raise ArchiveError(f"{printable(entry.name)}: a symbolic link to nothing, or too long")
            os.symlink(entry.link, name, dir_fd=parent_fd)
            self._own_and_time(name, entry)
        elif kind == HARD_LINK:
            self._link(name, entry)
        elif kind == FIFO:
            os.mkfifo(name, entry.mode & 0o1777, dir_fd=parent_fd)
            self._own_and_time(name, entry)
        # Devices: no user namespace may make them; Podman leaves them out too. A device 0:0 would be a whiteout.

    def _finish_dir(self, name: bytes, entry: Entry) -> None:
        if entry.uid or entry.gid or entry.mode & 0o6000 or entry.xattrs:
            fd = os.open(name, _DIR_FLAGS, dir_fd=self._parent_fd)
            try:
                self._set_dir(fd, entry)
            finally:
                os.close(fd)
        self._dir_times[self._path(name)] = entry.mtime_ns

    def _set_dir(self, fd: int, entry: Entry) -> None:
        if entry.uid or entry.gid:
            self._own_fd(fd, entry)
        os.fchmod(fd, entry.mode)
        if entry.xattrs:
            _set_xattrs(fd, entry.xattrs)

    def _set_root(self, entry: Entry, reader: ChunkReader) -> None:
        if entry.kind != DIRECTORY:
            if entry.kind == FILE:
                reader.skip(entry.size)
            raise ArchiveError(f"{printable(entry.name)}: the root of the archive is not a directory")
        self._set_dir(self._root_fd, entry)
        self._dir_times[b""] = entry.mtime_ns

    def _path(self, name: bytes) -> bytes:
        return self._parent + b"/" + name if self._parent else name

    def _own_fd(self, fd: int, entry: Entry) -> None:
        if self._single_id:
            os.setxattr(fd, OWNER_XATTR, b"%d:%d" % (entry.uid, entry.gid))
        else:
            os.fchown(fd, entry.uid, entry.gid)

    def _own_and_time(self, name: bytes, entry: Entry) -> None:
        if (entry.uid or entry.gid) and not self._single_id:
            os.chown(name, entry.uid, entry.gid, dir_fd=self._parent_fd, follow_symlinks=False)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=self._parent_fd, follow_symlinks=False)

    def _link(self, name: bytes, entry: Entry) -> None:
        parts = split_name(entry.link, self.limits.depth)
        if not parts:
            raise ArchiveError(f"{printable(entry.name)}: a hard link to the root")
        target = parts.pop()
        parent, parent_fd = self._parent, self._parent_fd
        self._enter(parts)
        target_fd = self._parent_fd
        # Entering may have closed the directory that the link goes into.
        self._enter(parent.split(b"/") if parent else [])
        if self._parent_fd != parent_fd:
            self._parent_text = b"\0"
        if target_fd not in self._open_dirs.values():
            raise ArchiveError(f"{printable(entry.name)}: hard link across too many directories")
        status = os.stat(target, dir_fd=target_fd, follow_symlinks=False)
        if stat.S_ISCHR(status.st_mode) or stat.S_ISDIR(status.st_mode):
            raise ArchiveError(f"{printable(entry.name)}: a hard link to {printable(entry.link)}, which is not a file")
        os.link(target, name, src_dir_fd=target_fd, dst_dir_fd=self._parent_fd, follow_symlinks=False)

    def _replace(self, name: bytes, entry: Entry, reader: ChunkReader) -> None:
        """The name exists already: the later entry wins, but a directory that stays a directory keeps its content."""
        parent_fd = self._parent_fd
        old = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        hidden = stat.S_ISCHR(old.st_mode)  # a whiteout: what lies below stays hidden
        if stat.S_ISDIR(old.st_mode):
            if entry.kind == DIRECTORY:
                fd = os.open(name, _DIR_FLAGS, dir_fd=parent_fd)
                try:
                    self._set_dir(fd, entry)
                finally:
                    os.close(fd)
                self._dir_times[self._path(name)] = entry.mtime_ns
                return
            self._remove(name)
        elif entry.kind == HARD_LINK and self._is_same_file(name, entry, old):
            return
        else:
            if stat.S_ISREG(old.st_mode):
                self.exact = False  # the content of the first entry is lost
            os.unlink(name, dir_fd=parent_fd)
            if stat.S_ISLNK(old.st_mode):
                self._reenter()
        self._make(name, entry, reader)
        if hidden and entry.kind == DIRECTORY:
            self._mark_opaque(name)

    def _is_same_file(self, name: bytes, entry: Entry, old: os.stat_result) -> bool:
        """Tell whether a hard link names itself or a name that it shares already: nothing is to be done then."""
        parts = split_name(entry.link, self.limits.depth)
        return b"/".join(parts) == self._path(name) and not stat.S_ISDIR(old.st_mode)

    def _remove(self, name: bytes) -> None:
        self.exact = False
        prefix = self._path(name)
        for path in [p for p in self._dir_times if p == prefix or p.startswith(prefix + b"/")]:
            del self._dir_times[path]
        self._reenter()
        remove_entry(name, self._parent_fd)

    def _reenter(self) -> None:
        parent = self._parent
        self._forget_dirs()
        self._enter(parent.split(b"/") if parent else [])

    def _whiteout(self, name: bytes, entry: Entry, reader: ChunkReader) -> None:
        reader.skip(entry.size)
        if name == _OPAQUE_MARK:
            os.setxattr(self._parent_fd, OPAQUE_XATTR, b"y")
            return
        if name.startswith(_AUFS_PREFIX):
            return  # bookkeeping of aufs
        target = name[len(_WHITEOUT) :]
        if target in (b"", b".", b".."):
            raise ArchiveError(f"{printable(entry.name)}: a whiteout of nothing")
        try:
            os.mknod(target, stat.S_IFCHR, 0, dir_fd=self._parent_fd)
        except FileExistsError:
            # A whiteout hides what lower layers have, not what this one has (OCI image spec, layers).
            status = os.stat(target, dir_fd=self._parent_fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                self._mark_opaque(target)

    def _mark_opaque(self, name: bytes) -> None:
        fd = os.open(name, _DIR_FLAGS, dir_fd=self._parent_fd)
        try:
            os.setxattr(fd, OPAQUE_XATTR, b"y")
        finally:
            os.close(fd)

    def finish(self) -> None:
        """Set the times of directories, which every file made in them has changed."""
        for path, mtime_ns in self._dir_times.items():
            parent, _, name = path.rpartition(b"/")
            times = (mtime_ns, mtime_ns)
            try:
                if not path:
                    os.utime(self._root_fd, ns=times)
                    continue
                self._enter(parent.split(b"/") if parent else [])
                os.utime(name, ns=times, dir_fd=self._parent_fd, follow_symlinks=False)
            except OSError as error:
                raise StorageError(f"{printable(path)}: {os.strerror(error.errno or 0)}") from error

    def close(self) -> None:
        self._forget_dirs()


def _open_or_make(name: bytes, parent_fd: int) -> int:
    try:
        return os.open(name, _DIR_FLAGS, dir_fd=parent_fd)
    except FileNotFoundError:
        os.mkdir(name, 0o755, dir_fd=parent_fd)
        return os.open(name, _DIR_FLAGS, dir_fd=parent_fd)


def _copy(reader: ChunkReader, size: int, fd: int) -> None:
    while size:
        part = reader.some(size)
        if not part:
            raise ArchiveError("the archive ends in the middle of a file")
        size -= len(part)
        while part:
            part = part[os.write(fd, part) :]


def _set_xattrs(fd: int, xattrs: dict[bytes, bytes]) -> None:
    for name, value in xattrs.items():
        if name.startswith(_FORBIDDEN_XATTRS) or b"\0" in name:
            continue
        try:
            os.setxattr(fd, name, value)
        except OSError as error:
            # Not every file system has every attribute, and SELinux's are the host's business: as Podman does.
            if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.EINVAL, errno.ERANGE):
                raise


def _readable(error: OSError, entry: Entry) -> StorageError:
    name = printable(entry.name)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(
            f"no space left while unpacking {name}",
            hint="free some with 'pyman rmi' or 'pyman rm'; both work on a full disk",
        )
    if error.errno == errno.EINVAL and (entry.uid or entry.gid):
        return StorageError(
            f"{name} belongs to {entry.uid}:{entry.gid}, which your subordinate ids do not reach",
            hint="ask for a larger range in /etc/subuid and /etc/subgid (65536 ids are usual)",
        )
    return ArchiveError(f"cannot unpack {name}: {os.strerror(error.errno or 0)}")
