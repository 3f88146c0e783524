"""The stream between a monitor and those attached to it: a byte of type, four of length (big-endian), then data."""

from __future__ import annotations

import struct

STDIN = 0  # client -> monitor
STDOUT = 1
STDERR = 2
STDIN_END = 3  # client -> monitor: end of file
RESIZE = 4  # client -> monitor: rows, columns as two big-endian shorts
EXIT = 5  # monitor -> client: JSON {"exit_code": N, ...}; the last frame
STARTED = 6  # monitor -> command: JSON {"pid": N, "start_time": N, "notices": []}
FAILED = 7  # monitor -> command: JSON, the fields of the error
START = 8  # command -> monitor, the first frame: JSON: root, id, window, storage_driver

_HEADER = struct.Struct(">BI")
HEADER_BYTES = _HEADER.size
MAX_PAYLOAD_BYTES = 1 << 20


def frame(kind: int, payload: bytes = b"") -> bytes:
    return _HEADER.pack(kind, len(payload)) + payload


class Decoder:
    """Bytes in, frames out. Raises ValueError for a length that no peer of ours sends."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        self._buffer += data
        frames = []
        position = 0
        while len(self._buffer) - position >= HEADER_BYTES:
            kind, length = _HEADER.unpack_from(self._buffer, position)
            if length > MAX_PAYLOAD_BYTES:
                raise ValueError(f"frame of {length} bytes")
            end = position + HEADER_BYTES + length
            if len(self._buffer) < end:
                break
            frames.append((kind, bytes(self._buffer[position + HEADER_BYTES : end])))
            position = end
        del self._buffer[:position]
        return frames
