"""unshare: a command as root of the caller's user namespace."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.fixtures.command import Pyman


def test_unshare(pyman: Pyman, tmp_path: Path) -> None:
    said = pyman.text("unshare", "sh", "-c", "id -u; id -g; pwd; cat /proc/self/uid_map | head -1")
    uid, gid, directory, first = said.splitlines()
    assert (uid, gid, directory) == ("0", "0", os.getcwd())
    assert first.split() == ["0", str(os.getuid()), "1"] or os.getuid() == 0
    assert pyman("unshare", "sh", "-c", "exit 7", check=False).returncode == 7
    assert pyman("unshare", "sh", "-c", "kill -9 $$", check=False).returncode == 137
    assert pyman("unshare", "/nonexistent", check=False).returncode == 127
    assert pyman("unshare", "/etc/passwd", check=False).returncode == 126
    assert pyman("unshare", env={"SHELL": "/bin/echo"}).stdout == "\n"
    result = subprocess.run(pyman.argv("unshare", "cat"), input=b"text", capture_output=True)
    assert result.stdout == b"text"


@pytest.mark.usefixtures("needs_subids")
def test_files_of_subordinate_ids(pyman: Pyman, tmp_path: Path) -> None:
    pyman(
        "unshare",
        "sh",
        "-c",
        f"mkdir {tmp_path}/d; touch {tmp_path}/d/f; chown -R 33:33 {tmp_path}/d; chmod 700 {tmp_path}/d",
    )
    assert (tmp_path / "d").stat().st_uid != os.getuid()
    pyman("unshare", "rm", "-r", tmp_path / "d")
    assert list(tmp_path.iterdir()) == []


def test_mounts_stay_inside(pyman: Pyman, tmp_path: Path) -> None:
    pyman("unshare", "sh", "-c", f"mount -t tmpfs tmpfs {tmp_path} && touch {tmp_path}/inside")
    assert list(tmp_path.iterdir()) == []
