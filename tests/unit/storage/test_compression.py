"""Compressed streams come out as they went in, in any cut; bombs and damage do not come out."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Iterator

import pytest
import zstandard

from storage import compression, streams
from storage.errors import ArchiveError, DigestMismatch
from tests.fixtures.archives import sha256

DATA = os.urandom(100_000) + bytes(3_000_000) + os.urandom(100_000)


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(data)


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "": bytes,
}


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("kind", COMPRESSORS)
@pytest.mark.parametrize("size", [997, 1 << 20])
def test_round_trip(kind: str, size: int) -> None:
    packed = COMPRESSORS[kind](DATA)
    assert compression.detect(packed[:6]) == kind
    assert b"".join(compression.decompressed(pieces(packed, size))) == DATA


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
def test_several_members(kind: str) -> None:
    packed = COMPRESSORS[kind](b"first") + COMPRESSORS[kind](b"second")
    for size in (1, 7, 1000):
        assert b"".join(compression.decompressed(pieces(packed, size))) == b"firstsecond"


def test_zeros_after_gzip_are_padding() -> None:
    assert b"".join(compression.decompressed(pieces(gzip.compress(b"x") + bytes(1000), 64))) == b"x"


def test_skippable_zstd_frames() -> None:
    frame = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
    assert b"".join(compression.decompressed(iter([frame + zstd(b"x")]))) == b"x"


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_damage(kind: str, damage: str) -> None:
    packed = COMPRESSORS[kind](DATA)
    bad = packed[: len(packed) // 2] if damage == "cut" else packed[:50_000] + b"garbage" * 20 + packed[50_140:]
    if kind == "zstd" and damage == "cut":
        # zstd's reader ends quietly; the digests of the layer catch it.
        assert b"".join(compression.decompressed(pieces(bad, 9999))) != DATA
        return
    with pytest.raises(ArchiveError):
        b"".join(compression.decompressed(pieces(bad, 9999)))


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_bombs(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_BOMB_BYTES", 20 << 20)
    packed = COMPRESSORS[kind](bytes(64 << 20))
    largest = 0
    with pytest.raises(ArchiveError, match="bomb"):
        for piece in compression.decompressed(pieces(packed, 1 << 20)):
            largest = max(largest, len(piece))
    assert largest <= 1 << 20, "memory must not depend on how far a chunk expands"


def test_zstd_windows_are_bounded() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30, compression_level=1)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = packer.compress(b"x" * 1000) + packer.flush()
    with pytest.raises(ArchiveError):
        b"".join(compression.decompressed(iter([packed])))


def test_zlib_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "isal", None)
    assert isinstance(compression._decompressor("gzip"), type(zlib.decompressobj()))
    assert b"".join(compression.decompressed(pieces(gzip.compress(DATA), 997))) == DATA


def test_checked_passes_the_right_bytes() -> None:
    seen: list[int] = []
    data = b"".join(streams.checked(pieces(DATA, 999_999), sha256(DATA), len(DATA), seen.append))
    assert data == DATA and seen[-1] == len(DATA)


@pytest.mark.parametrize(("data", "size"), [(b"abcd", 3), (b"ab", 3), (b"abd", 3), (b"abd", None)])
def test_checked_refuses_others(data: bytes, size: int | None) -> None:
    with pytest.raises(DigestMismatch):
        b"".join(streams.checked(iter([data]), sha256(b"abc"), size))


def test_read_ahead_passes_bytes_and_errors_on() -> None:
    assert b"".join(streams.read_ahead(pieces(DATA, 10_000))) == DATA

    def failing() -> Iterator[bytes]:
        yield b"1"
        raise ArchiveError("in the thread")

    with pytest.raises(ArchiveError, match="in the thread"):
        list(streams.read_ahead(failing()))


def test_read_ahead_can_be_left() -> None:
    """A consumer that gives up does not leave a thread that waits for room for ever."""
    import threading

    before = threading.active_count()
    for _ in streams.read_ahead(pieces(bytes(10_000_000), 1000)):
        break
    for _ in range(200):
        if threading.active_count() == before:
            break
        threading.Event().wait(0.02)
    assert threading.active_count() == before
