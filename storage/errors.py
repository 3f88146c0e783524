"""What can go wrong with bytes and records on disk. Imports nothing of ours."""

from __future__ import annotations


class StorageError(Exception):
    """A file, record, layer or archive cannot be used. `hint` tells the way out, or is empty."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class NameTaken(StorageError):
    """The name is in use; `holder` is the id that it points to."""

    def __init__(self, name: str, holder: str) -> None:
        super().__init__(f'the name "{name}" is already in use by {holder}')
        self.name = name
        self.holder = holder


class DigestMismatch(StorageError):
    """Bytes are not the ones that their digest or size promises."""


class ArchiveError(StorageError):
    """An archive is malformed, hostile, or beyond a limit."""


class NoSpace(StorageError):
    """The file system or the quota is full."""
