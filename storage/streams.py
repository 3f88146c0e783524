"""Streams of chunks: measured, hashed, checked, and read ahead by a thread."""

from __future__ import annotations

import os

from storage.errors import DigestMismatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _hashlib import HASH
    from collections.abc import Callable, Iterator
    from typing import Any

CHUNK_BYTES = 1 << 18
_AHEAD = 16


def from_fd(fd: int, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Read a descriptor to its end."""
    while chunk := os.read(fd, size):
        yield chunk


class Hashed:
    """An iterator that passes chunks on and knows their digest and number of bytes."""

    def __init__(self, chunks: Iterator[bytes], progress: Callable[[int], object] | None = None) -> None:
        import hashlib

        self._chunks = chunks
        self._hash: HASH = hashlib.sha256()
        self._progress = progress
        self.count = 0

    def __iter__(self) -> Iterator[bytes]:
        update = self._hash.update
        for chunk in self._chunks:
            update(chunk)
            self.count += len(chunk)
            if self._progress is not None:
                self._progress(self.count)
            yield chunk

    def hex(self) -> str:
        return self._hash.hexdigest()


def checked(
    chunks: Iterator[bytes], hex_digest: str, size: int | None, progress: Callable[[int], object] | None = None
) -> Iterator[bytes]:
    """Pass the chunks on; raise DigestMismatch at the first byte too many, or at the end if they are others."""
    hashed = Hashed(chunks, progress)
    for chunk in hashed:
        if size is not None and hashed.count > size:
            raise DigestMismatch(f"sha256:{hex_digest}: more bytes than the {size} promised")
        yield chunk
    if size is not None and hashed.count != size:
        raise DigestMismatch(f"sha256:{hex_digest}: {hashed.count} bytes came, {size} were promised")
    if hashed.hex() != hex_digest:
        raise DigestMismatch(f"sha256:{hex_digest}: the bytes that came have the digest sha256:{hashed.hex()}")


def read_ahead(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Run the iterator in a thread of its own, some chunks ahead.

    Receiving, hashing and inflating leave the interpreter's lock alone, so they run while the consumer makes files.
    """
    import threading
    from queue import Queue

    queue: Queue[Any] = Queue(_AHEAD)
    stopped = threading.Event()

    def produce() -> None:
        try:
            for chunk in chunks:
                queue.put(chunk)
                if stopped.is_set():
                    return
            queue.put(None)
        except BaseException as error:
            queue.put(error)

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while (item := queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        # The consumer may have given up: let the producer see it, and not wait for room.
        stopped.set()
        while not queue.empty():
            queue.get_nowait()
