"""User namespaces: whose ids are there, have the maps of a child written, run a function as root of one."""

from __future__ import annotations

import os

from rootless import idmap, syscalls
from rootless.constants import CLONE_NEWNS, CLONE_NEWUSER, PR_SET_PDEATHSIG
from rootless.errors import IdMapError, KernelError
from rootless.idmap import IdRange, Maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_HELPER_DIRS = ("/usr/bin", "/usr/local/bin", "/bin", "/usr/sbin")


def find_helper(name: str) -> str | None:
    """Return the absolute path of an external program; PATH is not asked, it may be the attacker's."""
    for directory in _HELPER_DIRS:
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK):
            return path
    return None


def is_root() -> bool:
    """Tell whether we are root here: real root, or root of a user namespace; then we write maps ourselves."""
    return os.geteuid() == 0


def subordinate_ids() -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the caller's (first, count) ranges of subordinate uids and gids; empty lists if there are none."""
    import pwd

    uid = os.getuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    if _subids_come_from_nss():
        return _getsubids(user, "-u"), _getsubids(user, "-g")
    return _read_subids("/etc/subuid", user, uid), _read_subids("/etc/subgid", user, uid)


def _subids_come_from_nss() -> bool:
    try:
        with open("/etc/nsswitch.conf") as file:
            sources = [line.partition(":")[2].split() for line in file if line.startswith("subid:")]
    except OSError:
        return False
    return any(source != "files" for line in sources for source in line)


def _read_subids(path: str, user: str, uid: int) -> list[tuple[int, int]]:
    try:
        with open(path) as file:
            return idmap.parse_subid(file.read(), user, uid, source=path)
    except FileNotFoundError:
        return []


def _getsubids(user: str, kind: str) -> list[tuple[int, int]]:
    """Ask getsubids(1), which asks NSS (sssd, FreeIPA). Its lines: `0: user first count`."""
    helper = find_helper("getsubids")
    if helper is None:
        return []
    argv = [helper, user] if kind == "-u" else [helper, kind, user]
    status, output = run_helper(argv)
    if status != 0:
        return []
    fields = [line.split() for line in output.splitlines()]
    return [(int(f[2]), int(f[3])) for f in fields if len(f) == 4 and f[2].isdecimal() and f[3].isdecimal()]


def default_maps() -> Maps:
    """Return the widest maps that the caller may use: the base map under which layers are stored."""
    if is_root():
        with open("/proc/self/uid_map") as uid_file, open("/proc/self/gid_map") as gid_file:
            uids = idmap.identity(idmap.parse_proc_map(uid_file.read()))
            gids = idmap.identity(idmap.parse_proc_map(gid_file.read()))
        return Maps(uids, gids, single=sum(r.count for r in uids) == 1)
    sub_uids, sub_gids = subordinate_ids()
    if not sub_uids or not sub_gids or find_helper("newuidmap") is None or find_helper("newgidmap") is None:
        return Maps((IdRange(0, os.getuid(), 1),), (IdRange(0, os.getgid(), 1),), single=True)
    return Maps(
        idmap.root_and_subordinates(os.getuid(), sub_uids),
        idmap.root_and_subordinates(os.getgid(), sub_gids),
        single=False,
    )


def write_maps(pid: int, maps: Maps) -> None:
    """Give the user namespace of `pid`, just created by us, its maps. Raises IdMapError."""
    finish_map_writers(start_map_writers(pid, maps))


def start_map_writers(pid: int, maps: Maps) -> list[tuple[int, int]]:
    """Write the maps, or start the setuid helpers that do: both at once, each costs a millisecond or two."""
    if is_root() or maps.single:
        try:
            if maps.single:
                # Deny setgroups first: without it an unprivileged write to gid_map is EPERM
                # (user_namespaces(7), Linux 3.19).
                _write(f"/proc/{pid}/setgroups", "deny")
            _write(f"/proc/{pid}/uid_map", idmap.text(maps.uids))
            _write(f"/proc/{pid}/gid_map", idmap.text(maps.gids))
        except OSError as error:
            raise _map_error(error) from error
        return []
    return [start_helper(_map_argv("newuidmap", pid, maps.uids)), start_helper(_map_argv("newgidmap", pid, maps.gids))]


def finish_map_writers(helpers: list[tuple[int, int]]) -> None:
    """Wait for the helpers. Raises IdMapError with what they said."""
    results = [finish_helper(helper) for helper in helpers]
    for name, (status, output) in zip(("newuidmap", "newgidmap"), results, strict=False):
        if status != 0:
            raise IdMapError(
                f"{name} refused the id map: {output.strip() or f'exit status {status}'}",
                hint="check your ranges in /etc/subuid and /etc/subgid, and that newuidmap, newgidmap are setuid root",
            )


def _map_argv(name: str, pid: int, ranges: tuple[IdRange, ...]) -> list[str]:
    path = find_helper(name)
    if path is None:
        raise IdMapError(f"{name} is not installed", hint="install the package uidmap (shadow-utils)")
    return [path, str(pid), *(str(n) for r in ranges for n in (r.inside, r.outside, r.count))]


def _map_error(error: OSError) -> IdMapError:
    return IdMapError(
        f"cannot write the id map: {os.strerror(error.errno or 0)}",
        errno=error.errno or 0,
        hint="user namespaces may be restricted here: see sysctl kernel.apparmor_restrict_unprivileged_userns and "
        "user.max_user_namespaces",
    )


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def start_helper(argv: list[str]) -> tuple[int, int]:
    """Start a helper program by absolute path with a scrubbed environment; returns (pid, descriptor of its output)."""
    output_fd, theirs = os.pipe2(os.O_CLOEXEC)
    actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]
    actions += [(os.POSIX_SPAWN_DUP2, theirs, fd) for fd in (1, 2)]
    try:
        pid = os.posix_spawn(argv[0], argv, {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}, file_actions=actions)
    except OSError as error:
        os.close(output_fd)
        raise KernelError(
            f"cannot execute {argv[0]}: {os.strerror(error.errno or 0)}", errno=error.errno or 0
        ) from error
    finally:
        os.close(theirs)
    return pid, output_fd


def finish_helper(helper: tuple[int, int]) -> tuple[int, str]:
    """Wait for a helper: (exit status, what it wrote)."""
    pid, output_fd = helper
    chunks = []
    while chunk := os.read(output_fd, 4096):
        chunks.append(chunk)
    os.close(output_fd)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), b"".join(chunks).decode(errors="replace")


def run_helper(argv: list[str]) -> tuple[int, str]:
    return finish_helper(start_helper(argv))


class Mapped:
    """A child process that runs a function as root of a new user namespace; `wait` returns what it returned."""

    def __init__(self, pid: int, result_fd: int) -> None:
        self.pid = pid
        self._result_fd = result_fd

    def wait(self) -> bytes:
        """Return the function's bytes. Raises KernelError if it raised or died."""
        chunks = []
        while chunk := os.read(self._result_fd, 65536):
            chunks.append(chunk)
        os.close(self._result_fd)
        _, status = os.waitpid(self.pid, 0)
        result = b"".join(chunks)
        if status != 0 or not result:
            reason = result[1:].decode(errors="replace") or f"status {os.waitstatus_to_exitcode(status)}"
            raise KernelError(f"helper in the user namespace failed: {reason}")
        return result[1:]


def start_mapped(function: Callable[[], bytes], maps: Maps, *, flags: int = CLONE_NEWNS) -> Mapped:
    """Fork a child that becomes root of a new user namespace with `maps`, and start `function` there.

    The child dies with us. It may fork children of its own; they share its namespace.
    """
    result_fd, child_result = os.pipe2(os.O_CLOEXEC)
    go_read, go_write = os.pipe2(os.O_CLOEXEC)
    pid, pidfd = syscalls.clone(CLONE_NEWUSER | flags)
    if pid == 0:
        _run_in_child(function, child_result, go_read, go_write)
    os.close(pidfd)
    os.close(child_result)
    os.close(go_read)
    try:
        write_maps(pid, maps)
        os.write(go_write, b"1")
    except BaseException:
        os.close(go_write)
        os.close(result_fd)
        os.waitpid(pid, 0)
        raise
    os.close(go_write)
    return Mapped(pid, result_fd)


def run_mapped(function: Callable[[], bytes], maps: Maps, *, flags: int = CLONE_NEWNS) -> bytes:
    """Run `function` as root of a new user namespace and return its bytes."""
    return start_mapped(function, maps, flags=flags).wait()


def _run_in_child(function: Callable[[], bytes], result_fd: int, go_read: int, go_write: int) -> None:
    status = 1
    try:
        os.close(go_write)
        if os.read(go_read, 1) == b"1":
            os.close(go_read)
            # From here on: root in the new user namespace.
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            syscalls.prctl(PR_SET_PDEATHSIG, 9)  # after setresuid, which clears it (prctl(2))
            result = b"+" + function()
            while result:
                result = result[os.write(result_fd, result) :]
            status = 0
    except BaseException as error:
        os.write(result_fd, b"-" + f"{type(error).__name__}: {error}".encode()[:4000])
    finally:
        os._exit(status)
