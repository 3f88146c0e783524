"""How much space containers take."""

from __future__ import annotations

import os

from rootless import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.containers.lookup import Container
    from engine.context import Context
    from storage.store import Store


def written_bytes(context: Context, container_dirs: list[str]) -> list[int]:
    """Return the bytes of all files in the writable layer of each container."""
    try:
        return [tree_bytes(f"{directory}/upper") for directory in container_dirs]
    except PermissionError:
        # Directories of subordinate ids that are closed to others.
        from rootless import userns

        work = [f"{directory}/upper" for directory in container_dirs]
        answer = userns.run_mapped(lambda: jsontext.dumps([tree_bytes(path) for path in work]).encode(), context.maps)
        return [int(n) for n in jsontext.loads(answer)]


def image_bytes(store: Store, container: Container) -> int:
    """Return the size of the container's image; 0 if it has none."""
    from engine.images import local

    image = local.load(store, container.config.image_id) if container.config.image_id else None
    return image.size if image else 0


def tree_bytes(path: str) -> int:
    """Return the bytes of all files below a directory, hard links once; 0 if it is missing. Follows no link."""
    total = 0
    seen: set[tuple[int, int]] = set()
    waiting = [path]
    while waiting:
        try:
            entries = os.scandir(waiting.pop())
        except (FileNotFoundError, NotADirectoryError):
            continue
        with entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif status.st_nlink == 1 or (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    total += status.st_size
    return total
