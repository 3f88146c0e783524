"""Volumes, tmpfs, devices and the standard file systems -> mounts of the OCI spec. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.containers.spec import HostFacts
    from engine.model import ContainerConfig, Mount
    from rootless.oci import MountEntry

_READ_ONLY_TMPFS = ("/run", "/tmp", "/var/tmp")


def mounts(config: ContainerConfig, facts: HostFacts) -> list[MountEntry]:
    """Return the mounts in order: the standard ones, ours, then the user's, parents before what lies below them."""
    entries = _standard(config, facts)
    users = [_user_mount(mount, config, facts, index) for index, mount in enumerate(config.mounts)]
    taken = {entry["destination"] for entry in users}
    if config.read_only and config.read_only_tmpfs:
        for path in (path for path in _READ_ONLY_TMPFS if path not in taken):
            options = ["rw", "rprivate", "nosuid", "nodev", "tmpcopyup", "mode=1777"]
            users.append({"destination": path, "type": "tmpfs", "source": "tmpfs", "options": options})
    ours = [entry for entry in _files(config, facts) if entry["destination"] not in taken]
    standard = [entry for entry in entries if entry["destination"] not in taken]
    devices = [_device(device) for device in config.devices]
    # By depth, so that /data/inner is mounted on /data and not hidden below it; sorting is stable.
    return standard + sorted(users + ours, key=lambda entry: _depth(entry["destination"])) + devices


def _depth(path: str) -> int:
    return path.rstrip("/").count("/")


def _standard(config: ContainerConfig, facts: HostFacts) -> list[MountEntry]:
    locked = ["nosuid", "noexec", "nodev"]
    entries: list[MountEntry] = [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": locked},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "noexec", "mode=755", "size=65536k"],
        },
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*locked, "ro"]},
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": locked},
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": [*locked, "mode=1777", f"size={config.shm_size}"],
        },
    ]
    if config.privileged:
        entries[2]["options"] = [*locked, "rw"]
    if config.pid == "host":
        # A new /proc belongs to a new pid namespace; of the host's we can only show what is there.
        entries[0] = {"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind", *locked]}
    if config.network == "host":
        # sysfs can be mounted only by the owner of the network namespace.
        entries[2] = {"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", *locked, "rro"]}
    if config.ipc == "host":
        entries[4:] = [
            {"destination": path, "type": "bind", "source": path, "options": ["rbind", *locked]}
            for path in ("/dev/mqueue", "/dev/shm")
            if path == "/dev/shm" or facts.host_mqueue
        ]
    if facts.unified_cgroup and config.network != "host":
        mode = "rw" if config.privileged else "ro"
        entries.append(
            {"destination": "/sys/fs/cgroup", "type": "cgroup2", "source": "cgroup", "options": [*locked, mode]}
        )
    return entries


def _files(config: ContainerConfig, facts: HostFacts) -> list[MountEntry]:
    """Return the binds of the files that the engine writes for the container."""
    names = {"resolv.conf": "/etc/resolv.conf", "hostname": "/etc/hostname", "containerenv": "/run/.containerenv"}
    if not config.no_hosts:
        names["hosts"] = "/etc/hosts"
    if facts.apt_conf:
        names["apt.conf"] = "/run/pyman-apt.conf"
    entries: list[MountEntry] = [
        {
            "destination": target,
            "type": "bind",
            "source": f"{facts.container_dir}/{name}",
            "options": ["bind", "nosuid", "nodev", "noexec", "rprivate"],
        }
        for name, target in names.items()
    ]
    if facts.zoneinfo:
        entries.append(
            {
                "destination": "/etc/localtime",
                "type": "bind",
                "source": facts.zoneinfo,
                "options": ["bind", "ro", "nosuid", "nodev"],
            }
        )
    if config.init:
        entries.append(
            {
                "destination": "/run/pyman-init",
                "type": "bind",
                "source": facts.init_path,
                "options": ["bind", "ro", "nosuid", "nodev", "rprivate"],
            }
        )
    return entries


def _user_mount(mount: Mount, config: ContainerConfig, facts: HostFacts, index: int) -> MountEntry:
    options = list(mount.options)
    if mount.type == "tmpfs":
        return {
            "destination": mount.destination,
            "type": "tmpfs",
            "source": "tmpfs",
            "options": _tmpfs_options(options),
        }
    if mount.type in ("devpts", "mqueue", "ramfs"):
        return {"destination": mount.destination, "type": mount.type, "source": mount.type, "options": options}
    source = host_source(mount, facts)
    if mount.type == "overlay":
        return {
            "destination": mount.destination,
            "type": "overlay",
            "source": source,
            "options": [
                f"upperdir={facts.container_dir}/volumes/{index}/upper",
                f"workdir={facts.container_dir}/volumes/{index}/work",
            ],
        }
    kept = [option for option in options if option not in ("U", "O", "z", "Z", "nocopy", "copy", "bind", "rbind")]
    bind = "bind" if "bind" in options else "rbind"
    defaults = [word for word, opposite in (("nosuid", "suid"), ("nodev", "dev")) if opposite not in options]
    return {
        "destination": mount.destination,
        "type": "bind",
        "source": source,
        "options": [bind, *defaults, *kept],
    }


def host_source(mount: Mount, facts: HostFacts) -> str:
    """Return the host's directory of a bind or volume."""
    return f"{facts.volumes_dir}/{mount.source}/_data" if mount.type == "volume" else mount.source


def _tmpfs_options(options: list[str]) -> list[str]:
    defaults = ["rw", "nosuid", "nodev", "tmpcopyup"]
    if "notmpcopyup" in options:
        defaults.remove("tmpcopyup")
    if not any(option.startswith("mode=") for option in options):
        defaults.append("mode=1777")
    return defaults + [option for option in options if option != "notmpcopyup"]


def _device(device: str) -> MountEntry:
    host, _, rest = device.partition(":")
    target, _, _ = rest.partition(":")
    return {"destination": target or host, "type": "bind", "source": host, "options": ["bind", "nosuid", "noexec"]}
