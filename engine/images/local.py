"""Images of this store: find one by what a user types, list all. On the start path: one small read per image."""

from __future__ import annotations

import os

from engine.errors import NotFound, PymanError
from engine.images import references
from rootless.record import Record
from storage import names, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from storage.store import Store

_HEX = frozenset("0123456789abcdef")


class History(Record):
    """One step of an image's making, as in the OCI config."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class Image(Record):
    """What is known about an image (`images/ID.json`). Its names are not here: `names_of` tells them."""

    id: str  # hex digits of the config's digest
    layers: tuple[str, ...]  # diff ids, hex digits, bottom first: directories below layers/
    config: dict[str, Any]  # the "config" object of the OCI config: Env, Cmd, ...
    created: str = ""  # RFC 3339
    architecture: str = ""
    variant: str = ""
    os: str = ""
    author: str = ""
    comment: str = ""
    size: int = 0  # bytes of all layers, uncompressed
    layer_sizes: tuple[int, ...] = ()
    digests: tuple[str, ...] = ()  # of manifests and indexes it came by, sha256:..., the newest first
    manifest_type: str = ""
    annotations: tuple[tuple[str, str], ...] = ()
    history: tuple[History, ...] = ()

    @property
    def digest(self) -> str:
        """Return the digest of the manifest, `sha256:...`."""
        return self.digests[0] if self.digests else ""

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Image:
        known: dict[str, Any] = {
            name: tuple(item) if isinstance(item, list) else item for name, item in value.items() if name in cls._fields
        }
        known["history"] = tuple(History(**step) for step in value.get("history", ()))
        known["annotations"] = tuple((key, item) for key, item in value.get("annotations", ()))
        return cls(**known)

    def to_json(self) -> dict[str, Any]:
        return {**self.as_dict(), "history": [step.as_dict() for step in self.history]}


def find(store: Store, name: str) -> Image:
    """Return the image that a user means by a name, a short name, an ID or its first digits, or a digest.

    Raises NotFound, or PymanError where several images fit.
    """
    return find_named(store, name)[0]


def find_named(store: Store, name: str) -> tuple[Image, str]:
    """Return the image, and the stored name by which it was found: empty if it was the ID."""
    image = _by_name(store, name)
    if image is None and (image_id := id_by_prefix(store, name)):
        loaded = load(store, image_id)
        image = (loaded, "") if loaded else None
    if image is None:
        raise NotFound(
            f"{name}: image not known", hint="pyman images lists those that are here; pyman pull fetches one"
        )
    return image


def load(store: Store, image_id: str) -> Image | None:
    """Return the image with this ID, or None."""
    try:
        return Image.from_json(records.read(f"{store.images_dir}/{image_id}.json"))
    except FileNotFoundError:
        return None


def save(store: Store, image: Image) -> None:
    """Write the record of an image durably: from then on it is there."""
    records.write(f"{store.images_dir}/{image.id}.json", image.to_json(), durable=True)


def _by_name(store: Store, name: str) -> tuple[Image, str] | None:
    if _is_id(name) or not name:
        return None
    try:
        stored_names = references.candidates(name)
    except PymanError:
        return None  # no reference can have this name, so no image has it
    for stored in stored_names:
        if (image := _stored(store, stored)) is not None:
            return image, stored
    return _by_digest(store, name) if "@" in name else _by_last_components(store, name)


def _stored(store: Store, stored: str) -> Image | None:
    image_id = names.lookup(store.image_names_dir, stored)
    return load(store, image_id) if image_id else None


def _by_digest(store: Store, name: str) -> tuple[Image, str] | None:
    """Find `repository@digest` where the image was pulled by tag: it must have both the repository and the digest."""
    digest = name.partition("@")[2]
    wanted = {stored.partition("@")[0] for stored in references.candidates(name)}
    for stored, image_id in names.all_names(store.image_names_dir):
        if references.split_stored(stored)[0] in wanted:
            image = load(store, image_id)
            if image is not None and digest in (*image.digests, f"sha256:{image.id}"):
                return image, stored
    return None


def _by_last_components(store: Store, name: str) -> tuple[Image, str] | None:
    """Find `quay.io/team/web:latest` by `team/web` or `web`, if only one image fits."""
    if references.has_registry(name):
        return None
    ending = "/" + str(references.parse(name, registry=references.LOCAL)).removeprefix(f"{references.LOCAL}/")
    found = [
        (stored, image_id) for stored, image_id in names.all_names(store.image_names_dir) if stored.endswith(ending)
    ]
    if len({image_id for _, image_id in found}) > 1:
        raise PymanError(
            f"{name}: several images have this name: {', '.join(stored for stored, _ in found)}",
            hint="give the whole name",
        )
    for stored, image_id in found:
        if (image := load(store, image_id)) is not None:
            return image, stored
    return None


def _is_id(name: str) -> bool:
    digits = name.removeprefix("sha256:")
    return len(digits) == 64 and _HEX.issuperset(digits)


def id_by_prefix(store: Store, name: str) -> str | None:
    """Return the ID that starts with these digits, or None. Raises PymanError if several do."""
    digits = name.removeprefix("sha256:")
    if not digits or not _HEX.issuperset(digits):
        return None
    if len(digits) == 64:
        return digits if os.path.exists(f"{store.images_dir}/{digits}.json") else None
    found = [image_id for image_id in all_ids(store) if image_id.startswith(digits)]
    if len(found) > 1:
        raise PymanError(f"{name}: several image IDs begin with this", hint="give more digits")
    return found[0] if found else None


def all_ids(store: Store) -> list[str]:
    return [name[:64] for name in os.listdir(store.images_dir) if len(name) == 69 and name.endswith(".json")]


def all_images(store: Store) -> list[Image]:
    """Return all images, the newest first."""
    images = [image for image_id in all_ids(store) if (image := load(store, image_id)) is not None]
    return sorted(images, key=lambda image: (image.created, image.id), reverse=True)


def names_of(store: Store, image_id: str) -> list[str]:
    """Return the stored names of an image."""
    return [name for name, target in names.all_names(store.image_names_dir) if target == image_id]


def names_by_id(store: Store) -> dict[str, list[str]]:
    """Return the names of all images in one look."""
    result: dict[str, list[str]] = {}
    for name, image_id in names.all_names(store.image_names_dir):
        result.setdefault(image_id, []).append(name)
    return result


def repo_digests(image: Image, stored_names: list[str]) -> list[str]:
    """Return `repository@digest` for every repository and digest of the image."""
    repositories = sorted({references.split_stored(name)[0] for name in stored_names})
    return [f"{repository}@{digest}" for repository in repositories for digest in image.digests]


def missing_layers(store: Store, image: Image) -> list[str]:
    """Return the layers of an image that are not in the store: only damage or a lost race makes any."""
    return [digits for digits in image.layers if not os.path.isdir(f"{store.layers_dir}/{digits}")]
