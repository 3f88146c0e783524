"""The root file system of a container, mounted in its own mount namespace: layers, a directory, or the host's own."""

from __future__ import annotations

import os
import stat

from rootless import mounts, syscalls
from rootless.constants import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_REC,
    MS_SLAVE,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
)
from rootless.errors import StepFailed
from rootless.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.oci import Spec


class Root(Record):
    """Where the root file system comes from.

    `overlay`: directories of the host, the uppermost layer first, and where changes go (both empty: read-only).
    `directory`: a directory of the host as it is.
    `host`: the host's own top-level directories, each below an overlay of its own.
    """

    kind: str
    lower: tuple[str, ...] = ()
    upper: str = ""
    work: str = ""
    path: str = ""


def mount(root: Root, scratch: str, spec: Spec, mounted_fd: int | None) -> int:
    """Mount the root file system below the scratch directory. Returns its O_PATH descriptor.

    `mounted_fd` is the root itself, if somebody else has mounted it.
    """
    propagation = MS_SLAVE if "slave" in spec["linux"].get("rootfsPropagation", "") else MS_PRIVATE
    if any(_shares(entry.get("options", [])) for entry in spec.get("mounts", [])):
        propagation = MS_SLAVE
    syscalls.mount(None, "/", None, propagation | MS_REC)
    _attach(mounts.new_mount("tmpfs", ("mode=0700", "size=1m"), 0), scratch)
    target = f"{scratch}/root"
    os.mkdir(target)
    if mounted_fd is not None:
        _attach(mounted_fd, target)
    elif root.kind == "overlay":
        _mount_overlay(root, scratch, target)
    elif root.kind == "host":
        _mount_host_directories(root, scratch, target)
    else:
        tree_fd = syscalls.open_tree(AT_FDCWD, root.path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE)
        _attach(tree_fd, target)
    return os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _shares(options: list[str]) -> bool:
    return any(option.lstrip("r") in ("slave", "shared", "hared") for option in options)


def _attach(mount_fd: int, target: str) -> None:
    target_fd = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    syscalls.move_mount(mount_fd, target_fd)
    os.close(mount_fd)
    os.close(target_fd)


def _mount_overlay(root: Root, scratch: str, target: str) -> None:
    """Mount the layers through links with short names.

    Options of mount(2) end after a page, which 127 full paths exceed, and a ',' or ':' in a path would split them.
    """
    for index, path in enumerate(root.lower):
        os.symlink(path, f"{scratch}/{index}")
    lower = [str(index) for index in range(len(root.lower))]
    if root.upper:
        os.symlink(root.upper, f"{scratch}/u")
        os.symlink(root.work, f"{scratch}/w")
        data = f"lowerdir={':'.join(lower)},upperdir=u,workdir=w,userxattr"
    else:
        if len(lower) == 1:  # overlay wants two layers when nothing is written
            os.mkdir(f"{scratch}/e")
            lower.append("e")
        data = f"lowerdir={':'.join(lower)},userxattr"
    before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.chdir(scratch)
    try:
        syscalls.mount("overlay", "root", "overlay", 0, data)
    except OSError as error:
        raise StepFailed(
            f"cannot mount the layers by the kernel's overlay: {os.strerror(error.errno or 0)}",
            errno=error.errno or 0,
            overlay=True,
        ) from error
    os.fchdir(before)
    os.close(before)


# Directories of the host that the container has its own version of, or none.
_NOT_FROM_HOST = frozenset(("proc", "sys", "dev", "run", "tmp", "lost+found"))


def _mount_host_directories(root: Root, scratch: str, target: str) -> None:
    """Put each top-level directory of `root.path` below an overlay of its own.

    The kernel refuses an overlay of "/" itself in a user namespace, because mounts that are locked below it would
    come off; most directories below have none. Where one has, it is shown read-only as it is.
    """
    _attach(mounts.new_mount("tmpfs", ("mode=0755", "source=rootfs"), 0), target)
    for name in sorted(os.listdir(root.path)):
        source, place = f"{root.path.rstrip('/')}/{name}", f"{target}/{name}"
        status = os.lstat(source)
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(source), place)
        elif not stat.S_ISDIR(status.st_mode):
            continue
        elif name in _NOT_FROM_HOST:
            os.mkdir(place, 0o1777 if name == "tmp" else 0o755)
            os.chmod(place, 0o1777 if name == "tmp" else 0o755)
        else:
            os.mkdir(place)
            upper, work = f"{root.upper}/{name}", f"{root.work}/{name}"
            os.mkdir(upper)
            os.mkdir(work)
            try:
                mounts.apply(mounts.Overlay(source, upper, work, name), _path_fd(target), -1)
            except StepFailed:
                tree_fd = syscalls.open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE)
                syscalls.mount_setattr(tree_fd, "", AT_EMPTY_PATH | AT_RECURSIVE, set_=MOUNT_ATTR_RDONLY)
                _attach(tree_fd, place)


def _path_fd(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
