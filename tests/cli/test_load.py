"""load: what docker save, podman save and skopeo write; archives that lie."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fixtures.archives import (
    ImageFiles,
    layer,
    sha256,
    write_docker_archive,
    write_oci_archive,
    write_oci_layout,
    write_tar,
)
from tests.fixtures.command import COMMAND, Pyman

pytestmark = pytest.mark.anyone

LAYERS = [layer({"etc/base": b"1"}), layer({"etc/.wh.base": b"", "app": b"2" * 5000})]
IMAGE = ImageFiles(LAYERS, config={"Cmd": ["/app"]})
PLAIN = ImageFiles(LAYERS, config={"Cmd": ["/app"]}, compress=False)


def loaded(pyman: Pyman) -> dict[str, str]:
    lines = pyman.text("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").splitlines()
    return dict(line.split() for line in lines)


@pytest.mark.parametrize("image", [IMAGE, PLAIN], ids=["gzip", "plain"])
@pytest.mark.parametrize("form", ["docker", "oci"])
@pytest.mark.parametrize("way", ["file", "pipe", "compressed", "redirected"])
def test_load(fresh_pyman: Pyman, tmp_path: Path, image: ImageFiles, form: str, way: str) -> None:
    path = tmp_path / "image.tar"
    if form == "docker":
        write_docker_archive(path, image, ["localhost/app:1"])
    else:
        write_oci_archive(path, image, "localhost/app:1")
    if way == "compressed":
        path.write_bytes(gzip.compress(path.read_bytes()))
    if way == "pipe":
        argv = [COMMAND, "--root", str(fresh_pyman.root), "load"]
        said = subprocess.run(argv, input=path.read_bytes(), check=True, capture_output=True).stdout.decode()
    elif way == "redirected":
        with open(path, "rb") as source:
            argv = [COMMAND, "--root", str(fresh_pyman.root), "load"]
            said = subprocess.run(argv, stdin=source, check=True, capture_output=True).stdout.decode()
    else:
        said = fresh_pyman("load", "-i", path).stdout
    assert said == "Loaded image: localhost/app:1\n"
    assert loaded(fresh_pyman) == {"localhost/app:1": f"sha256:{image.image_id}"}
    layers = fresh_pyman.root / "layers"
    assert sorted(path.name for path in layers.iterdir()) == sorted(sha256(data) for data in LAYERS)
    assert (layers / sha256(LAYERS[1]) / "diff/app").read_bytes() == b"2" * 5000
    assert list(fresh_pyman.root.glob("staging/*")) == []


def test_digest_of_an_oci_archive_is_kept(fresh_pyman: Pyman, tmp_path: Path) -> None:
    write_oci_archive(tmp_path / "x.tar", IMAGE, "app")
    fresh_pyman("load", "-i", tmp_path / "x.tar")
    digest = fresh_pyman.text("image", "inspect", "-f", "{{.Digest}}", "app")
    assert digest == f"sha256:{sha256(IMAGE.manifest)}"


def test_several_images_without_names(fresh_pyman: Pyman, tmp_path: Path) -> None:
    other = ImageFiles(LAYERS[:1])
    members = {f"{i}.json": image.config for i, image in enumerate((PLAIN, other))}
    members |= {f"{i}.tar": data for i, data in enumerate(LAYERS)}
    manifest = [
        {"Config": "0.json", "RepoTags": None, "Layers": ["0.tar", "1.tar"]},
        {"Config": "1.json", "RepoTags": ["a:1", "b:2"], "Layers": ["./0.tar"]},
    ]
    write_tar(tmp_path / "x.tar", {**members, "manifest.json": json.dumps(manifest).encode()})
    said = fresh_pyman.text("load", "-i", tmp_path / "x.tar").splitlines()
    names = [f"sha256:{PLAIN.image_id}", "docker.io/library/a:1", "docker.io/library/b:2"]
    assert said == [f"Loaded image: {name}" for name in names]


def lying(kind: str, path: Path) -> None:
    if kind == "diff id":
        bad = ImageFiles(LAYERS, diff_ids=[f"sha256:{sha256(LAYERS[0])}", "sha256:" + "ab" * 32])
        write_docker_archive(path, bad, ["x"])
    elif kind == "blob":
        write_oci_archive(path, IMAGE, "x")
        data = path.read_bytes()
        at = data.index(IMAGE.layers[1])
        path.write_bytes(data[: at + 30] + b"!" + data[at + 31 :])
    elif kind == "config":
        write_oci_archive(path, IMAGE, "x")
        path.write_bytes(path.read_bytes().replace(b'"/app"', b'"/bad"'))
    elif kind == "missing layer":
        write_tar(path, {"manifest.json": b'[{"Config":"c","RepoTags":[],"Layers":["a","b"]}]', "c": IMAGE.config})
    elif kind == "layer outside":
        names = json.dumps([{"Config": "c", "RepoTags": [], "Layers": ["../../etc/passwd", "/etc/passwd"]}])
        write_tar(path, {"manifest.json": names.encode(), "c": IMAGE.config})
    elif kind == "digest with a path":
        index = {"manifests": [{"digest": "sha256:../../index.json", "size": 1}]}
        write_tar(path, {"index.json": json.dumps(index).encode()})
    elif kind == "not JSON":
        write_tar(path, {"manifest.json": b"[" * 100_000})
    elif kind == "wrong types":
        write_tar(path, {"manifest.json": b'[{"Config":5,"RepoTags":"x","Layers":{}}]'})
    elif kind == "neither":
        write_tar(path, {"etc/passwd": b"root"})
    else:
        path.write_bytes(b"not a tar archive" * 100)


KINDS = [
    *("diff id", "blob", "config", "missing layer", "layer outside", "digest with a path"),
    *("not JSON", "wrong types", "neither", "text"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_archives_that_lie(fresh_pyman: Pyman, tmp_path: Path, kind: str) -> None:
    lying(kind, tmp_path / "x.tar")
    result = fresh_pyman("load", "-i", tmp_path / "x.tar", check=False)
    assert result.returncode == 125
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1 and "internal" not in result.stderr
    assert loaded(fresh_pyman) == {}
    assert list(fresh_pyman.root.glob("staging/*")) == []


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo")
@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_what_skopeo_writes(fresh_pyman: Pyman, tmp_path: Path, form: str) -> None:
    write_oci_layout(tmp_path / "from", IMAGE, "latest")
    target = f"{form}:{tmp_path}/to.tar:localhost/app:7"
    policy = tmp_path / "policy.json"
    policy.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
    subprocess.run(
        ["skopeo", "--policy", str(policy), "copy", f"oci:{tmp_path}/from:latest", target],
        check=True,
        capture_output=True,
    )
    fresh_pyman("load", "-i", tmp_path / "to.tar")
    assert list(loaded(fresh_pyman)) == ["localhost/app:7"]
