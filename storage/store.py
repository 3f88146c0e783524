"""The directories of one user's store."""

from __future__ import annotations

import os

from storage.errors import StorageError
from storage.records import disk_error

LAYOUT_VERSION = "1"
_DIRECTORIES = (
    "blobs",
    "blobs/sha256",
    "layers",
    "images",
    "names",
    "names/images",
    "names/containers",
    "containers",
    "volumes",
    "trash",
    "mnt",
)


class Store:
    """Paths below one root directory (absolute); the records inside hold only relative ones."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.blobs_dir = f"{root}/blobs/sha256"
        self.layers_dir = f"{root}/layers"
        self.images_dir = f"{root}/images"
        self.containers_dir = f"{root}/containers"
        self.volumes_dir = f"{root}/volumes"
        self.image_names_dir = f"{root}/names/images"
        self.container_names_dir = f"{root}/names/containers"
        self.scratch_dir = f"{root}/mnt"  # always empty: containers mount on it, each in its own mount namespace
        self.trash_dir = f"{root}/trash"  # objects are renamed here, then removed; swept by later commands


def open_store(root: str) -> Store:
    """Open the store, making it on first use. Raises StorageError for a layout that this version cannot read."""
    try:
        with open(f"{root}/version") as file:
            version = file.read().strip()
    except FileNotFoundError:
        _create(root)
        version = LAYOUT_VERSION
    except OSError as error:
        raise StorageError(f"cannot open the store {root}: {os.strerror(error.errno or 0)}") from error
    if version != LAYOUT_VERSION:
        raise StorageError(f"the store {root} has layout {version[:20]!r}, this pyman reads {LAYOUT_VERSION}")
    return Store(root)


def _create(root: str) -> None:
    try:
        os.makedirs(root, mode=0o700, exist_ok=True)
        for name in _DIRECTORIES:
            os.makedirs(f"{root}/{name}", mode=0o700, exist_ok=True)
        temporary = f"{root}/version~{os.getpid()}"
        with open(temporary, "w") as file:
            file.write(f"{LAYOUT_VERSION}\n")
        os.rename(temporary, f"{root}/version")
    except OSError as error:
        raise disk_error(error, root) from error
