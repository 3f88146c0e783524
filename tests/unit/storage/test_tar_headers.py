"""The tar reader agrees with Python's tarfile on good archives, and refuses bad ones in bounded time and memory."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import tar_headers
from storage.errors import ArchiveError
from storage.tar_headers import ChunkReader, Entry
from tests.fixtures.archives import END, directory, file, hard_link, header, long_name, padded, pax


def read(data: bytes, chunk: int = 700) -> list[tuple[Entry, bytes]]:
    reader = ChunkReader(data[at : at + chunk] for at in range(0, len(data), chunk))
    return [(entry, reader.exactly(entry.size)) for entry in tar_headers.entries(reader)]


def test_ustar_prefix_and_content() -> None:
    found = read(file(b"name", b"hello", prefix=b"a/b") + directory(b"d/") + END)
    assert [(entry.name, entry.kind, data) for entry, data in found] == [
        (b"a/b/name", b"0", b"hello"),
        (b"d/", b"5", b""),
    ]


def test_gnu_long_names() -> None:
    name, target = b"n" * 300, b"t" * 250
    found = read(long_name(name) + long_name(target, b"K") + hard_link(b"short", b"short") + END)
    assert (found[0][0].name, found[0][0].link) == (name, target)


def test_pax_overrides() -> None:
    records = {
        b"path": "ü/x".encode(),
        b"size": b"5",
        b"uid": b"70000",
        b"mtime": b"12.25",
        b"SCHILY.xattr.user.a": b"1\n",
    }
    [(entry, data)] = read(pax(records) + header(b"short") + padded(b"12345") + END)
    assert (entry.name, data, entry.uid) == ("ü/x".encode(), b"12345", 70000)
    assert (entry.mtime_ns, entry.xattrs) == (12_250_000_000, {b"user.a": b"1\n"})


def test_global_pax_headers_change_nothing() -> None:
    [(entry, _)] = read(pax({b"path": b"evil", b"comment": b"git"}, b"g") + file(b"good") + END)
    assert entry.name == b"good"


def test_base_256_numbers() -> None:
    size = b"\x80" + (3).to_bytes(11, "big")
    [(_, data)] = read(header(b"f", size=size) + padded(b"abc") + END)
    assert data == b"abc"


def test_old_directories_are_files_with_a_slash() -> None:
    [(entry, _)] = read(header(b"d/", b"\0") + END)
    assert entry.kind == tar_headers.DIRECTORY


def test_hard_links_have_no_content_whatever_they_claim() -> None:
    found = read(header(b"l", b"1", size=5, link=b"t") + file(b"next") + END)
    assert [entry.name for entry, _ in found] == [b"l", b"next"]


def test_end_mark_may_be_missing() -> None:
    assert len(read(file(b"a"))) == 1


def test_everything_but_content_is_kept() -> None:
    data = pax({b"path": b"x"}) + file(b"f", b"12345") + END + b"trailing garbage"
    kept: list[bytes] = []
    reader = ChunkReader(iter([data]))
    for entry in tar_headers.entries(reader, kept.append):
        reader.skip(entry.size)
    assert b"".join(kept) == data.replace(b"12345", b"", 1)


BAD = {
    "truncated header": file(b"a")[:300],
    "truncated content": file(b"a", b"x" * 2000)[:1024],
    "truncated extension": pax({b"path": b"x" * 600})[:600],
    "wrong checksum": b"x" + file(b"a")[1:],
    "text": b"hello world\n" * 100,
    "negative size": header(b"a", size=b"\xff" * 12),
    "huge size": header(b"a", size=b"\x80" + b"\x7f" * 11),
    "negative octal size": header(b"a", size=b"-0000000001\0"),
    "letters as size": header(b"a", size=b"12zz"),
    "negative pax size": pax({b"size": b"-1"}) + header(b"a"),
    "huge pax size": pax({b"size": b"9" * 19}) + header(b"a"),
    "endless pax size": pax({b"size": b"9" * 5000}) + header(b"a"),
    "NUL in a name": pax({b"path": b"a\0b"}) + header(b"a"),
    "pax record of length 0": header(b"p", b"x", size=10) + padded(b"0 path=xx\n"),
    "pax record too long": header(b"p", b"x", size=10) + padded(b"99 path=x\n"),
    "pax record negative": header(b"p", b"x", size=10) + padded(b"-5 path=x\n"),
    "pax record without equals": header(b"p", b"x", size=9) + padded(b"9 path x\n"),
    "pax time": pax({b"mtime": b"nan"}) + header(b"a"),
    "pax header too large": header(b"p", b"x", size=2 << 20),
    "only extensions": pax({b"path": b"x"}) * 20 + file(b"a"),
    "extension at the end": pax({b"path": b"x"}) + END,
    "uid out of range": pax({b"uid": b"4294967295"}) + header(b"a"),
    "GNU sparse": header(b"a", b"S"),
    "PAX sparse": pax({b"GNU.sparse.major": b"1"}) + header(b"a"),
    "unknown kind": header(b"a", b"Z"),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_bad_archives_are_refused(data: bytes) -> None:
    with pytest.raises(ArchiveError):
        read(data)


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=300)
FORMATS = st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


@given(
    st.lists(st.tuples(NAMES, st.binary(max_size=1500), st.integers(0, 2**31)), max_size=6),
    FORMATS,
    st.integers(1, 2000),
)
def test_agrees_with_tarfile(items: list[tuple[str, bytes, int]], format_: int, chunk: int) -> None:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=format_, encoding="utf-8") as archive:
        for name, data, number in items:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uid, info.mode = len(data), number, number, number & 0o777
            archive.addfile(info, io.BytesIO(data))
    found = read(output.getvalue(), chunk)
    with tarfile.open(fileobj=io.BytesIO(output.getvalue()), encoding="utf-8") as archive:
        expected = archive.getmembers()
        assert len(found) == len(expected)
        for (entry, data), member, (name, content, number) in zip(found, expected, items, strict=True):
            assert data == content
            assert (entry.uid, entry.mode, entry.mtime_ns) == (number, number & 0o777, number * 10**9)
            assert entry.name.decode().rstrip("/") == member.name.rstrip("/") or name.endswith("/")


@given(st.integers(0, 3000), st.binary(min_size=1, max_size=40))
def test_damage_is_an_archive_error_or_another_archive(at: int, damage: bytes) -> None:
    data = (
        pax({b"path": b"x" * 200, b"mtime": b"1.5"}) + file(b"a", b"1" * 700) + long_name(b"y" * 150) + file(b"b") + END
    )
    damaged = data[:at] + damage + data[at + len(damage) :]
    try:
        for entry, _ in read(damaged):
            assert entry.size >= 0
    except ArchiveError:
        pass
