"""Log drivers: write what a container prints, read it again.

k8s-file: `2026-11-24T03:45:27.123456789+00:00 stdout F text`, with P instead of F for a part of a line (CRI).
json-file: `{"log":"text\\n","stream":"stdout","time":"2026-11-24T03:45:27.123456789Z"}` (Docker).
"""

from __future__ import annotations

import os
import time

from rootless import jsontext
from rootless.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE_BYTES = 16384  # a longer line is written in parts
_READ_BYTES = 1 << 16


class Entry(Record):
    """One line of a log, or a part of one."""

    stream: str  # stdout or stderr
    time: str  # RFC 3339
    text: bytes
    partial: bool  # the line goes on in the next entry of this stream


class LogFile:
    """The writing end. Bytes that do not end a line are held back until it ends or grows too long."""

    def __init__(self, path: str, driver: str, *, max_bytes: int = 0) -> None:
        self._path = path
        self._encode = _json_lines if driver == "json-file" else _k8s_lines
        self._held = {"stdout": b"", "stderr": b""}
        self._max_bytes = max_bytes
        self._open()
        self.lost_bytes = 0  # what a full disk did not take

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size

    def write(self, stream: str, data: bytes) -> None:
        data = self._held[stream] + data
        lines = data.split(b"\n")
        rest = lines.pop()
        partial = []
        while len(rest) >= MAX_LINE_BYTES:
            partial.append(rest[:MAX_LINE_BYTES])
            rest = rest[MAX_LINE_BYTES:]
        self._held[stream] = rest
        if lines or partial:
            self._append(self._encode(stream, _now(), lines, partial))

    def close(self) -> None:
        """Write what is held back as partial lines."""
        for stream, rest in self._held.items():
            if rest:
                self._append(self._encode(stream, _now(), [], [rest]))
        self._held = {"stdout": b"", "stderr": b""}
        os.close(self._fd)

    def _append(self, data: bytes) -> None:
        """Write whole lines, as many to each file as fit."""
        while data:
            room = self._max_bytes - self._size if self._max_bytes else len(data)
            piece = data
            if len(data) > room:
                fits = data.rfind(b"\n", 0, max(room, 0)) + 1
                if not fits and self._size:
                    self._rotate()
                    continue
                piece = data[: fits or data.index(b"\n") + 1]
            self._write(piece)
            data = data[len(piece) :]

    def _write(self, data: bytes) -> None:
        self._size += len(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            # A full disk must not stop the container; the loss is counted and shows in its state.
            self.lost_bytes += len(view)

    def _rotate(self) -> None:
        """Keep one older file: what was written is renamed, never cut."""
        os.rename(self._path, f"{self._path}.1")
        os.close(self._fd)
        self._open()


def _now() -> bytes:
    now_ns = time.time_ns()
    seconds, nanoseconds = divmod(now_ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode() + b".%09d" % nanoseconds


def _k8s_lines(stream: str, now: bytes, lines: list[bytes], partial: list[bytes]) -> bytes:
    full = now + b"+00:00 " + stream.encode() + b" F "
    part = now + b"+00:00 " + stream.encode() + b" P "
    pieces = []
    for line in lines:
        while len(line) > MAX_LINE_BYTES:
            pieces.append(part + line[:MAX_LINE_BYTES])
            line = line[MAX_LINE_BYTES:]
        pieces.append(full + line)
    pieces += [part + text for text in partial]
    return b"\n".join(pieces) + b"\n"


def _json_lines(stream: str, now: bytes, lines: list[bytes], partial: list[bytes]) -> bytes:
    stamp = now.decode() + "Z"
    texts = [line.decode(errors="replace") + "\n" for line in lines] + [
        text.decode(errors="replace") for text in partial
    ]
    rows = (jsontext.dumps({"log": text, "stream": stream, "time": stamp}) for text in texts)
    return "".join(f"{row}\n" for row in rows).encode()


def parse_line(line: bytes, driver: str) -> Entry | None:
    """Parse one line of a log file; None for a damaged one."""
    if driver == "json-file":
        try:
            value = jsontext.loads(line)
            text = value["log"].encode()
            return Entry(value["stream"], value["time"], text.removesuffix(b"\n"), not text.endswith(b"\n"))
        except (ValueError, KeyError, AttributeError, TypeError):
            return None
    parts = line.split(b" ", 3)
    if len(parts) != 4 or parts[1] not in (b"stdout", b"stderr"):
        return None
    return Entry(parts[1].decode(), parts[0].decode(), parts[3], parts[2] == b"P")


def last_lines_offset(fd: int, count: int, driver: str) -> int:
    """Return where the last `count` complete lines begin, reading backwards from the end."""
    position = os.fstat(fd).st_size
    tail = b""
    wanted = count
    if not wanted:
        return position
    while position > 0:
        step = min(_READ_BYTES, position)
        position -= step
        tail = os.pread(fd, step, position) + tail
        # A line of the file that is a part of a line of the container counts only if it is the last one, as yet.
        rows = tail.split(b"\n")
        full = 0
        for index in range(len(rows) - 2, 0 if position else -1, -1):
            entry = parse_line(rows[index], driver)
            if entry is not None and (not entry.partial or index == len(rows) - 2):
                full += 1
                if full > wanted:
                    return position + sum(len(row) + 1 for row in rows[: index + 1])
    return 0


def read_entries(fd: int) -> Iterator[bytes]:
    """Yield the complete lines from the descriptor's position to the end of the file."""
    rest = b""
    while chunk := os.read(fd, _READ_BYTES):
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        yield from lines
    if rest:  # written while we read: leave it for the next call
        os.lseek(fd, -len(rest), os.SEEK_CUR)
