"""Pull: manifest, config, then every missing layer in one streaming pass, several layers in processes of their own.

Each layer goes registry -> SHA-256 -> inflate -> SHA-256 -> files, inside a user namespace; nothing compressed touches
the disk. A layer that is complete stays, whatever happens to the others: the next pull finds it.
"""

from __future__ import annotations

import mmap
import os
import select
import struct

from engine.errors import NotFound, PymanError
from engine.images import auth, local, manifests, progress, references, removal, usage, workers
from engine.images.commit import ImagesLock, commit
from engine.images.manifests import INDEX_TYPES, Descriptor, InvalidManifest
from rootless.record import Record
from storage import blobs, compression, layers, streams
from storage.errors import NoSpace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.context import Context
    from engine.images.local import Image
    from engine.images.manifests import Manifest, Platform
    from engine.images.progress import Progress
    from engine.images.references import Reference
    from engine.images.registry import Registry
    from storage.store import Store

_MAX_WORKERS = 3
_MAX_ROUNDS = 5
_REFRESH_MS = 100
_COUNTER = struct.Struct("Q")


class Job(Record):
    """One layer to fetch: the blob, and what it must unpack to."""

    blob: Descriptor
    diff_id: str


class Resolved(Record):
    """Everything that the registry said about one image, checked."""

    manifest: Manifest
    config: bytes
    diff_ids: tuple[str, ...]
    documents: tuple[bytes, ...]  # manifest, and the index that led to it
    digests: tuple[str, ...]


def pull(
    context: Context,
    name: str,
    *,
    tls_verify: bool | None = None,
    quiet: bool = False,
    creds: str | None = None,
    authfile: str | None = None,
    cert_dir: str | None = None,
    platform: Platform | None = None,
    policy: str = "always",
) -> Image:
    """Fetch an image, if the policy (always, missing, newer, never) says so, and return it. Raises PymanError."""
    here = _local(context.store, name) if policy != "always" else None
    if policy == "never" or (policy == "missing" and here is not None):
        if here is None:
            raise NotFound(f"{name}: image not known, and the policy is never to pull", exit_status=125)
        return here
    reference = references.parse(name)
    shown = progress.choose(quiet=quiet)
    shown.start(str(reference))
    from engine.images.registry import Registry  # HTTP and TLS: 80 ms to import

    registry = Registry(
        reference,
        tls_verify=tls_verify is not False,
        credentials=auth.find(reference, creds=creds, authfile=authfile),
        cert_dir=cert_dir,
    )
    try:
        resolved = _resolve(registry, reference, platform or manifests.host_platform(), chosen=platform is not None)
    except PymanError:
        if policy == "newer" and here is not None:
            return here
        raise
    return _fetch(context, registry, reference, resolved, shown)


def _local(store: Store, name: str) -> Image | None:
    try:
        return local.find(store, name)
    except NotFound:
        return None


def _resolve(registry: Registry, reference: Reference, platform: Platform, *, chosen: bool) -> Resolved:
    """Follow tag -> index -> manifest -> config, each checked against the digest that led to it."""
    what = str(reference)
    documents: list[bytes] = []
    data, content_type = registry.manifest(reference.digest or reference.tag)
    documents.append(data)
    value = manifests.parse_json(data, what)
    kind = manifests.media_type_of(value, content_type, what)
    from_index = kind in INDEX_TYPES
    if from_index:
        descriptor = manifests.choose(value, platform, what)
        data, content_type = registry.manifest(f"sha256:{descriptor.digest}")
        if len(data) != descriptor.size:
            raise InvalidManifest(f"{what}: the manifest is not as long as the index says")
        documents.insert(0, data)
        value = manifests.parse_json(data, what)
        kind = manifests.media_type_of(value, content_type, what)
        if kind in INDEX_TYPES:
            raise InvalidManifest(f"{what}: an index inside an index")
    manifest = manifests.parse_manifest(value, kind, what)
    config = registry.small_blob(manifest.config.digest, manifest.config.size)
    config_value = manifests.parse_json(config, f"{what}: config")
    diff_ids = manifests.diff_ids(config_value, what)
    if len(diff_ids) != len(manifest.layers):
        raise InvalidManifest(f"{what}: {len(manifest.layers)} layers, but {len(diff_ids)} diff ids in the config")
    if chosen and not from_index and config_value.get("architecture") != platform.architecture:
        raise PymanError(f"{what}: the image is for {config_value.get('architecture')!s:.40}, not for {platform}")
    digests = tuple(f"sha256:{blobs.digest_of(document)}" for document in documents)
    return Resolved(manifest, config, diff_ids, tuple(documents), digests)


def _fetch(context: Context, registry: Registry, reference: Reference, resolved: Resolved, shown: Progress) -> Image:
    store = context.store
    for _ in range(_MAX_ROUNDS):
        jobs = _missing(store, resolved)
        if jobs:
            _fetch_layers(context, registry, jobs, shown)
        image = manifests.image(
            resolved.config,
            layer_sizes=tuple(layers.read(store, digits).tar_bytes for digits in resolved.diff_ids),
            digests=resolved.digests,
            manifest_type=resolved.manifest.media_type,
            annotations=resolved.manifest.annotations,
        )
        stored, _ = commit(store, image, documents=[resolved.config, *resolved.documents], names_=[str(reference)])
        if stored is not None:
            return stored
        # Another process has removed an image with the same layers between our look and our claim: fetch them again.
    raise PymanError(f"{reference}: its layers are removed again and again by another process", hint="try again")


def _missing(store: Store, resolved: Resolved) -> list[Job]:
    """Return the layers to fetch, each once, the largest first so that the last process is not alone with it."""
    jobs = {
        digits: Job(blob, digits)
        for digits, blob in zip(resolved.diff_ids, resolved.manifest.layers, strict=True)
        if not layers.exists(store, digits)
    }
    return sorted(jobs.values(), key=lambda job: -job.blob.size)


def _fetch_layers(context: Context, registry: Registry, jobs: Sequence[Job], shown: Progress) -> None:
    """Fetch and unpack all, or raise the first error; then no process and nothing half-done is left."""
    counters = mmap.mmap(-1, _COUNTER.size * len(jobs))  # shared with the workers, which write how far they are
    queue_fd = _queue(len(jobs))
    store, single_id = context.store, context.maps.single

    def work() -> int:
        if layers.needs_sweep(store):
            layers.sweep(store)
        done = 0
        while item := os.read(queue_fd, 2):
            _fetch_layer(
                store, registry, jobs[int.from_bytes(item, "big")], counters, int.from_bytes(item, "big"), single_id
            )
            done += 1
        return done

    running: list[workers.Worker] = []
    complete = False
    try:
        for _ in range(min(len(jobs), _MAX_WORKERS)):
            running.append(workers.start(context.maps, work))
        shown.blobs([job.blob.digest for job in jobs], [job.blob.size for job in jobs])
        _wait(running, counters, len(jobs), shown)
        complete = True
    except NoSpace:
        _stop(running)
        _discard_unneeded(store, jobs)
        raise
    finally:
        _stop(running)
        os.close(queue_fd)
        shown.finish(complete=complete)
        if not complete:
            removal.empty_trash(context)


def _queue(count: int) -> int:
    """Return the read end of a pipe that holds the numbers of the jobs: whoever reads one has it."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    os.write(write_fd, b"".join(index.to_bytes(2, "big") for index in range(count)))
    os.close(write_fd)
    return read_fd


def _fetch_layer(store: Store, registry: Registry, job: Job, counters: mmap.mmap, index: int, single_id: bool) -> None:
    def report(count: int) -> None:
        _COUNTER.pack_into(counters, index * _COUNTER.size, count)

    blob = streams.checked(registry.blob(job.blob.digest), job.blob.digest, job.blob.size, report)
    layers.add(store, compression.decompressed(blob), diff_id=job.diff_id, single_id=single_id)
    report(job.blob.size)


def _wait(running: list[workers.Worker], counters: mmap.mmap, count: int, shown: Progress) -> None:
    """Wait for the workers and show how far they are. Takes each that has ended from the list; raises its error."""
    poll = select.poll()
    by_fd = {worker.pid_fd: worker for worker in running}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    while by_fd:
        for fd, _ in poll.poll(_REFRESH_MS):
            poll.unregister(fd)
            worker = by_fd.pop(fd)
            running.remove(worker)
            worker.wait()
        shown.update([_COUNTER.unpack_from(counters, index * _COUNTER.size)[0] for index in range(count)])


def _stop(running: list[workers.Worker]) -> None:
    while running:
        running.pop().kill()


def _discard_unneeded(store: Store, jobs: Sequence[Job]) -> None:
    """Give the space back: on a full disk, layers of an image that did not come are no use."""
    with ImagesLock(store):
        needed = {digits for image in local.all_images(store) for digits in image.layers}
        needed |= usage.layers_in_use(store)
        for job in jobs:
            if job.diff_id not in needed:
                layers.discard(store, job.diff_id)
