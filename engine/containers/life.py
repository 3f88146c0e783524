"""A monitor's life from fork to exit: start the container, serve it, clean up after it."""

from __future__ import annotations

import _socket
import os
import time

from engine.containers import cleanup, drivers, frames, launch, limiting, lookup, monitor, network
from engine.containers.monitor import Monitor, Stdio
from engine.context import Context
from engine.model import ContainerState
from rootless import jsontext, process, runtime
from rootless.errors import KernelError, StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.containers.lookup import Container
    from engine.containers.network import Connection
    from rootless.init import Launch
    from rootless.runtime import Init


def live(command: _socket.socket, *, debug: bool) -> None:
    """Wait for a container, start it, look after it until it ends. Raises if it does not start."""
    wanted = _receive_start(command)
    if wanted is None:
        return
    context = Context(root=wanted["root"], debug=debug, storage_driver=wanted["storage_driver"])
    container = lookup.load(f"{context.store.containers_dir}/{wanted['id']}")
    config = container.config
    monitor.hold_life(container)
    stdio = Stdio(tty=config.tty, interactive=config.interactive)
    launching = _Launching(context, container, wanted["window"])
    try:
        init = launching.start(stdio)
    except BaseException as error:
        launching.abandon(error)
        raise
    stdio.close_theirs()
    state = launching.running_state(init)
    monitor.write_state(container, state)
    if config.pidfile:
        _write_pidfile(config.pidfile, init.pid)
    served = Monitor(container, command, _listen(context, container))
    code = monitor.serve(served, init, state, stdio)
    _finish(served, launching, state, code)


def _receive_start(command: _socket.socket) -> dict[str, Any] | None:
    """Return what the command wants started; None if it ended without wanting anything."""
    decoder = frames.Decoder()
    while data := command.recv(1 << 16):
        for kind, payload in decoder.feed(data):
            if kind == frames.START:
                wanted: dict[str, Any] = jsontext.loads(payload)
                return wanted
    return None


class _Launching:
    """What a start has set up so far, and how to take it down again."""

    def __init__(self, context: Context, container: Container, window: tuple[int, int] | None) -> None:
        self.context = context
        self._container = container
        self._window = window
        self._connection: Connection | None = None
        self._limiting: limiting.Limiting | None = None
        self.maps = launch.maps_for(context, container.config)
        self.private = launch.private_namespaces(container.config)
        self._identity = launch.identity(container.config)
        self.notices = launch.notices(self.maps)
        self._driver = ""

    def start(self, stdio: Stdio) -> Init:
        """Start with the best storage driver that works."""
        candidates = drivers.candidates(self.context, self._container.config, self.maps)
        for index, self._driver in enumerate(candidates):
            if self._driver == drivers.COPY:
                drivers.copy_layers(self.context, self._container)
            try:
                init = runtime.start(
                    self.build,
                    self.maps,
                    self.private,
                    (stdio.theirs[0], stdio.theirs[1], stdio.theirs[2]),
                    forked=self.forked,
                    namespaces_ready=self.namespaces_ready,
                    before_start=self.before_start,
                )
            except StepFailed as error:
                if not error.overlay or index + 1 == len(candidates):
                    raise
                self.disconnect()
                continue
            drivers.remember(self.context, self._container.config, self._driver)
            return init
        raise KernelError("no storage driver is left to try")

    def build(self) -> Launch:
        """Runs in init, while the id maps are written."""
        return launch.build(
            self.context,
            self._container,
            self.maps,
            identity=self._identity,
            window=self._window,
            driver=self._driver,
        )

    def forked(self, pid: int) -> None:
        self._limiting = limiting.begin(self._container.config, pid)

    def namespaces_ready(self, pid: int) -> int | None:
        if self._limiting is not None:
            self.notices += self._limiting.finish()
        self._connection = network.connect(self.context, self._container, pid)
        if self._driver != drivers.FUSE:
            return None
        from rootless import fuse

        root = launch.root_of(self.context, self._container, self._driver)
        options = drivers.fuse_options(self._container.config, self.maps)
        return fuse.mount(root, self.context.store.scratch_dir, pid, options)

    def before_start(self, pid: int) -> None:
        if self._connection is not None:
            network.finish(self._connection, self._container.config)

    def running_state(self, init: Init) -> ContainerState:
        return ContainerState(
            status="running",
            boot_id=process.boot_id(),
            init_pid=init.pid,
            init_start_time=init.start_time,
            monitor_pid=os.getpid(),
            monitor_start_time=process.start_time(os.getpid()),
            started_ns=time.time_ns(),
            notices=self.notices,
            storage_driver=self._driver,
            cgroup=self._limiting.path if self._limiting is not None else "",
            cgroup_unit=self._limiting.unit if self._limiting is not None else "",
            limits=self._limiting.in_force if self._limiting is not None else (),
        )

    def was_out_of_memory(self) -> bool:
        return self._limiting is not None and self._limiting.was_out_of_memory()

    def abandon(self, error: BaseException) -> None:
        """The container did not start: leave its record as it was, with the reason, or remove it (--rm)."""
        self.disconnect()
        if self._container.config.remove:
            cleanup.remove_container(self.context, self._container)
            return
        exit_code = 127 if getattr(error, "not_found", False) else 126 if isinstance(error, StepFailed) else 125
        state = self._container.state.replace(error=str(error), exit_code=exit_code)
        monitor.write_state(self._container, state)

    def disconnect(self) -> None:
        if self._connection is not None:
            network.disconnect(self._connection)
            self._connection = None
        if self._limiting is not None:
            self._limiting.remove()


def _finish(served: Monitor, launching: _Launching, state: ContainerState, code: int) -> None:
    """The container has ended: take its surroundings down, record its exit, tell those attached."""
    container, context = served.container, launching.context
    oom_killed = launching.was_out_of_memory()
    launching.disconnect()
    if served.listener is not None:
        cleanup.remove_socket(context, container)
    if container.config.remove:
        cleanup.remove_container(context, container)
    else:
        lost = served.log.lost_bytes if served.log is not None else 0
        final = state.replace(
            status="exited",
            exit_code=code,
            oom_killed=oom_killed,
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
