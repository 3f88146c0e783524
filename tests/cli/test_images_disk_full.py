"""A full disk: one clear error, nothing half-done, removal works."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.archives import ImageFiles, layer, sha256, write_oci_archive
from tests.fixtures.command import COMMAND
from tests.fixtures.stub_registry import StubRegistry

pytestmark = pytest.mark.anyone

SMALL = ImageFiles([layer({"small": b"1" * 1000})])
BIG = ImageFiles([layer({"first": b"1" * 1_000_000}), layer({"big": os.urandom(12_000_000)})], compress=False)


@pytest.fixture
def stub() -> Iterator[StubRegistry]:
    server = StubRegistry()
    server.serve("small", SMALL)
    server.serve("big", BIG)
    yield server
    server.stop()


def on_small_disk(tmp_path: Path, has_subids: bool, script: str) -> str:
    """Run a script with a tmpfs of 8 MB at $disk, in a mount namespace of its own; `pyman` has its store there."""
    if os.getuid() == 0:
        unshare = ["unshare", "--mount"]
    elif has_subids:
        unshare = ["unshare", "--user", "--map-auto", "--map-root-user", "--mount"]
    else:
        unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], capture_output=True).returncode != 0:
        pytest.skip("needs unshare(1) with user namespaces")
    disk = tmp_path / "disk"
    disk.mkdir()
    prelude = f"set -u; disk={disk}; mount -t tmpfs -o size=8m,mode=0700 none $disk || exit 99\n"
    prelude += f'pyman() {{ {COMMAND} --root $disk/store "$@" 2>&1; echo "exit $?"; }}\n'
    done = subprocess.run([*unshare, "sh", "-c", prelude + script], capture_output=True, text=True, timeout=60)
    if done.returncode == 99:
        pytest.skip("needs tmpfs mounts in a user namespace")
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("way", ["pull", "import", "load"])
def test_disk_full(tmp_path: Path, has_subids: bool, stub: StubRegistry, way: str) -> None:
    write_oci_archive(tmp_path / "big.tar", BIG, "big")
    (tmp_path / "root.tar").write_bytes(layer({"big": os.urandom(12_000_000)}))
    command = {
        "pull": f"pull -q --tls-verify=false {stub.address}/big",
        "import": f"import {tmp_path}/root.tar big",
        "load": f"load -i {tmp_path}/big.tar",
    }[way]
    said = on_small_disk(
        tmp_path,
        has_subids,
        f"""
        pyman pull -q --tls-verify=false {stub.address}/small
        pyman {command}
        echo "left: $(ls $disk/store/staging $disk/store/trash | grep -v ':$' | tr '\\n' ' ')"
        ls $disk/store/layers
        cat /dev/zero > $disk/fill 2> /dev/null
        pyman images -q
        pyman rmi {stub.address}/small
        ls $disk/store/layers $disk/store/images
        rm $disk/fill
        pyman pull -q --tls-verify=false {stub.address}/small
        """,
    )
    lines = [line for line in said.splitlines() if line.strip()]
    small_layer = SMALL.diff_ids[0].removeprefix("sha256:")
    assert lines[:2] == [SMALL.image_id, "exit 0"]
    assert lines[2].startswith("Error: no space left") and lines[3] == "exit 125"
    assert lines[4].strip() == "left:"
    assert lines[5] == small_layer, "only the layer of the image that is here"
    assert lines[6:8] == [SMALL.image_id[:12], "exit 0"]
    assert lines[8:11] == [f"Untagged: {stub.address}/small:latest", f"Deleted: {SMALL.image_id}", "exit 0"]
    assert [line for line in lines[11:-2] if not line.endswith(":")] == []
    assert lines[-2:] == [SMALL.image_id, "exit 0"]
    assert sha256(SMALL.config) == SMALL.image_id
