"""Plain copies: a chain of layers as one directory, for file systems on which no overlay works."""

from __future__ import annotations

import os
import stat

from storage import trees

_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPAQUE = "user.overlay.opaque"
_COPY_BYTES = 1 << 24


def flatten(layers: list[str], destination: str) -> None:
    """Copy layers (directories in overlay form, bottom first) over each other into a new directory.

    Runs as root of the user namespace under whose map the layers are stored. `destination` appears when complete.
    """
    staging = f"{destination}~{os.getpid()}"
    os.mkdir(staging, 0o755)
    staging_fd = os.open(staging, _DIR_FLAGS)
    try:
        for layer in layers:
            layer_fd = os.open(layer, _DIR_FLAGS)
            try:
                _merge(layer_fd, staging_fd, {})
            finally:
                os.close(layer_fd)
    finally:
        os.close(staging_fd)
    os.rename(staging, destination)


def _merge(source_fd: int, target_fd: int, links: dict[int, str]) -> None:
    """Copy one directory of a layer over what lower layers have there; `links` are inodes with several names."""
    if _is_opaque(source_fd):
        for name in os.listdir(target_fd):
            trees.remove_entry(name, target_fd)
    for name in os.listdir(source_fd):
        status = os.stat(name, dir_fd=source_fd, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            _merge_directory(name, source_fd, target_fd, links)
            continue
        trees.remove_entry(name, target_fd)
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            continue  # a whiteout
        if status.st_nlink > 1 and status.st_ino in links:
            os.link(links[status.st_ino], name, dst_dir_fd=target_fd, follow_symlinks=False)
            continue
        _copy(name, status, source_fd, target_fd)
        if status.st_nlink > 1:
            links[status.st_ino] = os.readlink(f"/proc/self/fd/{target_fd}") + f"/{name}"
    _take_metadata(source_fd, target_fd)


def _is_opaque(fd: int) -> bool:
    try:
        return os.getxattr(fd, _OPAQUE) == b"y"
    except OSError:
        return False


def _merge_directory(name: str, source_fd: int, target_fd: int, links: dict[int, str]) -> None:
    inner_source = os.open(name, _DIR_FLAGS, dir_fd=source_fd)
    try:
        try:
            inner_target = os.open(name, _DIR_FLAGS, dir_fd=target_fd)
        except OSError:  # nothing there, or something else than a directory
            trees.remove_entry(name, target_fd)
            os.mkdir(name, 0o700, dir_fd=target_fd)
            inner_target = os.open(name, _DIR_FLAGS, dir_fd=target_fd)
        try:
            _merge(inner_source, inner_target, links)
        finally:
            os.close(inner_target)
    finally:
        os.close(inner_source)


def _copy(name: str, status: os.stat_result, source_fd: int, target_fd: int) -> None:
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=source_fd), name, dir_fd=target_fd)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target_fd, follow_symlinks=False)
        return
    if not stat.S_ISREG(status.st_mode):
        os.mknod(name, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev, dir_fd=target_fd)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target_fd, follow_symlinks=False)
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target_fd)
        return
    old = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source_fd)
    new = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target_fd)
    try:
        while os.copy_file_range(old, new, _COPY_BYTES):
            pass
        _take_metadata(old, new)
    finally:
        os.close(old)
        os.close(new)


def _take_metadata(source_fd: int, target_fd: int) -> None:
    """Copy owner, mode, extended attributes and times; the owner first, for a change of it drops setuid bits."""
    status = os.fstat(source_fd)
    os.fchown(target_fd, status.st_uid, status.st_gid)
    os.fchmod(target_fd, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source_fd):
        if name != _OPAQUE:
            try:
                os.setxattr(target_fd, name, os.getxattr(source_fd, name))
            except OSError:
                continue  # this file system keeps no such attribute
    os.utime(target_fd, ns=(status.st_atime_ns, status.st_mtime_ns))
