"""The last step of every way an image comes in: its record and its name appear, if all its layers are there."""

from __future__ import annotations

import fcntl
import os

from engine.images import local
from storage import blobs, names, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from engine.images.local import Image
    from storage.store import Store


class ImagesLock:
    """The lock under which images appear and disappear: nobody removes a layer that is just being named.

    An flock on the directory itself: it needs no file, so it works on a full disk.
    """

    def __init__(self, store: Store) -> None:
        self._path = store.images_dir
        self._fd = -1

    def __enter__(self) -> ImagesLock:
        self._fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)


def commit(
    store: Store, image: Image, *, documents: Sequence[bytes], names_: Sequence[str]
) -> tuple[Image | None, list[str]]:
    """Make the image visible under its names; returns (image, []).

    If layers have gone meanwhile (another process removed the only other image that had them), nothing happens and
    (None, missing layers) is returned: fetch them again. `documents` are its config and manifests.
    """
    for document in documents:
        blobs.write(store, document)
    with ImagesLock(store):
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
