"""One contract for every storage driver: what layers mean, and that what is written stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures import archives, oci
from tests.fixtures.command import Pyman
from tests.fixtures.registry import Registry

LOWER = (
    archives.directory(b"d/")
    + archives.file(b"d/gone", b"x")
    + archives.file(b"d/kept", b"x", uid=5, gid=6, mode=0o640)
    + archives.directory(b"o/")
    + archives.file(b"o/old", b"x")
    + archives.file(b"v", b"1")
    + archives.file(b"one", b"linked")
    + archives.hard_link(b"two", b"one")
    + archives.symlink(b"was-link", b"v")
    + bytes(1024)
)
UPPER = (
    archives.file(b"d/.wh.gone")
    + archives.directory(b"o/")
    + archives.file(b"o/.wh..wh..opq")
    + archives.file(b"o/new", b"x")
    + archives.file(b"v", b"2")
    + archives.file(b"was-link", b"file", mode=0o4755)
    + bytes(1024)
)
SHOW = "ls d o; cat v; echo; stat -c '%u %g %a' d/kept; cat was-link; echo; stat -c '%a %F' was-link; cat two"


@pytest.fixture(params=["overlay", "fuse-overlayfs", "copy"])
def driver(request: pytest.FixtureRequest, has_subids: bool) -> str:
    name: str = request.param
    if name == "fuse-overlayfs" and not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("needs /dev/fuse")
    if not has_subids:
        pytest.skip("needs subordinate ids: the files have several owners")
    return name


@pytest.fixture
def stacked(fresh_pyman: Pyman, registry: Registry, busybox_tar: Path) -> Iterator[Pyman]:
    """Two images: layers over each other, and the same with one layer a second time on top."""
    bottom = busybox_tar.read_bytes()
    for name, layers in (("stack", [bottom, LOWER, UPPER]), ("twice", [bottom, LOWER, UPPER, LOWER])):
        oci.push_image(registry, name, "1", layers)
        fresh_pyman("pull", "-q", "--tls-verify=false", f"{registry.address}/{name}:1")
    yield fresh_pyman


def run(pyman: Pyman, driver: str, *words: str) -> str:
    said: str = pyman.text(f"--storage-driver={driver}", "run", "--network=none", *words)
    return said


def test_layers(stacked: Pyman, registry: Registry, driver: str) -> None:
    said = run(stacked, driver, "--rm", f"{registry.address}/stack:1", "sh", "-c", SHOW).split("\n")
    assert said == ["d:", "kept", "", "o:", "new", "2", "5 6 640", "file", "4755 regular file", "linked"]


def test_a_layer_twice(stacked: Pyman, registry: Registry, driver: str) -> None:
    said = run(stacked, driver, "--rm", f"{registry.address}/twice:1", "sh", "-c", "ls d o; cat v").split("\n")
    assert said == ["d:", "gone", "kept", "", "o:", "new", "old", "1"]


def test_what_is_written_stays(stacked: Pyman, registry: Registry, driver: str) -> None:
    """In the container, over a restart; not in the image."""
    image = f"{registry.address}/stack:1"
    script = "cat mine 2>/dev/null || rm v d/kept; echo -n again >mine; chown 7 mine; ls d; test -e v || echo removed"
    assert run(stacked, driver, "--name=w", image, "sh", "-c", script) == "removed"
    assert stacked.text(f"--storage-driver={driver}", "start", "-a", "w") == "againremoved"
    assert stacked.text("inspect", "-f", "{{.Driver}}", "w") == driver
    assert run(stacked, driver, "--rm", image, "ls", "d") == "kept"
    stacked("rm", "w")
    assert stacked.container_ids() == []
