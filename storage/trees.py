"""Whole directory trees: removed and measured through descriptors, never by joined paths."""

from __future__ import annotations

import os

_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_entry(name: bytes | str, parent_fd: int) -> None:
    """Remove a file or a whole directory; it may be gone already. Follows no link, needs no space.

    Works without recursion: whoever made the tree decides how deep it is.
    """
    try:
        os.unlink(name, dir_fd=parent_fd)
        return
    except FileNotFoundError:
        return
    except IsADirectoryError:
        pass
    try:
        fd = _open_dir(name, parent_fd)
    except FileNotFoundError:
        return
    try:
        _empty(fd)
    finally:
        os.close(fd)
    try:
        os.rmdir(name, dir_fd=parent_fd)
    except FileNotFoundError:
        pass


def remove_tree(path: str) -> None:
    """Remove a file or directory tree by path. Raises PermissionError where files belong to subordinate ids."""
    parent_fd = os.open(os.path.dirname(path), _DIR_FLAGS)
    try:
        remove_entry(os.path.basename(path), parent_fd)
    finally:
        os.close(parent_fd)


def _empty(root_fd: int) -> None:
    """Remove everything below a directory.

    One descriptor per level is open; what lies deeper than 200 levels is moved up first, so that a container cannot
    make a tree that we are unable to remove.
    """
    stack: list[tuple[int, list[str]]] = [(root_fd, _remove_files(root_fd))]
    while stack:
        fd, directories = stack[-1]
        if directories:
            name = directories[-1]
            try:
                child_fd = _open_dir(name, fd)
            except FileNotFoundError:  # somebody else removes the same tree
                directories.pop()
                continue
            if len(stack) >= 200:
                _lift(child_fd, root_fd)
                os.close(child_fd)
                _rmdir(name, fd)
                directories.pop()
                continue
            stack.append((child_fd, _remove_files(child_fd)))
            continue
        stack.pop()
        if stack:
            os.close(fd)
            _rmdir(stack[-1][1].pop(), stack[-1][0])
        elif lifted := _remove_files(fd):
            stack.append((fd, lifted))  # directories that were moved up to here


def _open_dir(name: bytes | str, parent_fd: int) -> int:
    try:
        return os.open(name, _DIR_FLAGS, dir_fd=parent_fd)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent_fd)  # ours, but closed: mode 0000
        return os.open(name, _DIR_FLAGS, dir_fd=parent_fd)


def _rmdir(name: str, parent_fd: int) -> None:
    try:
        os.rmdir(name, dir_fd=parent_fd)
    except FileNotFoundError:
        pass


def _lift(from_fd: int, to_fd: int) -> None:
    """Move the directories below one directory up to another one, and remove its files."""
    for name in _remove_files(from_fd):
        os.rename(name, f".lifted-{os.fstat(from_fd).st_ino}-{name}"[:255], src_dir_fd=from_fd, dst_dir_fd=to_fd)


def _remove_files(fd: int) -> list[str]:
    """Remove what is not a directory; return the names of the directories."""
    directories = []
    closed = False
    with os.scandir(fd) as entries:
        names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_dir in names:
        if is_dir:
            directories.append(name)
            continue
        try:
            os.unlink(name, dir_fd=fd)
        except FileNotFoundError:
            pass
        except PermissionError:
            if closed:
                raise
            closed = True
            os.fchmod(fd, 0o700)  # a directory without write permission, ours: open it once
            os.unlink(name, dir_fd=fd)
    return directories
