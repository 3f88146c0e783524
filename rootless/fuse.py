"""Layers mounted by fuse-overlayfs, for kernels and file systems whose own overlay cannot do it.

    monitor            helper (forked by the monitor)         fuse-overlayfs (forked by the helper)
    fork        ->     joins the container's user namespace,
                       own mount namespace
                       fork                            ->     mounts, serves
                       detaches the mount
                <-     its descriptor
    passes it to init

The detached mount is all that holds it: when the container's mount namespace ends, fuse-overlayfs ends by itself.
"""

from __future__ import annotations

import _socket
import os
import time

from rootless import messages, mounts, syscalls, userns
from rootless.constants import (
    AT_FDCWD,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MNT_DETACH,
    MS_PRIVATE,
    MS_REC,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
)
from rootless.errors import KernelError, StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from rootless.idmap import IdRange
    from rootless.root import Root

_MOUNT_TIMEOUT_S = 20.0
_MOUNTED = "MOUNTED"


def mount(root: Root, scratch: str, init_pid: int, options: tuple[str, ...]) -> int:
    """Start fuse-overlayfs for the layers of `root`. Returns the detached mount, which the caller owns.

    `options` are added to its -o, such as uidmapping=. Raises KernelError.
    """
    program = userns.find_helper("fuse-overlayfs")
    if program is None:
        raise StepFailed("fuse-overlayfs is not installed", hint="install the package fuse-overlayfs", overlay=True)
    user_fd = os.open(f"/proc/{init_pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    ours, theirs = messages.pair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _help(program, root, scratch, user_fd, theirs, options)
    theirs.close()
    os.close(user_fd)
    try:
        name, fields, mount_fd = messages.receive(ours)
    finally:
        ours.close()
        os.waitpid(pid, 0)
    if name == messages.FAILED:
        raise messages.failure(fields)
    if mount_fd is None:
        raise KernelError("the process that mounts the layers was killed")
    return mount_fd


def _help(
    program: str, root: Root, scratch: str, user_fd: int, sock: _socket.socket, options: tuple[str, ...]
) -> NoReturn:
    try:
        syscalls.setns(user_fd, CLONE_NEWUSER)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        # From here on: root in the container's user namespace, with a view of the host's files of our own.
        syscalls.unshare(CLONE_NEWNS)
        syscalls.mount(None, "/", None, MS_PRIVATE | MS_REC)
        _prepare(root, scratch)
        os.chdir(scratch)
        before = os.stat("root").st_dev
        output_fd, their_output = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            _serve(program, root, their_output, options)
        os.close(their_output)
        _wait_mounted(pid, before, output_fd)
        mount_fd = syscalls.open_tree(AT_FDCWD, "root", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
        syscalls.umount("root", MNT_DETACH)
        messages.send(sock, _MOUNTED, fd=mount_fd)
    except BaseException as error:
        messages.send_failure(sock, error)
    finally:
        os._exit(0)


def _prepare(root: Root, scratch: str) -> None:
    """Lay out links with short names: a ',' or ':' in a path would split the options."""
    tmpfs_fd = mounts.new_mount("tmpfs", ("mode=0700", "size=1m"), 0)
    scratch_fd = os.open(scratch, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    syscalls.move_mount(tmpfs_fd, scratch_fd)
    os.close(tmpfs_fd)
    os.close(scratch_fd)
    os.mkdir(f"{scratch}/root")
    for index, path in enumerate(root.lower):
        os.symlink(path, f"{scratch}/{index}")
    os.symlink(root.upper, f"{scratch}/u")
    os.symlink(root.work, f"{scratch}/w")


def _serve(program: str, root: Root, output_fd: int, options: tuple[str, ...]) -> NoReturn:
    try:
        os.setsid()
        lower = ":".join(str(index) for index in range(len(root.lower)))
        data = ",".join((f"lowerdir={lower}", "upperdir=u", "workdir=w", *options))
        os.dup2(os.open("/dev/null", os.O_RDWR), 0)
        for fd in (1, 2):
            os.dup2(output_fd, fd)
        os.execve(program, [program, "-f", "-o", data, "root"], {"PATH": "/usr/bin:/bin", "LC_ALL": "C"})
    finally:
        os._exit(127)


def _wait_mounted(pid: int, before: int, output_fd: int) -> None:
    """Wait until another file system answers at `root`. Raises StepFailed with what fuse-overlayfs said."""
    deadline = time.monotonic() + _MOUNT_TIMEOUT_S
    while time.monotonic() < deadline:
        if os.stat("root").st_dev != before:
            return
        ended, _ = os.waitpid(pid, os.WNOHANG)
        if ended:
            said = os.read(output_fd, 4096).decode(errors="replace").strip().replace("\n", "; ")
            raise StepFailed(
                f"fuse-overlayfs cannot mount the layers: {said}", hint="is /dev/fuse writable for you?", overlay=True
            )
        time.sleep(0.002)
    raise StepFailed(f"fuse-overlayfs did not mount the layers within {_MOUNT_TIMEOUT_S:.0f} s")


def keep_id_option(name: str, ranges: tuple[IdRange, ...], kept: int) -> str:
    """Return uidmapping= or gidmapping= for a namespace in which the caller is `kept` (--userns=keep-id).

    Layers are stored under the default map, where the caller is 0 and subordinate ids follow from 1 on. Seen from the
    namespace, 0 of the image has the number `kept`, and 1 ... `kept` have 0 ... `kept` - 1: show each as it should be.
    """
    last = max(r.inside + r.count for r in ranges)
    parts = [f"{kept}:0:1"]
    if kept:
        parts.append(f"0:1:{kept}")
    if last > kept + 1:
        parts.append(f"{kept + 1}:{kept + 1}:{last - kept - 1}")
    return f"{name}={':'.join(parts)}"
