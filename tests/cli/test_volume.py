"""volume create, ls, inspect, rm, prune, exists."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.fixtures.command import Pyman

pytestmark = pytest.mark.anyone


def test_create_and_remove(fresh_pyman: Pyman) -> None:
    pyman = fresh_pyman
    assert pyman.text("volume", "create", "--label", "a=b", "data") == "data"
    name = pyman.text("volume", "create")
    assert len(name) == 64
    assert pyman.text("volume", "ls", "--noheading", "--format", "{{.Name}}").splitlines() == sorted(["data", name])
    assert pyman.text("volume", "ls", "-q", "--filter", "label=a=b") == "data"
    (data,) = json.loads(pyman.text("volume", "inspect", "data"))
    assert (data["Name"], data["Driver"], data["Labels"], data["MountCount"]) == ("data", "local", {"a": "b"}, 0)
    assert data["Mountpoint"] == str(pyman.root / "volumes/data/_data")
    assert os.stat(data["Mountpoint"]).st_mode & 0o7777 == 0o755
    assert pyman("volume", "exists", "data").returncode == 0
    assert pyman.text("volume", "rm", "data") == "data"
    assert pyman("volume", "exists", "data", check=False).returncode == 1
    assert pyman.text("volume", "rm", name[:20]) == name[:20]
    assert os.listdir(pyman.root / "volumes") == []
    assert os.listdir(pyman.root / "trash") == []


def test_errors(fresh_pyman: Pyman) -> None:
    pyman = fresh_pyman
    pyman("volume", "create", "data")
    for arguments, status, message in (
        (["create", "data"], 125, "volume with name data already exists: volume already exists"),
        (["create", "a/b"], 125, '"a/b" is no name for a volume (letters, digits'),
        (["create", ".."], 125, '".." is no name for a volume'),
        (["create", "-o", "type=nfs", "x"], 125, "-o is not supported: options of volumes are not available yet"),
        (["rm", "none"], 1, 'no volume with name "none" found: no such volume'),
        (["rm", "../images"], 1, 'no volume with name "../images" found'),
        (["inspect", "none"], 125, 'no volume with name "none" found'),
        (["rm"], 125, "name at least one volume"),
        (["ls", "--filter", "x=y"], 125, "x is an invalid volume filter"),
    ):
        result = pyman("volume", *arguments, check=False)
        assert result.returncode == status, arguments
        assert result.stderr.startswith(f"Error: {message}"), result.stderr
        assert result.stderr.count("\n") == 1
    assert pyman.text("volume", "create", "--ignore", "data") == "data"


def test_a_used_volume_stays(pyman: Pyman, busybox_image: str) -> None:
    run = ("run", "--rm", "--network=none", "-v", "cli-data:/data", busybox_image)
    pyman(*run, "sh", "-c", "echo hello >/data/file")
    container_id = pyman.text("create", "--name=user", "-v", "cli-data:/data", busybox_image, "cat", "/data/file")
    result = pyman("volume", "rm", "cli-data", check=False)
    assert result.returncode == 2
    assert f"is being used by the following container(s): {container_id}" in result.stderr
    pyman("volume", "prune", "--force")
    assert pyman.text("volume", "inspect", "-f", "{{.MountCount}}", "cli-data") == "1"
    assert pyman.text("start", "-a", "user") == "hello"
    pyman("rm", "user")
    assert pyman.text("volume", "rm", "cli-data") == "cli-data"


def test_force_removes_the_users(pyman: Pyman, busybox_image: str) -> None:
    pyman("run", "-d", "--network=none", "--name=user", "-v", "cli-forced:/data", busybox_image, "sleep", "1000")
    assert pyman.text("volume", "rm", "--force", "-t", "0", "cli-forced") == "cli-forced"
    assert pyman("container", "exists", "user", check=False).returncode == 1
    assert pyman.text("volume", "rm", "--force", "cli-forced") == ""


def test_files_of_other_ids_can_be_removed(pyman: Pyman, busybox_image: str, needs_subids: None) -> None:
    script = "mkdir -m 700 /data/d && touch /data/d/f && chown -R 1000:1000 /data/d"
    pyman("run", "--rm", "--network=none", "-v", "cli-owned:/data", busybox_image, "sh", "-c", script)
    assert pyman.text("volume", "rm", "cli-owned") == "cli-owned"
    assert not (Path(pyman.root) / "volumes/cli-owned").exists()


def test_prune_asks(fresh_pyman: Pyman) -> None:
    pyman = fresh_pyman
    pyman("volume", "create", "data")
    result = pyman("volume", "prune", input="n\n")
    assert "WARNING! This will remove all volumes not used by at least one container" in result.stdout
    assert pyman.text("volume", "ls", "-q") == "data"
    pyman("volume", "prune")  # stdin is empty: no
    assert pyman.text("volume", "ls", "-q") == "data"
    assert pyman("volume", "prune", input="y\n").stdout.endswith("data\n")
    assert pyman.text("volume", "ls", "-q") == ""


def test_anonymous_volumes(pyman: Pyman, busybox_image: str) -> None:
    before = set(pyman.text("volume", "ls", "-q").split())
    pyman("run", "--rm", "--network=none", "-v", "/data", busybox_image, "true")
    assert set(pyman.text("volume", "ls", "-q").split()) == before
    pyman("create", "--name=keeps", "-v", "/data", busybox_image, "true")
    (name,) = set(pyman.text("volume", "ls", "-q", "--filter", "anonymous=true").split()) - before
    assert pyman.text("volume", "ls", "-q", "--filter", "dangling=false", "--filter", f"name={name}") == name
    pyman("rm", "--volumes", "keeps")
    assert set(pyman.text("volume", "ls", "-q").split()) == before
