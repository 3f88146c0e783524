"""Mounts of a spec -> operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rootless import rootfs
from rootless.constants import MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY
from rootless.errors import KernelError
from rootless.mounts import Bind, Mask, NewFilesystem, Overlay, ReadOnly, Symlink

if TYPE_CHECKING:
    from rootless.oci import MountEntry, Spec


def spec(*mounts: MountEntry, **linux: list[str]) -> Spec:
    return {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {"args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "mounts": list(mounts),
        "linux": {"namespaces": [], **linux},  # type: ignore[typeddict-item]
    }


def test_options() -> None:
    options = rootfs.parse_options(
        ["ro", "nosuid", "noexec", "rw", "rslave", "tmpcopyup", "size=1m", "relatime", "rnodev"]
    )
    assert options.set_ == MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC
    assert options.clear == MOUNT_ATTR_RDONLY
    assert options.recursive == MOUNT_ATTR_NODEV
    assert (options.propagation, options.copy_up, options.data) == ("rslave", True, ("size=1m",))
    assert rootfs.parse_options(["rbind"]).rbind and rootfs.parse_options(["bind"]).bind
    assert not rootfs.parse_options(["bind"]).rbind


def test_plan() -> None:
    operations = rootfs.plan(
        spec(
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            {"destination": "/d", "type": "bind", "source": "/x", "options": ["rbind", "ro"]},
            {"destination": "/o", "type": "overlay", "source": "/l", "options": ["upperdir=/u", "workdir=/w"]},
            maskedPaths=["/proc/kcore"],
            readonlyPaths=["/proc/sys"],
        ),
        gids_mapped=True,
    )
    new = [operation for operation in operations if isinstance(operation, NewFilesystem)]
    assert [(one.target, one.follow_links) for one in new] == [("/proc", False), ("/dev", False)]
    binds = {operation.target: operation for operation in operations if isinstance(operation, Bind)}
    assert {"/dev/null", "/dev/zero", "/dev/tty", "/d"} <= set(binds)
    assert binds["/d"].attributes == MOUNT_ATTR_RDONLY and binds["/d"].recursive
    assert Overlay("/l", "/u", "/w", "/o") in operations
    assert Symlink("/dev/ptmx", "pts/ptmx") in operations
    assert operations[-2:] == [ReadOnly("/proc/sys"), Mask("/proc/kcore")]


def test_terminals_without_the_group() -> None:
    """Where no group 5 exists, devpts is asked for none."""
    entry: MountEntry = {"destination": "/dev/pts", "type": "devpts", "source": "x", "options": ["gid=5", "mode=620"]}
    for mapped, present in ((True, True), (False, False)):
        (operation,) = rootfs.plan(spec(entry), gids_mapped=mapped)
        assert isinstance(operation, NewFilesystem) and ("gid=5" in operation.options) is present


@pytest.mark.parametrize("kind", ["ext4", "nfs", "fuse", "debugfs"])
def test_other_file_systems(kind: str) -> None:
    with pytest.raises(KernelError, match=f"file system type {kind}"):
        rootfs.plan(spec({"destination": "/x", "type": kind, "source": "x"}), gids_mapped=True)
