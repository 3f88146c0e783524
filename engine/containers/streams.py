"""The monitor's ends: clients, the container's outputs, its stdin. Everything is non-blocking, nothing is lost."""

from __future__ import annotations

import _socket
import os
import select

from engine.containers import frames

_READ_BYTES = 1 << 16


class Output:
    """One output of the container: its descriptor, the name of its stream in logs, its kind of frame."""

    def __init__(self, fd: int, stream: str, kind: int) -> None:
        self.fd = fd
        self.stream = stream
        self.kind = kind
        self.open = True


class Client:
    """One attached process. What it does not take at once is queued."""

    def __init__(self, sock: _socket.socket) -> None:
        self._sock = sock
        self.fd = sock.fileno()
        os.set_blocking(self.fd, False)
        self._queue = bytearray()
        self._decoder = frames.Decoder()
        self.sends_stdin = False
        self.broken = False

    @property
    def pending_bytes(self) -> int:
        return len(self._queue)

    def send(self, data: bytes) -> None:
        if self._queue:
            self._queue += data
            return
        sent = self._try_send(data)
        if sent < len(data):
            self._queue += data[sent:]

    def flush(self) -> None:
        """Send from the queue what goes without waiting."""
        if self._queue:
            del self._queue[: self._try_send(self._queue)]

    def flush_all(self, timeout_s: float) -> bool:
        """Send the whole queue; False if the client is gone or takes nothing for `timeout_s`."""
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        while self._queue and not self.broken:
            if not poll.poll(int(timeout_s * 1000)):
                return False
            self.flush()
        return not self.broken

    def _try_send(self, data: bytes | bytearray) -> int:
        if self.broken:
            return len(data)
        try:
            return self._sock.send(data, _socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
        except OSError:
            self.broken = True
            return len(data)

    def receive(self) -> list[tuple[int, bytes]]:
        """Return the frames that have arrived; at end of file the client is broken."""
        try:
            data = self._sock.recv(_READ_BYTES)
            if data:
                return self._decoder.feed(data)
        except BlockingIOError:
            return []
        except (OSError, ValueError):
            pass
        self.broken = True
        return []

    def close(self) -> None:
        self._sock.close()


class StdinPipe:
    """The container's stdin, as far as it has not taken what clients sent."""

    def __init__(self, fd: int, *, terminal: bool) -> None:
        self.fd = fd
        self._terminal = terminal
        self._queue = bytearray()
        self._ending = False
        os.set_blocking(fd, False)

    @property
    def pending_bytes(self) -> int:
        return len(self._queue) + int(self._ending)

    def write(self, data: bytes) -> None:
        self._queue += data

    def end(self) -> None:
        """Close stdin after what is queued; a terminal gets its end-of-file character instead."""
        if self._terminal:
            self._queue += b"\x04"
        else:
            self._ending = True

    def flush(self, events: int) -> bool:
        """Write what the container takes. False when stdin is to be closed: ended, or nobody reads it any more."""
        if events & select.POLLERR:
            return False
        try:
            if self._queue:
                del self._queue[: os.write(self.fd, self._queue)]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return bool(self._queue) or not self._ending

    def close(self) -> None:
        os.close(self.fd)
