"""info and version."""

from __future__ import annotations

import json
import os
import platform

import pytest

from tests.fixtures.command import Pyman

pytestmark = pytest.mark.anyone


def test_info(pyman: Pyman, has_subids: bool) -> None:
    info = json.loads(pyman.text("info", "--format", "json"))
    host, store = info["host"], info["store"]
    assert host["kernel"] == platform.release()
    assert host["idMappings"]["singleId"] is not has_subids
    assert host["security"]["rootless"] is (os.getuid() != 0)
    assert store["graphRoot"] == str(pyman.root)
    assert store["graphDriverName"] in ("overlay", "fuse-overlayfs", "copy")
    assert store["graphDriverReason"]
    assert info["version"]["Version"] in pyman.text("--version")


def test_info_leaves_nothing_behind(pyman: Pyman) -> None:
    pyman("info")
    assert not [name for name in os.listdir(pyman.root / "trash") if name.startswith("probe")]


def test_info_is_yaml(pyman: Pyman) -> None:
    lines = pyman.text("info").splitlines()
    assert lines[0] == "host:"
    assert f"  kernel: {platform.release()}" in lines
    assert f"  graphRoot: {pyman.root}" in lines


def test_info_by_a_template(pyman: Pyman) -> None:
    assert pyman.text("info", "-f", "{{.Store.GraphRoot}} {{.Host.Kernel}}") == f"{pyman.root} {platform.release()}"


def test_version(pyman: Pyman) -> None:
    version = pyman.text("--version").removeprefix("pyman version ")
    assert pyman.text("-v") == f"pyman version {version}"
    assert pyman.text("version", "--format", "{{.Client.Version}}") == version
    assert f"Version:        {version}" in pyman.text("version").splitlines()
