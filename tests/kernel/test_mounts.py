"""Mount operations in a user namespace of one's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rootless import mounts, userns
from rootless.constants import MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY
from rootless.errors import KernelError

pytestmark = pytest.mark.anyone


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "root"
    (directory / "etc").mkdir(parents=True)
    (directory / "etc" / "file").write_text("of the root\n")
    (directory / "out").symlink_to(tmp_path / "canary")
    (directory / "up").symlink_to("../../canary")
    (tmp_path / "canary").mkdir()
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "inner").write_text("inner\n")
    return directory


def apply(root: Path, *operations: mounts.Operation, then: Callable[[], str] = lambda: "") -> str:
    def work() -> bytes:
        # A mount of its own, which mounts can be attached below.
        tree = mounts.new_mount("tmpfs", ("mode=0700",), 0)
        os.close(tree)
        root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
        null_fd = mounts.null_device()
        for operation in operations:
            mounts.apply(operation, root_fd, null_fd)
        return then().encode() or b"-"

    return userns.run_mapped(work, userns.default_maps()).decode()


def flags(path: Path) -> set[str]:
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return set([line for line in lines if line[4] == str(path)][-1][5].split(","))


def test_bind(root: Path, tmp_path: Path) -> None:
    """A missing mount point is made, and what is denied is denied."""
    bind = mounts.Bind(
        str(tmp_path / "source"), "/new/place", True, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
    )
    said = apply(
        root, bind, then=lambda: (root / "new/place/inner").read_text() + ",".join(sorted(flags(root / "new/place")))
    )
    assert said.startswith("inner\n") and {"ro", "nosuid", "nodev"} <= set(said.splitlines()[1].split(","))
    assert os.listdir(root / "new" / "place") == []


def test_bind_of_a_file(root: Path, tmp_path: Path) -> None:
    bind = mounts.Bind(str(tmp_path / "source" / "inner"), "/etc/file", False)
    assert apply(root, bind, then=lambda: (root / "etc/file").read_text()) == "inner\n"
    bind = mounts.Bind(str(tmp_path / "source" / "inner"), "/made/file", False)
    assert apply(root, bind, then=lambda: (root / "made/file").read_text()) == "inner\n"


@pytest.mark.parametrize("link", ["out", "up"])
def test_targets_never_leave_the_root(root: Path, tmp_path: Path, link: str) -> None:
    bind = mounts.Bind(str(tmp_path / "source"), f"/{link}/new", True)
    apply(root, bind, then=lambda: ",".join(os.listdir(tmp_path / "canary")))
    assert os.listdir(tmp_path / "canary") == []


def test_missing_source(root: Path) -> None:
    with pytest.raises(KernelError, match="/nonexistent"):
        apply(root, mounts.Bind("/nonexistent", "/etc", True))


def test_new_filesystem(root: Path) -> None:
    """tmpfs with what was there copied up."""
    new = mounts.NewFilesystem("tmpfs", "/etc", MOUNT_ATTR_NODEV, ("mode=0700", "size=1m"), copy_up=True)
    said = apply(root, new, then=lambda: (root / "etc/file").read_text() + oct((root / "etc").stat().st_mode))
    assert said == "of the root\n0o40700"
    new = mounts.NewFilesystem("tmpfs", "/etc", MOUNT_ATTR_RDONLY, ())
    look = [lambda: ",".join(os.listdir(root / "etc")), lambda: ",".join(flags(root / "etc"))]
    assert apply(root, new, then=look[0]) == "-"
    assert "ro" in apply(root, new, then=look[1]).split(",")


def test_links_for_standard_directories_are_not_followed(root: Path, tmp_path: Path) -> None:
    (root / "proc").symlink_to(tmp_path / "canary")
    new = mounts.NewFilesystem("tmpfs", "/proc", 0, (), follow_links=False)
    with pytest.raises(KernelError):
        apply(root, new)


def test_mask_and_read_only(root: Path) -> None:
    """A masked file reads as empty, a masked directory is empty, and what is not there is no error."""

    def look() -> str:
        try:
            (root / "etc" / "new").touch()
        except OSError as error:
            return f"{(root / 'file').read_text()}{os.listdir(root / 'dir')}{error.errno}"
        return "written"

    (root / "file").write_text("secret")
    (root / "dir").mkdir()
    (root / "dir" / "secret").touch()
    masks = [mounts.Mask(path) for path in ("/file", "/dir", "/nonexistent")]
    assert apply(root, *masks, mounts.ReadOnly("/etc"), mounts.ReadOnly("/nonexistent"), then=look) == "[]30"


def test_overlay(root: Path, tmp_path: Path) -> None:
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    overlay = mounts.Overlay(str(tmp_path / "source"), str(tmp_path / "upper"), str(tmp_path / "work"), "/etc")

    def change() -> str:
        (root / "etc" / "inner").write_text("changed\n")
        return (root / "etc" / "inner").read_text()

    assert apply(root, overlay, then=change) == "changed\n"
    assert (tmp_path / "source" / "inner").read_text() == "inner\n"
    assert (tmp_path / "upper" / "inner").read_text() == "changed\n"
    userns.run_mapped(lambda: (os.system(f"rm -rf {tmp_path}/work"), b"x")[1], userns.default_maps())
