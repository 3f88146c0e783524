"""A container as a line of `ps`: its fields for tables and templates, its JSON object."""

from __future__ import annotations

import os
import time

from engine.cli import output
from engine.cli.output import Map, Row, ago, human_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from engine.containers.lookup import Container
    from engine.model import PortMapping

SHORT_ID = 12
_COMMAND_WIDTH = 20
_NEVER_S = -62135596800  # Go's zero time as Unix time; Podman's JSON has it
_NAMESPACES = {
    "CGROUPNS": "cgroup",
    "IPC": "ipc",
    "MNT": "mnt",
    "NET": "net",
    "PIDNS": "pid",
    "USERNS": "user",
    "UTS": "uts",
}


class View:
    """A container, and how it is to be shown. `size`: bytes written, and with the image."""

    def __init__(self, container: Container, size: tuple[int, int] | None, *, full: bool) -> None:
        self.container = container
        self.config = container.config
        self.size = size
        self.full = full


def row(view: View, fields: Iterable[str], *, raw: bool) -> Row:
    """Return the line with what is needed of it: 1,000 containers are many."""
    return Row({name: FIELDS[name](view) for name in fields}, _raw(view) if raw else None)


def status_text(c: Container) -> str:
    """Return the STATUS column: Up 3 minutes, Exited (0) 2 hours ago."""
    state = c.state
    if state.status == "running":
        return f"Up {human_duration(max(0.0, time.time() - state.started_ns / 1e9))}"
    if state.status == "exited":
        since = f" {ago(state.finished_ns)}" if state.finished_ns else ""
        return f"Exited ({state.exit_code}){since}"
    return state.status.capitalize()


def networks(c: Container) -> list[str]:
    """Return the networks of one's own that the container is connected to."""
    mode = c.config.network.partition(":")[0]
    return [] if mode in ("", "none", "host", "slirp4netns", "pasta", "private", "container", "ns") else [mode]


def ports_text(ports: tuple[PortMapping, ...], expose: tuple[str, ...]) -> str:
    """Return the PORTS column: published ports, then those that are only exposed."""
    if not ports and not expose:
        return ""
    shown = [
        f"{host_address(p)}:{_span(p.host_port, p.count)}->{_span(p.container_port, p.count)}/{p.protocol}"
        for p in ports
    ]
    inside = {f"{p.container_port + n}/{p.protocol}" for p in ports for n in range(p.count)}
    return ", ".join([*shown, *(port for port in expose if port not in inside)])


def host_address(port: PortMapping) -> str:
    """Return the address of the host that a port is published on, as part of address:port."""
    return f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip or "0.0.0.0"


def _command(view: View) -> str:
    command = " ".join(view.config.argv)
    if not view.full and len(command) > _COMMAND_WIDTH:
        return f"{command[: _COMMAND_WIDTH - 3]}..."
    return command


def _image(view: View) -> str:
    config = view.config
    return config.image_name or config.image_id[:SHORT_ID] or config.rootfs


def _size(view: View) -> str:
    """Return sizes without spaces, as Docker has them in this place."""
    if view.size is None:
        return ""
    written, whole = (output.human_size(size).replace(" ", "") for size in view.size)
    return f"{written} (virtual {whole})"


def _seconds(ns: int) -> int:
    return ns // 10**9 if ns else _NEVER_S


def _namespace(view: View, kind: str) -> str:
    """Return the inode number of a namespace; nothing if the container does not run."""
    if not view.container.state.init_pid:
        return ""
    try:
        return os.readlink(f"/proc/{view.container.state.init_pid}/ns/{kind}").partition("[")[2].rstrip("]")
    except OSError:
        return ""


def _namespace_field(kind: str) -> Callable[[View], str]:
    return lambda view: _namespace(view, kind)


FIELDS: dict[str, Callable[[View], Any]] = {
    "ID": lambda view: view.config.id if view.full else view.config.id[:SHORT_ID],
    "Image": _image,
    "ImageID": lambda view: view.config.image_id,
    "Command": _command,
    "CreatedAt": lambda view: output.go_time(view.config.created_ns),
    "Created": lambda view: _seconds(view.config.created_ns),
    "CreatedHuman": lambda view: ago(view.config.created_ns),
    "RunningFor": lambda view: ago(view.config.created_ns),
    "StartedAt": lambda view: _seconds(view.container.state.started_ns),
    "Status": lambda view: status_text(view.container),
    "State": lambda view: view.container.state.status,
    "Pid": lambda view: view.container.state.init_pid,
    "ExitCode": lambda view: view.container.state.exit_code,
    "Exited": lambda view: view.container.state.status == "exited",
    "ExitedAt": lambda view: _seconds(view.container.state.finished_ns),
    "Names": lambda view: view.config.name,
    "Ports": lambda view: ports_text(view.config.ports, view.config.expose),
    "Labels": lambda view: Map(view.config.labels),
    "Mounts": lambda view: [mount.destination for mount in view.config.mounts],
    "Networks": lambda view: networks(view.container),
    "AutoRemove": lambda view: view.config.remove,
    "Restarts": lambda view: view.container.state.restart_count,
    "IsInfra": lambda view: False,
    "Pod": lambda view: "",
    "PodName": lambda view: "",
    "Size": _size,
    **{column: _namespace_field(kind) for column, kind in _NAMESPACES.items()},
}


def _raw(view: View) -> dict[str, Any]:
    config, state = view.config, view.container.state
    namespaces = {column.removesuffix("NS"): _namespace(view, kind) for column, kind in _NAMESPACES.items()}
    return {
        "AutoRemove": config.remove,
        "Command": list(config.argv),
        "CreatedAt": ago(config.created_ns),
        "CIDFile": config.cidfile,
        "Exited": state.status == "exited",
        "ExitedAt": _seconds(state.finished_ns),
        "ExitCode": state.exit_code,
        "ExposedPorts": _exposed(config.expose),
        "Id": config.id,
        "Image": _image(view),
        "ImageID": config.image_id,
        "IsInfra": False,
        "Labels": dict(config.labels) or None,
        "Mounts": [mount.destination for mount in config.mounts],
        "Names": [config.name],
        "Namespaces": {name: value for name, value in namespaces.items() if value},
        "Networks": networks(view.container),
        "Pid": state.init_pid,
        "Pod": "",
        "PodName": "",
        "Ports": [_json_port(port) for port in config.ports] or None,
        "Restarts": state.restart_count,
        "Size": {"rootFsSize": view.size[1], "rwSize": view.size[0]} if view.size else None,
        "StartedAt": _seconds(state.started_ns),
        "State": state.status,
        "Status": status_text(view.container),
        "Created": _seconds(config.created_ns),
    }


def _exposed(expose: tuple[str, ...]) -> dict[str, list[str]] | None:
    """Return exposed ports as Podman's JSON has them: number -> protocols."""
    found: dict[str, list[str]] = {}
    for port in expose:
        number, _, protocol = port.partition("/")
        found.setdefault(number, []).append(protocol or "tcp")
    return found or None


def _span(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}-{first + count - 1}"


def _json_port(port: PortMapping) -> dict[str, object]:
    return {
        "host_ip": port.host_ip,
        "container_port": port.container_port,
        "host_port": port.host_port,
        "range": port.count,
        "protocol": port.protocol,
    }
