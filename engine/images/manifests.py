"""Manifests, indexes and configs of images: read strictly, chosen by platform, written. Pure.

Docker image manifest version 2 schema 2, and OCI image spec 1.0 and 1.1. Everything here came from a registry or an
archive: types, sizes and digests are checked before they are used.
"""

from __future__ import annotations

import os

from engine.errors import NotSupported, PymanError, UsageError
from engine.images.local import History, Image
from rootless import jsontext
from rootless.record import Record
from storage import blobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"

INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)
MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)
ACCEPTED = (*MANIFEST_TYPES, *INDEX_TYPES)
MAX_MANIFEST_BYTES = 4 << 20
MAX_LAYERS = 500
MAX_LAYER_BYTES = 1 << 40

# What `uname -m` calls the machines that OCI images call otherwise (the names are Go's).
_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i686": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
    "loongarch64": ("loong64", ""),
}
_LAYER_KINDS = {
    DOCKER_LAYER: "",
    f"{DOCKER_LAYER}.gzip": "gzip",
    f"{DOCKER_LAYER}.zstd": "zstd",
    OCI_LAYER: "",
    f"{OCI_LAYER}+gzip": "gzip",
    f"{OCI_LAYER}+zstd": "zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar": "",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "zstd",
}


class InvalidManifest(PymanError):
    """A manifest, index or config that is malformed or contradicts itself."""


class Platform(Record):
    """What an image runs on; an empty variant fits every one."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Descriptor(Record):
    """A pointer to content: its digest (hex digits) and exact size."""

    media_type: str
    digest: str
    size: int

    @property
    def compression(self) -> str:
        """Return gzip, zstd or "" for a layer."""
        return _LAYER_KINDS[self.media_type]


class Manifest(Record):
    """The manifest of one image."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]  # bottom first
    annotations: tuple[tuple[str, str], ...] = ()


def host_platform() -> Platform:
    """Return the platform of this machine."""
    machine = os.uname().machine
    architecture, variant = _ARCHITECTURES.get(machine, (machine, ""))
    return Platform("linux", architecture, variant)


def parse_platform(text: str) -> Platform:
    """Parse `os/architecture[/variant]`; a lone architecture means linux. Raises PymanError."""
    parts = text.split("/")
    if len(parts) == 1:
        parts = ["linux", *parts]
    if len(parts) > 3 or not all(part and part.isascii() and part.isprintable() for part in parts):
        raise PymanError(f"{text[:60]}: not a platform", hint="give OS/ARCH or OS/ARCH/VARIANT, as in linux/arm64")
    os_name, architecture, *variant = parts
    architecture, default_variant = _ARCHITECTURES.get(architecture, (architecture, ""))
    return Platform(os_name, architecture, variant[0] if variant else default_variant)


def wanted_platform(
    platform: str | None, os_name: str | None, architecture: str | None, variant: str | None
) -> Platform:
    """Return the platform that options ask for, by default this machine's. Raises UsageError."""
    if platform:
        if os_name or architecture or variant:
            raise UsageError("--platform cannot be given together with --os, --arch or --variant")
        return parse_platform(platform)
    host = host_platform()
    if architecture:
        architecture, default_variant = _ARCHITECTURES.get(architecture, (architecture, ""))
        return Platform(os_name or host.os, architecture, variant or default_variant)
    return Platform(os_name or host.os, host.architecture, variant or host.variant)


def parse_json(data: bytes, what: str) -> dict[str, Any]:
    """Return one JSON object. Raises InvalidManifest."""
    try:
        value = jsontext.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"{what}: not JSON: {str(error)[:100]}") from None
    if not isinstance(value, dict):
        raise InvalidManifest(f"{what}: not a JSON object")
    return value


def media_type_of(value: dict[str, Any], content_type: str, what: str) -> str:
    """Return the kind of a document. Raises where it could be read as two kinds, and for kinds that are no images.

    What a registry says and what the document says must agree (CVE-2021-41190).
    """
    declared = value.get("mediaType") or ""
    if not isinstance(declared, str):
        raise InvalidManifest(f"{what}: the media type is not a string")
    content_type = content_type.partition(";")[0].strip()
    kind = declared or content_type
    if kind.startswith(SCHEMA_1) or value.get("schemaVersion") == 1:
        raise NotSupported(
            f"{what}: image manifests of schema 1 are not supported", hint="push the image again with a newer tool"
        )
    if declared and content_type in ACCEPTED and declared != content_type:
        raise InvalidManifest(f"{what}: the registry calls it {content_type}, itself it says {declared[:100]}")
    if "manifests" in value and ("layers" in value or "config" in value):
        raise InvalidManifest(f"{what}: both an index and a manifest")
    if kind not in ACCEPTED:
        # OCI documents need not say what they are.
        kind = OCI_INDEX if "manifests" in value else OCI_MANIFEST if "layers" in value else kind
    if kind not in ACCEPTED or (kind in INDEX_TYPES) != ("manifests" in value):
        raise InvalidManifest(f"{what}: not an image manifest ({kind[:100] or 'unknown type'})")
    return kind


def parse_manifest(value: dict[str, Any], media_type: str, what: str) -> Manifest:
    """Read the manifest of one image. Raises InvalidManifest, and NotSupported for artifacts."""
    config = _descriptor(value.get("config"), f"{what}: config")
    if config.media_type not in (OCI_CONFIG, DOCKER_CONFIG):
        raise NotSupported(f"{what}: an artifact ({config.media_type[:100]}), not a container image")
    items = value.get("layers")
    if not isinstance(items, list) or len(items) > MAX_LAYERS:
        raise InvalidManifest(f"{what}: no list of layers, or more than {MAX_LAYERS}")
    layers = tuple(_descriptor(item, f"{what}: layer {index}") for index, item in enumerate(items))
    for layer in layers:
        if layer.media_type not in _LAYER_KINDS:
            raise NotSupported(f"{what}: layers of the type {layer.media_type[:100]} are not supported")
    return Manifest(media_type, config, layers, _annotations(value))


def choose(value: dict[str, Any], platform: Platform, what: str) -> Descriptor:
    """Return the manifest of an index that fits the platform. Raises NotFound where none does."""
    items = value.get("manifests")
    if not isinstance(items, list) or len(items) > 10_000:
        raise InvalidManifest(f"{what}: no list of manifests")
    offered: list[str] = []
    best: tuple[int, Descriptor] | None = None
    for item in items:
        there = item.get("platform") if isinstance(item, dict) else None
        if item and isinstance(item, dict) and item.get("mediaType") not in MANIFEST_TYPES:
            continue
        descriptor = _descriptor(item, f"{what}: entry")
        if not isinstance(there, dict):
            offered.append("unknown")
            score = 1 if len(items) == 1 else 0  # an index of one image without a platform is that image
        else:
            offer = Platform(*(str(there.get(key, "")) for key in ("os", "architecture", "variant")))
            offered.append(str(offer))
            score = _fit(offer, platform)
        if score and (best is None or score > best[0]):
            best = (score, descriptor)
    if best is None:
        raise PymanError(
            f"{what}: no image for {platform}", hint=f"there is {', '.join(dict.fromkeys(offered[:20])) or 'nothing'}"
        )
    return best[1]


def _fit(offer: Platform, wanted: Platform) -> int:
    """Return how well an offer fits: 0 not at all, more is better. A lower ARM version runs on a higher processor."""
    if offer.os != wanted.os or offer.architecture != wanted.architecture:
        return 0
    if offer.variant == wanted.variant:
        return 100
    if not offer.variant or not wanted.variant:
        return 50
    mine, theirs = wanted.variant.removeprefix("v"), offer.variant.removeprefix("v")
    if mine.isdecimal() and theirs.isdecimal() and int(theirs) < int(mine):
        return 1 + min(int(theirs), 40)
    return 0


def _descriptor(value: object, what: str) -> Descriptor:
    if not isinstance(value, dict):
        raise InvalidManifest(f"{what}: not a descriptor")
    size = value.get("size")
    media_type = value.get("mediaType")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_LAYER_BYTES:
        raise InvalidManifest(f"{what}: size {str(size)[:40]} is not possible")
    if not isinstance(media_type, str):
        raise InvalidManifest(f"{what}: no media type")
    return Descriptor(media_type, blobs.parse_digest(value.get("digest")), size)


def _annotations(value: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    annotations = value.get("annotations") or {}
    if not isinstance(annotations, dict):
        raise InvalidManifest("annotations are not a JSON object")
    return tuple((str(key), str(item)) for key, item in annotations.items())


def diff_ids(config: dict[str, Any], what: str) -> tuple[str, ...]:
    """Return the diff ids (hex digits) of an image's layers, bottom first."""
    rootfs = config.get("rootfs")
    items = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(items, list) or len(items) > MAX_LAYERS:
        raise InvalidManifest(f"{what}: the config has no list of layers")
    return tuple(blobs.parse_digest(item) for item in items)


def image(
    config_data: bytes,
    *,
    layer_sizes: tuple[int, ...],
    digests: Iterable[str],
    manifest_type: str,
    annotations: tuple[tuple[str, str], ...] = (),
) -> Image:
    """Return the record of an image from its config."""
    value = parse_json(config_data, "image config")
    inner = value.get("config") or {}
    if not isinstance(inner, dict):
        raise InvalidManifest('image config: "config" is not a JSON object')
    _check_config(inner)
    return Image(
        id=blobs.digest_of(config_data),
        layers=diff_ids(value, "image config"),
        config=inner,
        created=_text(value, "created"),
        architecture=_text(value, "architecture"),
        variant=_text(value, "variant"),
        os=_text(value, "os"),
        author=_text(value, "author"),
        comment=_text(value, "comment"),
        size=sum(layer_sizes),
        layer_sizes=layer_sizes,
        digests=tuple(digests),
        manifest_type=manifest_type,
        annotations=annotations,
        history=_history(value),
    )


def _text(value: dict[str, Any], key: str) -> str:
    item = value.get(key)
    return item[:1000] if isinstance(item, str) else ""


def _history(value: dict[str, Any]) -> tuple[History, ...]:
    steps = value.get("history") or []
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps) or len(steps) > 10 * MAX_LAYERS:
        raise InvalidManifest("image config: the history is not a list of steps")
    return tuple(
        History(
            _text(step, "created"),
            str(step.get("created_by") or ""),
            _text(step, "author"),
            _text(step, "comment"),
            bool(step.get("empty_layer")),
        )
        for step in steps
    )


_LISTS = ("Env", "Entrypoint", "Cmd", "OnBuild", "Shell")
_OBJECTS = ("Labels", "Volumes", "ExposedPorts")
_TEXTS = ("User", "WorkingDir", "StopSignal")


def _check_config(config: dict[str, Any]) -> None:
    """Raise InvalidManifest unless the parts that containers are made from have their types."""
    for name in _LISTS:
        items = config.get(name)
        if name in ("Entrypoint", "Cmd") and isinstance(items, str):
            continue
        if items is not None and not (isinstance(items, list) and all(isinstance(item, str) for item in items)):
            raise InvalidManifest(f"image config: {name} is not a list of strings")
    for name in _OBJECTS:
        items = config.get(name)
        if items is not None and not isinstance(items, dict):
            raise InvalidManifest(f"image config: {name} is not an object")
    for name in _TEXTS:
        if not isinstance(config.get(name) or "", str):
            raise InvalidManifest(f"image config: {name} is not a string")


def encode_config(
    *,
    layers: Iterable[str],
    config: dict[str, Any],
    created: str,
    history: list[dict[str, Any]],
    platform: Platform,
    author: str = "",
) -> bytes:
    """Return the OCI config of a new image."""
    value: dict[str, Any] = {
        "created": created,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digits}" for digits in layers]},
        "history": history,
    }
    if platform.variant:
        value["variant"] = platform.variant
    if author:
        value["author"] = author
    return jsontext.dumps(value).encode()


def encode_manifest(
    config: Descriptor, layers: Iterable[Descriptor], annotations: dict[str, str] | None = None
) -> bytes:
    """Return an OCI manifest."""
    value: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _encoded(config),
        "layers": [_encoded(layer) for layer in layers],
    }
    if annotations:
        value["annotations"] = annotations
    return jsontext.dumps(value).encode()


def _encoded(descriptor: Descriptor) -> dict[str, Any]:
    return {
        "mediaType": descriptor.media_type,
        "digest": f"sha256:{descriptor.digest}",
        "size": descriptor.size,
    }
