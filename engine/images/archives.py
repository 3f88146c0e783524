"""Archives of images, as `save` of pyman, Podman, Docker and skopeo writes them: docker-archive and oci-archive.

An archive names its layers in files that may come after them, so it is read by position: from a file directly, from a
pipe or a compressed file through a temporary copy in the store. Its own members are never unpacked; only layers are.
"""

from __future__ import annotations

import os

from engine.errors import PymanError
from engine.images import local, manifests, references, removal, workers
from engine.images.commit import ImagesLock, commit
from engine.images.importing import local_manifest, open_archive
from engine.images.manifests import INDEX_TYPES, InvalidManifest
from rootless.record import Record
from storage import blobs, compression, layers, streams, tar_headers
from storage.errors import ArchiveError, NoSpace
from storage.records import disk_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from engine.context import Context
    from engine.images.local import Image
    from storage.store import Store

_REF_NAME = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME = "io.containerd.image.name"
_MAX_MEMBERS = 20_000
_MAX_LINKS = 8


class Member(Record):
    """Where the content of a member lies in the archive."""

    offset: int
    size: int


class LayerSource(Record):
    """One layer in the archive: what it must unpack to, and for OCI the digest of its bytes there."""

    member: Member
    diff_id: str
    blob: str = ""


class Found(Record):
    """One image in the archive."""

    config: bytes
    layers: tuple[LayerSource, ...]
    names: tuple[str, ...]
    manifest: bytes = b""  # as it was in the archive; empty for docker-archive, whose manifest is made here
    manifest_type: str = manifests.OCI_MANIFEST


def load(context: Context, path: str) -> list[str]:
    """Load every image of an archive; returns their names, or IDs where they have none. Raises PymanError."""
    given_fd = open_archive(path)
    try:
        with _Seekable(context.store, given_fd) as fd:
            members = _members(fd)
            found = _docker_images(fd, members) if "manifest.json" in members else _oci_images(fd, members)
            if not found:
                raise PymanError(f"{path}: no image in this archive")
            names = []
            for item in found:
                image = _store(context, fd, item)
                names += list(item.names) or [f"sha256:{image.id}"]
            return names
    finally:
        os.close(given_fd)


class _Seekable:
    """`with` gives a descriptor to jump in: the file itself, or a copy that has no name and goes by itself."""

    def __init__(self, store: Store, fd: int) -> None:
        self._store = store
        self._fd = fd
        self._own = -1

    def __enter__(self) -> int:
        chunks = streams.from_fd(self._fd)
        head, chunks = compression.first_bytes(chunks)
        kind = compression.detect(head)
        if not kind and os.fstat(self._fd).st_mode & 0o170000 == 0o100000:
            os.lseek(self._fd, 0, os.SEEK_SET)
            return self._fd
        directory = layers.staging_dir(self._store)
        try:
            self._own = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            for chunk in compression.decompressed(chunks, kind):
                view = memoryview(chunk)
                while view:
                    view = view[os.write(self._own, view) :]
        except OSError as error:
            self.__exit__()
            raise disk_error(error, directory) from error
        os.lseek(self._own, 0, os.SEEK_SET)
        return self._own

    def __exit__(self, *_: object) -> None:
        if self._own >= 0:
            os.close(self._own)
            self._own = -1


class _SeekingReader(tar_headers.ChunkReader):
    """Reads headers and jumps over contents."""

    def __init__(self, fd: int) -> None:
        super().__init__(iter(()))
        self._fd = fd
        self.at = 0
        self._end = os.fstat(fd).st_size

    def exactly(self, count: int) -> bytes:
        data = os.pread(self._fd, count, self.at)
        self.at += len(data)
        return data

    def some(self, most: int) -> memoryview:
        return memoryview(self.exactly(min(most, 1 << 16)))

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > self._end:
            raise ArchiveError("the archive ends in the middle of a file")


def _members(fd: int) -> dict[str, Member]:
    """Return where each regular member lies; links, by which docker save shares layers, are followed by name."""
    reader = _SeekingReader(fd)
    members: dict[str, Member] = {}
    links: dict[str, str] = {}
    for count, entry in enumerate(tar_headers.entries(reader)):
        name = _clean(os.fsdecode(entry.name))
        if entry.kind == tar_headers.FILE:
            members[name] = Member(reader.at, entry.size)
            reader.skip(entry.size)
        elif entry.kind == tar_headers.SYMLINK:
            links[name] = _clean(os.path.join(os.path.dirname(name), os.fsdecode(entry.link)))
        elif entry.kind == tar_headers.HARD_LINK:
            links[name] = _clean(os.fsdecode(entry.link))
        if count > _MAX_MEMBERS:
            raise ArchiveError(f"more than {_MAX_MEMBERS} files: not an archive of images")
    for name in links:
        target = name
        for _ in range(_MAX_LINKS):
            if target not in links:
                break
            target = links[target]
        if target in members:
            members.setdefault(name, members[target])
    return members


def _clean(name: str) -> str:
    return os.path.normpath("/" + name).lstrip("/")


def _read(fd: int, members: dict[str, Member], name: str, limit: int = manifests.MAX_MANIFEST_BYTES) -> bytes:
    member = members.get(_clean(name))
    if member is None:
        raise ArchiveError(f"the archive lacks {name[:200]}")
    if member.size > limit:
        raise ArchiveError(f"{name[:200]}: {member.size} bytes are too many")
    data = b""
    while len(data) < member.size and (part := os.pread(fd, member.size - len(data), member.offset + len(data))):
        data += part
    return data


def _docker_images(fd: int, members: dict[str, Member]) -> list[Found]:
    """Read manifest.json of `docker save` (Docker image spec 1.2): a list of Config, RepoTags, Layers."""
    from rootless import jsontext

    try:
        items = jsontext.loads(_read(fd, members, "manifest.json"))
    except (ValueError, RecursionError):
        raise InvalidManifest("manifest.json is not JSON") from None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InvalidManifest("manifest.json is not a list of images")
    return [_docker_image(fd, members, item) for item in items]


def _docker_image(fd: int, members: dict[str, Member], item: dict[str, Any]) -> Found:
    files, tags, config_name = item.get("Layers") or [], item.get("RepoTags") or [], item.get("Config")
    strings = [*files, *tags, config_name] if isinstance(files, list) and isinstance(tags, list) else [None]
    if not all(isinstance(text, str) for text in strings):
        raise InvalidManifest("manifest.json: Config, RepoTags or Layers have the wrong type")
    config = _read(fd, members, str(config_name), blobs.MAX_BLOB_BYTES)
    diff_ids = manifests.diff_ids(manifests.parse_json(config, "image config"), "image config")
    if len(diff_ids) != len(files):
        raise InvalidManifest(f"manifest.json: {len(files)} layers, but {len(diff_ids)} diff ids in the config")
    sources = []
    for name, diff_id in zip(files, diff_ids, strict=True):
        member = members.get(_clean(name))
        if member is None:
            raise ArchiveError(f"the archive lacks the layer {name[:200]}")
        sources.append(LayerSource(member, diff_id))
    return Found(config, tuple(sources), tuple(str(references.parse(tag)) for tag in tags))


def _oci_images(fd: int, members: dict[str, Member]) -> list[Found]:
    """Read index.json of an OCI image layout: every image in it, of an index the one for this machine."""
    if "index.json" not in members:
        raise PymanError(
            "neither a docker-archive nor an oci-archive", hint="for the archive of a root file system: pyman import"
        )
    value = manifests.parse_json(_read(fd, members, "index.json"), "index.json")
    items = value.get("manifests")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InvalidManifest("index.json: no list of manifests")
    return [_oci_image(fd, members, item) for item in items]


def _oci_image(fd: int, members: dict[str, Member], item: dict[str, Any]) -> Found:
    digits = blobs.parse_digest(item.get("digest"))
    annotations = item.get("annotations") or {}
    names = _oci_names(annotations if isinstance(annotations, dict) else {})
    data = _blob(fd, members, digits)
    value = manifests.parse_json(data, digits)
    kind = manifests.media_type_of(value, str(item.get("mediaType", "")), digits)
    if kind in INDEX_TYPES:
        digits = manifests.choose(value, manifests.host_platform(), "archive").digest
        data = _blob(fd, members, digits)
        value = manifests.parse_json(data, digits)
        kind = manifests.media_type_of(value, "", digits)
    manifest = manifests.parse_manifest(value, kind, f"manifest {digits[:12]}")
    config = _blob(fd, members, manifest.config.digest)
    diff_ids = manifests.diff_ids(manifests.parse_json(config, "image config"), "image config")
    if len(diff_ids) != len(manifest.layers):
        raise InvalidManifest(f"{len(manifest.layers)} layers, but {len(diff_ids)} diff ids in the config")
    sources = []
    for layer, diff_id in zip(manifest.layers, diff_ids, strict=True):
        member = members.get(f"blobs/sha256/{layer.digest}")
        if member is None or member.size != layer.size:
            raise ArchiveError(f"the archive lacks the layer sha256:{layer.digest}, or part of it")
        sources.append(LayerSource(member, diff_id, layer.digest))
    return Found(config, tuple(sources), names, data, kind)


def _oci_names(annotations: dict[str, Any]) -> tuple[str, ...]:
    """Return the names that an entry of index.json gives: containerd writes the whole name, others a part."""
    for key in (_CONTAINERD_NAME, _REF_NAME):
        name = annotations.get(key)
        if isinstance(name, str) and name:
            try:
                # A bare tag names nothing; Podman makes a localhost/ name of what has no registry.
                return (str(references.local(name)),)
            except PymanError:
                continue
    return ()


def _blob(fd: int, members: dict[str, Member], digits: str) -> bytes:
    data = _read(fd, members, f"blobs/sha256/{digits}", blobs.MAX_BLOB_BYTES)
    if blobs.digest_of(data) != digits:
        raise ArchiveError(f"damaged archive: blob sha256:{digits} has other content")
    return data


def _store(context: Context, fd: int, found: Found) -> Image:
    store = context.store
    _unpack(context, fd, found.layers)
    sizes = tuple(layers.read(store, source.diff_id).tar_bytes for source in found.layers)
    diff_ids = [source.diff_id for source in found.layers]
    manifest = found.manifest or local_manifest(found.config, list(zip(diff_ids, sizes, strict=True)))
    image = manifests.image(
        found.config,
        layer_sizes=sizes,
        digests=[f"sha256:{blobs.digest_of(manifest)}"],
        manifest_type=found.manifest_type,
    )
    stored, missing = commit(store, image, documents=[found.config, manifest], names_=found.names)
    if stored is None:
        raise PymanError(f"layer {missing[0][:12]} was removed while it was loaded", hint="try again")
    return stored


def _unpack(context: Context, fd: int, sources: Sequence[LayerSource]) -> None:
    """Unpack the layers that are not here, two at a time."""
    store, single_id = context.store, context.maps.single
    todo = list({source.diff_id: source for source in sources if not layers.exists(store, source.diff_id)}.values())
    todo.sort(key=lambda source: -source.member.size)

    def starter(share: list[LayerSource]) -> workers.Worker:
        return workers.start(context.maps, lambda: _unpack_share(store, fd, share, single_id=single_id))

    running = [starter(share) for share in (todo[::2], todo[1::2]) if share]
    try:
        while running:
            running.pop(0).wait()
    except NoSpace:
        _discard(store, [source.diff_id for source in todo])
        raise
    finally:
        for worker in running:
            worker.kill()
        if running:
            removal.empty_trash(context)


def _unpack_share(store: Store, fd: int, share: list[LayerSource], *, single_id: bool) -> int:
    if layers.needs_sweep(store):
        layers.sweep(store)
    for source in share:
        chunks = _content(fd, source.member)
        if source.blob:
            chunks = streams.checked(chunks, source.blob, source.member.size)
        layers.add(store, compression.decompressed(chunks), diff_id=source.diff_id, single_id=single_id)
    return len(share)


def _discard(store: Store, diff_ids: list[str]) -> None:
    with ImagesLock(store):
        needed = {digits for image in local.all_images(store) for digits in image.layers}
        for digits in diff_ids:
            if digits not in needed:
                layers.discard(store, digits)


def _content(fd: int, member: Member) -> Iterator[bytes]:
    """Return the bytes of a member; by position, so that two processes can read one descriptor."""
    at, left = member.offset, member.size
    while left:
        chunk = os.pread(fd, min(left, streams.CHUNK_BYTES), at)
        if not chunk:
            raise ArchiveError("the archive ends in the middle of a layer")
        at += len(chunk)
        left -= len(chunk)
        yield chunk
