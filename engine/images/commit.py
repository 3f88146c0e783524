"""The last step of every way an image comes in: its record and its name appear, if all its layers are there."""

from __future__ import annotations

from engine.images import local
from storage import blobs, layers, names, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.images.local import Image
    from storage.store import Store


def images_lock(store: Store) -> layers.FileLock:
    """Return the lock under which images appear and disappear: nobody removes a layer that is just being named."""
    return layers.FileLock(f"{layers.staging_dir(store)}/images.held")


def commit(
    store: Store, image: Image, *, documents: Iterable[bytes], names_: Iterable[str]
) -> tuple[Image | None, list[str]]:
    """Make the image visible under its names; returns (image, []).

    If layers have gone meanwhile (another process removed the only other image that had them), nothing happens and
    (None, missing layers) is returned: fetch them again. `documents` are its config and manifests.
    """
    for document in documents:
        blobs.write(store, document)
    with images_lock(store):
        missing = local.missing_layers(store, image)
        if missing:
            return None, missing
        for document in documents:
            blobs.write(store, document)  # a removal may have taken one that was there when we looked
        old = local.load(store, image.id)
        if old is not None:
            digests = dict.fromkeys((*image.digests, *old.digests))
            image = image.replace(digests=tuple(digests))
        if image != old:
            local.save(store, image)
        for name in names_:
            names.point(store.image_names_dir, name, image.id)
        records.sync_directory(store.image_names_dir)
    return image, []
