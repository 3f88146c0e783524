"""Names given and taken, images removed and pruned. Podman's rules; nothing here needs free space."""

from __future__ import annotations

import os

from engine.errors import InUse, PymanError
from engine.images import local, references, usage
from engine.images.commit import ImagesLock
from rootless.record import Record
from storage import blobs, layers, names, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.context import Context
    from engine.images.local import Image
    from storage.store import Store


class Removed(Record):
    """What a removal did: names taken away, and the image's ID if it is gone."""

    untagged: tuple[str, ...]
    deleted: str = ""


def tag(store: Store, source: str, targets: list[str]) -> None:
    """Give an image further names, taking them from other images that have them."""
    image = local.find(store, source)
    for name in [str(references.local(target)) for target in targets]:
        names.point(store.image_names_dir, name, image.id)
    records.sync_directory(store.image_names_dir)


def untag(store: Store, source: str, targets: list[str]) -> list[str]:
    """Take names from an image, all of them if none is given; returns those that were taken."""
    image = local.find(store, source)
    own = local.names_of(store, image.id)
    wanted = []
    for target in targets:
        found = next((name for name in references.candidates(target) if name in own), None)
        if found is None:
            raise PymanError(f"{references.candidates(target)[0]}: tag not known", hint="see pyman image inspect")
        wanted.append(found)
    for name in wanted or own:
        names.release(store.image_names_dir, name, image.id)
    return wanted or own


def remove(
    context: Context, name: str, *, force: bool = False, remove_container: Callable[[str], object] | None = None
) -> Removed:
    """Remove a name, and with its last name the image. Layers go to the trash: call `empty_trash` at the end.

    With `force`, containers of the image are removed first by `remove_container`. Raises NotFound, InUse.
    """
    store = context.store
    image, found_name = local.find_named(store, name)
    own = local.names_of(store, image.id)
    if found_name and len(own) > 1:
        names.release(store.image_names_dir, found_name, image.id)
        return Removed((found_name,))
    if not found_name and len(own) > 1 and not force:
        raise PymanError(
            f"unable to delete image {image.id[:12]} by ID with more than one tag ({', '.join(own)})",
            hint="use --force, or remove its names",
        )
    users = usage.users_of(store).get(image.id, [])
    if users and force and remove_container is not None:
        for container_id in users:
            remove_container(container_id)
    _remove_image(store, image)
    return Removed(tuple(own), image.id)


def _remove_image(store: Store, image: Image) -> None:
    """Take an image out of sight. Raises InUse if a container has it, which is looked up under the lock."""
    with ImagesLock(store):
        if users := usage.users_of(store).get(image.id):
            raise InUse(
                f"image {image.id[:12]} is used by container {', '.join(user[:12] for user in users[:5])}",
                hint="remove the containers first, or use --force",
            )
        for name in local.names_of(store, image.id):
            names.release(store.image_names_dir, name, image.id)
        records.remove_file(f"{store.images_dir}/{image.id}.json")
        others = local.all_images(store)
        needed = {digits for other in others for digits in other.layers}
        needed.update(usage.layers_in_use(store))
        for digits in image.layers:
            if digits not in needed:
                layers.discard(store, digits)
        kept = {digest for other in others for digest in (*other.digests, f"sha256:{other.id}")}
        for digest in (*image.digests, f"sha256:{image.id}"):
            if digest not in kept:
                blobs.remove(store, digest.removeprefix("sha256:"))


def prune(
    context: Context, *, all_unused: bool = False, fits: Callable[[Image], bool] | None = None
) -> tuple[list[str], int]:
    """Remove images that have no name, with `all_unused` all that no container uses; returns (IDs, bytes freed).

    Layers and manifests that no image has, left by pulls that were killed, go with them.
    """
    store = context.store
    used = usage.users_of(store)
    by_id = local.names_by_id(store)
    removed = []
    freed = 0
    for image in local.all_images(store):
        if image.id in used or (by_id.get(image.id) and not all_unused) or (fits is not None and not fits(image)):
            continue
        before = set(layers.all_layers(store))
        _remove_image(store, image)
        gone = before - set(layers.all_layers(store))
        freed += sum(size for digits, size in zip(image.layers, image.layer_sizes, strict=False) if digits in gone)
        removed.append(image.id)
    if fits is None:
        freed += _remove_orphans(store)
    empty_trash(context)
    return removed, freed


def _remove_orphans(store: Store) -> int:
    freed = 0
    with ImagesLock(store):
        images = local.all_images(store)
        needed = {digits for image in images for digits in image.layers}
        needed.update(usage.layers_in_use(store))
        for digits in layers.all_layers(store):
            if digits not in needed:
                freed += layers.read(store, digits).content_bytes
                layers.discard(store, digits)
        documents = {digest.removeprefix("sha256:") for image in images for digest in (*image.digests, image.id)}
        for digits in os.listdir(store.blobs_dir):
            if digits not in documents and "." not in digits and "~" not in digits:
                blobs.remove(store, digits)
    return freed


def empty_trash(context: Context) -> None:
    """Remove what was thrown away, and what killed processes left; in a user namespace only where that is needed."""
    store = context.store
    if not layers.needs_sweep(store):
        return
    try:
        layers.sweep(store)
    except PermissionError:
        from engine.images import workers  # only for files of subordinate ids

        workers.run(context.maps, lambda: layers.sweep(store))
