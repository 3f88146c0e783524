"""Further processes in a running container. A foreground exec has no record and no monitor: we copy its bytes."""

from __future__ import annotations

import os
import select

from engine.containers import attach, launch, spec
from engine.errors import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, PymanError, WrongState
from rootless import join, process, pty
from rootless.errors import StepFailed
from rootless.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from engine.containers.lookup import Container
    from engine.context import Context
    from rootless.cgroups import Cgroup
    from rootless.oci import Process
else:
    import _signal as signal

_READ_BYTES = 1 << 16


class ExecRequest(Record):
    """What `exec` asks for."""

    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str | None = None
    workdir: str | None = None
    tty: bool = False
    interactive: bool = False
    detach: bool = False
    privileged: bool = False


def run(context: Context, container: Container, request: ExecRequest) -> int:
    """Run the command and return its exit status; with `detach` 0 as soon as it runs."""
    state = container.state
    if state.status != "running":
        raise WrongState(
            f'container "{container.name}" is not running (it is {state.status})', hint=f"pyman start {container.name}"
        )
    init_pidfd = process.open_pidfd(state.init_pid, state.init_start_time)
    if init_pidfd is None:
        raise WrongState(f'container "{container.name}" has just ended')
    stdio, ours = _pipes(request)
    try:
        joined = join.start(init_pidfd, _join(context, container, request), stdio)
    except StepFailed as error:
        status = EXIT_NOT_FOUND if error.not_found else EXIT_NOT_EXECUTABLE
        raise PymanError(str(error), hint=error.hint, exit_status=status) from error
    for fd in stdio:
        if fd >= 0:
            os.close(fd)
    if request.detach:
        return 0
    if joined.console_fd is not None:
        ours = [os.dup(joined.console_fd) if request.interactive else -1, joined.console_fd, -1]
    return Session(joined, ours, request).run()


def _pipes(request: ExecRequest) -> tuple[tuple[int, int, int], list[int]]:
    """Return the command's ends and ours; -1 where there is none."""
    if request.tty:
        return (-1, -1, -1), [-1, -1, -1]
    theirs, ours = [-1, -1, -1], [-1, -1, -1]
    if request.interactive and not request.detach:
        theirs[0], ours[0] = os.pipe2(os.O_CLOEXEC)
    else:
        theirs[0] = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    for number in (1, 2):
        if request.detach:
            theirs[number] = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        else:
            ours[number], theirs[number] = os.pipe2(os.O_CLOEXEC)
    return (theirs[0], theirs[1], theirs[2]), ours


def _join(context: Context, container: Container, request: ExecRequest) -> join.Join:
    config = container.config
    privileged = config.privileged or request.privileged
    allowed = config.replace(privileged=privileged)
    names = spec.capability_names(allowed)
    env = dict(entry.partition("=")[::2] for entry in (*config.env, *request.env))
    if request.tty:
        env.setdefault("TERM", "xterm")
    command: Process = {
        "terminal": request.tty,
        "user": {"uid": 0, "gid": 0, "umask": config.umask},
        "args": list(request.argv),
        "env": [f"{name}={value}" for name, value in env.items()],
        "cwd": request.workdir or config.workdir,
        "capabilities": {"bounding": names, "effective": names, "permitted": names},
        "noNewPrivileges": config.no_new_privileges,
        "rlimits": spec.rlimits(config),
    }
    maps = launch.maps_for(context, config)
    if maps.single:
        command["env"].append(spec.APT_ENVIRONMENT)
    return join.Join(
        process=command,
        user=request.user if request.user is not None else config.user,
        groups=tuple(group for group in config.groups if group != "keep-groups"),
        keep_groups="keep-groups" in config.groups,
        single_id=maps.single,
        added_capabilities=spec.added_mask(config),
        seccomp_programs=launch.seccomp_programs(context, allowed, single_id=maps.single),
        window=attach.caller_window() if request.tty else None,
        outlives_caller=request.detach,
        cgroup=_cgroup(container),
    )


def _cgroup(container: Container) -> Cgroup | None:
    state = container.state
    if not state.cgroup:
        return None
    from rootless.cgroups import Cgroup

    return Cgroup(state.cgroup, state.cgroup_unit)


class Session:
    """The copying between the caller's and the command's streams."""

    def __init__(self, joined: join.Joined, ours: list[int], request: ExecRequest) -> None:
        self._joined = joined
        self._ours = ours
        self._request = request
        self._poll = select.poll()
        self._input = bytearray()
        self._input_ended = False
        self._open = {fd: number for number, fd in ((1, ours[1]), (2, ours[2])) if fd >= 0}
        self._ended = False

    def run(self) -> int:
        takes_keys = self._request.tty and self._request.interactive
        wakeup_fd = self._catch_signals()
        self._poll.register(wakeup_fd, select.POLLIN)
        self._poll.register(self._joined.pidfd, select.POLLIN)
        for fd in self._open:
            self._poll.register(fd, select.POLLIN)
        if self._ours[0] >= 0:
            os.set_blocking(self._ours[0], False)
            self._poll.register(0, select.POLLIN)
        with pty.RawTerminal(0 if takes_keys else -1):
            # Output may outlive the command while a child of its holds the pipe; like Podman's, we go with the command.
            while not self._ended:
                for fd, events in self._poll.poll():
                    self._on_event(fd, events, wakeup_fd)
            self._drain()
        return join.wait(self._joined)

    def _on_event(self, fd: int, events: int, wakeup_fd: int) -> None:
        if fd == self._joined.pidfd:
            self._ended = True
        elif fd == wakeup_fd:
            for number in os.read(wakeup_fd, 512):
                self._on_signal(number)
        elif fd in self._open:
            self._copy_output(fd)
        elif fd == 0:
            self._read_input()
        elif fd == self._ours[0]:
            if events & select.POLLERR:
                self._close_input()
            else:
                self._write_input()

    def _copy_output(self, fd: int) -> bool:
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # EIO: the terminal has no more writers
            data = b""
        if not data:
            self._poll.unregister(fd)
            del self._open[fd]
            return False
        attach.write_all(self._streams_fd(fd), data)
        return True

    def _streams_fd(self, fd: int) -> int:
        return self._open[fd]

    def _drain(self) -> None:
        """Copy what is left in the pipes after the command has ended."""
        for fd in list(self._open):
            os.set_blocking(fd, False)
            while self._copy_output(fd):
                pass

    def _read_input(self) -> None:
        try:
            data = os.read(0, _READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self._poll.unregister(0)
            self._input_ended = True
            if self._request.tty:
                self._input += b"\x04"
        self._input += data
        self._write_input()

    def _write_input(self) -> None:
        if self._ours[0] < 0:
            return
        try:
            while self._input:
                del self._input[: os.write(self._ours[0], self._input)]
        except BlockingIOError:
            pass
        except OSError:
            self._close_input()
            return
        if self._input:
            self._poll.register(self._ours[0], select.POLLOUT)
            if not self._input_ended:
                self._poll.modify(0, 0)  # the command is slow: our stdin waits
            return
        try:
            self._poll.unregister(self._ours[0])
        except KeyError:
            pass
        if self._input_ended:
            self._close_input()
        else:
            self._poll.modify(0, select.POLLIN)

    def _close_input(self) -> None:
        """The command reads no more, or there is no more to read."""
        for fd in (self._ours[0], *(() if self._input_ended else (0,))):
            try:
                self._poll.unregister(fd)
            except KeyError:
                pass
        self._input.clear()
        if not self._request.tty:
            os.close(self._ours[0])
            self._ours[0] = -1

    def _catch_signals(self) -> int:
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        for name in attach.PROXIED:
            signal.signal(process.SIGNALS[name], lambda number, frame: None)
        return read_fd

    def _on_signal(self, number: int) -> None:
        if number == process.SIGNALS["SIGWINCH"]:
            if self._request.tty and self._joined.console_fd is not None and (size := pty.window_size(0)):
                pty.set_window_size(self._joined.console_fd, *size)
        else:
            process.send_signal(self._joined.pidfd, number)
