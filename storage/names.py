"""Names to ids: one symbolic link per name, whose creation is the claim (symlink(2) fails if it exists)."""

from __future__ import annotations

import os

from storage.errors import NameTaken
from storage.records import remove_file

_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
RULE = "letters, digits and _.- are allowed, a letter or digit comes first"


def is_valid(name: str) -> bool:
    """Tell whether a container or volume can have this name, by Podman's rule (and at most 200 characters)."""
    return 0 < len(name) <= 200 and _CHARACTERS.issuperset(name) and name[0].isalnum()


def claim(directory: str, name: str, target_id: str) -> None:
    """Make `name` mean `target_id`. Raises NameTaken if it means something already."""
    try:
        os.symlink(target_id, f"{directory}/{escape(name)}")
    except FileExistsError:
        raise NameTaken(name, lookup(directory, name) or "another object") from None


def point(directory: str, name: str, target_id: str) -> None:
    """Make `name` mean `target_id`, whatever it meant before, atomically."""
    path = f"{directory}/{escape(name)}"
    temporary = f"{path}~{os.getpid()}"
    remove_file(temporary)
    os.symlink(target_id, temporary)
    os.rename(temporary, path)


def lookup(directory: str, name: str) -> str | None:
    """Return the id that `name` means, or None."""
    try:
        return os.readlink(f"{directory}/{escape(name)}")
    except OSError:
        return None


def release(directory: str, name: str, target_id: str | None = None) -> None:
    """Forget `name`; with `target_id` only if it still means that."""
    if target_id is None or lookup(directory, name) == target_id:
        remove_file(f"{directory}/{escape(name)}")


def all_names(directory: str) -> list[tuple[str, str]]:
    """Return (name, id) pairs, sorted by name."""
    pairs = []
    for entry in sorted(os.listdir(directory)):
        if "~" not in entry:
            try:
                pairs.append((unescape(entry), os.readlink(f"{directory}/{entry}")))
            except OSError:
                continue  # released meanwhile
    return pairs


def escape(name: str) -> str:
    """Return `name` as one file name: '/' and '%' and '~' as %XX."""
    return name.replace("%", "%25").replace("/", "%2F").replace("~", "%7E")


def unescape(entry: str) -> str:
    return entry.replace("%2F", "/").replace("%7E", "~").replace("%25", "%")
