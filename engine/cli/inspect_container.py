"""A container as `inspect` shows it. Pure, but for one look at the image's record."""

from __future__ import annotations

from engine.cli.container_rows import networks
from engine.cli.output import Map, Time
from engine.containers import spec
from rootless import capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.containers.lookup import Container
    from engine.model import ContainerConfig, Mount
    from storage.store import Store

_PROPAGATION = ("shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable")


def container_object(store: Store, container: Container) -> dict[str, Any]:
    """Return what Podman's `inspect` shows of a container, in its order."""
    config, state = container.config, container.state
    caps = capabilities.names(spec.capability_mask(config))
    runs = state.status in ("running", "paused", "stopping")
    return {
        "Id": config.id,
        "Created": Time(config.created_ns),
        "Path": config.argv[0] if config.argv else "",
        "Args": list(config.argv[1:]),
        "State": _state(container),
        "Image": config.image_id,
        "ImageDigest": _image_digest(store, config),
        "ImageName": config.image_name,
        "Rootfs": config.rootfs,
        "Pod": "",
        "ResolvConfPath": f"{container.dir}/resolv.conf",
        "HostnamePath": f"{container.dir}/hostname",
        "HostsPath": f"{container.dir}/hosts",
        "StaticDir": container.dir,
        "OCIConfigPath": f"{container.dir}/spec.json",
        "OCIRuntime": "pyman",
        "ConmonPidFile": "",
        "PidFile": config.pidfile,
        "Name": config.name,
        "RestartCount": state.restart_count,
        "Driver": state.storage_driver or "overlay",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "EffectiveCaps": caps,
        "BoundingCaps": caps,
        "ExecIDs": [],
        "GraphDriver": _graph_driver(store, container),
        "Mounts": [_mount(store, mount) for mount in config.mounts if mount.type in ("bind", "volume", "overlay")],
        "Dependencies": [],
        "NetworkSettings": _network_settings(container, sandbox=f"/proc/{state.init_pid}/ns/net" if runs else ""),
        "Namespace": "",
        "IsInfra": False,
        "IsService": False,
        "Config": _config(config),
        "HostConfig": _host_config(container),
    }


def _state(container: Container) -> dict[str, Any]:
    state = container.state
    return {
        "OciVersion": spec.OCI_VERSION,
        "Status": state.status,
        "Running": state.status in ("running", "stopping"),
        "Paused": state.status == "paused",
        "Restarting": False,
        "OOMKilled": state.oom_killed,
        "Dead": False,
        "Pid": state.init_pid,
        "ConmonPid": state.monitor_pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": Time(state.started_ns),
        "FinishedAt": Time(state.finished_ns),
        "CgroupPath": state.cgroup,
        "CheckpointedAt": Time(0),
        "RestoredAt": Time(0),
        "Notices": list(state.notices),
    }


def _image_digest(store: Store, config: ContainerConfig) -> str:
    if not config.image_id:
        return ""
    from engine.images import local

    image = local.load(store, config.image_id)
    return image.digest if image else ""


def _graph_driver(store: Store, container: Container) -> dict[str, Any]:
    config = container.config
    lower = [f"{store.layers_dir}/{digits}/diff" for digits in reversed(config.layers)]
    if config.rootfs:
        lower = [config.rootfs]
    data = {"LowerDir": ":".join(lower), "UpperDir": f"{container.dir}/upper", "WorkDir": f"{container.dir}/work"}
    if config.rootfs and not config.rootfs_overlay:
        data = {}
    return {"Name": container.state.storage_driver or "overlay", "Data": Map(data)}


def _mount(store: Store, mount: Mount) -> dict[str, Any]:
    propagation = [option for option in mount.options if option in _PROPAGATION]
    value: dict[str, Any] = {"Type": "volume" if mount.type == "volume" else "bind"}
    if mount.type == "volume":
        value["Name"] = mount.source
    return value | {
        "Source": f"{store.volumes_dir}/{mount.source}/_data" if mount.type == "volume" else mount.source,
        "Destination": mount.destination,
        "Driver": "local" if mount.type == "volume" else "",
        "Mode": "",
        "Options": [o for o in mount.options if o not in ("ro", "rw") and o not in _PROPAGATION],
        "RW": "ro" not in mount.options,
        "Propagation": propagation[-1] if propagation else "rprivate",
    }


def _port_map(config: ContainerConfig) -> Map:
    """Return `80/tcp` -> where it is published; None for a port that is only exposed."""
    ports: dict[str, Any] = dict.fromkeys(config.expose)
    for port in config.ports:
        for n in range(port.count):
            binding = {"HostIp": port.host_ip or "0.0.0.0", "HostPort": str(port.host_port + n)}
            key = f"{port.container_port + n}/{port.protocol}"
            ports[key] = [*(ports.get(key) or []), binding]
    return Map(sorted(ports.items()))


def _network_settings(container: Container, *, sandbox: str) -> dict[str, Any]:
    return {
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "MacAddress": "",
        "Bridge": "",
        "SandboxID": "",
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": _port_map(container.config),
        "SandboxKey": sandbox,
        "Networks": Map((name, {"NetworkID": name}) for name in networks(container)),
    }


def _config(config: ContainerConfig) -> dict[str, Any]:
    return {
        "Hostname": config.hostname,
        "Domainname": "",
        "User": config.user,
        "AttachStdin": config.interactive and not config.detach,
        "AttachStdout": not config.detach,
        "AttachStderr": not config.detach,
        "Tty": config.tty,
        "OpenStdin": config.interactive,
        "StdinOnce": False,
        "Env": list(config.env),
        "Cmd": list(config.command) or None,
        "Image": config.image_name,
        "Volumes": None,
        "WorkingDir": config.workdir,
        "Entrypoint": list(config.entrypoint) or None,
        "OnBuild": None,
        "Labels": Map(config.labels),
        "Annotations": Map(config.annotations),
        "StopSignal": config.stop_signal,
        "HealthcheckOnFailureAction": "none",
        "CreateCommand": list(config.create_command),
        "ExposedPorts": Map((port, {}) for port in config.expose) if config.expose else None,
        "Timezone": config.timezone,
        "Umask": f"{config.umask:04o}",
        "Timeout": 0,
        "StopTimeout": config.stop_timeout_s,
        "Passwd": True,
        "sdNotifyMode": "container",
    }


def _host_config(container: Container) -> dict[str, Any]:
    config = container.config
    default, allowed = capabilities.DEFAULT, spec.capability_mask(config)
    return {
        "Binds": [_bind(mount) for mount in config.mounts if mount.type in ("bind", "volume", "overlay")],
        "CgroupManager": "cgroupfs",
        "CgroupMode": config.cgroupns or "private",
        "ContainerIDFile": config.cidfile,
        "LogConfig": {
            "Type": config.log_driver,
            "Config": Map(config.log_options) if config.log_options else None,
            "Path": dict(config.log_options).get("path")
            or ("" if config.log_driver == "none" else f"{container.dir}/ctr.log"),
            "Tag": dict(config.log_options).get("tag", ""),
            "Size": dict(config.log_options).get("max-size", "0B"),
        },
        "NetworkMode": config.network or "slirp4netns",
        "PortBindings": Map((key, value) for key, value in _port_map(config).items() if value),
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": config.remove,
        "Annotations": Map(config.annotations),
        "VolumeDriver": "",
        "VolumesFrom": None,
        "CapAdd": capabilities.names(allowed & ~default),
        "CapDrop": capabilities.names(default & ~allowed),
        "Dns": list(config.dns),
        "DnsOptions": list(config.dns_options),
        "DnsSearch": list(config.dns_search),
        "ExtraHosts": [f"{name}:{address}" for name, address in config.add_hosts],
        "GroupAdd": list(config.groups),
        "IpcMode": config.ipc or "private",
        "Cgroup": "",
        "Cgroups": "default",
        "Links": None,
        "OomScoreAdj": config.oom_score_adj or 0,
        "PidMode": config.pid or "private",
        "Privileged": config.privileged,
        "PublishAllPorts": False,
        "ReadonlyRootfs": config.read_only,
        "SecurityOpt": _security_options(config),
        "Tmpfs": Map((m.destination, ",".join(m.options)) for m in config.mounts if m.type == "tmpfs"),
        "UTSMode": config.uts or "private",
        "UsernsMode": config.userns,
        "ShmSize": config.shm_size,
        "Runtime": "oci",
        "ConsoleSize": [0, 0],
        "Isolation": "",
        "Init": config.init,
        **_limits(config),
    }


def _limits(config: ContainerConfig) -> dict[str, Any]:
    return {
        "CpuShares": config.cpu_shares,
        "Memory": config.memory,
        "NanoCpus": int(config.cpus * 10**9),
        "CgroupParent": "",
        "BlkioWeight": 0,
        "BlkioWeightDevice": None,
        "BlkioDeviceReadBps": None,
        "BlkioDeviceWriteBps": None,
        "BlkioDeviceReadIOps": None,
        "BlkioDeviceWriteIOps": None,
        "CpuPeriod": 0,
        "CpuQuota": 0,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": config.cpuset_cpus,
        "CpusetMems": "",
        "Devices": [_device(device) for device in config.devices],
        "DiskQuota": 0,
        "KernelMemory": 0,
        "MemoryReservation": config.memory_reservation,
        "MemorySwap": config.memory_swap,
        "MemorySwappiness": 0,
        "OomKillDisable": False,
        "PidsLimit": config.pids_limit,
        "Ulimits": [{"Name": f"RLIMIT_{n.upper()}", "Soft": soft, "Hard": hard} for n, soft, hard in config.ulimits],
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "CgroupConf": None,
    }


def _bind(mount: Mount) -> str:
    options = list(mount.options)
    if "ro" not in options and "rw" not in options:
        options.insert(0, "rw")
    return f"{mount.source}:{mount.destination}:{','.join(options)}"


def _device(device: str) -> dict[str, str]:
    host, _, rest = device.partition(":")
    inside, _, permissions = rest.partition(":")
    return {"PathOnHost": host, "PathInContainer": inside or host, "CgroupPermissions": permissions or "rwm"}


def _security_options(config: ContainerConfig) -> list[str]:
    options = [f"seccomp={config.seccomp}"] if config.seccomp else []
    options += ["no-new-privileges"] if config.no_new_privileges else []
    options += [f"mask={':'.join(config.mask)}"] if config.mask else []
    return options + ([f"unmask={':'.join(config.unmask)}"] if config.unmask else [])
