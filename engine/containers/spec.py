"""Container configuration -> OCI runtime spec. Pure: what the host offers is handed in."""

from __future__ import annotations

from engine.containers import spec_mounts
from rootless import capabilities
from rootless.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.model import ContainerConfig
    from rootless.oci import Namespace, Process, Rlimit, Spec

OCI_VERSION = "1.2.0"

MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
APT_ENVIRONMENT = "APT_CONFIG=/run/pyman-apt.conf"
_ALL_CAPABILITIES = (1 << len(capabilities.NAMES)) - 1


class HostFacts(Record):
    """What a spec depends on beside its configuration."""

    container_dir: str  # absolute; holds hosts, resolv.conf, hostname
    volumes_dir: str
    unified_cgroup: bool = False
    host_mqueue: bool = True  # whether the host has /dev/mqueue, for --ipc=host
    init_path: str = ""  # the helper of --init
    zoneinfo: str = ""  # --tz: the host's file for /etc/localtime
    apt_conf: bool = False  # single-id mode: tell apt not to change its user


def private_namespaces(config: ContainerConfig) -> frozenset[str]:
    """Return which of pid, network, ipc and uts are new for this container."""
    modes = {"pid": config.pid, "ipc": config.ipc, "uts": config.uts}
    names = {name for name, mode in modes.items() if mode != "host"}
    return frozenset(names if config.network == "host" else names | {"network"})


def build(config: ContainerConfig, facts: HostFacts) -> Spec:
    """Return the spec. Its user is root: init looks the real one up in the image."""
    private = private_namespaces(config)
    namespaces: list[Namespace] = [{"type": name} for name in ("user", "mount", *sorted(private))]
    if config.cgroupns != "host":
        namespaces.append({"type": "cgroup"})
    restricted = not config.privileged
    unmasked = set(config.unmask)
    masked = [path for path in MASKED_PATHS if restricted and not ({"ALL", path} & unmasked)]
    readonly = [path for path in READONLY_PATHS if restricted and not ({"ALL", path} & unmasked)]
    spec: Spec = {
        "ociVersion": OCI_VERSION,
        "root": {"path": "rootfs", "readonly": config.read_only},
        "process": _process(config, facts),
        "mounts": spec_mounts.mounts(config, facts),
        "annotations": dict(config.annotations),
        "linux": {
            "namespaces": namespaces,
            "sysctl": dict(config.sysctls),
            "maskedPaths": masked + [path for path in config.mask if path not in masked],
            "readonlyPaths": readonly,
        },
    }
    if "uts" in private:
        spec["hostname"] = config.hostname
    return spec


def _process(config: ContainerConfig, facts: HostFacts) -> Process:
    names = capability_names(config)
    process: Process = {
        "terminal": config.tty,
        "user": {"uid": 0, "gid": 0, "umask": config.umask},
        "args": [*(("/run/pyman-init", "--") if config.init else ()), *config.argv],
        "env": list(config.env),
        "cwd": config.workdir,
        "capabilities": {"bounding": names, "effective": names, "permitted": names},
        "noNewPrivileges": config.no_new_privileges,
        "rlimits": rlimits(config),
    }
    if config.oom_score_adj is not None:
        process["oomScoreAdj"] = config.oom_score_adj
    if facts.apt_conf:
        process["env"].append(APT_ENVIRONMENT)
    return process


def capability_mask(config: ContainerConfig) -> int:
    """Return the bounding set of the container."""
    if config.privileged:
        return capabilities.limit_to_kernel(_ALL_CAPABILITIES)
    allowed = capabilities.resolve(config.cap_add, config.cap_drop)
    return capabilities.limit_to_kernel(allowed) if config.cap_add else allowed


def added_mask(config: ContainerConfig) -> int:
    """Return what --cap-add named: users other than root get that, too; with ALL everything."""
    if any(name.upper() == "ALL" for name in config.cap_add):
        return capability_mask(config)
    return capabilities.mask(name for name in config.cap_add if name.upper() != "ALL")


def capability_names(config: ContainerConfig) -> list[str]:
    return capabilities.names(capability_mask(config))


def rlimits(config: ContainerConfig) -> list[Rlimit]:
    return [{"type": f"RLIMIT_{name.upper()}", "soft": soft, "hard": hard} for name, soft, hard in config.ulimits]
