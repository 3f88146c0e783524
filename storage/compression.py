"""Compressed streams as iterators of chunks: recognised by their first bytes, bounded in what they may expand to."""

from __future__ import annotations

from storage.errors import ArchiveError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Protocol

    class Decompressor(Protocol):
        @property
        def eof(self) -> bool: ...
        @property
        def unused_data(self) -> bytes: ...
        def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


_MAGICS = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
)
_PIECE = 1 << 18
_ZSTD_WINDOW = 1 << 27  # zstd's own default limit; a frame may ask for 2 GiB of memory
# Real layers compress 2 to 20 times, file systems full of zeros up to 1000 times (deflate's limit is 1032). A small
# archive may be as it likes: a bomb is what is large and expands like one.
_BOMB_BYTES = 2 << 30
_BOMB_RATIO = 250


def detect(head: bytes) -> str:
    """Return gzip, zstd, bzip2, xz, or "" for what is not compressed, from the first six bytes."""
    for magic, name in _MAGICS:
        if head.startswith(magic):
            return name
    if head[:1] and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50:
        return "zstd"  # a skippable frame comes first, as in zstd:chunked and seekable archives
    return ""


def first_bytes(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes (6, unless the stream is shorter) and an iterator over the whole stream."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= 6:
            break
    return head[:6], _joined(head, chunks)


def _joined(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from chunks


def decompressed(chunks: Iterator[bytes], kind: str | None = None) -> Iterator[bytes]:
    """Return the stream decompressed; `kind` None means to look at its first bytes. Raises ArchiveError."""
    if kind is None:
        head, chunks = first_bytes(chunks)
        kind = detect(head)
    if not kind:
        return chunks
    counter = [0]
    source = _counted(chunks, counter)
    plain = _zstd(source) if kind == "zstd" else _members(source, kind)
    return _bounded(plain, counter)


def _counted(chunks: Iterator[bytes], counter: list[int]) -> Iterator[bytes]:
    for chunk in chunks:
        counter[0] += len(chunk)
        yield chunk


def _bounded(chunks: Iterator[bytes], taken: list[int]) -> Iterator[bytes]:
    given = 0
    for chunk in chunks:
        given += len(chunk)
        if given > _BOMB_BYTES and given > _BOMB_RATIO * taken[0]:
            raise ArchiveError(f"a decompression bomb: {taken[0]} bytes expand to more than {given}")
        yield chunk


def _members(chunks: Iterator[bytes], kind: str) -> Iterator[bytes]:
    """Decompress one or several members, one after the other, in bounded pieces."""
    errors = _errors(kind)
    decompressor = _decompressor(kind)
    started = False
    for chunk in chunks:
        data = bytes(chunk)
        try:
            while True:
                if decompressor.eof:
                    data = data or decompressor.unused_data
                    # gzip(1) ignores zeros after the last member: tapes were padded with them.
                    if not data or (started and not data.strip(b"\0")):
                        break
                    decompressor = _decompressor(kind)
                piece = decompressor.decompress(data, _PIECE)
                started = True
                data = decompressor.unused_data if decompressor.eof else getattr(decompressor, "unconsumed_tail", b"")
                if piece:
                    yield piece
                if not decompressor.eof and not data and len(piece) < _PIECE:
                    break
                if decompressor.eof and not data:
                    break
        except errors as error:
            raise ArchiveError(f"damaged {kind} data: {error}") from None
    if not decompressor.eof:
        raise ArchiveError(f"the {kind} data ends too early")


def _errors(kind: str) -> tuple[type[BaseException], ...]:
    import zlib

    if kind == "gzip":
        return (zlib.error, *_isal_errors(), EOFError)
    import lzma

    return (OSError, ValueError, EOFError, lzma.LZMAError)


def _isal_errors() -> tuple[type[BaseException], ...]:
    try:
        from isal import isal_zlib
    except ImportError:
        return ()
    error: Any = isal_zlib.IsalError  # its stub calls the class an instance
    return (error,)


def _decompressor(kind: str) -> Decompressor:
    if kind == "gzip":
        try:
            # Intel's igzip inflates 2.5 times faster than zlib; it runs on every processor.
            from isal import isal_zlib

            fast: Any = isal_zlib.decompressobj(wbits=31)
            return fast  # type: ignore[no-any-return]
        except ImportError:
            import zlib

            slow: Any = zlib.decompressobj(wbits=31)
            return slow  # type: ignore[no-any-return]
    if kind == "bzip2":
        import bz2

        return bz2.BZ2Decompressor()
    import lzma

    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_ZSTD_WINDOW)


class _Source:
    """The `read` that zstandard pulls its input from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        if not self._left:
            self._left = bytes(next(self._chunks, b""))
        if 0 <= size < len(self._left):
            data, self._left = self._left[:size], self._left[size:]
        else:
            data, self._left = self._left, b""
        return data


def _zstd(chunks: Iterator[bytes]) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError:
        raise ArchiveError("zstd data, but zstandard is missing", hint="pip install zstandard") from None
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    reader = decompressor.stream_reader(_Source(chunks), read_size=1 << 18, read_across_frames=True)  # type: ignore[arg-type]
    try:
        while piece := reader.read(_PIECE):
            yield piece
    except zstandard.ZstdError as error:
        raise ArchiveError(f"damaged zstd data: {error}") from None
