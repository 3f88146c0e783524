"""The container's parent: its start, its output, its exit, its cleanup.

One small process per container, forked from the command, in the host's namespaces, without privilege. It holds the
LIFE lock for as long as it lives, and while it does it is the only writer of the container's state. If it dies, the
kernel ends the container (PR_SET_PDEATHSIG) and gives the lock back.
"""

from __future__ import annotations

import _socket
import os
import select
import time

from engine.containers import frames
from engine.containers.logs import LogFile
from engine.containers.streams import Client, Output, StdinPipe
from rootless import jsontext, process
from rootless.errors import StepFailed
from storage import locks, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from engine.containers.lookup import Container
    from engine.model import ContainerState
    from rootless.runtime import Init
else:
    import _signal as signal

_HIGH_WATER_BYTES = 1 << 18  # while a client has not taken this much, the container's output waits in its pipe
_READ_BYTES = 1 << 16
_ONLY_FOR_THE_START = ("engine.cli.", "engine.containers.launch", "engine.containers.spec", "rootless.capabilities")
_SHRINK_AFTER_S = 0.3  # most containers of `run --rm` have ended by then


class Stdio:
    """The container's ends and ours of its pipes; with a terminal both are -1 until init hands us its master side."""

    def __init__(self, *, tty: bool, interactive: bool) -> None:
        self.ours = [-1, -1, -1]
        self.theirs = [-1, -1, -1]
        if tty:
            return
        if interactive:
            self.theirs[0], self.ours[0] = os.pipe2(os.O_CLOEXEC)
        else:
            self.theirs[0] = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        for number in (1, 2):
            self.ours[number], self.theirs[number] = os.pipe2(os.O_CLOEXEC)

    def close_theirs(self) -> None:
        for fd in self.theirs:
            if fd >= 0:
                os.close(fd)


class Monitor:
    """What one monitor holds; `serve` is its life."""

    def __init__(self, container: Container, command: _socket.socket, listener: _socket.socket | None) -> None:
        self.container = container
        self.poll = select.poll()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.clients: list[Client] = []
        self.outputs: list[Output] = []
        self.stdin: StdinPipe | None = None
        self.log: LogFile | None = None
        self.listener = listener
        self.command = command
        self.kill_at = 0.0  # monotonic seconds; 0: no deadline
        self.shrink_at = time.monotonic() + _SHRINK_AFTER_S
        self.ended = False

    # -- the poll loop -------------------------------------------------------------------------------------------

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        self.poll.register(fd, events)
        self.handlers[fd] = handler

    def unwatch(self, fd: int) -> None:
        if self.handlers.pop(fd, None) is not None:
            self.poll.unregister(fd)

    def step(self) -> None:
        """Sleep until something happens, and see to it. An idle container costs no wake-up but one, for `shrink`."""
        deadline = min((moment for moment in (self.kill_at, self.shrink_at) if moment), default=0.0)
        timeout_ms = None if not deadline else max(0, int((deadline - time.monotonic()) * 1000))
        for fd, events in self.poll.poll(timeout_ms):
            handler = self.handlers.get(fd)
            if handler is not None:
                handler(events)

    # -- output --------------------------------------------------------------------------------------------------

    def add_output(self, fd: int, stream: str, kind: int) -> None:
        os.set_blocking(fd, False)
        output = Output(fd, stream, kind)
        self.outputs.append(output)
        self.watch(fd, select.POLLIN, lambda events: self.on_output(output))

    def on_output(self, output: Output) -> None:
        self.copy_output(output)

    def copy_output(self, output: Output) -> bool:
        """Read once and pass it on. False if there was nothing to read."""
        try:
            data = os.read(output.fd, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # EIO: the last process has closed the terminal
            data = b""
        if not data:
            self.unwatch(output.fd)
            output.open = False
            return False
        if self.log is not None:
            self.log.write(output.stream, data)
        message = frames.frame(output.kind, data)
        for client in self.clients:
            client.send(message)
        self.adjust()
        return True

    def adjust(self) -> None:
        """Poll for what can make progress: writing to slow clients, and reading only if none of them lags far."""
        for client in [c for c in self.clients if c.broken]:
            self.drop(client)
        lagging = any(client.pending_bytes > _HIGH_WATER_BYTES for client in self.clients)
        for output in self.outputs:
            if output.open and output.fd in self.handlers:
                self.poll.modify(output.fd, 0 if lagging else select.POLLIN)
        stdin_full = self.stdin is not None and self.stdin.pending_bytes > _HIGH_WATER_BYTES
        for client in self.clients:
            wanted = select.POLLOUT if client.pending_bytes else 0
            self.poll.modify(client.fd, wanted | (0 if stdin_full and client.sends_stdin else select.POLLIN))
        if self.stdin is not None and self.stdin.fd in self.handlers:
            self.poll.modify(self.stdin.fd, select.POLLOUT if self.stdin.pending_bytes else 0)

    # -- clients -------------------------------------------------------------------------------------------------

    def add_client(self, sock: _socket.socket) -> Client:
        client = Client(sock)
        self.clients.append(client)
        self.watch(client.fd, select.POLLIN, lambda events: self.on_client(client, events))
        return client

    def on_accept(self, events: int) -> None:
        assert self.listener is not None
        try:
            fd, _ = self.listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        sock = _socket.socket(fileno=fd)
        os.set_inheritable(fd, False)
        peer_uid = int.from_bytes(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)[4:8], "little")
        if peer_uid != os.getuid() or len(self.clients) >= 100:
            sock.close()
            return
        self.add_client(sock)

    def on_client(self, client: Client, events: int) -> None:
        if events & select.POLLOUT:
            client.flush()
        if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
            for kind, payload in client.receive():
                self.on_frame(client, kind, payload)
        self.adjust()

    def on_frame(self, client: Client, kind: int, payload: bytes) -> None:
        if kind == frames.STDIN and self.stdin is not None:
            client.sends_stdin = True
            self.stdin.write(payload)
        elif kind == frames.STDIN_END and self.stdin is not None:
            self.stdin.end()
        elif kind == frames.RESIZE and len(payload) == 4 and self.container.config.tty and self.outputs:
            resize(self.outputs[0].fd, payload)

    def drop(self, client: Client) -> None:
        self.unwatch(client.fd)
        self.clients.remove(client)
        client.close()

    # -- signals and the end -------------------------------------------------------------------------------------

    def on_terminate(self, init: Init) -> None:
        """The session or the machine ends: give the container its stop signal and its time."""
        config = self.container.config
        process.send_signal(init.pidfd, process.signal_number(config.stop_signal))
        self.kill_at = time.monotonic() + config.stop_timeout_s

    def drain(self) -> None:
        """Read what is left in the pipes after the last process has ended."""
        for output in self.outputs:
            while output.open and self.copy_output(output):
                self.flush_clients(5.0)

    def flush_clients(self, timeout_s: float) -> None:
        """Send what clients have not taken yet; give up on one that takes nothing for `timeout_s`."""
        for client in list(self.clients):
            if not client.flush_all(timeout_s):
                self.drop(client)


def resize(fd: int, payload: bytes) -> None:
    """Set the size of the terminal whose master side is `fd` (tty_ioctl(4), TIOCSWINSZ)."""
    import fcntl
    import struct
    import termios

    rows, columns = struct.unpack(">HH", payload)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def serve(monitor: Monitor, init: Init, state: ContainerState, stdio: Stdio) -> int:
    """Look after a started container until it ends. Returns its exit code; nothing is cleaned up yet."""
    config = monitor.container.config
    if config.log_driver != "none":
        options = dict(config.log_options)
        max_bytes = int(options.get("max-size", 0))
        log_path = options.get("path") or f"{monitor.container.dir}/ctr.log"
        monitor.log = LogFile(log_path, config.log_driver, max_bytes=max_bytes)
    if init.console_fd is not None:
        monitor.add_output(init.console_fd, "stdout", frames.STDOUT)
        monitor.stdin = StdinPipe(os.dup(init.console_fd), terminal=True)
    else:
        monitor.add_output(stdio.ours[1], "stdout", frames.STDOUT)
        monitor.add_output(stdio.ours[2], "stderr", frames.STDERR)
        if stdio.ours[0] >= 0:
            monitor.stdin = StdinPipe(stdio.ours[0], terminal=False)
    if monitor.stdin is not None:
        stdin = monitor.stdin
        monitor.watch(stdin.fd, 0, lambda events: on_stdin(monitor, stdin, events))
    if monitor.listener is not None:
        monitor.watch(monitor.listener.fileno(), select.POLLIN, monitor.on_accept)
    monitor.watch(init.pidfd, select.POLLIN, lambda events: setattr(monitor, "ended", True))
    signal_fd = catch_termination()
    monitor.watch(signal_fd, select.POLLIN, lambda events: on_signal(monitor, init, signal_fd))
    client = monitor.add_client(monitor.command)
    started = {"pid": init.pid, "start_time": init.start_time, "notices": list(state.notices)}
    client.send(frames.frame(frames.STARTED, jsontext.dumps(started).encode()))
    monitor.adjust()
    while not monitor.ended:
        monitor.step()
        if monitor.shrink_at and time.monotonic() >= monitor.shrink_at:
            monitor.shrink_at = 0.0
            shrink()
        if monitor.kill_at and time.monotonic() >= monitor.kill_at:
            process.send_signal(init.pidfd, 9)
            monitor.kill_at = 0.0
    _, status = os.waitpid(init.pid, 0)
    monitor.drain()
    if monitor.log is not None:
        monitor.log.close()
    return process.exit_code(status)


def on_stdin(monitor: Monitor, stdin: StdinPipe, events: int) -> None:
    if not stdin.flush(events):
        monitor.unwatch(stdin.fd)
        stdin.close()
        monitor.stdin = None
    monitor.adjust()


def catch_termination() -> int:
    """Have SIGTERM wake the poll loop. Returns the descriptor that becomes readable."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    return read_fd


def on_signal(monitor: Monitor, init: Init, signal_fd: int) -> None:
    os.read(signal_fd, 512)
    monitor.on_terminate(init)


def hold_life(container: Container) -> int:
    """Take the LIFE lock. The descriptor stays open for as long as this process lives."""
    fd = os.open(container.lock_path, os.O_RDWR | os.O_CLOEXEC)
    locks.acquire(fd, locks.LIFE)
    return fd


def report_failure(command: _socket.socket, error: BaseException) -> None:
    """Tell the waiting command why the container did not start."""
    fields = {
        "text": str(error) or type(error).__name__,
        "kind": type(error).__name__,
        "hint": getattr(error, "hint", ""),
        "exit_status": 125,
    }
    if isinstance(error, StepFailed):
        fields["exit_status"] = (
            127 if error.not_found else 126
        )  # whatever else init cannot do counts as "cannot be invoked"
    try:
        command.sendall(frames.frame(frames.FAILED, jsontext.dumps(fields).encode()))
    except OSError:
        pass  # the command is gone; the state record says the same


def write_state(container: Container, state: ContainerState, *, durable: bool = False) -> None:
    records.write(f"{container.dir}/state.json", state.to_json(), durable=durable)


def shrink() -> None:
    """Give back what only the start needed: modules, then free memory, then unchanged pages of files.

    Pages that are still as they are in their file are dropped: they come back from the page cache when they are used,
    and an idle monitor uses few. A mapping with a single changed page (relocations) is left alone, for MADV_DONTNEED
    would undo the change.
    """
    import gc
    import sys

    from rootless import syscalls

    for name in [name for name in sys.modules if name.startswith(_ONLY_FOR_THE_START)]:
        module = sys.modules.pop(name)
        module.__dict__.clear()
    gc.collect()
    syscalls.malloc_trim()
    with open("/proc/self/smaps", "rb") as file:
        mapping = b""
        for line in file:  # one by one: the whole text would cost more memory than is won
            if b"-" in line[:17]:
                fields = line.split(None, 5)
                unchanged = len(fields) == 6 and fields[5].startswith(b"/") and fields[1] in (b"r-xp", b"r--p")
                mapping = fields[0] if unchanged else b""
            elif mapping and line.startswith(b"Anonymous:") and line.split()[1] == b"0":
                first, _, last = mapping.partition(b"-")
                syscalls.madvise(int(first, 16), int(last, 16) - int(first, 16), 4)  # MADV_DONTNEED
