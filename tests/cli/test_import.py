"""import, and the verbs on what it made: images, tag, untag, rmi, history, exists, prune."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tests.fixtures.archives import END, directory, file, layer, sha256, symlink
from tests.fixtures.command import COMMAND, Pyman

pytestmark = pytest.mark.anyone

ARCHIVE = layer({"etc/name": b"value", "bin/tool": b"x" * 1000})


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "root.tar"
    path.write_bytes(ARCHIVE)
    return path


def names(pyman: Pyman) -> list[str]:
    return sorted(pyman.text("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines())


def layer_dirs(pyman: Pyman) -> list[str]:
    return sorted(path.name for path in (pyman.root / "layers").iterdir())


def test_import_and_rmi(fresh_pyman: Pyman, archive: Path) -> None:
    pyman = fresh_pyman
    image_id = pyman.text("import", archive, "web").removeprefix("sha256:")
    assert names(pyman) == ["localhost/web:latest"]
    assert layer_dirs(pyman) == [sha256(ARCHIVE)]
    assert (pyman.root / "layers" / sha256(ARCHIVE) / "diff/etc/name").read_text() == "value"
    assert pyman.text("images", "-q", "--no-trunc") == f"sha256:{image_id}"
    assert pyman.text("import", archive, "web").removeprefix("sha256:") == image_id, "the same archive, the same image"
    lines = pyman.text("rmi", "web").splitlines()
    assert lines == ["Untagged: localhost/web:latest", f"Deleted: {image_id}"]
    for directory_name in ("layers", "images", "names/images", "blobs/sha256", "trash", "staging"):
        assert list((pyman.root / directory_name).iterdir()) == [], directory_name


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_import_compressed_from_stdin(fresh_pyman: Pyman, kind: str) -> None:
    packed = COMPRESSORS[kind](ARCHIVE)
    subprocess.run(
        [COMMAND, "--root", str(fresh_pyman.root), "import", "-", "x:1"], input=packed, check=True, capture_output=True
    )
    assert names(fresh_pyman) == ["localhost/x:1"]
    assert layer_dirs(fresh_pyman) == [sha256(ARCHIVE)]


def test_change_and_message(fresh_pyman: Pyman, archive: Path) -> None:
    options = ("-c", 'CMD ["/bin/sh"]', "--change", "ENV=A=b", "-m", "by hand", "--arch", "arm64")
    fresh_pyman("import", *options, archive, "x")
    [shown] = json.loads(fresh_pyman.text("image", "inspect", "x"))
    assert shown["Config"] == {"Cmd": ["/bin/sh"], "Env": ["A=b"]}
    assert (shown["Architecture"], shown["History"][0]["comment"]) == ("arm64", "by hand")
    assert shown["RootFS"]["Layers"] == [f"sha256:{sha256(ARCHIVE)}"]
    heading, row = fresh_pyman.text("history", "x").splitlines()
    assert heading.split()[:2] == ["ID", "CREATED"] and row.endswith("by hand")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"text, not an archive" * 100, "no tar archive"),
        (ARCHIVE[:700], "ends"),
        (gzip.compress(ARCHIVE)[:100], "ends too early"),
        (file(b"../../escape", b"evil") + END, "leads out"),
        (directory(b"d") + symlink(b"d/l", b"/etc") + file(b"d/l/../../../x", b"evil") + END, "leads out"),
    ],
)
def test_bad_archives(fresh_pyman: Pyman, tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "bad.tar").write_bytes(data)
    result = fresh_pyman("import", tmp_path / "bad.tar", "x", check=False)
    assert result.returncode == 125
    assert message in result.stderr and result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    for directory_name in ("layers", "images", "staging", "trash"):
        assert list((fresh_pyman.root).glob(f"{directory_name}/*")) == []


def test_missing_file_and_bad_names(fresh_pyman: Pyman, archive: Path) -> None:
    for args, message in (
        (("import", "/nonexistent.tar"), "No such file"),
        (("import", "/etc"), "is a directory"),
        (("import", archive, "Upper"), "lowercase"),
        (("import", archive, "x@sha256:" + "a" * 64), "digest"),
    ):
        result = fresh_pyman(*args, check=False)
        assert result.returncode == 125 and message in result.stderr, args
    assert names(fresh_pyman) == []


def test_names(fresh_pyman: Pyman, archive: Path) -> None:
    pyman = fresh_pyman
    image_id = pyman.text("import", archive, "web").removeprefix("sha256:")
    pyman("tag", "web", "web:2", "quay.io/team/web:3")
    assert names(pyman) == ["localhost/web:2", "localhost/web:latest", "quay.io/team/web:3"]
    for name in ("web:2", "localhost/web", "team/web:3", image_id, image_id[:5], f"sha256:{image_id}"):
        assert pyman.text("image", "inspect", "-f", "{{.Id}}", name) == image_id, name
    digest = pyman.text("image", "inspect", "-f", "{{.Digest}}", "web")
    assert pyman.text("image", "inspect", "-f", "{{.Id}}", f"quay.io/team/web@{digest}") == image_id
    assert pyman("image", "exists", "web:2", check=False).returncode == 0
    assert pyman("image", "exists", "web:4", check=False).returncode == 1

    by_id = pyman("rmi", image_id, check=False)
    assert by_id.returncode == 125 and "more than one tag" in by_id.stderr
    assert pyman.text("rmi", "web:2") == "Untagged: localhost/web:2"
    assert "tag not known" in pyman("untag", "web", "web:2", check=False).stderr
    pyman("untag", "web")
    assert names(pyman) == ["<none>:<none>"]
    assert pyman.text("images", "-qf", "dangling=true") == image_id[:12]
    assert pyman.text("image", "prune", "-f") == image_id
    assert layer_dirs(pyman) == []


def test_unknown_images(fresh_pyman: Pyman) -> None:
    result = fresh_pyman("rmi", "nope", check=False)
    assert (result.returncode, result.stderr.partition(" (")[0]) == (1, "Error: nope: image not known")
    assert fresh_pyman("rmi", "-f", "nope", check=False).returncode == 0
    assert fresh_pyman("rmi", "--ignore", "nope", check=False).returncode == 0
    assert fresh_pyman("tag", "nope", "x", check=False).returncode != 0
    assert fresh_pyman("rmi", check=False).returncode == 125


def test_layers_are_shared_and_kept_while_needed(fresh_pyman: Pyman, archive: Path) -> None:
    fresh_pyman("import", archive, "one")
    fresh_pyman("import", "-c", "USER u", archive, "two")
    assert layer_dirs(fresh_pyman) == [sha256(ARCHIVE)]
    fresh_pyman("rmi", "one")
    assert layer_dirs(fresh_pyman) == [sha256(ARCHIVE)]
    fresh_pyman("rmi", "--all")
    assert layer_dirs(fresh_pyman) == []


def test_image_in_use(fresh_pyman: Pyman, busybox_tar: Path) -> None:
    fresh_pyman("import", busybox_tar, "bb")
    container = fresh_pyman.text("create", "bb", "true")
    result = fresh_pyman("rmi", "bb", check=False)
    assert result.returncode == 2 and container[:12] in result.stderr
    assert names(fresh_pyman) == ["localhost/bb:latest"]
    assert fresh_pyman.text("image", "prune", "-af") == ""
    fresh_pyman("rmi", "-f", "bb")
    assert (names(fresh_pyman), fresh_pyman.container_ids()) == ([], [])


def test_images_filters_and_sorting(fresh_pyman: Pyman, tmp_path: Path, archive: Path) -> None:
    (tmp_path / "big.tar").write_bytes(layer({"f": b"y" * 50_000}))
    fresh_pyman("import", "-c", "LABEL k=v", archive, "b/small:1")
    fresh_pyman("import", tmp_path / "big.tar", "a/big:2")
    show = ("images", "--format", "{{.Repository}}:{{.Tag}}")
    assert fresh_pyman.text(*show, "--sort", "size").splitlines() == ["localhost/b/small:1", "localhost/a/big:2"]
    assert fresh_pyman.text(*show, "--sort", "repository").splitlines() == ["localhost/a/big:2", "localhost/b/small:1"]
    assert fresh_pyman.text(*show, "-f", "label=k=v") == "localhost/b/small:1"
    assert fresh_pyman.text(*show, "-f", "reference=*/big") == "localhost/a/big:2"
    assert fresh_pyman.text(*show, "small") == "localhost/b/small:1"
    assert fresh_pyman.text(*show, "-f", "since=b/small:1") == "localhost/a/big:2"
    assert fresh_pyman.text(*show, "-f", "dangling=true") == ""
    assert fresh_pyman("images", "-f", "nonsense=1", check=False).returncode == 125
    assert len(json.loads(fresh_pyman.text("images", "--format", "json"))) == 2


def test_hostile_labels_do_not_reach_the_terminal(fresh_pyman: Pyman, archive: Path) -> None:
    fresh_pyman("import", "-m", "\x1b]0;title\x07", archive, "x")
    assert "\x1b" not in fresh_pyman.text("history", "x") + fresh_pyman.text("image", "inspect", "x")


@pytest.mark.parametrize("user_id", [1, 1000])
def test_owners(fresh_pyman: Pyman, tmp_path: Path, has_subids: bool, user_id: int) -> None:
    """With subordinate ids files belong to them; with one id the owner is in an extended attribute."""
    (tmp_path / "x.tar").write_bytes(file(b"f", b"1", uid=user_id, gid=7, mode=0o4755) + END)
    fresh_pyman("import", tmp_path / "x.tar", "x")
    [path] = (fresh_pyman.root / "layers").glob("*/diff/f")
    import os

    status = path.stat()
    assert status.st_mode == 0o104755
    if has_subids:
        assert status.st_uid != os.getuid() or os.getuid() == 0
    else:
        assert os.getxattr(path, "user.pyman.owner") == f"{user_id}:7".encode()
    fresh_pyman("rmi", "x")
    assert layer_dirs(fresh_pyman) == []
