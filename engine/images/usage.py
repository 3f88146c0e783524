"""Which containers need which images and layers: found by looking at the containers' records."""

from __future__ import annotations

import os

from storage import records
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.store import Store


def containers(store: Store) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return (container ID, image ID, layers) of all containers. A damaged record uses nothing that we could know."""
    found = []
    for container_id in os.listdir(store.containers_dir):
        try:
            config = records.read(f"{store.containers_dir}/{container_id}/config.json")
            found.append((container_id, str(config.get("image_id", "")), tuple(config.get("layers", ()))))
        except (OSError, StorageError, AttributeError):
            continue
    return found


def users_of(store: Store) -> dict[str, list[str]]:
    """Return which containers (IDs) use which image ID."""
    users: dict[str, list[str]] = {}
    for container_id, image_id, _ in containers(store):
        users.setdefault(image_id, []).append(container_id)
    return users


def layers_in_use(store: Store) -> set[str]:
    return {digits for _, _, used in containers(store) for digits in used}
