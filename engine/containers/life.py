"""A monitor's life from fork to exit: start the container, serve it, clean up after it."""

from __future__ import annotations

import _socket
import os
import time

from engine.containers import cleanup, frames, monitor, network
from engine.containers.monitor import Monitor, Stdio
from rootless import jsontext, process, runtime
from rootless.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from engine.containers.lookup import Container
    from engine.containers.network import Connection
    from engine.context import Context
    from engine.model import ContainerState
    from rootless.runtime import Init
else:
    import _signal as signal


def live(context: Context, container: Container, command: _socket.socket, window: tuple[int, int] | None) -> None:
    """Start the container, report to the command, look after it until it ends. Raises if it does not start."""
    config = container.config
    detach(context, keep={command.fileno()})
    monitor.hold_life(container)
    stdio = Stdio(tty=config.tty, interactive=config.interactive)
    launch = _Launching(context, container, window)
    try:
        init = runtime.start(
            launch.build,
            launch.maps,
            launch.private,
            (stdio.theirs[0], stdio.theirs[1], stdio.theirs[2]),
            namespaces_ready=launch.namespaces_ready,
            before_start=launch.before_start,
        )
    except BaseException as error:
        launch.abandon(error)
        raise
    stdio.close_theirs()
    state = launch.running_state(init)
    monitor.write_state(container, state)
    if config.pidfile:
        _write_pidfile(config.pidfile, init.pid)
    served = Monitor(container, command, _listen(context, container))
    code = monitor.serve(served, init, state, stdio)
    _finish(served, launch, state, code)


def detach(context: Context, keep: set[int]) -> None:
    """Leave the command's session, terminal and descriptors; ignore what is meant for its process group."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTSTP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    null_fd = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1) if context.debug else (0, 1, 2):
        os.dup2(null_fd, fd)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in keep:
            try:
                os.close(int(name))
            except OSError:
                continue  # the listing's own descriptor
    os.chdir("/")


class _Launching:
    """What a start has set up so far, and how to take it down again."""

    def __init__(self, context: Context, container: Container, window: tuple[int, int] | None) -> None:
        from engine.containers import launch

        self._context = context
        self._container = container
        self._window = window
        self._connection: Connection | None = None
        self.maps = launch.maps_for(context, container.config)
        self.private = launch.private_namespaces(container.config)
        self.notices = launch.notices(self.maps)

    def build(self) -> runtime.Launch:
        """Runs in init, while the id maps are written."""
        from engine.containers import launch

        return launch.build(self._context, self._container, self.maps, self._window)

    def namespaces_ready(self, pid: int) -> None:
        self._connection = network.connect(self._context, self._container, pid)

    def before_start(self, pid: int) -> None:
        if self._connection is not None:
            network.finish(self._connection, self._container.config)

    def running_state(self, init: Init) -> ContainerState:
        from engine.model import ContainerState

        return ContainerState(
            status="running",
            boot_id=process.boot_id(),
            init_pid=init.pid,
            init_start_time=init.start_time,
            monitor_pid=os.getpid(),
            monitor_start_time=process.start_time(os.getpid()),
            started_ns=time.time_ns(),
            notices=self.notices,
            storage_driver="overlay",
        )

    def abandon(self, error: BaseException) -> None:
        """The container did not start: leave its record as it was, with the reason, or remove it (--rm)."""
        self.disconnect()
        if self._container.config.remove:
            cleanup.remove_container(self._context, self._container)
            return
        exit_code = 127 if getattr(error, "not_found", False) else 126 if getattr(error, "not_executable", False) else 125
        state = self._container.state.replace(error=str(error), exit_code=exit_code)
        monitor.write_state(self._container, state)

    def disconnect(self) -> None:
        if self._connection is not None:
            network.disconnect(self._connection)
            self._connection = None


def _finish(served: Monitor, launch: _Launching, state: ContainerState, code: int) -> None:
    """The container has ended: take its surroundings down, record its exit, tell those attached."""
    container, context = served.container, launch._context
    launch.disconnect()
    if served.listener is not None:
        cleanup.remove_socket(context, container)
    if container.config.remove:
        cleanup.remove_container(context, container)
    else:
        lost = served.log.lost_bytes if served.log is not None else 0
        final = state.replace(
            status="exited",
            exit_code=code,
            finished_ns=time.time_ns(),
            init_pid=0,
            monitor_pid=0,
            error=f"the disk was full: {lost} bytes of its log are lost" if lost else "",
        )
        try:
            monitor.write_state(container, final, durable=True)
        except Exception:  # a full disk: the next look at the container finds it dead all the same
            pass
    message = frames.frame(frames.EXIT, jsontext.dumps({"exit_code": code}).encode())
    for client in served.clients:
        client.send(message)
    served.flush_clients(5.0)


def _write_pidfile(path: str, pid: int) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        os.write(fd, f"{pid}".encode())
        os.close(fd)
    except OSError as error:
        raise KernelError(f"cannot write the pid file {path}: {os.strerror(error.errno or 0)}") from error


def _listen(context: Context, container: Container) -> _socket.socket:
    """Open the socket at which later commands attach; only its owner can reach it (directory 0700)."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    path = cleanup.socket_path(context, container.id)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    sock.bind(path)
    sock.listen(16)
    os.set_blocking(sock.fileno(), False)
    return sock
