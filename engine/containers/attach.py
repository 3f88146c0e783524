"""The client's side of a container's terminal or pipes: copies bytes, forwards signals, returns the exit code."""

from __future__ import annotations

import _socket
import os
import select
import struct

from engine.containers import cleanup, frames
from engine.errors import PymanError, UsageError, WrongState
from rootless import jsontext, process, pty

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from engine.containers.lookup import Container
    from engine.containers.start import Started
    from engine.context import Context
else:
    import _signal as signal

_READ_BYTES = 1 << 16
# Everything that may sensibly be meant for the container; SIGCHLD, SIGURG and the job control of our own shell is not.
PROXIED = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCONT", "SIGWINCH")


class Streams:
    """What of the container is connected to the caller."""

    def __init__(self, *, stdin: bool, stdout: bool = True, stderr: bool = True) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr


class Detached(Exception):
    """The user typed the detach keys: the container goes on."""


def parse_detach_keys(text: str) -> bytes:
    """Return the bytes of a sequence such as ctrl-p,ctrl-q; empty for none. Raises UsageError."""
    keys = bytearray()
    for word in text.split(",") if text else []:
        letter = word.removeprefix("ctrl-")
        if word.startswith("ctrl-") and len(letter) == 1 and letter.upper() in "@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_":
            keys.append(ord(letter.upper()) - 64)
        elif len(word) == 1 and word.isascii():
            keys.append(ord(word))
        else:
            raise UsageError(f"--detach-keys {text!r}: {word!r} is neither a letter nor ctrl-LETTER")
    return bytes(keys)


def connect(context: Context, container: Container) -> Started:
    """Connect to the monitor of a running container. Raises WrongState."""
    from engine.containers.start import Started

    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(cleanup.socket_path(context, container.id))
    except OSError:
        raise WrongState(f'container "{container.name}" is not running: nothing to attach to') from None
    started = Started(sock, frames.Decoder(), [])
    started.pid = container.state.init_pid
    return started


class Attachment:
    """One attached client: poll loop over our stdin, the monitor's socket and signals."""

    def __init__(self, started: Started, streams: Streams, *, tty: bool, detach_keys: bytes, sig_proxy: bool) -> None:
        self._started = started
        self._sock = started.sock
        self._streams = streams
        self._tty = tty
        self._keys = detach_keys
        self._matched = 0
        self._queue = bytearray()
        self._sig_proxy = sig_proxy
        self._poll = select.poll()
        self.exit_code: int | None = None

    def run(self) -> int:
        """Copy until the container ends; returns its exit code. Raises Detached."""
        wakeup_fd = self._catch_signals()
        takes_keys = self._tty and self._streams.stdin
        os.set_blocking(self._sock.fileno(), False)
        self._poll.register(self._sock.fileno(), select.POLLIN)
        self._poll.register(wakeup_fd, select.POLLIN)
        if self._streams.stdin:
            self._poll.register(0, select.POLLIN)
        with pty.RawTerminal(0 if takes_keys else -1):
            self._send_size()
            for kind, payload in self._started.early:
                self._on_frame(kind, payload)
            while self.exit_code is None:
                self._step(wakeup_fd)
        return self.exit_code

    def _step(self, wakeup_fd: int) -> None:
        for fd, events in self._poll.poll():
            if fd == wakeup_fd:
                for number in os.read(wakeup_fd, 512):
                    self._on_signal(number)
            elif fd == self._sock.fileno():
                if events & select.POLLOUT:
                    self._flush()
                if events & ~select.POLLOUT:
                    self._on_readable()
            elif fd == 0:
                self._on_stdin()

    def _on_readable(self) -> None:
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            raise PymanError("the container's monitor was killed, and the container with it", exit_status=137)
        for kind, payload in self._started.decoder.feed(data):
            self._on_frame(kind, payload)

    def _on_frame(self, kind: int, payload: bytes) -> None:
        if kind == frames.STDOUT and self._streams.stdout:
            write_all(1, payload)
        elif kind == frames.STDERR and self._streams.stderr:
            write_all(2, payload)
        elif kind == frames.EXIT:
            self.exit_code = jsontext.loads(payload)["exit_code"]

    def _on_stdin(self) -> None:
        try:
            data = os.read(0, _READ_BYTES)
        except OSError:  # the terminal is gone
            data = b""
        if not data:
            self._poll.unregister(0)
            self._streams.stdin = False
            self._send(frames.frame(frames.STDIN_END))
            return
        if self._tty and self._keys:
            data = self._without_detach_keys(data)
        if data:
            self._send(frames.frame(frames.STDIN, data))

    def _without_detach_keys(self, data: bytes) -> bytes:
        """Return what to pass on; a key that may begin the sequence is held until the next one decides."""
        passed = bytearray()
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    raise Detached
                continue
            passed += self._keys[: self._matched]
            self._matched = 1 if byte == self._keys[0] else 0
            if not self._matched:
                passed.append(byte)
        return bytes(passed)

    def _send(self, data: bytes) -> None:
        self._queue += data
        self._flush()

    def _flush(self) -> None:
        try:
            del self._queue[: self._sock.send(self._queue, _socket.MSG_NOSIGNAL)]
        except BlockingIOError:
            pass
        except OSError:
            self._queue.clear()  # the monitor is gone; reading will tell
        # While the monitor is full, our own stdin waits: nothing is lost and memory stays flat.
        self._poll.modify(self._sock.fileno(), select.POLLIN | (select.POLLOUT if self._queue else 0))
        if self._streams.stdin:
            self._poll.modify(0, 0 if self._queue else select.POLLIN)

    def _catch_signals(self) -> int:
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        for name in PROXIED if self._sig_proxy else ("SIGWINCH",):
            signal.signal(process.SIGNALS[name], lambda number, frame: None)
        return read_fd

    def _on_signal(self, number: int) -> None:
        if number == process.SIGNALS["SIGWINCH"]:
            self._send_size()
        elif self._sig_proxy:
            try:
                os.kill(self._started.pid, number)
            except ProcessLookupError:
                pass

    def _send_size(self) -> None:
        if self._tty and (size := pty.window_size(0)):
            self._send(frames.frame(frames.RESIZE, struct.pack(">HH", *size)))


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select([], [fd], [])


def caller_window() -> tuple[int, int] | None:
    """Return the size of the caller's terminal, if stdin or stdout is one."""
    return pty.window_size(0) or pty.window_size(1)
