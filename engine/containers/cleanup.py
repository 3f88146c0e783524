"""Removal: of a container's traces after it ended, and of what a killed command left behind."""

from __future__ import annotations

import os

from rootless import userns
from storage import names, records, trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.containers.lookup import Container
    from engine.context import Context


def socket_path(context: Context, container_id: str) -> str:
    """Return where the container's monitor listens. Short: a socket's path has at most 107 bytes (unix(7))."""
    return f"{context.run_dir}/{container_id[:20]}.sock"


def slirp_path(context: Context, container_id: str) -> str:
    """Return where the container's slirp4netns takes requests for ports."""
    return f"{context.run_dir}/{container_id[:20]}.slirp"


def remove_socket(context: Context, container: Container) -> None:
    records.remove_file(socket_path(context, container.id))
    if container.config.ports:
        records.remove_file(slirp_path(context, container.id))


def remove_container(context: Context, container: Container, *, volumes: bool = True) -> None:
    """Remove the record and the writable layer of a container that does not run. It may be gone already.

    Renamed first: from then on no command sees it, whatever happens to us. Needs no free space.
    """
    store = context.store
    trash = f"{store.trash_dir}/{container.id}~{os.getpid()}"
    try:
        os.rename(container.dir, trash)
    except FileNotFoundError:
        return
    names.release(store.container_names_dir, container.name, container.id)
    remove_socket(context, container)
    if volumes:
        _remove_anonymous_volumes(context, container)
    remove_tree(context, trash)


def _remove_anonymous_volumes(context: Context, container: Container) -> None:
    for mount in container.config.mounts:
        if mount.anonymous:
            remove_tree(context, f"{context.store.volumes_dir}/{mount.source}")


def remove_tree(context: Context, path: str) -> None:
    """Remove a tree of which parts may belong to subordinate ids."""
    try:
        trees.remove_tree(path)
        return
    except FileNotFoundError:
        return
    except OSError:
        pass  # some of it belongs to ids that only the namespace can act for
    userns.run_mapped(lambda: _remove(path), context.maps)


def _remove(path: str) -> bytes:
    trees.remove_tree(path)
    return b""


def sweep(context: Context) -> None:
    """Finish what killed commands left: half-made containers, half-removed trees. Their names end in ~PID."""
    store = context.store
    for directory in (store.trash_dir, store.containers_dir):
        for entry in os.listdir(directory):
            _, tilde, pid = entry.rpartition("~")
            if tilde and pid.isdecimal() and not os.path.exists(f"/proc/{pid}"):
                remove_tree(context, f"{directory}/{entry}")
