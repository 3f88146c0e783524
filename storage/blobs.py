"""Content-addressed small files: manifests and configs. Verified when written, and again when read."""

from __future__ import annotations

import os

from storage import records
from storage.errors import DigestMismatch, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.store import Store

_HEX_DIGITS = frozenset("0123456789abcdef")
MAX_BLOB_BYTES = 8 << 20


def is_hex_digest(text: str) -> bool:
    """Tell whether these are the 64 digits of a SHA-256 digest, the only ones that may become a file name."""
    return len(text) == 64 and _HEX_DIGITS.issuperset(text)


def parse_digest(text: object) -> str:
    """Return the hex digits of `sha256:...`. Raises StorageError for anything else: digests become paths and URLs."""
    if isinstance(text, str):
        algorithm, _, digits = text.partition(":")
        if algorithm == "sha256" and is_hex_digest(digits):
            return digits
        if algorithm in ("sha384", "sha512"):
            raise StorageError(f"{algorithm} digests are not supported, only sha256")
    raise StorageError(f"not a sha256 digest: {str(text)[:100]!r}")


def digest_of(data: bytes) -> str:
    """Return the hex digits of the SHA-256 of `data`."""
    import hashlib

    return hashlib.sha256(data).hexdigest()


def write(store: Store, data: bytes) -> str:
    """Store a blob durably and return its hex digest."""
    digits = digest_of(data)
    path = f"{store.blobs_dir}/{digits}"
    if not os.path.exists(path):
        records.write_bytes(path, data, durable=True)
    return digits


def read(store: Store, digits: str) -> bytes:
    """Return a blob. Raises FileNotFoundError; DigestMismatch if the file is damaged."""
    with open(f"{store.blobs_dir}/{digits}", "rb") as file:
        data = file.read(MAX_BLOB_BYTES + 1)
    if digest_of(data) != digits:
        raise DigestMismatch(f"damaged file {store.blobs_dir}/{digits}", hint="pull the image again")
    return data


def remove(store: Store, digits: str) -> None:
    records.remove_file(f"{store.blobs_dir}/{digits}")
