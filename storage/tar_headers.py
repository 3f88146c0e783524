"""Tar headers: ustar, GNU and PAX, read from a stream of chunks. Bytes in, entries out; no file is touched.

Formats: POSIX pax (IEEE 1003.1), the GNU tar manual's "Basic Tar Format", star's SCHILY.xattr. Archives are hostile
until read: every number is checked for its range, every length has a cap, memory does not depend on the archive.
"""

from __future__ import annotations

import struct

from storage.errors import ArchiveError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK = 512
_ZEROS = bytes(BLOCK)
_LAYOUT = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")

FILE, HARD_LINK, SYMLINK, CHAR_DEVICE, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_REGULAR = (FILE, b"\0", b"7")
_KNOWN = (FILE, HARD_LINK, SYMLINK, CHAR_DEVICE, BLOCK_DEVICE, DIRECTORY, FIFO)
_GNU_LONG_NAME, _GNU_LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_EXTENSIONS = (_GNU_LONG_NAME, _GNU_LONG_LINK, _PAX, _PAX_GLOBAL)
_XATTR_PREFIX = b"SCHILY.xattr."

MAX_EXTENSION_BYTES = 1 << 20
MAX_EXTENSIONS_IN_A_ROW = 16
MAX_NAME_BYTES = 4096  # PATH_MAX: no program could open a longer one
MAX_ID = 0xFFFFFFFE
MAX_SIZE = 1 << 50
_MIN_TIME_S, _MAX_TIME_S = -(1 << 31), 1 << 33  # what every Linux file system can hold, to the year 2242


class Entry:
    """One member of an archive. Names are bytes as they were written; `kind` is one of the seven type flags above."""

    __slots__ = ("gid", "kind", "link", "major", "minor", "mode", "mtime_ns", "name", "size", "uid", "xattrs")

    def __init__(
        self, kind: bytes, name: bytes, link: bytes, mode: int, uid: int, gid: int, size: int, mtime_ns: int
    ) -> None:
        self.kind = kind
        self.name = name
        self.link = link
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.mtime_ns = mtime_ns
        self.major = 0
        self.minor = 0
        self.xattrs: dict[bytes, bytes] | None = None


class ChunkReader:
    """Reads exact lengths from an iterator of chunks, with as little copying as slices allow."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = memoryview(b"")
        self._at = 0
        self._length = 0

    def _refill(self) -> bool:
        for chunk in self._chunks:
            if chunk:
                self._chunk = memoryview(chunk)
                self._at = 0
                self._length = len(chunk)
                return True
        return False

    def exactly(self, count: int) -> bytes:
        """Return `count` bytes, or fewer at the end of the stream."""
        at = self._at
        if at + count <= self._length:
            self._at = at + count
            return bytes(self._chunk[at : at + count])
        parts = []
        while count:
            part = self.some(count)
            if not part:
                break
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def some(self, most: int) -> memoryview:
        """Return between 1 and `most` bytes without a copy; none at the end of the stream."""
        if self._at == self._length and not self._refill():
            return memoryview(b"")
        at = self._at
        self._at = min(at + most, self._length)
        return self._chunk[at : self._at]

    def skip(self, count: int) -> None:
        while count:
            part = self.some(count)
            if not part:
                raise ArchiveError("the archive ends in the middle of a file")
            count -= len(part)

    def rest(self) -> Iterator[bytes]:
        """Return what is left, chunk by chunk."""
        while part := self.some(1 << 20):
            yield bytes(part)


def entries(reader: ChunkReader, keep: Callable[[bytes], object] | None = None) -> Iterator[Entry]:
    """Return the members in order. The consumer takes exactly `entry.size` bytes of each from `reader` before the next.

    `keep` is given every byte that is not file content, in order: headers, padding, the end mark and what follows it.
    Raises ArchiveError.
    """
    extended: dict[bytes, bytes] = {}
    in_a_row = 0
    while block := reader.exactly(BLOCK):
        if len(block) < BLOCK:
            raise ArchiveError("the archive ends in the middle of a header")
        if keep is not None:
            keep(block)
        if block == _ZEROS:
            _drain(reader, keep)
            break
        fields = _LAYOUT.unpack(block)
        if sum(block) - sum(block[148:156]) + 256 != _checksum(fields[6]):  # the field itself counts as 8 spaces
            raise ArchiveError("this is no tar archive, or a damaged one (wrong checksum in a header)")
        kind = fields[7]
        if kind in _EXTENSIONS:
            in_a_row += 1
            if in_a_row > MAX_EXTENSIONS_IN_A_ROW:
                raise ArchiveError("too many extension headers in a row")
            _read_extension(reader, kind, _size(fields[4]), extended, keep)
            continue
        if kind == b"V":  # GNU volume label
            continue
        entry = _entry(fields, extended) if not extended else _extended_entry(fields, extended)
        extended = {}
        in_a_row = 0
        size = entry.size
        yield entry
        if padding := -size % BLOCK:
            _kept(reader, padding, keep)
    if extended:
        raise ArchiveError("the archive ends after an extension header")


def _kept(reader: ChunkReader, count: int, keep: Callable[[bytes], object] | None) -> bytes:
    data = reader.exactly(count)
    if len(data) < count:
        raise ArchiveError("the archive ends in the middle of an entry")
    if keep is not None:
        keep(data)
    return data


def _drain(reader: ChunkReader, keep: Callable[[bytes], object] | None) -> None:
    """Read on to the end of the stream: digests cover what follows the end mark."""
    for part in reader.rest():
        if keep is not None:
            keep(part)


def _entry(fields: tuple[bytes, ...], extended: dict[bytes, bytes]) -> Entry:
    kind = fields[7]
    name = fields[0].split(b"\0", 1)[0]
    if fields[9] == b"ustar\00000" and fields[14][0]:
        name = fields[14].split(b"\0", 1)[0] + b"/" + name
    if kind in _REGULAR:
        # Before POSIX a directory was a file whose name ends in a slash.
        kind = DIRECTORY if kind == b"\0" and name.endswith(b"/") else FILE
    elif kind not in _KNOWN:
        if kind == b"S":
            raise _sparse(name)
        raise ArchiveError(f"{printable(name)}: unknown kind of tar entry {kind!r}")
    size = _size(fields[4]) if b"size" not in extended else _decimal(extended[b"size"], "size", MAX_SIZE)
    mtime_s = min(max(_signed(fields[5]), _MIN_TIME_S), _MAX_TIME_S)
    entry = Entry(
        kind,
        name,
        fields[8].split(b"\0", 1)[0],
        _number(fields[1], "mode") & 0o7777,
        _id(fields[2], "uid"),
        _id(fields[3], "gid"),
        size if kind == FILE else 0,  # old archives give hard links a size, and no content
        mtime_s * 1_000_000_000,
    )
    if kind in (CHAR_DEVICE, BLOCK_DEVICE):
        entry.major = _number(fields[12], "device")
        entry.minor = _number(fields[13], "device")
    return entry


def _extended_entry(fields: tuple[bytes, ...], extended: dict[bytes, bytes]) -> Entry:
    entry = _entry(fields, extended)
    for key, value in extended.items():
        if key in (b"path", b"linkpath") and b"\0" in value:
            raise ArchiveError(f"{printable(value)}: a name with a NUL byte")
        if key == b"path":
            entry.name = value
        elif key == b"linkpath":
            entry.link = value
        elif key == b"uid":
            entry.uid = _decimal(value, "uid", MAX_ID)
        elif key == b"gid":
            entry.gid = _decimal(value, "gid", MAX_ID)
        elif key == b"mtime":
            entry.mtime_ns = _pax_time(value)
        elif key.startswith(_XATTR_PREFIX):
            if entry.xattrs is None:
                entry.xattrs = {}
            entry.xattrs[key[len(_XATTR_PREFIX) :]] = value
        elif key.startswith(b"GNU.sparse."):
            raise _sparse(entry.name)
    return entry


def _sparse(name: bytes) -> ArchiveError:
    return ArchiveError(
        f"{printable(name)}: sparse files in archives are not supported", hint="make the archive without --sparse"
    )


def _read_extension(
    reader: ChunkReader,
    kind: bytes,
    size: int,
    extended: dict[bytes, bytes],
    keep: Callable[[bytes], object] | None,
) -> None:
    if size > MAX_EXTENSION_BYTES:
        raise ArchiveError(f"an extension header of {size} bytes; at most {MAX_EXTENSION_BYTES} are accepted")
    data = _kept(reader, size + -size % BLOCK, keep)[:size]
    if kind == _GNU_LONG_NAME:
        extended.setdefault(b"path", data.split(b"\0", 1)[0])
    elif kind == _GNU_LONG_LINK:
        extended.setdefault(b"linkpath", data.split(b"\0", 1)[0])
    elif kind == _PAX:
        extended.update(_pax_records(data))
    # Global headers are ignored, as Podman and Docker do: git writes a comment there.


def _pax_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Split `LENGTH KEY=VALUE\\n` records; LENGTH counts the whole record."""
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        digits = data[at:space] if space > 0 else b""
        if not digits.isdigit():
            raise ArchiveError("malformed PAX header")
        end = at + int(digits)
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if end > len(data) or end <= space + 2 or data[end - 1 : end] != b"\n" or not equals or not key:
            raise ArchiveError("malformed PAX header")
        yield key, value
        at = end


def _pax_time(value: bytes) -> int:
    seconds, _, fraction = value.partition(b".")
    negative = seconds.startswith(b"-")
    digits = seconds[1:] if negative else seconds
    if not digits.isdigit() or (fraction and not fraction.isdigit()) or len(value) > 40:
        raise ArchiveError("malformed time in a PAX header")
    nanoseconds = int((fraction + b"000000000")[:9])
    total = int(digits) * 1_000_000_000 + nanoseconds
    total = -total if negative else total
    return min(max(total, _MIN_TIME_S * 1_000_000_000), _MAX_TIME_S * 1_000_000_000)


def _decimal(value: bytes, what: str, most: int) -> int:
    if not value.isdigit() or len(value) > 20 or int(value) > most:
        raise ArchiveError(f"{what} out of range in a PAX header: {printable(value)}")
    return int(value)


def _checksum(field: bytes) -> int:
    try:
        return int(field.rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        return -1


def _size(field: bytes) -> int:
    size = _number(field, "size")
    if size > MAX_SIZE:
        raise ArchiveError(f"a file of {size} bytes")
    return size


def _id(field: bytes, what: str) -> int:
    number = _number(field, what)
    if number > MAX_ID:
        raise ArchiveError(f"{what} {number} is out of range")
    return number


def _number(field: bytes, what: str) -> int:
    """Return a number that must not be negative: octal digits, or GNU's base 256."""
    number = _signed(field)
    if number < 0:
        raise ArchiveError(f"negative {what} in a tar header")
    return number


def _signed(field: bytes) -> int:
    try:
        return int(field.rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        pass
    if field[0] & 0x80:
        # GNU: the first bit marks base 256, two's complement in the other bits.
        number = int.from_bytes(field, "big") & ~(0x80 << 8 * (len(field) - 1))
        return number - (1 << 8 * len(field) - 1) if field[0] & 0x40 else number
    digits = field.split(b"\0", 1)[0].strip(b" ")
    if not digits:
        return 0
    if not digits.lstrip(b"-").isdigit():
        raise ArchiveError(f"malformed number in a tar header: {field!r}")
    try:
        return int(digits, 8)
    except ValueError:
        raise ArchiveError(f"malformed number in a tar header: {field!r}") from None


def printable(name: bytes) -> str:
    """Return a name for a message: no control characters, bounded."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)[:200]
