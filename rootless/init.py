"""The child's side of a start: from clone(2) to execve(2).

`run` is a flat list, in the order that the kernel demands. What it is told to do is decided before (rootfs.plan);
once the container's root is entered nothing is imported, looked up by NSS or executed by name but the user's command.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import resource
import stat
import struct

from rootless import capabilities, messages, mounts, paths, pty, root, rootfs, seccomp, syscalls, users
from rootless.constants import (
    AT_EMPTY_PATH,
    CLONE_NEWCGROUP,
    MNT_DETACH,
    MOUNT_ATTR_RDONLY,
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
)
from rootless.errors import StepFailed
from rootless.record import Record
from rootless.root import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import NoReturn

    from rootless.oci import Process, Spec
    from rootless.users import User
else:
    import _signal as signal

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ACCOUNT_FILE_LIMIT = 1 << 20  # bytes of /etc/passwd and /etc/group that are read; hostile images have larger ones


class Launch(Record):
    """All that init needs to know."""

    spec: Spec
    root: Root
    scratch_dir: str  # an empty directory of the host; hidden below a tmpfs of init's own mount namespace
    user: str = ""  # name or number of a user and group of the image; empty: the one of the spec
    groups: tuple[str, ...] = ()  # names or numbers of further groups
    keep_groups: bool = False
    tty_group_mapped: bool = True
    private_cgroup: bool = True
    private_network: bool = True
    single_id: bool = False
    populate: tuple[tuple[str, str], ...] = ()  # (path in the root, empty directory of the host): copy what is there
    take_over: tuple[str, ...] = ()  # directories of the host whose files shall belong to the user (the U option)
    identity: str = ""  # a passwd line to add if the image has none for its user: "name:uid:gid:home"
    added_capabilities: int | None = None  # mask of --cap-add; None: take the sets of the spec literally
    seccomp_programs: tuple[bytes, ...] = ()
    preserve_fds: int = 0
    window: tuple[int, int] | None = None  # rows, columns of the terminal


def run(build: Callable[[], Launch], sock: _socket.socket, stdio: tuple[int, int, int]) -> NoReturn:
    """Become the container's first process. Never returns; failures are sent as FAILED.

    `build` runs here, while the setuid helpers write the maps of the namespace.
    """
    try:
        _run(build(), sock, stdio)
    except BaseException as error:
        try:
            messages.send_failure(sock, error)
            messages.receive(sock)  # stay until the monitor ends us: it may be about to open our namespaces
        finally:
            os._exit(125)


def _run(launch: Launch, sock: _socket.socket, stdio: tuple[int, int, int]) -> NoReturn:
    spec, process = launch.spec, launch.spec["process"]
    reset_signals()
    mounted_fd = _expect(sock, messages.MAPS_WRITTEN)
    # From here on: root in the new user namespace, host mounts still visible.
    if not launch.keep_groups and not launch.single_id:
        os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    if "oomScoreAdj" in process:
        _set_oom_score(process["oomScoreAdj"])  # before our files in /proc are closed to us
    syscalls.prctl(PR_SET_DUMPABLE, 0)  # nothing in the container may look at us before execve
    os.setsid()
    new_keyring()
    if launch.private_cgroup:
        syscalls.unshare(CLONE_NEWCGROUP)  # only now are we in the container's own cgroup
    if launch.private_network:
        _loopback_up()

    null_fd = mounts.null_device()
    root_fd = root.mount(launch.root, launch.scratch_dir, launch.spec, mounted_fd)
    user = _find_user(launch, root_fd)
    for target, directory in launch.populate:
        mounts.populate(root_fd, target, directory)
    for path in launch.take_over:
        _take_over(path, user)
    for operation in rootfs.plan(spec, gids_mapped=launch.tty_group_mapped):
        mounts.apply(operation, root_fd, null_fd)
    _add_identity(launch, root_fd, user)
    _make_workdir(root_fd, process["cwd"], user)
    if spec["root"].get("readonly"):
        syscalls.mount_setattr(root_fd, "", AT_EMPTY_PATH, set_=MOUNT_ATTR_RDONLY)
    _set_sysctls(spec)
    _enter_root(root_fd)
    # From here on: only the container's files are visible.
    _set_names(spec)
    console_fd = open_console(user, launch.window, bind_console=True) if process.get("terminal") else None
    messages.send(sock, messages.MOUNTS_READY, {"uid": user.uid, "gid": user.gid}, fd=console_fd)
    take_stdio(stdio, user, terminal=console_fd is not None)
    _expect(sock, messages.START)

    syscalls.close_range_cloexec(3 + launch.preserve_fds)
    apply_process(
        process,
        user,
        added=launch.added_capabilities,
        seccomp_programs=launch.seccomp_programs,
        single_id=launch.single_id,
        keep_groups=launch.keep_groups,
        parent=sock,
    )
    execute(process["args"], environment(process, user))


def _expect(sock: _socket.socket, name: str) -> int | None:
    """Wait for a message; returns the descriptor that came with it."""
    received, _, fd = messages.receive(sock)
    if received != name:
        os._exit(125)  # the monitor is gone: nobody to tell
    return fd


def reset_signals() -> None:
    """Undo what an interpreter and its monitor did to signals: handlers go with execve, ignored ones and masks stay."""
    for number in range(1, 32):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def new_keyring() -> None:
    try:
        syscalls.join_session_keyring()
    except OSError:
        pass  # EDQUOT, ENOSYS: seccomp keeps keyctl(2) from the container all the same


def _loopback_up() -> None:
    """Set the loopback interface up (netdevice(7): SIOCGIFFLAGS, SIOCSIFFLAGS)."""
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        request = struct.pack("16sh22x", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(sock.fileno(), 0x8914, request)
    finally:
        sock.close()


def _find_user(launch: Launch, root_fd: int) -> User:
    """Return who runs the command, by the image's own /etc/passwd and /etc/group."""
    passwd = account_file(root_fd, "etc/passwd")
    group = account_file(root_fd, "etc/group")
    spec_user = launch.spec["process"]["user"]
    wanted = launch.user or f"{spec_user['uid']}:{spec_user['gid']}"
    return users.lookup_user(passwd, group, wanted, extra_groups=launch.groups)


def account_file(root_fd: int, path: str) -> str:
    try:
        return paths.read_file_in_root(root_fd, path, _ACCOUNT_FILE_LIMIT).decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return ""


def _add_identity(launch: Launch, root_fd: int, user: User) -> None:
    """Give a user whom the image does not know a line in /etc/passwd, on a copy that lives as long as the container."""
    if not launch.identity:
        return
    name, uid, gid, home = launch.identity.split(":", 3)
    passwd = account_file(root_fd, "etc/passwd")
    if any(line.split(":")[2:3] == [uid] for line in passwd.splitlines()):
        return
    line = f"{name}:*:{uid}:{gid}:{name}:{home}:/bin/sh\n"
    copy = f"{launch.scratch_dir}/passwd"
    fd = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    os.fchmod(fd, 0o644)
    text = passwd if passwd.endswith("\n") or not passwd else passwd + "\n"
    os.write(fd, (text + line).encode("utf-8", "surrogateescape"))
    os.close(fd)
    mounts.apply(mounts.Bind(copy, "/etc/passwd", recursive=False), root_fd, -1)


def _take_over(path: str, user: User) -> None:
    """Give a tree of the host to the user of the container; links are changed themselves, never followed."""
    for directory, names, files, fd in os.fwalk(path, follow_symlinks=False):
        try:
            os.chown(fd, user.uid, user.gid)
            for name in (*names, *files):
                os.chown(name, user.uid, user.gid, dir_fd=fd, follow_symlinks=False)
        except OSError as error:
            raise StepFailed(f"cannot change the owner of {directory}: {os.strerror(error.errno or 0)}") from error


def _make_workdir(root_fd: int, workdir: str, user: User) -> None:
    """Make the working directory if the image lacks it, inside the root whatever links it has (CVE-2026-55686)."""
    try:
        os.close(paths.open_in_root(root_fd, workdir, os.O_PATH | os.O_DIRECTORY))
    except FileNotFoundError:
        fd = paths.make_directories_in_root(root_fd, workdir, 0o755)
        os.chown(f"/proc/self/fd/{fd}", user.uid, user.gid)
        os.close(fd)
    except NotADirectoryError as error:
        raise StepFailed(f"the working directory {workdir} is not a directory in the container") from error


def _set_sysctls(spec: Spec) -> None:
    for name, value in spec["linux"].get("sysctl", {}).items():
        path = f"/proc/sys/{name.replace('.', '/')}"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            os.write(fd, value.encode())
            os.close(fd)
        except OSError as error:
            raise StepFailed(f"cannot set sysctl {name}={value}: {os.strerror(error.errno or 0)}") from error


def _enter_root(root_fd: int) -> None:
    os.fchdir(root_fd)
    syscalls.pivot_root(".", ".")  # the old root is now stacked on the new one (pivot_root(2), NOTES)
    syscalls.umount(".", MNT_DETACH)
    os.chdir("/")


def _set_names(spec: Spec) -> None:
    if spec.get("hostname"):
        syscalls.sethostname(spec["hostname"])
    if spec.get("domainname"):
        syscalls.setdomainname(spec["domainname"])


def open_console(user: User, window: tuple[int, int] | None, *, bind_console: bool) -> int:
    """Open a terminal of the container's own devpts and make it our controlling one. Returns the master side."""
    # By the path of the devpts itself: the image cannot have replaced what we just mounted (CVE-2025-52565).
    master, slave, number = pty.open_pair("/dev/pts/ptmx", window=window, owner=user.uid)
    if bind_console:
        root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        mounts.apply(mounts.Bind(f"/dev/pts/{number}", "/dev/console", recursive=False), root_fd, -1)
        os.close(root_fd)
    pty.make_controlling(slave)
    return master


def take_stdio(stdio: tuple[int, int, int], user: User, *, terminal: bool) -> None:
    """Put the pipes on 0, 1, 2 and let the user reopen them as /dev/stdout."""
    if terminal:
        return
    for target, fd in enumerate(stdio):
        if fd != target:
            os.dup2(fd, target)
        else:
            os.set_inheritable(fd, True)
        status = os.fstat(target)
        if stat.S_ISFIFO(status.st_mode) and status.st_uid != user.uid:
            try:
                os.fchown(target, user.uid, -1)
            except OSError:
                pass  # a pipe of an unmapped owner: it works, it just cannot be reopened


def apply_process(
    process: Process,
    user: User,
    *,
    added: int | None = None,
    seccomp_programs: tuple[bytes, ...] = (),
    single_id: bool = False,
    keep_groups: bool = False,
    parent: _socket.socket | None = None,
) -> None:
    """Drop to what the process may be, in the order that keeps each step possible; execve is next.

    `parent` is the stream to the process with which this one shall end; None: with none.
    """
    for limit in process.get("rlimits", []):
        _set_rlimit(limit["type"], limit["soft"], limit["hard"])
    os.umask(process["user"].get("umask", 0o022))
    sets = _capability_sets(process, user, added)
    # The bounding set needs CAP_SETPCAP, and ids need CAP_SETUID: so bounding first, then ids, then the other sets.
    capabilities.drop_bounding(sets.bounding)
    syscalls.prctl(PR_SET_KEEPCAPS, 1)
    if not single_id and not keep_groups:
        os.setgroups(list(user.groups))
    if not single_id or (user.uid, user.gid) == (0, 0):
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    syscalls.prctl(PR_SET_KEEPCAPS, 0)
    # As the user, so that a directory that they may not enter fails here and not with the rights of root.
    _change_directory(process["cwd"])
    # After the last change of ids, which clears it (prctl(2)).
    if parent is not None:
        syscalls.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        _end_with_parent(parent)
    if process.get("noNewPrivileges") or single_id:
        syscalls.prctl(PR_SET_NO_NEW_PRIVS, 1)
        capabilities.take_on(sets)
        _install(seccomp_programs)
    else:
        # Without no_new_privs a filter needs CAP_SYS_ADMIN (seccomp(2)): it goes before the capabilities, as in runc.
        if seccomp_programs and user.uid != 0:
            capabilities.take_on(capabilities.sets_for(capabilities.limit_to_kernel(-1), root=True))
        _install(seccomp_programs)
        capabilities.take_on(sets)


def _end_with_parent(parent: _socket.socket) -> None:
    """End if the parent is gone already: its death signal was not set yet. Its number is no help, it is outside (0)."""
    try:
        if parent.recv(1, _socket.MSG_DONTWAIT | _socket.MSG_PEEK):
            return
    except BlockingIOError:
        return  # nothing to read, and the other end is open
    except OSError:
        pass
    os._exit(125)


def _capability_sets(process: Process, user: User, added: int | None) -> capabilities.CapabilitySets:
    """Return the sets of the spec; with `added`, those that Podman gives to this user."""
    given = process.get("capabilities", {})
    bounding = capabilities.mask(given.get("bounding", ()))
    if added is not None:
        return capabilities.sets_for(bounding, root=user.uid == 0, added=added)
    return capabilities.CapabilitySets(
        bounding,
        capabilities.mask(given.get("effective", ())),
        capabilities.mask(given.get("permitted", ())),
        capabilities.mask(given.get("inheritable", ())),
        capabilities.mask(given.get("ambient", ())),
    )


def _install(seccomp_programs: tuple[bytes, ...]) -> None:
    for program in seccomp_programs:
        seccomp.install(program)


def _change_directory(path: str) -> None:
    try:
        os.chdir(path)
    except OSError as error:
        raise StepFailed(f"cannot enter the working directory {path}: {os.strerror(error.errno or 0)}") from error
    # The kernel answers "(unreachable)/..." for a directory outside the root (CVE-2024-21626).
    if not os.getcwd().startswith("/"):
        raise StepFailed(f"the working directory {path} is outside the container")


def _set_rlimit(name: str, soft: int, hard: int) -> None:
    """Set a limit, within the hard one that we have: asking for more must not keep a container from starting."""
    number = getattr(resource, name)
    _, ceiling = resource.getrlimit(number)
    if ceiling != resource.RLIM_INFINITY:
        hard = ceiling if hard == resource.RLIM_INFINITY else min(hard, ceiling)
        soft = hard if soft == resource.RLIM_INFINITY else min(soft, hard)
    resource.setrlimit(number, (soft, hard))


def _set_oom_score(value: int) -> None:
    fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    except PermissionError as error:
        raise StepFailed(f"cannot set oom_score_adj to {value}: only root may lower it") from error
    finally:
        os.close(fd)


def environment(process: Process, user: User) -> dict[str, str]:
    """Return the environment, with HOME from the image's passwd if nothing else set it."""
    env = dict(pair.partition("=")[::2] for pair in process.get("env", []))
    env.setdefault("HOME", user.home or "/")
    return env


def execute(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Execute a command as execvp(3) would, in the container's own PATH. Raises StepFailed."""
    name = argv[0]
    directories = [""] if "/" in name else env.get("PATH", _DEFAULT_PATH).split(":")
    failure: OSError | None = None
    for directory in directories:
        path = f"{directory or '.'}/{name}" if "/" not in name else name
        try:
            os.execve(path, argv, env)
        except (FileNotFoundError, NotADirectoryError) as error:
            failure = failure or error
        except OSError as error:
            failure = error
    if failure is None or isinstance(failure, (FileNotFoundError, NotADirectoryError)):
        where = "" if "/" in name else " in $PATH"
        raise StepFailed(f'cannot execute "{name}": not found{where} in the container', not_found=True)
    reason = os.strerror(failure.errno or 0)
    raise StepFailed(f'cannot execute "{name}": {reason}', errno=failure.errno or 0, not_executable=True)
