"""The named messages between the monitor and init; one packet each on a SOCK_SEQPACKET pair.

monitor                 init
   MAPS_WRITTEN    ->          ids exist: become root of the namespace, mount, pivot
                                   (with the root file system, if it is mounted already)
                   <-   MOUNTS_READY (with the terminal's descriptor, if there is one)
   START           ->          drop privileges, execute
                   <-   FAILED, or end of file: execve(2) closed the socket
"""

from __future__ import annotations

import _socket
import os
import struct

from rootless import jsontext
from rootless.errors import StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAPS_WRITTEN = "MAPS_WRITTEN"
MOUNTS_READY = "MOUNTS_READY"
START = "START"
FAILED = "FAILED"
_MAX_MESSAGE_BYTES = 32768


def pair() -> tuple[_socket.socket, _socket.socket]:
    """Return two connected ends, both close-on-exec."""
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)


def send(sock: _socket.socket, name: str, fields: dict[str, Any] | None = None, *, fd: int | None = None) -> None:
    """Send one message, with a descriptor if given; the caller still owns that."""
    data = jsontext.dumps({"message": name, **(fields or {})}).encode()
    ancillary = [] if fd is None else [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", fd))]
    sock.sendmsg([data], ancillary, _socket.MSG_NOSIGNAL)


def receive(sock: _socket.socket) -> tuple[str, dict[str, Any], int | None]:
    """Return (name, fields, descriptor or None); the name is empty at end of file. The caller owns the descriptor."""
    data, ancillary, _, _ = sock.recvmsg(_MAX_MESSAGE_BYTES, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
    fd = None
    for level, kind, payload in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fd = struct.unpack("i", payload[:4])[0]
    if not data:
        return "", {}, fd
    fields = jsontext.loads(data)
    return fields.pop("message"), fields, fd


def send_failure(sock: _socket.socket, error: BaseException) -> None:
    """Tell the other side why we give up."""
    message = _describe(error) if isinstance(error, OSError) else str(error) or type(error).__name__
    fields = {
        "text": message[:8000],
        "errno": getattr(error, "errno", 0) or 0,
        "hint": getattr(error, "hint", ""),
        "not_found": getattr(error, "not_found", False),
        "not_executable": getattr(error, "not_executable", False),
        "overlay": getattr(error, "overlay", False),
    }
    send(sock, FAILED, fields)


def _describe(error: OSError) -> str:
    text = error.strerror or os.strerror(error.errno or 0)
    return f"{text} {error.filename}" if error.filename else text


def failure(fields: dict[str, Any]) -> StepFailed:
    """Return the exception that a FAILED message stands for."""
    return StepFailed(
        fields["text"],
        errno=fields["errno"],
        hint=fields["hint"],
        not_found=fields["not_found"],
        not_executable=fields["not_executable"],
        overlay=fields["overlay"],
    )
