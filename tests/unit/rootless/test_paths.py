"""The same cases through openat2 and through the walk that replaces it; no privilege is needed for either."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootless import paths
from rootless.errors import KernelError

Open = Callable[..., int]


@pytest.fixture(params=[paths.open_in_root, paths._walk_and_open], ids=["openat2", "walk"])
def open_below(request: pytest.FixtureRequest) -> Open:
    function: Open = request.param
    return lambda root_fd, path, flags, mode=0: function(root_fd, path, flags, mode)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    return tmp_path / "outside"


@pytest.fixture
def root(tmp_path: Path, outside: Path) -> Iterator[int]:
    base = tmp_path / "root"
    for directory in ("etc", "a/b/c", "run"):
        (base / directory).mkdir(parents=True)
    (base / "etc/passwd").write_text("root:x:0:0::/:\n")
    (base / "a/b/c/file").write_text("deep")
    for link, target in {
        "abs": "/etc/passwd",
        "out": f"{outside}/secret",
        "up": "../../../../../../etc/passwd",
        "a/rel": "b/c/file",
        "a/back": "../etc/passwd",
        "dir": "a/b",
        "loop1": "loop2",
        "loop2": "loop1",
        "root": "/",
        "dangling": "/new/place",
        "dangling-out": str(outside / "new"),
    }.items():
        (base / link).symlink_to(target)
    fd = os.open(base, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def _read(fd: int) -> str:
    with os.fdopen(fd) as file:
        return file.read()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("etc/passwd", "root:x:0:0::/:\n"),
        ("/etc/passwd", "root:x:0:0::/:\n"),
        ("//etc//./passwd", "root:x:0:0::/:\n"),
        ("../../etc/passwd", "root:x:0:0::/:\n"),
        ("/a/../../etc/passwd", "root:x:0:0::/:\n"),
        ("abs", "root:x:0:0::/:\n"),
        ("up", "root:x:0:0::/:\n"),
        ("a/back", "root:x:0:0::/:\n"),
        ("a/rel", "deep"),
        ("dir/c/file", "deep"),
        ("root/root/root/dir/../back", "root:x:0:0::/:\n"),
    ],
)
def test_inside(open_below: Open, root: int, path: str, text: str) -> None:
    assert _read(open_below(root, path, os.O_RDONLY)) == text


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("out", errno.ENOENT),
        ("missing", errno.ENOENT),
        ("missing/x", errno.ENOENT),
        ("etc/passwd/x", errno.ENOTDIR),
        ("loop1", errno.ELOOP),
        ("loop1/x", errno.ELOOP),
        ("dangling", errno.ENOENT),
        ("x" * 300, errno.ENAMETOOLONG),
    ],
)
def test_errors(open_below: Open, root: int, path: str, number: int) -> None:
    with pytest.raises(OSError) as caught:
        open_below(root, path, os.O_RDONLY)
    assert caught.value.errno == number


@pytest.mark.parametrize("path", ["", "/", ".", "..", "root", "a/..", "../.."])
def test_the_root_itself(open_below: Open, root: int, path: str) -> None:
    fd = open_below(root, path, os.O_PATH | os.O_DIRECTORY)
    assert os.path.sameopenfile(fd, root)
    os.close(fd)


def test_descriptors_are_close_on_exec(open_below: Open, root: int) -> None:
    fd = open_below(root, "etc", os.O_RDONLY)
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_nofollow_is_kept(open_below: Open, root: int) -> None:
    with pytest.raises(OSError) as caught:
        open_below(root, "abs", os.O_RDONLY | os.O_NOFOLLOW)
    assert caught.value.errno == errno.ELOOP
    fd = open_below(root, "abs", os.O_PATH | os.O_NOFOLLOW)
    assert stat.S_ISLNK(os.fstat(fd).st_mode)
    os.close(fd)


def test_creating_through_a_link_stays_inside(open_below: Open, root: int, tmp_path: Path) -> None:
    os.mkdir("new", dir_fd=root)
    os.close(open_below(root, "dangling", os.O_WRONLY | os.O_CREAT, 0o600))
    assert (tmp_path / "root/new/place").exists()


NAMES = ["a", "b", "..", ".", "link", "abs", "up", ""]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(NAMES), max_size=8),
    st.sampled_from([os.O_PATH, os.O_PATH | os.O_NOFOLLOW]),
    st.sampled_from(["/a", "..", "a/b", "/", "b", "b/", "a/.", "/link"]),
)
def test_walk_and_openat2_agree(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], flags: int, target: str
) -> None:
    base = tmp_path_factory.mktemp("root")
    (base / "a/b").mkdir(parents=True)
    (base / "b").write_text("file")
    (base / "link").symlink_to(target)
    (base / "a/abs").symlink_to("/b")
    (base / "a/up").symlink_to("../../../a")
    path = "/".join(parts)
    root_fd = os.open(base, os.O_PATH)

    def attempt(function: Open) -> object:
        try:
            fd = function(root_fd, path, flags, 0)
        except OSError as error:
            return error.errno
        status = os.fstat(fd)
        os.close(fd)
        return status.st_ino

    assert attempt(paths._walk_and_open) == attempt(paths.open_in_root)
    os.close(root_fd)


def test_make_directories(root: int, tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        fd = paths.make_directories_in_root(root, "/x/y/../z", 0o755)
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o755
    assert os.path.samefile(f"/proc/self/fd/{fd}", tmp_path / "root/x/z")
    os.close(fd)
    os.close(paths.make_directories_in_root(root, "/x/z", 0o700))
    assert stat.S_IMODE((tmp_path / "root/x/z").stat().st_mode) == 0o755  # what is there stays


@pytest.mark.parametrize(
    ("path", "made"),
    [("dangling", "new/place"), ("dangling/deeper", "new/place/deeper"), ("dir/../n", "a/n"), ("/", "")],
)
def test_make_directories_through_links(root: int, tmp_path: Path, path: str, made: str) -> None:
    fd = paths.make_directories_in_root(root, path, 0o755)
    assert os.path.samefile(f"/proc/self/fd/{fd}", tmp_path / "root" / made)
    os.close(fd)


def test_nothing_is_made_outside(root: int, outside: Path, tmp_path: Path) -> None:
    os.close(paths.make_directories_in_root(root, "dangling-out/dir", 0o755))
    os.close(paths.make_file_in_root(root, "dangling-out/dir/file", 0o644))
    assert sorted(p.name for p in outside.iterdir()) == ["secret"]
    assert (tmp_path / "root" / str(outside).lstrip("/") / "new/dir/file").is_file()


def test_make_directories_refuses_a_file_in_the_way(root: int) -> None:
    with pytest.raises(NotADirectoryError):
        paths.make_directories_in_root(root, "etc/passwd/x", 0o755)
    with pytest.raises(OSError) as caught:
        paths.make_directories_in_root(root, "loop1/x", 0o755)
    assert caught.value.errno == errno.ELOOP


def test_make_file(root: int, tmp_path: Path) -> None:
    fd = paths.make_file_in_root(root, "deep/er/file", 0o640)
    assert stat.S_ISREG(os.fstat(fd).st_mode) and stat.S_IMODE(os.fstat(fd).st_mode) == 0o640
    os.close(fd)
    os.close(paths.make_file_in_root(root, "abs", 0o600))
    assert (tmp_path / "root/etc/passwd").read_text() == "root:x:0:0::/:\n"  # what is there stays


def test_read_file(root: int) -> None:
    assert paths.read_file_in_root(root, "abs", 100) == b"root:x:0:0::/:\n"
    assert paths.read_file_in_root(root, "abs", 15) == b"root:x:0:0::/:\n"
    with pytest.raises(KernelError, match="larger than 14 bytes"):
        paths.read_file_in_root(root, "abs", 14)
    with pytest.raises(FileNotFoundError):
        paths.read_file_in_root(root, "out", 100)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", ["fifo", "directory", "socket", "sparse", "link to a fifo"])
def test_read_file_never_hangs_and_has_a_limit(root: int, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "root/file"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(tmp_path / "root")  # the whole path would be too long for a socket
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("file")
        os.chdir(here)
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(10 << 30)
    else:
        os.mkfifo(tmp_path / "root/fifo")
        path.symlink_to("/fifo")
    with pytest.raises(KernelError, match="not a regular file" if kind != "sparse" else "larger than 1000 bytes"):
        paths.read_file_in_root(root, "file", 1000)


def test_a_path_that_changes_all_the_time_never_leads_out(open_below: Open, root: int, tmp_path: Path) -> None:
    """Swap a directory for a link to the outside while it is opened: the outside is never reached."""
    base = tmp_path / "root"
    (base / "swap").mkdir()
    (base / "swap" / "secret").write_text("inside")
    (base / "evil").symlink_to(str(tmp_path / "outside"))
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            os.rename(base / "swap", base / "aside")
            os.rename(base / "evil", base / "swap")
            os.rename(base / "swap", base / "evil")
            os.rename(base / "aside", base / "swap")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(3000):
            try:
                text = _read(open_below(root, "swap/secret", os.O_RDONLY))
            except OSError:
                continue
            assert text == "inside"
    finally:
        stop.set()
        thread.join()
