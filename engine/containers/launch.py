"""From a container's record to what init is told: maps, spec, root file system, seccomp program."""

from __future__ import annotations

import os

from engine import version
from engine.containers import etc_files, spec, spec_mounts
from engine.errors import PymanError
from rootless import idmap, userns
from rootless.idmap import Maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.containers.lookup import Container
    from engine.context import Context
    from engine.model import ContainerConfig
    from rootless.init import Launch
    from rootless.root import Root

private_namespaces = spec.private_namespaces


def maps_for(context: Context, config: ContainerConfig) -> Maps:
    """Return the id maps of the container's user namespace."""
    kind, _, options = config.userns.partition(":")
    base = context.maps
    if kind in ("", "host"):
        return base
    if kind == "nomap":
        if base.single or userns.is_root():
            raise PymanError("--userns=nomap needs subordinate ids and a caller who is not root")
        uids, gids = userns.subordinate_ids()
        return Maps(
            idmap.root_and_subordinates(uids[0][0], _skip_first(uids)),
            idmap.root_and_subordinates(gids[0][0], _skip_first(gids)),
        )
    if kind != "keep-id":
        raise PymanError(f"--userns={config.userns} is not available", hint="host, keep-id[:uid=N,gid=N] and nomap are")
    wanted = dict(option.partition("=")[::2] for option in options.split(",") if option)
    uid, gid = int(wanted.get("uid", os.getuid())), int(wanted.get("gid", os.getgid()))
    if base.single:
        return Maps((idmap.IdRange(uid, os.getuid(), 1),), (idmap.IdRange(gid, os.getgid(), 1),), single=True)
    if userns.is_root():
        return base
    uids, gids = userns.subordinate_ids()
    return Maps(idmap.keep_id(os.getuid(), uid, uids), idmap.keep_id(os.getgid(), gid, gids))


def _skip_first(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    first, count = ranges[0]
    return [(first + 1, count - 1), *ranges[1:]]


def notices(maps: Maps) -> tuple[str, ...]:
    """Return what a user must know about this machine, one line each."""
    if maps.single:
        return (
            "no subordinate ids (/etc/subuid, /etc/subgid): files of other users belong to you, and changes of owner "
            "or user only seem to succeed",
        )
    if userns.is_root():
        return ("called by root: users of the container have the same numbers on the host",)
    return ()


def build(
    context: Context,
    container: Container,
    maps: Maps,
    *,
    identity: str,
    window: tuple[int, int] | None,
    driver: str,
) -> Launch:
    """Return what init needs. Runs in init itself, with the rights of the caller."""
    from rootless import init

    config = container.config
    facts = spec.HostFacts(
        container_dir=container.dir,
        volumes_dir=context.store.volumes_dir,
        unified_cgroup=os.path.exists("/sys/fs/cgroup/cgroup.controllers"),
        host_mqueue=config.ipc != "host" or os.path.isdir("/dev/mqueue"),
        init_path=_init_path() if config.init else "",
        zoneinfo=_zoneinfo(config.timezone),
        apt_conf=maps.single,
    )
    _write_files(container, facts)
    return init.Launch(
        spec=spec.build(config, facts),
        root=root_of(context, container, driver),
        scratch_dir=context.store.scratch_dir,
        user=config.user,
        groups=tuple(group for group in config.groups if group != "keep-groups"),
        keep_groups="keep-groups" in config.groups,
        tty_group_mapped=idmap.to_outside(maps.gids, 5) is not None,
        private_cgroup=config.cgroupns != "host",
        private_network="network" in private_namespaces(config),
        single_id=maps.single,
        populate=tuple(
            (mount.destination, f"{facts.volumes_dir}/{mount.source}/_data")
            for mount in config.mounts
            if mount.type == "volume" and "nocopy" not in mount.options
        ),
        take_over=tuple(spec_mounts.host_source(mount, facts) for mount in config.mounts if "U" in mount.options),
        identity=identity,
        added_capabilities=spec.added_mask(config),
        seccomp_programs=seccomp_programs(context, config, single_id=maps.single),
        window=window,
    )


def seccomp_programs(context: Context, config: ContainerConfig, *, single_id: bool) -> tuple[bytes, ...]:
    """Return the filters of the container's processes, compiled; they are stacked."""
    from rootless import seccomp

    programs = []
    cache_dir = f"{context.store.root}/cache"
    if not config.privileged and config.seccomp != "unconfined":
        profile = seccomp.load_profile(config.seccomp or None)
        allowed = spec.capability_mask(config)
        programs.append(seccomp.cached_program(cache_dir, profile, allowed, architecture=config.architecture))
    if single_id:
        programs.append(seccomp.fake_root_program(cache_dir))
    return tuple(programs)


def root_of(context: Context, container: Container, driver: str) -> Root:
    """Return where the container's root file system comes from."""
    from rootless.root import Root

    config = container.config
    upper, work = f"{container.dir}/upper", f"{container.dir}/work"
    if driver == "copy":
        return Root("directory", path=f"{container.dir}/rootfs")
    if not config.rootfs:
        # The topmost of a layer that an image has twice decides, and overlay refuses one directory in two places.
        layers = dict.fromkeys(reversed(config.layers))
        lower = tuple(f"{context.store.layers_dir}/{layer}/diff" for layer in layers)
        return Root("overlay", lower, upper, work)
    if not config.rootfs_overlay:
        return Root("directory", path=config.rootfs)
    if os.path.samefile(config.rootfs, "/"):
        return Root("host", (), upper, work, "/")
    return Root("overlay", (config.rootfs,), upper, work)


def identity(config: ContainerConfig) -> str:
    """Return the passwd line for a caller who keeps their id in the container, or for a number that has no name.

    For the monitor: init, whose id map is just being written, has the overflow id (65534, nobody) or 0.
    """
    if not config.userns.startswith("keep-id"):
        uid, _, gid = config.user.partition(":")
        return f"{uid}:{uid}:{gid if gid.isdecimal() else 0}:/" if uid.isdecimal() else ""
    import pwd

    try:
        entry = pwd.getpwuid(os.getuid())
        name, home = entry.pw_name, entry.pw_dir
    except KeyError:
        name, home = str(os.getuid()), "/"
    uid, _, gid = config.user.partition(":")
    return f"{name}:{uid or os.getuid()}:{gid or os.getgid()}:{home}"


def _zoneinfo(timezone: str) -> str:
    """Return the host's file of a time zone; `local` is the host's own."""
    if not timezone:
        return ""
    path = "/etc/localtime" if timezone == "local" else f"/usr/share/zoneinfo/{timezone}"
    if not os.path.isfile(path):
        raise PymanError(f"--tz={timezone}: this machine has no such time zone", hint="ls /usr/share/zoneinfo")
    return path


def _init_path() -> str:
    """Return the helper that reaps orphans for --init: catatonit or tini, statically linked."""
    for directory in ("/usr/libexec/podman", "/usr/bin", "/usr/local/bin"):
        for name in ("catatonit", "tini-static"):
            if os.access(f"{directory}/{name}", os.X_OK):
                return f"{directory}/{name}"
    raise PymanError("--init needs catatonit, which is not installed", hint="install the package catatonit")


def _write_files(container: Container, facts: spec.HostFacts) -> None:
    """Write the files that are bound into the container, anew at every start."""
    from engine.containers import network

    config = container.config
    addresses = network.addresses(config)
    try:
        with open("/etc/resolv.conf") as file:
            host_resolv = file.read(1 << 16)
    except OSError:
        host_resolv = ""
    texts = {
        "hosts": etc_files.hosts(config, addresses.own, addresses.host),
        "resolv.conf": etc_files.resolv_conf(config, host_resolv, forwarder=addresses.dns),
        "hostname": f"{config.hostname}\n",
        "containerenv": etc_files.containerenv(config, version.VERSION),
    }
    if facts.apt_conf:
        texts["apt.conf"] = etc_files.APT_CONF
    for name, text in texts.items():
        fd = os.open(f"{container.dir}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        os.fchmod(fd, 0o644)
        os.write(fd, text.encode())
        os.close(fd)
