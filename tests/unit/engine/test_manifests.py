"""Manifests from registries: chosen by platform, and refused where they lie, contradict themselves or are no images."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import NotSupported, PymanError
from engine.images import filtering, inspection, manifests
from engine.images.changes import apply
from engine.images.manifests import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    InvalidManifest,
    Platform,
)
from storage.errors import StorageError
from tests.fixtures.archives import ImageFiles, layer

DIGEST = "sha256:" + "ab" * 32
IMAGE = ImageFiles([layer({"f": b"1"})], config={"Env": ["A=b"], "Labels": {"k": "v"}})


def index(*platforms: str | None, **more: Any) -> dict[str, Any]:
    entries: list[dict[str, Any]] = []
    for number, text in enumerate(platforms):
        entry: dict[str, Any] = {"mediaType": OCI_MANIFEST, "digest": f"sha256:{number:064x}", "size": 1}
        if text is not None:
            entry["platform"] = dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))
        entries.append(entry)
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, **more}


@pytest.mark.parametrize(
    ("wanted", "offers", "chosen"),
    [
        ("linux/amd64", ["windows/amd64", "linux/arm64", "linux/amd64"], 2),
        ("linux/arm64/v8", ["linux/arm64"], 0),
        ("linux/arm64", ["linux/arm64/v8"], 0),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], 1),
        ("linux/arm/v7", ["linux/arm/v6", "linux/arm/v7"], 1),
        ("linux/amd64", ["unknown/unknown", "linux/amd64", "linux/amd64"], 1),
        ("linux/amd64", [None], 0),
    ],
)
def test_choice(wanted: str, offers: list[str | None], chosen: int) -> None:
    platform = Platform(*wanted.split("/"))
    assert int(manifests.choose(index(*offers), platform, "x").digest, 16) == chosen


@pytest.mark.parametrize("offers", [[], ["linux/arm64"], ["linux/arm/v8"], [None, None], ["windows/arm"]])
def test_no_choice(offers: list[str | None]) -> None:
    with pytest.raises(PymanError, match="no image for linux/arm/v7"):
        manifests.choose(index(*offers), Platform("linux", "arm", "v7"), "x")


@pytest.mark.parametrize(
    ("value", "content_type"),
    [
        ({**index("linux/amd64"), "layers": []}, OCI_INDEX),
        ({**IMAGE.manifest_value, "manifests": []}, OCI_MANIFEST),
        (IMAGE.manifest_value, OCI_INDEX),
        (IMAGE.manifest_value, DOCKER_MANIFEST),
        ({"schemaVersion": 2, "mediaType": DOCKER_LIST, "layers": []}, ""),
        ({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "manifests": []}, ""),
        ({"schemaVersion": 2}, ""),
        ({"schemaVersion": 2}, "text/html"),
        ({"mediaType": 5}, ""),
    ],
)
def test_confusion_is_refused(value: dict[str, Any], content_type: str) -> None:
    with pytest.raises(InvalidManifest):
        manifests.media_type_of({**value}, content_type, "x")


def test_schema_1_and_artifacts_are_refused_clearly() -> None:
    with pytest.raises(NotSupported, match="schema 1"):
        manifests.media_type_of({"schemaVersion": 1}, "", "x")
    artifact = json.loads(IMAGE.manifest)
    artifact["config"]["mediaType"] = "application/vnd.oci.empty.v1+json"
    with pytest.raises(NotSupported, match="artifact"):
        manifests.parse_manifest(artifact, OCI_MANIFEST, "x")


BAD_DIGESTS = [
    "sha256:../../x",
    "md5:" + "a" * 32,
    DIGEST.upper(),
    "sha256:" + "AB" * 32,
    "sha256:ab",
    "",
    None,
    5,
    DIGEST + "0",
]


@pytest.mark.parametrize("digest", BAD_DIGESTS)
def test_digests_that_are_none_are_refused(digest: object) -> None:
    value = json.loads(IMAGE.manifest)
    value["layers"][0]["digest"] = digest
    with pytest.raises(StorageError):
        manifests.parse_manifest(value, OCI_MANIFEST, "x")


@pytest.mark.parametrize("size", [-1, True, "5", None, 1.5, 1 << 60])
def test_sizes_that_are_none_are_refused(size: object) -> None:
    value = json.loads(IMAGE.manifest)
    value["config"]["size"] = size
    with pytest.raises(InvalidManifest):
        manifests.parse_manifest(value, OCI_MANIFEST, "x")


def test_image_record() -> None:
    image = manifests.image(IMAGE.config, layer_sizes=(10240,), digests=[DIGEST], manifest_type=OCI_MANIFEST)
    assert image.id == IMAGE.image_id
    assert image.layers == (IMAGE.diff_ids[0].removeprefix("sha256:"),)
    assert (image.size, image.digest, image.config["Env"]) == (10240, DIGEST, ["A=b"])
    assert type(image).from_json(json.loads(json.dumps(image.to_json()))) == image


@pytest.mark.parametrize(
    "change", [{"Env": "A=b"}, {"Env": [1]}, {"Labels": []}, {"User": 5}, {"Cmd": {}}, {"Volumes": ["x"]}]
)
def test_configs_of_the_wrong_type_are_refused(change: dict[str, Any]) -> None:
    bad = ImageFiles([], config=change)
    with pytest.raises(InvalidManifest):
        manifests.image(bad.config, layer_sizes=(), digests=(), manifest_type="")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = [
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "annotations",
    "digest",
    "size",
    "platform",
    "rootfs",
]


@given(st.dictionaries(st.sampled_from(KEYS), JSON), st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_json_is_read_or_refused(value: dict[str, Any], inner: dict[str, Any]) -> None:
    for document in (value, {**value, "manifests": [inner]}, {**value, "layers": [inner], "config": inner}):
        try:
            kind = manifests.media_type_of(document, "", "x")
            if kind in manifests.INDEX_TYPES:
                manifests.choose(document, Platform("linux", "amd64"), "x")
            else:
                manifests.parse_manifest(document, kind, "x")
            manifests.image(json.dumps(document).encode(), layer_sizes=(), digests=(), manifest_type="")
        except (PymanError, StorageError):
            pass


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, '{"a": NaN', '"x"', "", "\xff", "9" * 10_000])
def test_json_that_hurts(text: str) -> None:
    with pytest.raises(InvalidManifest):
        manifests.parse_json(text.encode("latin-1"), "x")


def test_platforms() -> None:
    assert manifests.parse_platform("arm64") == Platform("linux", "arm64")
    assert manifests.parse_platform("linux/x86_64") == Platform("linux", "amd64")
    assert str(manifests.parse_platform("linux/arm/v7")) == "linux/arm/v7"
    for bad in ("", "/", "a/b/c/d", "linux/", "linux/\x1b"):
        with pytest.raises(PymanError):
            manifests.parse_platform(bad)
    with pytest.raises(PymanError):
        manifests.wanted_platform("linux/arm64", None, "arm64", None)


def test_changes() -> None:
    config = apply(
        {"Env": ["A=1", "B=2"]},
        [
            *('CMD ["a", "b c"]', "entrypoint run me", 'ENV A=3 C="x y"', "ENV D old form", "EXPOSE 80 53/udp"),
            *("LABEL k=v", "USER u", "WORKDIR /w", "VOLUME /a /b", "STOPSIGNAL 9", "ONBUILD RUN x"),
        ],
    )
    assert config == {
        "Env": ["B=2", "A=3", "C=x y", "D=old form"],
        "Cmd": ["a", "b c"],
        "Entrypoint": ["/bin/sh", "-c", "run me"],
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Labels": {"k": "v"},
        "User": "u",
        "WorkingDir": "/w",
        "Volumes": {"/a": {}, "/b": {}},
        "StopSignal": "9",
        "OnBuild": ["RUN x"],
    }
    for bad in ("FROM x", "ENV", "CMD", "LABEL =x", 'ENV A="x'):
        with pytest.raises(PymanError):
            apply({}, [bad])


@pytest.mark.parametrize(
    ("name", "pattern", "fits"),
    [
        ("localhost/bb:latest", "bb", True),
        ("localhost/bb:latest", "b*", True),
        ("localhost/bb:latest", "localhost/*", True),
        ("localhost/bb:latest", "bb:latest", True),
        ("localhost/bb:latest", "bb:1", False),
        ("localhost/bb:latest", "b", False),
        ("quay.io/a/bb:1", "a/b?:*", True),
        ("quay.io/a/bb:1", "*/bb", True),
        ("quay.io/a/bb:1", "quay.io/*", False),
        ("quay.io/a/bb:1", "x/y/z/a/bb", False),
    ],
)
def test_reference_patterns(name: str, pattern: str, fits: bool) -> None:
    assert filtering.matches_reference(name, pattern) is fits


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:01Z", 10**9),
        ("2026-11-24T03:45:26.865757606Z", 1795491926865757606),
        ("2026-11-24T04:45:26.5+01:00", 1795491926500000000),
        ("0001-01-01T00:00:00Z", 0),
        ("", 0),
        ("yesterday", 0),
    ],
)
def test_times(text: str, nanoseconds: int) -> None:
    assert inspection.parse_time(text) == nanoseconds
