"""The container's cgroup: limits, statistics, freeze, kill. Version 2 only, and only where it is delegated to us.

Who may move processes is decided at the common ancestor of the old and the new cgroup, which for a login session is
root's. So a systemd manager is asked to start a scope for the container's first process; where there is none (inside a
container, on a machine without systemd) the cgroup is made by hand below a directory that we may write.
"""

from __future__ import annotations

import errno
import os
import select
import time

from rootless.errors import KernelError
from rootless.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless import systemd_bus
    from rootless.limits import Limits, Setting
    from rootless.systemd_bus import Value

ROOT = "/sys/fs/cgroup"
_SIGKILL = 9
_OLD_SCOPE_TIMEOUT_S = 2.0

DELEGATE_DROP_IN = "/etc/systemd/system/user@.service.d/delegate.conf"
DELEGATE_HINT = (
    f"an administrator can delegate it: write [Service] and Delegate=cpu cpuset io memory pids to {DELEGATE_DROP_IN}, "
    "then systemctl daemon-reload; it holds from the next login on"
)


class Refused(Record):
    """A limit that is not in force, and why."""

    option: str
    reason: str
    hint: str = ""


class Cgroup(Record):
    """`path` is below ROOT and starts with "/"; `unit` is systemd's name for it, or empty if it was made by hand.

    `in_force` are the (file, value) pairs that the kernel has confirmed.
    """

    path: str
    unit: str = ""
    in_force: tuple[tuple[str, str], ...] = ()

    @property
    def directory(self) -> str:
        return f"{ROOT}{self.path}"


class Created(Record):
    """What came of a request. Without a cgroup the container shares ours, and `reason` says why.

    Whether a refused limit is an error or a notice is for the caller to decide.
    """

    cgroup: Cgroup | None
    refused: tuple[Refused, ...] = ()
    reason: str = ""


class Statistics(Record):
    """Usage; None is what the kernel does not count here (the controller is not delegated)."""

    cpu_ns: int
    memory_bytes: int | None
    memory_limit_bytes: int | None  # None: no limit
    pids: int | None
    read_bytes: int | None
    written_bytes: int | None


def own_path() -> str | None:
    """Return our own cgroup's path, or None where the limits of version 2 do not exist (version 1, hybrid)."""
    with open("/proc/self/cgroup") as file:
        text = file.read()
    if not text.startswith("0::") or text.count("\n") != 1:
        return None
    return text[3:].rstrip("\n")


class Request:
    """A cgroup in the making: the manager works while the caller does something else."""

    def __init__(self, unit: str, pid: int, wanted: list[Setting]) -> None:
        self._unit = unit
        self._pid = pid
        self._wanted = wanted
        self._reason = ""
        self._manager: systemd_bus.Manager | None = None
        self._properties: list[tuple[str, Value]] = []
        self._serial = 0

    def refuse(self, reason: str) -> Request:
        """Make it a request without an outcome."""
        self._reason = reason
        return self

    def ask(self, manager: systemd_bus.Manager, properties: list[tuple[str, Value]]) -> Request:
        """Send it to systemd."""
        self._manager, self._properties = manager, properties
        self._serial = manager.call(
            "StartTransientUnit", ("s", self._unit), ("s", "fail"), ("a(sv)", properties), ("a(sa(sv))", [])
        )
        return self

    def finish(self) -> Created:
        """Wait until the process is in its cgroup, and return what came of it."""
        if self._reason:
            return self._nothing(self._reason)
        path = ""
        try:
            if self._manager is not None:
                try:
                    path = self._wait_for_scope(self._manager)
                finally:
                    self._manager.close()
            else:
                path = _make_by_hand(self._unit, self._pid)
        except (KernelError, OSError) as error:
            return self._nothing(
                str(error) if isinstance(error, KernelError) else f"{error.strerror}: {error.filename}"
            )
        cgroup = Cgroup(path, self._unit if self._manager is not None else "")
        in_force, refused = _enforce(cgroup, self._wanted)
        return Created(cgroup.replace(in_force=in_force), refused)

    def _nothing(self, reason: str) -> Created:
        refused = tuple(Refused(setting.option, reason) for setting in self._wanted if setting.explicit)
        return Created(None, refused, reason)

    def _wait_for_scope(self, manager: systemd_bus.Manager) -> str:
        deadline = time.monotonic() + _OLD_SCOPE_TIMEOUT_S
        while True:
            try:
                answer = manager.answer(self._serial)
                break
            except KernelError as error:
                # The scope of the previous start, whose processes are dead: systemd is about to remove it.
                if error.errno != errno.EEXIST or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)
            self.ask(manager, self._properties)

        def is_moved() -> bool:
            return _path_of(self._pid).endswith(f"/{self._unit}")

        manager.wait_for_job(answer.strings[0] if answer.strings else "", is_moved)
        path = _path_of(self._pid)
        if not path.endswith(f"/{self._unit}"):
            raise KernelError(f"systemd started {self._unit}, but process {self._pid} is in {path}")
        return path


def request(container_id: str, pid: int, limits: Limits) -> Request:
    """Ask for a cgroup with `limits` for a process and what it will start. Nothing is awaited: call `finish`."""
    from rootless.limits import settings

    wanted = Request(f"pyman-{container_id}.scope", pid, settings(limits))
    if own_path() is None or not os.path.exists(f"{ROOT}/cgroup.controllers"):
        return wanted.refuse("this machine has cgroup version 1 (or hybrid), which cannot be delegated to users")
    from rootless import systemd_bus  # not needed on the machines above

    try:
        manager = systemd_bus.connect()
    except KernelError:
        return wanted  # made by hand, when it is finished
    try:
        return wanted.ask(manager, _scope_properties(container_id, pid, limits))
    except OSError as error:
        manager.close()
        return wanted.refuse(f"systemd does not answer: {error.strerror}")


def create(container_id: str, pid: int, limits: Limits) -> Created:
    """Put a process into a cgroup of its own with `limits`."""
    return request(container_id, pid, limits).finish()


def _scope_properties(container_id: str, pid: int, limits: Limits) -> list[tuple[str, Value]]:
    """Return the unit's properties. The limits are among them, or systemd would reset them on a daemon-reload."""
    from rootless.limits import unit_properties

    return [
        ("Description", ("s", f"pyman container {container_id[:12]}")),
        ("Slice", ("s", "machine.slice" if os.geteuid() == 0 else "user.slice")),
        ("PIDs", ("au", [pid])),
        ("Delegate", ("b", True)),
        ("CollectMode", ("s", "inactive-or-failed")),
        *unit_properties(limits),
    ]


def _path_of(pid: int) -> str:
    with open(f"/proc/{pid}/cgroup") as file:
        for line in file:
            if line.startswith("0::"):
                return line[3:].rstrip("\n")
    return ""


def _make_by_hand(unit: str, pid: int) -> str:
    """Make a cgroup below the nearest ancestor of our own that we may write, and move the process there."""
    base = own_path() or "/"
    # A cgroup with processes in it, as ours, cannot give controllers to its children; its parent can.
    candidates = [base.rpartition("/")[0] or "/", base] if base != "/" else ["/"]
    last: OSError | None = None
    for candidate in candidates:
        parent = f"{ROOT}{candidate.rstrip('/')}"
        try:
            _make_new(f"{parent}/{unit}")
        except FileExistsError:
            raise KernelError(f"the cgroup {candidate.rstrip('/')}/{unit} exists and has processes") from None
        except OSError as error:
            last = error
            continue
        try:
            _enable_controllers(parent)
            _write(f"{parent}/{unit}/cgroup.procs", str(pid))
        except OSError as error:
            os.rmdir(f"{parent}/{unit}")
            last = error
            continue
        return f"{candidate.rstrip('/')}/{unit}"
    reason = os.strerror(last.errno or 0) if last is not None else ""
    raise KernelError(f"no cgroup is delegated to us, and there is no systemd manager to ask ({base}: {reason})")


def _make_new(directory: str) -> None:
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        try:
            os.rmdir(directory)  # left by a previous start, whose processes are dead
        except OSError:
            raise FileExistsError from None
        os.mkdir(directory, 0o755)


def _enable_controllers(parent: str) -> None:
    """Pass on to the children of a cgroup what it has; each by itself, for one may be refused."""
    enabled = _read(f"{parent}/cgroup.subtree_control").split()
    for controller in _read(f"{parent}/cgroup.controllers").split():
        if controller in ("cpu", "cpuset", "io", "memory", "pids") and controller not in enabled:
            try:
                _write(f"{parent}/cgroup.subtree_control", f"+{controller}")
            except OSError:
                continue  # EBUSY: it has processes of its own; `_enforce` tells which limits are missing


def apply(cgroup: Cgroup, limits: Limits) -> Created:
    """Change the limits of a running container; those that are 0 stay as they are."""
    from rootless import systemd_bus
    from rootless.limits import settings, unit_properties

    wanted = settings(limits)
    if cgroup.unit and wanted:
        try:
            manager = systemd_bus.connect()
            try:
                call = manager.call(
                    "SetUnitProperties",
                    ("s", cgroup.unit),
                    ("b", True),
                    ("a(sv)", unit_properties(limits)),
                )
                manager.answer(call)
            finally:
                manager.close()
        except (KernelError, OSError):
            pass  # the files below decide; systemd's opinion only matters at its next reload
    in_force, refused = _enforce(cgroup, wanted)
    merged = {**dict(cgroup.in_force), **dict(in_force)}
    return Created(cgroup.replace(in_force=tuple(merged.items())), refused)


def _enforce(cgroup: Cgroup, wanted: list[Setting]) -> tuple[tuple[tuple[str, str], ...], tuple[Refused, ...]]:
    """Write what is not yet as wanted, and believe only what the kernel then shows."""
    in_force, refused = [], []
    controllers = _read(f"{cgroup.directory}/cgroup.controllers").split() if wanted else []
    for setting in wanted:
        path = f"{cgroup.directory}/{setting.file}"
        if setting.controller not in controllers:
            reason = f"the cgroup controller {setting.controller} is not delegated to this user"
            refused.append((setting, reason, DELEGATE_HINT))
            continue
        try:
            if _read(path).strip() != setting.value:
                _write(path, setting.value)
            in_force.append((setting.file, _read(path).strip()))
        except FileNotFoundError:
            refused.append((setting, f"this kernel has no {setting.file}", ""))
        except OSError as error:
            refused.append((setting, f"the kernel refuses {setting.value} for {setting.file}: {error.strerror}", ""))
    return tuple(in_force), tuple(Refused(s.option, reason, hint) for s, reason, hint in refused if s.explicit)


def attach(cgroup: Cgroup, pid: int) -> None:
    """Move one more process into the cgroup (exec). Raises KernelError."""
    try:
        _write(f"{cgroup.directory}/cgroup.procs", str(pid))
        return
    except FileNotFoundError:
        raise KernelError(f"the cgroup {cgroup.path} has gone") from None
    except OSError as error:
        # EACCES: the common ancestor is not ours (a login session and the user's manager): its manager may.
        if not cgroup.unit:
            raise KernelError(f"cannot move process {pid} to {cgroup.path}: {error.strerror}") from error
    from rootless import systemd_bus

    manager = systemd_bus.connect()
    try:
        manager.answer(manager.call("AttachProcessesToUnit", ("s", cgroup.unit), ("s", "/"), ("au", [pid])))
    finally:
        manager.close()


def statistics(cgroup: Cgroup) -> Statistics:
    """Return the usage so far. Raises FileNotFoundError if the cgroup has gone."""
    directory = cgroup.directory
    cpu = _pairs(_read(f"{directory}/cpu.stat"))
    limit = _optional(f"{directory}/memory.max")
    memory, pids = _optional(f"{directory}/memory.current"), _optional(f"{directory}/pids.current")
    io = _optional(f"{directory}/io.stat")
    return Statistics(
        cpu_ns=cpu["usage_usec"] * 1000,
        memory_bytes=None if memory is None else int(memory),
        memory_limit_bytes=None if limit in (None, "max") else int(str(limit)),
        pids=None if pids is None else int(pids),
        read_bytes=None if io is None else _sum_io(io, "rbytes"),
        written_bytes=None if io is None else _sum_io(io, "wbytes"),
    )


def _sum_io(text: str, key: str) -> int:
    return sum(int(word[len(key) + 1 :]) for word in text.split() if word.startswith(f"{key}="))


def processes(cgroup: Cgroup) -> list[int]:
    """Return the pids in the cgroup and below it; none if it has gone."""
    pids: list[int] = []
    for directory, _, _ in os.walk(cgroup.directory):
        try:
            pids += map(int, _read(f"{directory}/cgroup.procs").split())
        except FileNotFoundError:
            continue
    return pids


def freeze(cgroup: Cgroup, *, timeout_s: float = 10.0) -> None:
    """Stop all processes, and wait until they have. Raises KernelError if one does not (uninterruptible sleep)."""
    _set_frozen(cgroup, frozen=True, timeout_s=timeout_s)


def thaw(cgroup: Cgroup, *, timeout_s: float = 10.0) -> None:
    """Let all processes go on."""
    _set_frozen(cgroup, frozen=False, timeout_s=timeout_s)


def _set_frozen(cgroup: Cgroup, *, frozen: bool, timeout_s: float) -> None:
    wanted = 1 if frozen else 0
    deadline = time.monotonic() + timeout_s
    try:
        fd = os.open(f"{cgroup.directory}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise KernelError(f"the cgroup {cgroup.path} has gone") from None
    try:
        _write(f"{cgroup.directory}/cgroup.freeze", str(wanted))
        poll = select.poll()
        poll.register(fd, select.POLLPRI)
        while _pairs(os.pread(fd, 4096, 0).decode()).get("frozen") != wanted:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                _write(f"{cgroup.directory}/cgroup.freeze", "0")
                raise KernelError(f"the processes in {cgroup.path} did not stop within {timeout_s:g} s")
            poll.poll(int(remaining_s * 1000) + 1)
    finally:
        os.close(fd)


def is_frozen(cgroup: Cgroup) -> bool:
    try:
        return _pairs(_read(f"{cgroup.directory}/cgroup.events")).get("frozen") == 1
    except OSError:
        return False


def kill(cgroup: Cgroup) -> None:
    """Send SIGKILL to all processes, also to those that are being forked. The cgroup may have gone already."""
    try:
        _write(f"{cgroup.directory}/cgroup.kill", "1")  # Linux 5.14
        return
    except FileNotFoundError:
        if not os.path.exists(cgroup.directory):
            return
    for _ in range(1000):  # a fork bomb makes new ones while we read
        pids = processes(cgroup)
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, _SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.001)
    raise KernelError(f"processes in {cgroup.path} come back faster than they can be killed")


def open_events(cgroup: Cgroup) -> int | None:
    """Open memory.events to be polled for POLLPRI; None without the controller.

    The monitor keeps it: systemd removes the cgroup as soon as its last process is dead, and an answer with it.
    """
    try:
        return os.open(f"{cgroup.directory}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def oom_kills(events_fd: int) -> int | None:
    """Return how many processes the kernel has killed for lack of memory; None if the cgroup has gone."""
    try:
        return _pairs(os.pread(events_fd, 4096, 0).decode()).get("oom_kill", 0)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def oom_killed(cgroup: Cgroup) -> bool:
    """Tell whether the kernel has killed a process of the container for lack of memory, if that is still known."""
    fd = open_events(cgroup)
    if fd is None:
        return False
    try:
        return bool(oom_kills(fd))
    finally:
        os.close(fd)


def remove(cgroup: Cgroup) -> None:
    """Remove the cgroup and those below it, once its processes are dead. It may have gone; a scope goes by itself."""
    for directory, _, _ in os.walk(cgroup.directory, topdown=False):
        try:
            os.rmdir(directory)
        except (FileNotFoundError, PermissionError):
            continue
        except OSError as error:
            if error.errno == errno.EBUSY and not cgroup.unit:
                raise KernelError(f"the cgroup {cgroup.path} still has processes") from error


def _pairs(text: str) -> dict[str, int]:
    return {
        key: int(value) for key, _, value in (line.partition(" ") for line in text.splitlines()) if value.isdecimal()
    }


def _optional(path: str) -> str | None:
    try:
        return _read(path).strip()
    except FileNotFoundError:
        return None


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while chunk := os.read(fd, 65536):
            chunks.append(chunk)
        return b"".join(chunks).decode()
    finally:
        os.close(fd)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
