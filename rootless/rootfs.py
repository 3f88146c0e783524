"""OCI spec -> the list of mount operations that make its root file system. Pure."""

from __future__ import annotations

from rootless.constants import (
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
)
from rootless.errors import KernelError
from rootless.mounts import PROPAGATION, Bind, Mask, NewFilesystem, Operation, Overlay, ReadOnly, Symlink
from rootless.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.oci import MountEntry, Spec

_SET = {
    "ro": MOUNT_ATTR_RDONLY,
    "nosuid": MOUNT_ATTR_NOSUID,
    "nodev": MOUNT_ATTR_NODEV,
    "noexec": MOUNT_ATTR_NOEXEC,
    "noatime": MOUNT_ATTR_NOATIME,
    "nosymfollow": MOUNT_ATTR_NOSYMFOLLOW,
}
_CLEAR = {
    "rw": MOUNT_ATTR_RDONLY,
    "suid": MOUNT_ATTR_NOSUID,
    "dev": MOUNT_ATTR_NODEV,
    "exec": MOUNT_ATTR_NOEXEC,
    "symfollow": MOUNT_ATTR_NOSYMFOLLOW,
}
# relatime is the kernel's default; the rest has no meaning for a mount of an unprivileged user.
_NO_EFFECT = frozenset(("defaults", "relatime", "strictatime", "async", "diratime", "nodiratime", "norelatime"))
DEVICE_NODES = ("null", "zero", "full", "random", "urandom", "tty")
_DEV_LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
)


class _Options(Record):
    set_: int
    clear: int
    recursive: int  # MOUNT_ATTR_* for the whole tree: rro, rnosuid, ...
    propagation: str
    bind: bool
    rbind: bool
    copy_up: bool
    data: tuple[str, ...]


def parse_options(options: list[str]) -> _Options:
    """Sort mount options into attributes, propagation and file system data (runtime spec, config.md, "Mounts")."""
    set_ = clear = recursive = 0
    propagation = ""
    bind = rbind = copy_up = False
    data = []
    for option in options:
        if option in _SET:
            set_, clear = set_ | _SET[option], clear & ~_SET[option]
        elif option in _CLEAR:
            set_, clear = set_ & ~_CLEAR[option], clear | _CLEAR[option]
        elif option.startswith("r") and option[1:] in _SET:
            recursive |= _SET[option[1:]]
        elif option in PROPAGATION:
            propagation = option
        elif option == "bind":
            bind = True
        elif option == "rbind":
            bind = rbind = True
        elif option == "tmpcopyup":
            copy_up = True
        elif option not in _NO_EFFECT:
            data.append(option)
    return _Options(set_, clear, recursive, propagation, bind, rbind, copy_up, tuple(data))


def plan(spec: Spec, *, gids_mapped: bool) -> list[Operation]:
    """Return the operations in the order in which they must happen.

    `gids_mapped` tells whether group 5 (tty) exists in the user namespace; devpts refuses an unmapped one.
    """
    operations: list[Operation] = []
    has_dev = False
    for entry in spec.get("mounts", []):
        operations.append(_mount(entry, gids_mapped=gids_mapped))
        if entry["destination"] == "/dev" and entry.get("type") == "tmpfs":
            has_dev = True
            operations += [Bind(f"/dev/{name}", f"/dev/{name}", recursive=False) for name in DEVICE_NODES]
    if has_dev:
        operations += [Symlink(target, text) for target, text in _DEV_LINKS]
    for device in spec["linux"].get("devices", []):
        operations.append(Bind(device["path"], device["path"], recursive=False))
    operations += [ReadOnly(path) for path in spec["linux"].get("readonlyPaths", [])]
    operations += [Mask(path) for path in spec["linux"].get("maskedPaths", [])]
    return operations


def _mount(entry: MountEntry, *, gids_mapped: bool) -> Operation:
    options = parse_options(entry.get("options", []))
    target = entry["destination"]
    kind = entry.get("type", "none")
    if options.bind or kind in ("bind", "none"):
        if options.recursive:
            return Bind(
                entry["source"], target, options.rbind, options.set_ | options.recursive, options.clear, True,
                options.propagation,
            )  # fmt: skip
        # A bind keeps what the source's mount denies: clearing nosuid or nodev is refused by the kernel, and "rw" is
        # the default, so only what is set matters.
        return Bind(entry["source"], target, options.rbind, options.set_, 0, False, options.propagation)
    data = options.data
    if kind == "overlay":
        directories = dict(option.partition("=")[::2] for option in data)
        return Overlay(entry["source"], directories["upperdir"], directories["workdir"], target)
    if kind == "devpts" and not gids_mapped:
        data = tuple(option for option in data if option != "gid=5")
    if kind not in ("proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "ramfs"):
        raise KernelError(f"cannot mount {target}: file system type {kind} is not available in a user namespace")
    if kind == "cgroup":
        kind = "cgroup2"  # an unprivileged user namespace can mount nothing but the unified hierarchy
    return NewFilesystem(
        kind,
        target,
        options.set_,
        (f"source={entry.get('source', kind)}", *data),
        optional=kind == "cgroup2",
        copy_up=options.copy_up,
        follow_links=target not in ("/proc", "/sys", "/dev"),
    )
