"""A few method calls to a systemd manager, without a D-Bus library: connect, one call, its answer.

The manager's private socket speaks D-Bus with the peer itself (no bus daemon, no Hello); the session bus is the second
choice. Format: D-Bus specification, "Message Protocol"; the interface: org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import struct
import time

from rootless.errors import KernelError
from rootless.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_METHOD_CALL, _METHOD_RETURN, _ERROR, _SIGNAL = 1, 2, 3, 4
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8
_MAX_MESSAGE_BYTES = 1 << 20
_POLL_MS = 2

Value = tuple[str, object]  # (signature, value): what the wire calls a variant


class Message(Record):
    """A received message. Of the body, `strings` are the values of type string and object path, in order."""

    kind: int
    reply_to: int
    member: str
    error_name: str
    strings: tuple[str, ...]


class Manager:
    """A connection to a systemd manager."""

    def __init__(self, sock: _socket.socket, *, is_bus: bool) -> None:
        self._sock = sock
        self._buffer = b""
        self._serial = 0
        self._authenticated = False
        if is_bus:
            self._send("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", ())

    def close(self) -> None:
        self._sock.close()

    def call(self, member: str, *arguments: Value) -> int:
        """Send a call to the manager without waiting. Returns its serial number."""
        service = "org.freedesktop.systemd1"
        return self._send(service, "/org/freedesktop/systemd1", f"{service}.Manager", member, arguments)

    def answer(self, serial: int, *, timeout_s: float = 10.0) -> Message:
        """Wait for the answer to a call. Raises KernelError if the manager refuses (EEXIST: the unit) or is silent."""
        deadline = time.monotonic() + timeout_s
        while True:
            message = self._receive(deadline, _POLL_MS * 1000)
            if message is not None and message.reply_to == serial:
                if message.kind == _ERROR:
                    reason = message.strings[0] if message.strings else message.error_name
                    number = errno.EEXIST if message.error_name.endswith(".UnitExists") else 0
                    raise KernelError(f"systemd refuses: {reason}", errno=number)
                return message

    def wait_for_job(self, job: str, is_done: Callable[[], bool], *, timeout_s: float = 10.0) -> None:
        """Wait until the job is finished: it is announced on the private socket, and `is_done` sees its effect."""
        deadline = time.monotonic() + timeout_s
        while not is_done():
            message = self._receive(deadline, _POLL_MS)
            if message is None or message.member != "JobRemoved" or job not in message.strings:
                continue
            if message.strings[-1] == "done":
                return
            raise KernelError(f"systemd could not do it: the job ended as {message.strings[-1]}")

    def _send(self, service: str, path: str, interface: str, member: str, arguments: Iterable[Value]) -> int:
        self._serial += 1
        message = encode_call(self._serial, service, path, interface, member, tuple(arguments))
        if self._serial == 1:
            # All in one packet, as libsystemd does: the other side answers OK before it reads on.
            uid = str(os.geteuid()).encode().hex().encode()
            message = b"\0AUTH EXTERNAL " + uid + b"\r\nBEGIN\r\n" + message
        view = memoryview(message)
        while view:
            view = view[self._sock.send(view) :]
        return self._serial

    def _receive(self, deadline: float, wait_ms: int) -> Message | None:
        """Return the next message, or None if none came in `wait_ms`. Raises KernelError after the deadline."""
        while True:
            message = self._take_message()
            if message is not None:
                return message
            remaining_ms = int((deadline - time.monotonic()) * 1000)
            if remaining_ms <= 0:
                raise KernelError("systemd does not answer")
            poll = select.poll()
            poll.register(self._sock.fileno(), select.POLLIN)
            if not poll.poll(min(wait_ms, remaining_ms)):
                return None
            data = self._sock.recv(65536)
            if not data:
                raise KernelError("systemd closed the connection")
            self._buffer += data

    def _take_message(self) -> Message | None:
        if not self._authenticated:
            line, separator, rest = self._buffer.partition(b"\r\n")
            if not separator:
                return None
            if not line.startswith(b"OK"):
                raise KernelError(f"systemd does not let us in: {line[:80].decode(errors='replace')}")
            self._buffer, self._authenticated = rest, True
        if len(self._buffer) < 16:
            return None
        length = message_length(self._buffer)
        if length > _MAX_MESSAGE_BYTES:
            raise KernelError("systemd sent a message that is too long")
        if len(self._buffer) < length:
            return None
        message, self._buffer = decode(self._buffer[:length]), self._buffer[length:]
        return message


def connect() -> Manager:
    """Connect to the manager that may start units for us: the system's for root, else the user's own.

    Raises KernelError if there is none.
    """
    uid = os.geteuid()
    runtime_dir = "/run" if uid == 0 else os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
    bus = "/run/dbus/system_bus_socket" if uid == 0 else _session_bus(runtime_dir)
    for path, is_bus in ((f"{runtime_dir}/systemd/private", False), (bus, True)):
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            # Somebody else's socket would learn little, but could keep us waiting.
            if os.stat(path).st_uid not in (uid, 0):
                raise PermissionError
            sock.settimeout(10.0)
            sock.connect(path)
            return Manager(sock, is_bus=is_bus)
        except OSError:
            sock.close()
    raise KernelError("no systemd manager to ask")


def _session_bus(runtime_dir: str) -> str:
    for address in os.environ.get("DBUS_SESSION_BUS_ADDRESS", "").split(";"):
        if address.startswith("unix:path="):
            return address.removeprefix("unix:path=").partition(",")[0]
    return f"{runtime_dir}/bus"


def encode_call(
    serial: int, service: str, path: str, interface: str, member: str, arguments: tuple[Value, ...]
) -> bytes:
    """Return a method call as bytes, in little-endian."""
    body = _Writer()
    for signature, value in arguments:
        body.write(signature, value)
    fields: list[tuple[int, Value]] = [
        (_PATH, ("o", path)),
        (_INTERFACE, ("s", interface)),
        (_MEMBER, ("s", member)),
        (_DESTINATION, ("s", service)),
    ]
    if arguments:
        fields.append((_SIGNATURE, ("g", "".join(signature for signature, _ in arguments))))
    header = _Writer()
    for byte in (ord("l"), _METHOD_CALL, 0, 1):
        header.write("y", byte)
    header.write("u", len(body.data))
    header.write("u", serial)
    header.write("a(yv)", fields)
    header.align(8)
    return bytes(header.data + body.data)


class _Writer:
    """Marshals values; alignment counts from the start of the data."""

    def __init__(self) -> None:
        self.data = bytearray()

    def align(self, boundary: int) -> None:
        self.data += bytes(-len(self.data) % boundary)

    def write(self, signature: str, value: object) -> None:
        if signature[0] == "a":
            self._write_array(signature[1:], value)
        elif signature[0] == "(":
            self.align(8)
            inner = signature[1:-1]
            for item in value if isinstance(value, tuple) else ():
                kind, inner = _split_first(inner)
                self.write(kind, item)
        elif signature == "v":
            kind, content = value if isinstance(value, tuple) else ("", None)
            self.write("g", kind)
            self.write(kind, content)
        elif signature in ("s", "o"):
            self.write("u", len(str(value).encode()))
            self.data += str(value).encode() + b"\0"
        elif signature == "g":
            self.data += bytes([len(str(value))]) + str(value).encode() + b"\0"
        else:
            form = {"y": "<B", "b": "<I", "u": "<I", "t": "<Q"}[signature]
            self.align(struct.calcsize(form))
            self.data += struct.pack(form, value)

    def _write_array(self, item_signature: str, value: object) -> None:
        self.write("u", 0)
        length_at = len(self.data) - 4
        self.align(8 if item_signature[0] in "(t" else 1 if item_signature[0] in "yg" else 4)
        start = len(self.data)
        for item in value if isinstance(value, (list, tuple, bytes)) else ():
            self.write(item_signature, item)
        struct.pack_into("<I", self.data, length_at, len(self.data) - start)


def _split_first(signature: str) -> tuple[str, str]:
    """Split off the first complete type."""
    end = 0
    while signature[end] == "a":
        end += 1
    if signature[end] == "(":
        depth = 0
        while True:
            depth += {"(": 1, ")": -1}.get(signature[end], 0)
            if depth == 0:
                break
            end += 1
    return signature[: end + 1], signature[end + 1 :]


def message_length(data: bytes) -> int:
    """Return the length of the message that starts with these 16 bytes."""
    order = "<" if data[:1] == b"l" else ">"
    body, _, fields = struct.unpack_from(f"{order}III", data, 4)
    return int(16 + fields + -fields % 8 + body)


def decode(data: bytes) -> Message:
    """Parse one message. Raises KernelError for what is not one."""
    order = "<" if data[:1] == b"l" else ">"
    try:
        kind, fields_end = data[1], 16 + struct.unpack_from(f"{order}I", data, 12)[0]
        values: dict[int, object] = {}
        at = 16
        while at < fields_end:
            at += -at % 8
            code, length = data[at], data[at + 1]
            signature = data[at + 2 : at + 2 + length].decode()
            value, at = _read(data, at + 3 + length, signature, order)
            values[code] = value
        strings = []
        rest, at = str(values.get(_SIGNATURE, "")), fields_end + -fields_end % 8
        while rest and rest[0] in "sogu":
            value, at = _read(data, at, rest[0], order)
            if rest[0] in "so":
                strings.append(str(value))
            rest = rest[1:]
    except (IndexError, struct.error, UnicodeDecodeError, KeyError) as error:
        raise KernelError(f"systemd sent a message that makes no sense: {error}") from error
    reply_to = values.get(_REPLY_SERIAL, 0)
    return Message(
        kind,
        reply_to if isinstance(reply_to, int) else 0,
        str(values.get(_MEMBER, "")),
        str(values.get(_ERROR_NAME, "")),
        tuple(strings),
    )


def _read(data: bytes, at: int, signature: str, order: str) -> tuple[object, int]:
    """Return a value of a basic type and the place behind it."""
    if signature == "u":
        at += -at % 4
        return struct.unpack_from(f"{order}I", data, at)[0], at + 4
    if signature == "g":
        length, at = data[at], at + 1
    elif signature in ("s", "o"):
        at += -at % 4
        length, at = struct.unpack_from(f"{order}I", data, at)[0], at + 4
    else:
        raise KeyError(signature)
    return data[at : at + length].decode(), at + length + 1
