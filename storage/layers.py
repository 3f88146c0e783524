"""Layers: unpacked once under the digest of their content, shared by all images, visible when complete and on disk.

`layers/HEX/` holds `diff/` (the tree, whiteouts in overlay's form), `meta.json` and the headers of the original
archive, from which that can be rebuilt. HEX is the diff id: the SHA-256 of the uncompressed archive.

A layer is made in `staging/NAME/`, synced, and renamed into place. `staging/NAME.lock` is locked (flock(2)) by the
maker for as long as it lives, so that a sweep can tell what a killed process has left behind. Making, sweeping and
removing run inside a user namespace that has all ids of the layers.
"""

from __future__ import annotations

import errno
import fcntl
import os

from rootless import syscalls
from rootless.record import Record
from storage import records, streams, tar_apply, tar_headers, trees
from storage.errors import DigestMismatch, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Any

    from storage.store import Store


class Layer(Record):
    """What is remembered about a layer (`meta.json`)."""

    diff_id: str  # hex digits
    tar_bytes: int  # of the uncompressed archive
    content_bytes: int  # of all files together
    entries: int
    exact: bool  # the archive can be rebuilt bit by bit from its headers and diff/
    single_id: bool = False  # owners are in extended attributes


def layer_dir(store: Store, digits: str) -> str:
    return f"{store.layers_dir}/{digits}"


def exists(store: Store, digits: str) -> bool:
    return os.path.isdir(layer_dir(store, digits))


def read(store: Store, digits: str) -> Layer:
    """Return the record of a layer. Raises FileNotFoundError."""
    value = records.read(f"{layer_dir(store, digits)}/meta.json")
    return Layer(**{name: value[name] for name in Layer._fields if name in value})


def all_layers(store: Store) -> list[str]:
    return [name for name in os.listdir(store.layers_dir) if len(name) == 64]


def staging_dir(store: Store) -> str:
    """Return the directory of what is being made, on the file system of the layers."""
    path = f"{store.root}/staging"
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise records.disk_error(error, path) from error
    return path


class FileLock:
    """An exclusive flock on a file that exists only while somebody holds it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1

    def acquire(self, *, wait: bool = True) -> bool:
        """Take the lock; with `wait` false only if it is free."""
        while True:
            try:
                fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            except OSError as error:
                raise records.disk_error(error, self._path) from error
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                # The one before us may have removed the file when it was done: then we hold nothing.
                if os.fstat(fd).st_nlink:
                    self._fd = fd
                    return True
            except BlockingIOError:
                os.close(fd)
                return False
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def release(self) -> None:
        if self._fd >= 0:
            records.remove_file(self._path)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Staging:
    """`with Staging(store) as staging:` a fresh directory `staging.path`, removed at the end unless it was renamed."""

    def __init__(self, store: Store) -> None:
        self.path = f"{staging_dir(store)}/{os.getpid()}-{os.urandom(4).hex()}"
        self._lock = FileLock(f"{self.path}.lock")

    def __enter__(self) -> Staging:
        self._lock.acquire()
        try:
            os.mkdir(self.path, 0o700)
        except OSError as error:
            self._lock.release()
            raise records.disk_error(error, self.path) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        trees.remove_tree(self.path)
        self._lock.release()


def add(
    store: Store,
    archive: Iterator[bytes],
    *,
    diff_id: str | None = None,
    single_id: bool = False,
    finish: Callable[[], object] | None = None,
) -> Layer:
    """Unpack an uncompressed archive as a layer, and return its record; the layer may be there already.

    With `diff_id` the archive must have that digest; of several processes that add it at once, one unpacks and the
    others wait for it. `finish` is called when the stream has been read, before the layer becomes visible.
    Runs inside the user namespace.
    """
    if diff_id is None:
        return _unpack(store, archive, None, single_id, finish)
    with FileLock(f"{staging_dir(store)}/{diff_id}.unpack"):
        if exists(store, diff_id):
            return read(store, diff_id)
        return _unpack(store, archive, diff_id, single_id, finish)


def _unpack(
    store: Store, archive: Iterator[bytes], diff_id: str | None, single_id: bool, finish: Callable[[], object] | None
) -> Layer:
    with Staging(store) as staging:
        try:
            layer = _unpack_into(staging.path, archive, single_id)
        except OSError as error:
            raise records.disk_error(error, staging.path) from error
        if diff_id is not None and layer.diff_id != diff_id:
            raise DigestMismatch(f"the layer's content has the digest sha256:{layer.diff_id}, not sha256:{diff_id}")
        if finish is not None:
            finish()
        records.write(f"{staging.path}/meta.json", layer.as_dict())
        _publish(store, staging.path, layer.diff_id)
        return layer


def _unpack_into(path: str, archive: Iterator[bytes], single_id: bool) -> Layer:
    os.mkdir(f"{path}/diff", 0o755)
    root_fd = os.open(f"{path}/diff", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    old_umask = os.umask(0)
    try:
        os.fchmod(root_fd, 0o755)
        # Three stages side by side: receive and inflate, hash, make files.
        hashed = streams.Hashed(streams.read_ahead(archive))
        reader = tar_headers.ChunkReader(streams.read_ahead(iter(hashed)))
        with _HeaderFile(path) as headers:
            applied = tar_apply.apply(reader, root_fd, single_id=single_id, keep=headers.write)
    finally:
        os.umask(old_umask)
        os.close(root_fd)
    if not applied.exact:
        headers.remove()
    return Layer(hashed.hex(), hashed.count, applied.content_bytes, applied.entries, applied.exact, single_id)


def _publish(store: Store, path: str, digits: str) -> None:
    """Put everything on disk, then let the layer appear: whoever sees it after a power cut sees all of it."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syscalls.syncfs(fd)
    except OSError as error:
        raise records.disk_error(error, path) from error
    finally:
        os.close(fd)
    try:
        os.rename(path, layer_dir(store, digits))
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise records.disk_error(error, path) from error
        return  # somebody else was faster; theirs has the same content
    records.sync_directory(store.layers_dir)


class _HeaderFile:
    """The bytes of an archive that are not file content, compressed; 14,000 entries take some 300 kB."""

    def __init__(self, directory: str) -> None:
        self._compressor: Any
        try:
            import zstandard

            self._path = f"{directory}/headers.zst"
            self._compressor = zstandard.ZstdCompressor(level=1).compressobj()
        except ImportError:
            import zlib

            self._path = f"{directory}/headers.gz"
            self._compressor = zlib.compressobj(1, wbits=31)
        self._file = open(self._path, "wb", buffering=1 << 18)
        self._parts: list[bytes] = []
        self._length = 0

    def __enter__(self) -> _HeaderFile:
        return self

    def write(self, data: bytes) -> None:
        self._parts.append(data)
        self._length += len(data)
        if self._length > 1 << 18:
            self._flush()

    def _flush(self) -> None:
        self._file.write(self._compressor.compress(b"".join(self._parts)))
        self._parts.clear()
        self._length = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._flush()
                self._file.write(self._compressor.flush())
        finally:
            self._file.close()

    def remove(self) -> None:
        records.remove_file(self._path)


def discard(store: Store, digits: str) -> None:
    """Take a layer out of sight; `empty_trash` removes it. Needs no free space."""
    target = f"{store.trash_dir}/{digits}-{os.urandom(4).hex()}"
    try:
        os.rename(layer_dir(store, digits), target)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"cannot remove layer {digits[:12]}: {os.strerror(error.errno or 0)}") from error


def sweep(store: Store) -> None:
    """Remove what is in the trash, and what killed processes have left in staging.

    Raises PermissionError where files belong to subordinate ids and we are outside of the user namespace.
    """
    for name in os.listdir(store.trash_dir):
        trees.remove_tree(f"{store.trash_dir}/{name}")
    directory = staging_dir(store)
    for name in os.listdir(directory):
        if not name.endswith((".lock", ".unpack")):
            continue
        # Free: its owner is dead. Our own taking of it keeps others away while we remove.
        lock = FileLock(f"{directory}/{name}")
        if lock.acquire(wait=False):
            try:
                if name.endswith(".lock"):
                    trees.remove_tree(f"{directory}/{name.removesuffix('.lock')}")
            finally:
                lock.release()


def needs_sweep(store: Store) -> bool:
    """Tell whether there is anything to look at: cheap, for the beginning of other commands."""
    return bool(os.listdir(store.trash_dir) or os.listdir(staging_dir(store)))
