"""A root file system in a tar archive -> an image of one layer."""

from __future__ import annotations

import os
import time

from engine.errors import PymanError
from engine.images import manifests, references, workers
from engine.images.commit import commit
from engine.images.manifests import Descriptor
from storage import blobs, compression, layers, streams
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.context import Context
    from engine.images.local import Image
    from engine.images.manifests import Platform


def import_archive(
    context: Context,
    path: str,
    name: str | None,
    *,
    config: dict[str, Any] | None = None,
    message: str = "",
    platform: Platform | None = None,
) -> Image:
    """Import the archive `path` (`-` is stdin; gzip, zstd, bzip2 and xz are recognised) as an image called `name`."""
    reference = str(references.local(name)) if name else None
    fd = open_archive(path)
    try:
        status = os.fstat(fd)
        layer = _unpack(context, fd)
    finally:
        os.close(fd)
    # The archive's own time, as Podman: the same archive makes the same image.
    created = rfc3339(status.st_mtime_ns if status.st_mode & 0o170000 == 0o100000 else time.time_ns())
    digits = layer["diff_id"]
    data = manifests.encode_config(
        layers=[digits],
        config=config or {},
        created=created,
        history=[
            {
                "created": created,
                "created_by": f"/bin/sh -c #(nop) ADD file:{digits} in /",
                "comment": message or "imported from tarball",
            }
        ],
        platform=platform or manifests.host_platform(),
    )
    manifest = local_manifest(data, [(digits, layer["tar_bytes"])])
    image = manifests.image(
        data,
        layer_sizes=(layer["tar_bytes"],),
        digests=[f"sha256:{blobs.digest_of(manifest)}"],
        manifest_type=manifests.OCI_MANIFEST,
    )
    stored, missing = commit(context.store, image, documents=[data, manifest], names_=[reference] if reference else [])
    if stored is None:
        raise PymanError(f"layer {missing[0][:12]} was removed while it was imported", hint="try again")
    return stored


def _unpack(context: Context, fd: int) -> dict[str, Any]:
    store, single_id = context.store, context.maps.single

    def work() -> dict[str, Any]:
        layers.sweep(store)
        chunks = compression.decompressed(streams.from_fd(fd))
        return layers.add(store, chunks, single_id=single_id).as_dict()

    result: dict[str, Any] = workers.run(context.maps, work)
    return result


def local_manifest(config: bytes, layer_sizes: list[tuple[str, int]]) -> bytes:
    """Return the manifest of an image that was made here: its layers are plain archives, known by diff id and size."""
    return manifests.encode_manifest(
        Descriptor(manifests.OCI_CONFIG, blobs.digest_of(config), len(config)),
        [Descriptor(manifests.OCI_LAYER, digits, size) for digits, size in layer_sizes],
    )


def open_archive(path: str) -> int:
    """Open a file to read, or stdin for `-`. Raises PymanError."""
    if path == "-":
        if os.isatty(0):
            raise PymanError("an archive is expected on standard input, which is a terminal", hint="redirect a file")
        return os.dup(0)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise PymanError(f"cannot open {path}: {os.strerror(error.errno or 0)}") from None
    if os.fstat(fd).st_mode & 0o170000 == 0o040000:
        os.close(fd)
        raise StorageError(f"{path} is a directory, not an archive")
    return fd


def rfc3339(time_ns: int) -> str:
    """Return a time in UTC as OCI configs write it."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z"
