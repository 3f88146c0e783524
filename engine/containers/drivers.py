"""How a container's root file system comes about: by the kernel's overlay, by fuse-overlayfs, or as a copy.

Chosen by trying, in this order; what was found to work is remembered in the store (`driver`), with the kernel's
release, so that a machine without the first does not try it at every start.
"""

from __future__ import annotations

import os

from rootless import userns
from storage import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.containers.lookup import Container
    from engine.context import Context
    from engine.model import ContainerConfig
    from rootless.idmap import Maps

OVERLAY, FUSE, COPY, DIRECTORY = "overlay", "fuse-overlayfs", "copy", "directory"
NAMES = (OVERLAY, FUSE, COPY)


def candidates(context: Context, config: ContainerConfig, maps: Maps) -> list[str]:
    """Return the drivers to try for this container, the best first."""
    if config.rootfs and not config.rootfs_overlay:
        return [DIRECTORY]
    if config.rootfs:
        return [OVERLAY] if os.path.samefile(config.rootfs, "/") else [OVERLAY, FUSE]
    if context.storage_driver:
        return [context.storage_driver]
    if is_shifted(config, maps):
        return [FUSE, OVERLAY] if userns.find_helper("fuse-overlayfs") else [OVERLAY]
    known = _known(context)
    return list(NAMES[NAMES.index(known) :]) if known in NAMES else list(NAMES)


def is_shifted(config: ContainerConfig, maps: Maps) -> bool:
    """Tell whether the ids of stored files are others in this container: fuse-overlayfs shows them right."""
    return config.userns.startswith("keep-id") and not maps.single and not userns.is_root()


def _known(context: Context) -> str:
    try:
        with open(f"{context.store.root}/driver") as file:
            name, _, release = file.read(300).partition(" ")
    except OSError:
        return ""
    return name if release.strip() == os.uname().release else ""


def remember(context: Context, config: ContainerConfig, name: str) -> None:
    """Note that the drivers before this one do not work here, where that is why it was chosen."""
    forced = context.storage_driver or config.userns.startswith("keep-id") or config.rootfs
    if name != OVERLAY and not forced and _known(context) != name:
        records.write_bytes(f"{context.store.root}/driver", f"{name} {os.uname().release}\n".encode())


def fuse_options(config: ContainerConfig, maps: Maps) -> tuple[str, ...]:
    """Return the id mappings that fuse-overlayfs has to show."""
    if not is_shifted(config, maps):
        return ()
    from rootless import fuse

    uid = next(r.inside for r in maps.uids if r.outside == os.getuid())
    gid = next(r.inside for r in maps.gids if r.outside == os.getgid())
    return (
        fuse.keep_id_option("uidmapping", maps.uids, uid),
        fuse.keep_id_option("gidmapping", maps.gids, gid),
    )


def copy_layers(context: Context, container: Container) -> None:
    """Make the copy of the image that this container writes to, unless it has one from an earlier start."""
    destination = f"{container.dir}/rootfs"
    if os.path.isdir(destination):
        return
    layers = [f"{context.store.layers_dir}/{layer}/diff" for layer in container.config.layers]

    def flatten() -> bytes:
        from storage import vfs

        vfs.flatten(layers, destination)
        return b""

    userns.run_mapped(flatten, context.maps)
