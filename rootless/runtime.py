"""The parent's side of a start: fork init into new namespaces, have its maps written, let it execute."""

from __future__ import annotations

import os

from rootless import messages, process, syscalls, userns
from rootless.constants import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)
from rootless.errors import KernelError
from rootless.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from rootless.idmap import Maps
    from rootless.init import Launch

NAMESPACES = {"pid": CLONE_NEWPID, "network": CLONE_NEWNET, "ipc": CLONE_NEWIPC, "uts": CLONE_NEWUTS}


class Init(Record):
    """The first process of a container. The caller owns both descriptors."""

    pid: int
    start_time: int  # clock ticks after boot
    pidfd: int
    console_fd: int | None  # master side of the terminal
    uid: int  # the user of the command, in the container
    gid: int
    namespace_fds: tuple[int, ...]  # hold the namespaces beyond the container's end; to be closed, or left to our exit


def start(
    build: Callable[[], Launch],
    maps: Maps,
    private: frozenset[str],
    stdio: tuple[int, int, int],
    *,
    forked: Callable[[int], None] = lambda pid: None,
    namespaces_ready: Callable[[int], int | None] = lambda pid: None,
    before_start: Callable[[int], None] = lambda pid: None,
) -> Init:
    """Start a container and return when its command has been executed.

    `build` is called in the child, while the maps are written. `private` names the new namespaces (a subset of
    NAMESPACES; user and mount are always new). `forked` is called with the pid at once, `namespaces_ready` as soon as
    the namespaces and their maps exist (it may return a root file system that is mounted already), `before_start` when
    the root is mounted; each may raise. Raises StepFailed and other KernelErrors; then nothing is left running.
    """
    flags = CLONE_NEWUSER | CLONE_NEWNS
    for name in private:
        flags |= NAMESPACES[name]
    ours, theirs = messages.pair()
    try:
        pid, pidfd = syscalls.clone(flags)
    except OSError as error:
        raise _clone_error(error) from error
    if pid == 0:
        ours.close()
        # Imported by init alone, while the maps are written: the monitor needs none of it.
        from rootless import init

        init.run(build, theirs, stdio)
    theirs.close()
    namespace_fds = _hold_namespaces(pid)
    try:
        forked(pid)
        userns.write_maps(pid, maps)
        root_fd = namespaces_ready(pid)  # slirp4netns becomes root of the namespace, so it needs the maps
        fields, console_fd = _converse(ours, before_start, pid, root_fd)
    except BaseException:
        process.send_signal(pidfd, 9)
        os.waitpid(pid, 0)
        for fd in (pidfd, *namespace_fds):
            os.close(fd)
        raise
    finally:
        ours.close()
    return Init(pid, process.start_time(pid), pidfd, console_fd, fields["uid"], fields["gid"], namespace_fds)


def _hold_namespaces(pid: int) -> tuple[int, ...]:
    """Open the namespaces whose end is slow.

    The last process of a mount or network namespace waits in its exit until the kernel has taken everything down
    (RCU grace periods: 10 to 40 ms). With these descriptors open it does not, and its exit status is there at once.
    """
    return tuple(os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in ("mnt", "net", "ipc"))


def _converse(
    sock: _socket.socket, before_start: Callable[[int], None], pid: int, root_fd: int | None
) -> tuple[dict[str, int], int | None]:
    messages.send(sock, messages.MAPS_WRITTEN, fd=root_fd)
    if root_fd is not None:
        os.close(root_fd)
    name, fields, console_fd = messages.receive(sock)
    if name != messages.MOUNTS_READY:
        raise _ended(name, fields)
    before_start(pid)
    try:
        messages.send(sock, messages.START)
        name, failure, _ = messages.receive(sock)
    except (BrokenPipeError, ConnectionResetError):  # killed before it read that
        raise _ended("", {}) from None
    if name:
        raise _ended(name, failure)
    return fields, console_fd


def _ended(name: str, fields: dict[str, object]) -> KernelError:
    if name == messages.FAILED:
        return messages.failure(fields)
    return KernelError("the container's first process ended while it was being started")


def _clone_error(error: OSError) -> KernelError:
    number = error.errno or 0
    hint = ""
    if number in (1, 28):  # EPERM, ENOSPC: the kernel's two ways to refuse a user namespace
        hint = "user namespaces are disabled or exhausted: see sysctl user.max_user_namespaces, " + (
            "kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns"
        )
    elif number == 11:
        hint = "you have too many processes: see ulimit -u"
    return KernelError(f"cannot create namespaces: {os.strerror(number)}", errno=number, hint=hint)
