"""A further process in a running container: join the namespaces of its init, drop privileges, execute."""

from __future__ import annotations

import _socket
import os

from rootless import init, messages, process, syscalls, users
from rootless.constants import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    CLONE_PARENT,
    PR_SET_DUMPABLE,
)
from rootless.errors import KernelError, StepFailed
from rootless.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from rootless.cgroups import Cgroup
    from rootless.oci import Process

_ALL = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP
_JOINED = "JOINED"


class Join(Record):
    """What is executed, and as whom."""

    process: Process
    user: str = ""
    groups: tuple[str, ...] = ()
    keep_groups: bool = False
    single_id: bool = False
    added_capabilities: int | None = None
    seccomp_programs: tuple[bytes, ...] = ()
    window: tuple[int, int] | None = None
    outlives_caller: bool = False  # exec -d
    cgroup: Cgroup | None = None  # the container's, to be joined
    preserve_fds: int = 0


class Joined(Record):
    """A child of ours inside the container, its command executed. The caller reaps it and owns the descriptors."""

    pid: int
    pidfd: int
    console_fd: int | None


def start(init_pidfd: int, join: Join, stdio: tuple[int, int, int]) -> Joined:
    """Start the command. Raises StepFailed and other KernelErrors; then nothing is left running."""
    ours, theirs = messages.pair()
    helper = os.fork()
    if helper == 0:
        ours.close()
        _enter(init_pidfd, join, theirs, stdio)
    theirs.close()
    pid = 0
    console_fd = None
    try:
        while True:
            name, fields, fd = messages.receive(ours)
            if name == _JOINED:
                pid = fields["pid"]
            elif name == messages.MOUNTS_READY:
                console_fd = fd
            elif name == messages.FAILED:
                raise messages.failure(fields)
            else:
                break
    except BaseException:
        if pid:
            os.waitpid(pid, 0)
        raise
    finally:
        os.waitpid(helper, 0)
        ours.close()
    if not pid:
        raise KernelError("the process that joins the container was killed")
    return Joined(pid, os.pidfd_open(pid), console_fd)


def _enter(init_pidfd: int, join: Join, sock: _socket.socket, stdio: tuple[int, int, int]) -> NoReturn:
    """Join everything, then fork once more: a pid namespace is entered by one's children only (setns(2))."""
    status = 125
    try:
        init.reset_signals()
        syscalls.prctl(PR_SET_DUMPABLE, 0)  # before anything in the container can see us (CVE-2019-5736)
        if join.cgroup is not None:
            from rootless import cgroups

            cgroups.attach(join.cgroup, os.getpid())
        try:
            syscalls.setns(init_pidfd, _ALL)  # all at once: setns(2) with a pidfd, Linux 5.8
        except OSError as error:
            raise StepFailed(
                f"cannot join the container: {os.strerror(error.errno or 0)}", errno=error.errno or 0
            ) from error
        # From here on: root in the container's user namespace, only the container's files are visible.
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        pid, _ = syscalls.clone(CLONE_PARENT)
        if pid == 0:
            _become_command(join, sock, stdio)
        messages.send(sock, _JOINED, {"pid": pid})
        status = 0
    except BaseException as error:
        messages.send_failure(sock, error)
    finally:
        os._exit(status)


def _become_command(join: Join, sock: _socket.socket, stdio: tuple[int, int, int]) -> NoReturn:
    try:
        os.setsid()
        root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        passwd, group = init.account_file(root_fd, "etc/passwd"), init.account_file(root_fd, "etc/group")
        wanted = join.user or f"{join.process['user']['uid']}:{join.process['user']['gid']}"
        user = users.lookup_user(passwd, group, wanted, extra_groups=join.groups)
        init.new_keyring()
        console_fd = None
        if join.process.get("terminal"):
            console_fd = init.open_console(user, join.window, bind_console=False)
        messages.send(sock, messages.MOUNTS_READY, fd=console_fd)
        init.take_stdio(stdio, user, terminal=console_fd is not None)
        syscalls.close_range_cloexec(3 + join.preserve_fds)
        init.apply_process(
            join.process,
            user,
            added=join.added_capabilities,
            seccomp_programs=join.seccomp_programs,
            single_id=join.single_id,
            keep_groups=join.keep_groups,
            parent=None if join.outlives_caller else sock,
        )
        init.execute(join.process["args"], init.environment(join.process, user))
    except BaseException as error:
        messages.send_failure(sock, error)
    finally:
        os._exit(125)


def wait(joined: Joined) -> int:
    """Reap the command; its exit status, 128 + N for a death by signal N."""
    _, status = os.waitpid(joined.pid, 0)
    return process.exit_code(status)
