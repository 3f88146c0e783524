"""Named volumes: `volumes/NAME/_data` and a record beside it. A volume is in use if a container's record names it."""

from __future__ import annotations

import errno
import os
import time

from engine.errors import InUse, NotFound, PymanError, UsageError
from rootless.record import Record
from storage import names, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from engine.context import Context
    from storage.store import Store


class Volume(Record):
    """One volume as it was made. `anonymous`: made for one container, and removed with it by `rm -v` or `--rm`."""

    name: str
    created_ns: int
    labels: tuple[tuple[str, str], ...] = ()
    anonymous: bool = False

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Volume:
        labels = tuple((str(key), str(text)) for key, text in value.get("labels", ()))
        return cls(**{**{name: value[name] for name in cls._fields if name in value}, "labels": labels})


def data_dir(store: Store, name: str) -> str:
    """Return the directory that containers see."""
    return f"{store.volumes_dir}/{name}/_data"


def check_name(name: str) -> None:
    """Raise UsageError for a name that no volume can have."""
    if not names.is_valid(name):
        raise UsageError(
            f'"{name}" is no name for a volume',
            hint=names.RULE,
        )


def create(store: Store, name: str = "", labels: Iterable[tuple[str, str]] = (), *, anonymous: bool = False) -> Volume:
    """Make a volume; without a name it gets 64 random hex digits. It appears complete, or not at all.

    The directory belongs to the caller, who is root in the container. Raises PymanError if the name is taken.
    """
    name = name or os.urandom(32).hex()
    check_name(name)
    volume = Volume(name, time.time_ns(), tuple(labels), anonymous)
    # "~" is in no name: what a killed command leaves behind is no volume.
    staging = f"{store.volumes_dir}/{name}~{os.getpid()}"
    try:
        os.mkdir(staging, 0o700)
        os.mkdir(f"{staging}/_data", 0o755)
        os.chmod(f"{staging}/_data", 0o755)  # mkdir obeys the umask; users of the container read it
        records.write(f"{staging}/meta.json", volume.as_dict(), durable=True)
        os.rename(staging, f"{store.volumes_dir}/{name}")
        records.sync_directory(store.volumes_dir)
    except OSError as error:
        _discard(staging)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise PymanError(f"volume with name {name} already exists: volume already exists") from None
        raise records.disk_error(error, staging) from error
    return volume


def find(store: Store, name: str) -> Volume:
    """Find by name, or by a beginning that no other volume has. Raises NotFound."""
    if names.is_valid(name):
        try:
            return _load(store, name)
        except FileNotFoundError:
            pass
        matches = [entry for entry in _names(store) if entry.startswith(name)]
        if len(matches) > 1:
            raise PymanError(f'more than one volume has a name that starts with "{name}"', hint="give more of the name")
        if matches:
            return _load(store, matches[0])
    raise NotFound(f'no volume with name "{name}" found: no such volume', hint="pyman volume ls lists them")


def ensure(store: Store, name: str, *, anonymous: bool = False) -> tuple[Volume, bool]:
    """Return the volume with exactly this name, and whether it was made just now (`anonymous` then says which kind)."""
    check_name(name)
    try:
        return _load(store, name), False
    except FileNotFoundError:
        pass
    try:
        return create(store, name, anonymous=anonymous), True
    except PymanError:
        try:
            return _load(store, name), False  # another command was faster
        except FileNotFoundError:
            pass
        raise


def all_volumes(store: Store) -> list[Volume]:
    """Return all volumes by name; those that vanish meanwhile are left out."""
    found = []
    for name in sorted(_names(store)):
        try:
            found.append(_load(store, name))
        except FileNotFoundError:
            continue
    return found


def users(store: Store) -> dict[str, list[str]]:
    """Return which containers (full IDs) use which volume, by looking at all of them."""
    from engine.containers import lookup

    found: dict[str, list[str]] = {}
    for container in lookup.all_containers(store):
        for mount in container.config.mounts:
            if mount.type == "volume":
                found.setdefault(mount.source, []).append(container.id)
    return found


def remove(context: Context, name: str) -> None:
    """Remove a volume that no container uses; a damaged one, too. Raises InUse, NotFound."""
    if not (names.is_valid(name) and os.path.isdir(f"{context.store.volumes_dir}/{name}")):
        name = find(context.store, name).name
    using = users(context.store).get(name)
    if using:
        raise InUse(
            f"volume {name} is being used by the following container(s): {', '.join(using)}: volume is being used",
            hint="remove them first",
        )
    _remove(context, name)


def _remove(context: Context, name: str) -> None:
    store = context.store
    gone = f"{store.trash_dir}/volume-{name}-{os.urandom(4).hex()}"
    try:
        os.rename(f"{store.volumes_dir}/{name}", gone)
    except FileNotFoundError:
        raise NotFound(f'no volume with name "{name}" found: no such volume') from None
    from engine.containers import cleanup

    cleanup.remove_tree(context, gone)


def _names(store: Store) -> list[str]:
    return [entry for entry in os.listdir(store.volumes_dir) if "~" not in entry]


def _load(store: Store, name: str) -> Volume:
    path = f"{store.volumes_dir}/{name}"
    try:
        return Volume.from_json(records.read(f"{path}/meta.json"))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise PymanError(f"damaged record {path}/meta.json", hint=f"pyman volume rm {name}") from None


def _discard(staging: str) -> None:
    for remove_one, path in (
        (os.rmdir, f"{staging}/_data"),
        (os.unlink, f"{staging}/meta.json"),
        (os.rmdir, staging),
    ):
        try:
            remove_one(path)
        except OSError:
            continue
