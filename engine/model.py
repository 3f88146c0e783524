"""What a container is: its configuration, frozen at creation, and its state, which changes.

Both are written as JSON objects with these field names (`containers/ID/config.json` and `state.json`).
"""

from __future__ import annotations

from rootless.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    Status = Literal["created", "running", "paused", "stopping", "exited"]


class Mount(Record):
    """One mount of a container. `type` is bind, volume, tmpfs, overlay (bind with :O), or a type of the runtime spec.

    `source` is a host path (bind), a volume's name (volume), or empty; `options` are mount(8) names, U and O included.
    """

    type: str
    destination: str
    source: str = ""
    options: tuple[str, ...] = ()
    anonymous: bool = False  # a volume made for this container alone


class PortMapping(Record):
    """`count` ports from `host_port` on reach those from `container_port` on; `protocol` is tcp or udp."""

    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""
    count: int = 1


class ContainerConfig(Record):
    """What was asked for, resolved against the image; never changes after creation."""

    id: str  # 64 hex digits
    name: str
    created_ns: int  # time.time_ns()
    image_id: str = ""  # 64 hex digits; empty with --rootfs
    architecture: str = ""  # of the image: amd64, arm64, 386, ...
    image_name: str = ""  # the reference that was resolved, in full
    layers: tuple[str, ...] = ()  # directory names below layers/, bottom first
    rootfs: str = ""  # --rootfs DIR
    rootfs_overlay: bool = False  # --rootfs DIR:O
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()  # what is executed: entrypoint + command
    env: tuple[str, ...] = ()  # NAME=value
    workdir: str = "/"
    user: str = ""  # as given: name or uid[:group]
    groups: tuple[str, ...] = ()  # --group-add
    hostname: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    tty: bool = False
    interactive: bool = False
    detach: bool = False
    init: bool = False
    remove: bool = False  # --rm
    read_only: bool = False
    read_only_tmpfs: bool = True
    privileged: bool = False
    no_new_privileges: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    seccomp: str = ""  # empty: the default profile; "unconfined"; or a path
    mask: tuple[str, ...] = ()
    unmask: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    devices: tuple[str, ...] = ()  # host[:container[:perm]]
    shm_size: int = 65536000  # bytes
    sysctls: tuple[tuple[str, str], ...] = ()
    ulimits: tuple[tuple[str, int, int], ...] = ()  # (name, soft, hard), -1 is unlimited
    umask: int = 0o022
    userns: str = ""  # "", host, keep-id[:uid=..,gid=..], nomap
    network: str = ""  # none, host, slirp4netns[:options], container:ID
    pid: str = ""  # "" private, host, container:ID
    ipc: str = ""
    uts: str = ""
    cgroupns: str = ""
    ports: tuple[PortMapping, ...] = ()
    expose: tuple[str, ...] = ()  # 80/tcp
    add_hosts: tuple[tuple[str, str], ...] = ()  # (name, address or host-gateway)
    no_hosts: bool = False
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    log_driver: str = "k8s-file"  # k8s-file, json-file, none
    log_options: tuple[tuple[str, str], ...] = ()
    stop_signal: str = "SIGTERM"
    stop_timeout_s: int = 10
    memory: int = 0  # bytes, 0 is unlimited
    memory_swap: int = 0
    memory_reservation: int = 0
    cpus: float = 0.0
    cpu_shares: int = 0
    cpuset_cpus: str = ""
    pids_limit: int = 0  # 0: the engine's default; -1: unlimited
    cidfile: str = ""
    pidfile: str = ""
    timezone: str = ""
    create_command: tuple[str, ...] = ()
    oom_score_adj: int | None = None

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ContainerConfig:
        known = {name: _frozen(item) for name, item in value.items() if name in cls._fields}
        known["mounts"] = tuple(Mount(**{**m, "options": tuple(m["options"])}) for m in value.get("mounts", ()))
        known["ports"] = tuple(PortMapping(**p) for p in value.get("ports", ()))
        return cls(**known)

    def to_json(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults."""
        values = {name: value for name, value in self.__dict__.items() if value != getattr(type(self), name, None)}
        values["mounts"] = [mount.as_dict() for mount in self.mounts]
        values["ports"] = [port.as_dict() for port in self.ports]
        return values


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


class ContainerState(Record):
    """What changes. `boot_id` tells in which boot the process references mean something."""

    status: Status = "created"
    boot_id: str = ""
    init_pid: int = 0
    init_start_time: int = 0
    monitor_pid: int = 0
    monitor_start_time: int = 0
    started_ns: int = 0
    finished_ns: int = 0
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""  # why the last start failed
    restart_count: int = 0
    notices: tuple[str, ...] = ()  # what is different from what was asked: single-id mode, no limits, ...
    cgroup: str = ""  # path below /sys/fs/cgroup
    cgroup_unit: str = ""  # systemd's name for it
    storage_driver: str = ""  # overlay, fuse-overlayfs, copy
    limits: tuple[tuple[str, str], ...] = ()  # cgroup file -> value in force

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ContainerState:
        return cls(**{name: _frozen(item) for name, item in value.items() if name in cls._fields})

    def to_json(self) -> dict[str, Any]:
        return dict(self.__dict__)
