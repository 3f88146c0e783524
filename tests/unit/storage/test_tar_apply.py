"""Layers are unpacked as Podman unpacks them, and hostile ones touch nothing outside of their directory.

Runs without a user namespace, in single-id mode: what is made belongs to the caller.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import tar_apply
from storage.errors import ArchiveError
from storage.tar_apply import Applied, Limits
from storage.tar_headers import ChunkReader
from tests.fixtures.archives import END, directory, file, hard_link, header, long_name, pax, symlink


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A directory to unpack into, beside a canary that no archive may touch."""
    root, canary = tmp_path / "root", tmp_path / "canary"
    root.mkdir()
    canary.mkdir()
    (canary / "secret").write_text("unchanged")
    yield root, canary
    assert sorted(p.name for p in tmp_path.iterdir()) == ["canary", "root"]
    assert [p.name for p in canary.iterdir()] == ["secret"]
    assert (canary / "secret").read_text() == "unchanged"
    assert (canary / "secret").stat().st_nlink == 1


def unpack(root: Path, data: bytes, **options: object) -> Applied:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    before = os.umask(0)
    try:
        return tar_apply.apply(ChunkReader(iter([data + END])), fd, single_id=True, **options)  # type: ignore[arg-type]
    finally:
        os.umask(before)
        os.close(fd)


def test_files_links_and_times(world: tuple[Path, Path]) -> None:
    root, _ = world
    applied = unpack(
        root,
        directory(b"./", mode=0o700, mtime=5)
        + directory(b"d/", mode=0o1777, mtime=6)
        + file(b"d/f", b"content", mode=0o4755, mtime=7)
        + hard_link(b"d/h", b"./d/f")
        + symlink(b"s", b"d/f")
        + header(b"p", b"6", mode=0o600)
        + file(b"implicit/parent/x", b"1"),
    )
    assert (root / "d/f").read_bytes() == b"content"
    assert (root / "d/f").stat().st_mode == 0o104755
    assert (root / "d/f").stat().st_ino == (root / "d/h").stat().st_ino
    assert os.readlink(root / "s") == "d/f"
    assert stat.S_ISFIFO((root / "p").lstat().st_mode)
    assert (root / "d").stat().st_mode == 0o41777
    assert [int(p.stat().st_mtime) for p in (root, root / "d", root / "d/f")] == [5, 6, 7]
    assert root.stat().st_mode == 0o40700
    assert (root / "implicit/parent").stat().st_mode == 0o40755
    assert applied == Applied(7, 8, True)


def test_many_directories(world: tuple[Path, Path]) -> None:
    """More directories than are kept open, visited in an order that closes each before it is needed again."""
    root, _ = world
    names = [b"%d/%d/%d" % (a, b, c) for c in range(3) for b in range(5) for a in range(20)]
    unpack(root, b"".join(file(name, name) for name in names))
    for name in names:
        assert (root / os.fsdecode(name)).read_bytes() == name


def test_hard_link_to_a_far_directory(world: tuple[Path, Path]) -> None:
    root, _ = world
    unpack(
        root,
        file(b"far/away/f", b"1")
        + b"".join(directory(b"d%d/x" % n) for n in range(200))
        + hard_link(b"d1/x/l", b"far/away/f"),
    )
    assert (root / "d1/x/l").read_bytes() == b"1"


def test_owner_is_recorded_when_there_is_one_id(world: tuple[Path, Path]) -> None:
    root, _ = world
    unpack(root, file(b"f", uid=33, gid=44) + directory(b"d", uid=1) + file(b"r"))
    assert os.getxattr(root / "f", "user.pyman.owner") == b"33:44"
    assert os.getxattr(root / "d", "user.pyman.owner") == b"1:0"
    assert "user.pyman.owner" not in os.listxattr(root / "r")


def test_xattrs(world: tuple[Path, Path]) -> None:
    root, _ = world
    records = {
        b"SCHILY.xattr.user.kept": b"a\0b",
        b"SCHILY.xattr.user.overlay.redirect": b"/etc",
        b"SCHILY.xattr.trusted.overlay.opaque": b"y",
        b"SCHILY.xattr.user.pyman.owner": b"0:0",
        b"SCHILY.xattr.security.selinux": b"label",
    }
    unpack(root, pax(records) + file(b"f"))
    assert {name: os.getxattr(root / "f", name) for name in os.listxattr(root / "f") if name.startswith("user")} == {
        "user.kept": b"a\0b"
    }


def is_whiteout(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(path: Path) -> bool:
    return "user.overlay.opaque" in os.listxattr(path)


def test_whiteouts(world: tuple[Path, Path]) -> None:
    root, _ = world
    unpack(
        root,
        directory(b"d")
        + file(b"d/.wh.gone")
        + directory(b"o")
        + file(b"o/.wh..wh..opq")
        + file(b".wh..wh.plnk")
        + file(b".wh.replaced")
        + directory(b"replaced")
        + directory(b"first")
        + file(b"first/kept", b"1")
        + file(b".wh.first")
        + file(b".wh.file")
        + file(b"file", b"new"),
    )
    assert is_whiteout(root / "d/gone")
    assert is_opaque(root / "o") and not is_opaque(root / "d")
    assert is_opaque(root / "replaced"), "a directory that replaces a hidden one must not show the old content"
    assert is_opaque(root / "first") and (root / "first/kept").exists()
    assert (root / "file").read_text() == "new"
    assert sorted(os.listdir(root)) == ["d", "file", "first", "o", "replaced"]


def test_later_entries_win(world: tuple[Path, Path]) -> None:
    root, _ = world
    applied = unpack(
        root,
        file(b"f", b"old")
        + file(b"f", b"new")
        + directory(b"d")
        + file(b"d/x")
        + directory(b"d", mode=0o700)
        + directory(b"tree/a/b")
        + file(b"tree/a/b/c")
        + symlink(b"tree", b"f")
        + symlink(b"l", b"f")
        + directory(b"l"),
    )
    assert (root / "f").read_text() == "new"
    assert (root / "d/x").exists() and (root / "d").stat().st_mode == 0o40700
    assert (root / "tree").is_symlink()
    assert (root / "l").is_dir() and not (root / "l").is_symlink()
    assert not applied.exact, "the content of the first f is lost, so the archive cannot be rebuilt"


def test_writing_through_a_link_stays_inside(world: tuple[Path, Path]) -> None:
    """Docker and Podman extract after chroot: links in the middle of a name are followed inside the root."""
    root, _ = world
    unpack(
        root,
        directory(b"usr/lib")
        + symlink(b"lib", b"usr/lib")
        + file(b"lib/x", b"1")
        + symlink(b"abs", b"/usr")
        + file(b"abs/lib/y", b"2")
        + symlink(b"up", b"../../../../usr/lib")
        + file(b"up/z", b"3"),
    )
    assert sorted(os.listdir(root / "usr/lib")) == ["x", "y", "z"]


def test_directories_that_become_links_are_forgotten(world: tuple[Path, Path]) -> None:
    root, _ = world
    unpack(root, file(b"d/a", b"1") + directory(b"e") + symlink(b"d", b"e") + file(b"d/b", b"2"))
    assert os.listdir(root / "e") == ["b"]


def hostile(canary: Path) -> dict[str, bytes]:
    outside = os.fsencode(canary)
    return {
        "dot dot": file(b"../canary/new", b"evil"),
        "dot dot inside": file(b"a/../../canary/new", b"evil"),
        "dot dot at the end": file(b"a/..", b"evil"),
        "dot dot directory": directory(b".."),
        "absolute": file(outside + b"/new", b"evil"),
        "absolute overwrite": file(outside + b"/secret", b"evil"),
        "link, then through it": symlink(b"l", outside) + file(b"l/new", b"evil"),
        "relative link, then through it": symlink(b"l", b"../canary") + file(b"l/new", b"evil"),
        "link, then overwrite through it": symlink(b"l", outside) + file(b"l/secret", b"evil"),
        "link to a file, then write it": symlink(b"l", outside + b"/secret") + file(b"l", b"evil"),
        "link chain": symlink(b"a", b"..") + symlink(b"b", b"a/canary") + file(b"b/new", b"evil"),
        "link in the middle": directory(b"d") + symlink(b"d/l", b"../../canary") + directory(b"d/l/new"),
        "directory over a link": symlink(b"l", outside) + directory(b"l", mode=0o777) + file(b"l/new", b"evil"),
        "directory mode through a link": symlink(b"l", outside) + directory(b"l/.", mode=0),
        "hard link out": hard_link(b"h", b"../canary/secret") + file(b"h", b"evil"),
        "hard link absolute": hard_link(b"h", outside + b"/secret") + file(b"h", b"evil"),
        "hard link through a link": symlink(b"l", outside) + hard_link(b"h", b"l/secret") + file(b"h", b"evil"),
        "hard link to a link": symlink(b"l", outside + b"/secret") + hard_link(b"h", b"l") + file(b"h", b"evil"),
        "hard link through dot dot": directory(b"d") + hard_link(b"d/h", b"d/../../canary/secret"),
        "hard link to the root": hard_link(b"h", b"/"),
        "hard link to a directory": directory(b"d") + hard_link(b"h", b"d"),
        "hard link to a whiteout": file(b".wh.w") + hard_link(b"h", b"w"),
        "hard link to nothing": hard_link(b"h", b"nothing"),
        "hard link to itself": hard_link(b"h", b"h"),
        "whiteout out": file(b"../canary/.wh.secret"),
        "whiteout through a link": symlink(b"l", outside) + file(b"l/.wh.secret"),
        "opaque through a link": symlink(b"l", outside) + file(b"l/.wh..wh..opq"),
        "whiteout of nothing": file(b".wh."),
        "whiteout of dot": file(b".wh.."),
        "whiteout of dot dot": file(b".wh..."),
        "whiteout of a name with dot dot": file(b"d/../../canary/.wh.secret"),
        "device": header(b"sda", b"4", major=8) + header(b"null", b"3", major=1, minor=3),
        "device that is a whiteout": header(b"etc", b"3"),
        "fifo through a link": symlink(b"l", outside) + header(b"l/fifo", b"6"),
        "link through a link": symlink(b"l", outside) + symlink(b"l/new", b"x"),
        "long name out": long_name(b"x/" * 60 + b"../" * 61 + b"canary/new") + file(b"short", b"evil"),
        "pax name out": pax({b"path": b"../canary/new"}) + file(b"short", b"evil"),
        "pax link out": pax({b"linkpath": outside + b"/secret"}) + hard_link(b"h", b"x"),
        "root is a file": file(b"./", b"evil"),
        "root is a link": symlink(b".", outside),
        "empty name": file(b"", b"evil"),
        "deep": pax({b"path": b"d/" * 500 + b"f"}) + file(b"short"),
        "long component": pax({b"path": b"n" * 256}) + file(b"short"),
        "long path": pax({b"path": b"n" * 200 + b"/" + b"m/" * 2000}) + file(b"short"),
        "empty link": symlink(b"l", b""),
        "not UTF-8": file(b"\xff\xfe", b"fine"),
        "proc link": symlink(b"p", b"/proc/self/root") + file(b"p" + outside + b"/new", b"evil"),
        "link loop": symlink(b"a", b"b") + symlink(b"b", b"a") + file(b"a/x", b"evil"),
        "file as directory": file(b"f") + file(b"f/x", b"evil"),
    }


@pytest.mark.parametrize("case", hostile(Path("/nowhere")).keys())
def test_hostile_archives_are_contained_or_refused(world: tuple[Path, Path], case: str) -> None:
    root, canary = world
    before = canary.stat()
    try:
        unpack(root, hostile(canary)[case])
    except ArchiveError as error:
        assert str(error).isprintable()
    after = canary.stat()
    assert (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns)
    assert os.listxattr(canary) == []


REFUSED = [
    *(
        "dot dot",
        "dot dot inside",
        "dot dot directory",
        "hard link out",
        "hard link to the root",
        "whiteout of nothing",
    ),
    *("whiteout of dot dot", "root is a file", "deep", "long component", "long path", "hard link to a directory"),
    *("hard link to nothing", "hard link to a whiteout", "link loop", "file as directory", "empty link"),
]


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_well_is_refused(world: tuple[Path, Path], case: str) -> None:
    root, canary = world
    with pytest.raises(ArchiveError):
        unpack(root, hostile(canary)[case])


def test_devices_are_left_out(world: tuple[Path, Path]) -> None:
    root, canary = world
    unpack(root, hostile(canary)["device"] + hostile(canary)["device that is a whiteout"])
    assert os.listdir(root) == []


def test_limits(world: tuple[Path, Path]) -> None:
    root, _ = world
    with pytest.raises(ArchiveError, match="more than 10 entries"):
        unpack(root, b"".join(directory(b"%d" % n) for n in range(20)), limits=Limits(entries=10))
    with pytest.raises(ArchiveError, match="more than 5 bytes"):
        unpack(root, file(b"f", b"123456"), limits=Limits(total_bytes=5))
