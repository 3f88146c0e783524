"""Mount operations as values, and the one place that carries them out.

Everything goes through descriptors (open_tree, fsopen, move_mount; Linux 5.2, mount_setattr 5.12): a mount gets its
attributes before it is visible, and its target is resolved inside the root once, so no link can lead it elsewhere.
"""

from __future__ import annotations

import os
import stat

from rootless import paths, syscalls
from rootless.constants import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
)
from rootless.errors import StepFailed
from rootless.record import Record

PROPAGATION = {
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "slave": MS_SLAVE,
    "rslave": MS_SLAVE | MS_REC,
    "shared": MS_SHARED,
    "rshared": MS_SHARED | MS_REC,
    "unbindable": MS_UNBINDABLE,
    "runbindable": MS_UNBINDABLE | MS_REC,
}


class NewFilesystem(Record):
    """Mount a new instance of a file system on a directory of the root."""

    kind: str
    target: str
    attributes: int = 0  # MOUNT_ATTR_*
    options: tuple[str, ...] = ()  # fsconfig(2) keys, "name" or "name=value"
    optional: bool = False  # where the kernel does not allow it, leave the directory as it is
    copy_up: bool = False  # tmpcopyup: start with what the root has there
    follow_links: bool = True


class Bind(Record):
    """Show a file or directory of the host inside the root."""

    source: str
    target: str
    recursive: bool = True
    attributes: int = 0
    clear: int = 0
    recursive_attributes: bool = False
    propagation: str = ""
    optional: bool = False  # skip if the source does not exist


class Overlay(Record):
    """Show a directory of the host; what is written goes to `upper` (the :O option of a volume)."""

    lower: str
    upper: str
    work: str
    target: str


class Symlink(Record):
    """Make a symbolic link inside the root, unless something is there."""

    target: str
    text: str


class MakeDirectory(Record):
    target: str
    mode: int = 0o755


class Mask(Record):
    """Hide a path: files behind /dev/null, directories behind an empty read-only tmpfs. May not exist."""

    target: str


class ReadOnly(Record):
    """Make a path and what is mounted below it read-only. May not exist."""

    target: str


Operation = NewFilesystem | Bind | Overlay | Symlink | MakeDirectory | Mask | ReadOnly


def describe(operation: Operation) -> str:
    """Return one line for traces and errors."""
    source = getattr(operation, "source", "") or getattr(operation, "kind", "") or getattr(operation, "lower", "")
    verb = type(operation).__name__.lower()
    return f"{verb} {source} -> {operation.target}" if source else f"{verb} {operation.target}"


def apply(operation: Operation, root_fd: int, null_fd: int) -> None:
    """Carry out one operation below the root. `null_fd` is the host's real /dev/null. Raises StepFailed."""
    try:
        if isinstance(operation, Bind):
            _bind(operation, root_fd)
        elif isinstance(operation, NewFilesystem):
            _new_filesystem(operation, root_fd)
        elif isinstance(operation, Symlink):
            _symlink(operation, root_fd)
        elif isinstance(operation, Mask):
            _mask(operation, root_fd, null_fd)
        elif isinstance(operation, ReadOnly):
            _read_only(operation, root_fd)
        elif isinstance(operation, Overlay):
            _overlay(operation, root_fd)
        else:
            os.close(paths.make_directories_in_root(root_fd, operation.target, operation.mode))
    except OSError as error:
        number = error.errno or 0
        raise StepFailed(f"cannot {describe(operation)}: {os.strerror(number)}", errno=number) from error


def null_device() -> int:
    """Open the host's /dev/null and make sure that it is the null device (CVE-2025-31133). Returns an O_PATH fd."""
    fd = os.open("/dev/null", os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(1, 3):
        raise StepFailed("/dev/null of the host is not the null device")
    return fd


def _attach(mount_fd: int, target_fd: int) -> None:
    try:
        syscalls.move_mount(mount_fd, target_fd)
    finally:
        os.close(mount_fd)
        os.close(target_fd)


def _clone_tree(dir_fd: int, path: str, *, recursive: bool) -> int:
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    return syscalls.open_tree(dir_fd, path, flags)


def _bind(bind: Bind, root_fd: int) -> None:
    try:
        status = os.stat(bind.source)
        tree_fd = _clone_tree(AT_FDCWD, bind.source, recursive=bind.recursive)
    except FileNotFoundError:
        if bind.optional:
            return
        raise
    if bind.attributes or bind.clear:
        scope = AT_EMPTY_PATH | (AT_RECURSIVE if bind.recursive_attributes else 0)
        syscalls.mount_setattr(tree_fd, "", scope, set_=bind.attributes, clear=bind.clear)
    if stat.S_ISDIR(status.st_mode):
        target_fd = paths.make_directories_in_root(root_fd, bind.target, 0o755)
    else:
        target_fd = paths.make_file_in_root(root_fd, bind.target, 0o644)
    _set_propagation(tree_fd, bind.propagation or "rprivate")
    _attach(tree_fd, target_fd)


def _set_propagation(tree_fd: int, name: str) -> None:
    flags = PROPAGATION[name]
    scope = AT_EMPTY_PATH | (AT_RECURSIVE if flags & MS_REC else 0)
    syscalls.mount_setattr(tree_fd, "", scope, propagation=flags & ~MS_REC)


def new_mount(kind: str, options: tuple[str, ...], attributes: int) -> int:
    """Make a file system that is mounted nowhere yet. Returns its descriptor."""
    fs_fd = syscalls.fsopen(kind)
    try:
        for option in options:
            name, separator, value = option.partition("=")
            if separator:
                syscalls.fsconfig(fs_fd, syscalls.FSCONFIG_SET_STRING, name, value)
            else:
                syscalls.fsconfig(fs_fd, syscalls.FSCONFIG_SET_FLAG, name)
        syscalls.fsconfig(fs_fd, syscalls.FSCONFIG_CMD_CREATE)
        return syscalls.fsmount(fs_fd, attributes)
    finally:
        os.close(fs_fd)


def _new_filesystem(operation: NewFilesystem, root_fd: int) -> None:
    try:
        mount_fd = new_mount(operation.kind, operation.options, operation.attributes & ~MOUNT_ATTR_RDONLY)
    except OSError:
        if operation.optional:
            return
        raise
    if not operation.follow_links:
        _refuse_link(root_fd, operation.target)
    if operation.copy_up:
        _copy_up(root_fd, operation.target, mount_fd)
    if operation.attributes & MOUNT_ATTR_RDONLY:
        syscalls.mount_setattr(mount_fd, "", AT_EMPTY_PATH, set_=MOUNT_ATTR_RDONLY)
    _attach(mount_fd, paths.make_directories_in_root(root_fd, operation.target, 0o755))


def _refuse_link(root_fd: int, target: str) -> None:
    """Refuse /proc, /sys and /dev that are links: later steps rely on them (CVE-2023-28642, CVE-2026-41579)."""
    try:
        mode = os.stat(target.lstrip("/"), dir_fd=root_fd, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(mode):
        raise StepFailed(
            f"{target} of the image is not a directory", hint="such an image is refused: it may be hostile"
        )


def _copy_up(root_fd: int, target: str, mount_fd: int) -> None:
    """Copy what the root has at `target` into the new file system (regular files, directories, links)."""
    try:
        source_fd = paths.open_in_root(root_fd, target, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    destination_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount_fd)
    try:
        _copy_tree(source_fd, destination_fd)
    finally:
        os.close(source_fd)
        os.close(destination_fd)


def populate(root_fd: int, target: str, directory: str) -> None:
    """Fill an empty directory of the host with what the root has at `target`, owner and mode included."""
    destination_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.listdir(destination_fd):
            return
        source_fd = paths.open_in_root(root_fd, target, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _copy_tree(source_fd, destination_fd)
            status = os.fstat(source_fd)
            os.fchown(destination_fd, status.st_uid, status.st_gid)
            os.fchmod(destination_fd, stat.S_IMODE(status.st_mode))
        finally:
            os.close(source_fd)
    except (FileNotFoundError, NotADirectoryError):
        return  # the image has nothing there
    finally:
        os.close(destination_fd)


def _copy_tree(source_fd: int, destination_fd: int) -> None:
    for name in os.listdir(source_fd):
        status = os.stat(name, dir_fd=source_fd, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(name, dir_fd=destination_fd)
            inner_source = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source_fd)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=destination_fd)
            _copy_tree(inner_source, inner)
            os.close(inner_source)
            os.close(inner)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source_fd), name, dir_fd=destination_fd)
        elif stat.S_ISREG(status.st_mode):
            copy_fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source_fd)
            new_fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=destination_fd)
            while data := os.read(copy_fd, 1 << 20):
                os.write(new_fd, data)
            os.close(copy_fd)
            os.close(new_fd)
        else:
            continue
        os.chown(name, status.st_uid, status.st_gid, dir_fd=destination_fd, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=destination_fd)


def _symlink(operation: Symlink, root_fd: int) -> None:
    directory, _, name = operation.target.rpartition("/")
    directory_fd = paths.make_directories_in_root(root_fd, directory or "/", 0o755)
    try:
        os.symlink(operation.text, name, dir_fd=directory_fd)
    except FileExistsError:
        pass
    finally:
        os.close(directory_fd)


def _open_target(root_fd: int, target: str) -> int | None:
    try:
        return paths.open_in_root(root_fd, target, os.O_PATH)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _mask(operation: Mask, root_fd: int, null_fd: int) -> None:
    target_fd = _open_target(root_fd, operation.target)
    if target_fd is None:
        return
    if stat.S_ISDIR(os.fstat(target_fd).st_mode):
        attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
        mount_fd = new_mount("tmpfs", ("size=0k",), attributes)
    else:
        mount_fd = _clone_tree(null_fd, "", recursive=False)
    _attach(mount_fd, target_fd)


def _read_only(operation: ReadOnly, root_fd: int) -> None:
    target_fd = _open_target(root_fd, operation.target)
    if target_fd is None:
        return
    tree_fd = _clone_tree(target_fd, "", recursive=True)
    syscalls.mount_setattr(tree_fd, "", AT_EMPTY_PATH | AT_RECURSIVE, set_=MOUNT_ATTR_RDONLY)
    _attach(tree_fd, target_fd)


def _overlay(operation: Overlay, root_fd: int) -> None:
    target_fd = paths.make_directories_in_root(root_fd, operation.target, 0o755)
    fs_fd = syscalls.fsopen("overlay")
    try:
        for key, value in (("lowerdir", operation.lower), ("upperdir", operation.upper), ("workdir", operation.work)):
            escaped = value.replace("\\", "\\\\").replace(":", "\\:") if key == "lowerdir" else value
            syscalls.fsconfig(fs_fd, syscalls.FSCONFIG_SET_STRING, key, escaped)
        syscalls.fsconfig(fs_fd, syscalls.FSCONFIG_SET_FLAG, "userxattr")
        syscalls.fsconfig(fs_fd, syscalls.FSCONFIG_CMD_CREATE)
        mount_fd = syscalls.fsmount(fs_fd, MOUNT_ATTR_NODEV)
    finally:
        os.close(fs_fd)
    _attach(mount_fd, target_fd)
