"""ps, port, container exists."""

from __future__ import annotations

import os
import time

from engine.cli import output, selection
from engine.cli.output import Map, Row, ago, human_duration
from engine.cli.parse import Options, argument, flag, number, refused, text, texts, verb
from engine.containers import lookup
from engine.errors import NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from engine.containers.lookup import Container
    from engine.context import Context
    from engine.model import PortMapping
    from storage.store import Store

COLUMNS = (
    ("CONTAINER ID", "ID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("PORTS", "Ports"),
    ("NAMES", "Names"),
)
_NAMESPACE_COLUMNS = (
    ("CONTAINER ID", "ID"),
    ("NAMES", "Names"),
    ("PID", "Pid"),
    ("CGROUPNS", "CGROUPNS"),
    ("IPC", "IPC"),
    ("MNT", "MNT"),
    ("NET", "NET"),
    ("PIDNS", "PIDNS"),
    ("USERNS", "USERNS"),
    ("UTS", "UTS"),
)
_NAMESPACES = (("cgroup", "CGROUPNS"), ("ipc", "IPC"), ("mnt", "MNT"), ("net", "NET"), ("pid", "PIDNS"))
_SORT_KEYS: dict[str, Callable[[Container], Any]] = {
    "command": lambda c: c.config.argv,
    "created": lambda c: c.config.created_ns,
    "id": lambda c: c.id,
    "image": lambda c: c.config.image_name,
    "names": lambda c: c.name,
    "runningfor": lambda c: -c.config.created_ns,
    "status": lambda c: c.state.status,
}
_SHORT_ID = 12
_COMMAND_WIDTH = 20
_NEVER_S = -62135596800  # Go's zero time as Unix time; Podman's JSON has it


class PsOptions(Options):
    all: bool = flag("--all", "-a", help="show all containers, not only the running ones")
    filter: list[str] = texts(
        "--filter", "-f", metavar="KEY=VALUE", help="show those that match: name, status, label, ancestor, ..."
    )
    format: str | None = text("--format", metavar="TEMPLATE", help="json, a Go template, or table TEMPLATE")
    last: int = number("--last", "-n", default=-1, help="show the N containers that were created last")
    latest: bool = flag("--latest", "-l", help="show the container that was created last")
    no_trunc: bool = flag("--no-trunc", help="show IDs and commands in full")
    noheading: bool = flag("--noheading", "-N", help="show no headings")
    ns: bool = flag("--ns", "--namespace", help="show the namespaces of the containers")
    quiet: bool = flag("--quiet", "-q", help="show IDs only")
    size: bool = flag("--size", "-s", help="show how much the containers have written")
    sort: str = text(
        "--sort",
        metavar="KEY",
        default="created",
        choices=(*_SORT_KEYS, "size"),
        help="command, created, id, image, names, runningfor, size or status",
    )
    watch: int | None = number("--watch", "-w", metavar="SECONDS", minimum=1, help="show it again and again")
    external = refused("--external", reason="the store holds pyman's own containers only")
    pod = refused("--pod", "-p", reason="pods are not available yet")
    sync = refused("--sync", reason="every state is checked against the kernel anyway")


@verb(
    PsOptions,
    examples=(
        ("list all containers", "pyman ps -a"),
        (
            "list the names and states of those with a label",
            "pyman ps --filter label=app=web --format '{{.Names}} {{.State}}'",
        ),
    ),
)
def ps(options: PsOptions, context: Context) -> int:
    """List containers; without options those that run.

    Filters: id and name (regular expressions), label and label! (KEY or KEY=VALUE), status, exited (exit status),
    ancestor (image), command, before and since (container), until (time), volume (name or directory), network.
    Of several filters with one key one has to match, of labels all.

    Fields for --format: ID, Image, ImageID, Command, CreatedAt, RunningFor, Status, State, Names, Ports, Labels,
    Mounts, Networks, Pid, ExitCode, Exited, ExitedAt, StartedAt, Size.
    """
    if options.latest and options.last >= 0:
        raise UsageError("--latest and --last exclude each other")
    if options.quiet and (options.size or options.ns or options.format):
        raise UsageError("--quiet excludes --size, --ns and --format")
    while True:
        _print_containers(options, context)
        if options.watch is None:
            return 0
        time.sleep(options.watch)
        output.emit("\n")


def _print_containers(options: PsOptions, context: Context) -> None:
    store = context.store
    containers = _chosen(options, store)
    if options.quiet:
        ids = (c.id if options.no_trunc else c.id[:_SHORT_ID] for c in containers)
        output.emit("".join(f"{container_id}\n" for container_id in ids))
        return
    sizes = _sizes(context, containers) if options.size or options.sort == "size" else {}
    if options.sort == "size":
        containers.sort(key=lambda c: sizes[c.id][1])
    rows = [_row(c, sizes.get(c.id), full=options.no_trunc, namespaces=options.ns) for c in containers]
    columns = _NAMESPACE_COLUMNS if options.ns else COLUMNS
    if options.size:
        columns = (*columns, ("SIZE", "Size"))
    output.print_listing(rows, columns, format=options.format, noheading=options.noheading)


def _chosen(options: PsOptions, store: Store) -> list[Container]:
    containers = lookup.all_containers(store)
    every = options.all or options.latest or options.last >= 0 or any(f.startswith("status=") for f in options.filter)
    containers = selection.filtered(store, containers, options.filter)
    if not every:
        containers = [c for c in containers if c.is_running]
    if options.latest:
        containers = containers[-1:]
    if options.last >= 0:
        containers = containers[len(containers) - options.last :] if options.last < len(containers) else containers
    if options.sort != "size":
        containers.sort(key=_SORT_KEYS[options.sort])
    return containers


def _row(c: Container, size: tuple[int, int] | None, *, full: bool, namespaces: bool) -> Row:
    config, state = c.config, c.state
    words = config.argv
    command = " ".join(words)
    if not full and len(command) > _COMMAND_WIDTH:
        command = f"{command[: _COMMAND_WIDTH - 3]}..."
    row = {
        "ID": c.id if full else c.id[:_SHORT_ID],
        "Image": config.image_name or config.image_id[:_SHORT_ID] or config.rootfs,
        "ImageID": config.image_id,
        "Command": command,
        "CreatedAt": output.go_time(config.created_ns),
        "Created": config.created_ns // 10**9,
        "CreatedHuman": ago(config.created_ns),
        "RunningFor": ago(config.created_ns),
        "StartedAt": state.started_ns // 10**9 if state.started_ns else _NEVER_S,
        "Status": status_text(c),
        "State": state.status,
        "Pid": state.init_pid,
        "ExitCode": state.exit_code,
        "Exited": state.status == "exited",
        "ExitedAt": state.finished_ns // 10**9 if state.finished_ns else _NEVER_S,
        "Names": c.name,
        "Ports": ports_text(config.ports, config.expose),
        "Labels": Map(config.labels),
        "Mounts": [mount.destination for mount in config.mounts],
        "Networks": networks(c),
        "AutoRemove": config.remove,
        "Restarts": state.restart_count,
        "IsInfra": False,
        "Pod": "",
        "PodName": "",
        "Size": f"{_close(size[0])} (virtual {_close(size[1])})" if size else "",
    }
    found = _namespaces(state.init_pid) if namespaces else {}
    if namespaces:
        row |= {column: found.get(kind, "") for kind, column in (*_NAMESPACES, ("user", "USERNS"), ("uts", "UTS"))}
    raw = {
        "AutoRemove": config.remove,
        "Command": list(words),
        "CreatedAt": row["CreatedHuman"],
        "CIDFile": config.cidfile,
        "Exited": row["Exited"],
        "ExitedAt": row["ExitedAt"],
        "ExitCode": state.exit_code,
        "ExposedPorts": exposed(config.expose),
        "Id": c.id,
        "Image": row["Image"],
        "ImageID": config.image_id,
        "IsInfra": False,
        "Labels": dict(config.labels) or None,
        "Mounts": row["Mounts"],
        "Names": [c.name],
        "Namespaces": {("MNT" if k == "mnt" else k.upper()): v for k, v in found.items()},
        "Networks": row["Networks"],
        "Pid": state.init_pid,
        "Pod": "",
        "PodName": "",
        "Ports": [_json_port(port) for port in config.ports] or None,
        "Restarts": state.restart_count,
        "Size": {"rootFsSize": size[1], "rwSize": size[0]} if size else None,
        "StartedAt": row["StartedAt"],
        "State": state.status,
        "Status": row["Status"],
        "Created": row["Created"],
    }
    return Row(row, raw)


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
    published = [
        f"{_host(p)}:{_span(p.host_port, p.count)}->{_span(p.container_port, p.count)}/{p.protocol}" for p in ports
    ]
    inside = {f"{p.container_port + n}/{p.protocol}" for p in ports for n in range(p.count)}
    return ", ".join([*published, *(port for port in expose if port not in inside)])


def exposed(expose: tuple[str, ...]) -> dict[str, list[str]] | None:
    """Return exposed ports as Podman's JSON has them: number -> protocols."""
    found: dict[str, list[str]] = {}
    for port in expose:
        number_text, _, protocol = port.partition("/")
        found.setdefault(number_text, []).append(protocol or "tcp")
    return found or None


def _host(port: PortMapping) -> str:
    return f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip or "0.0.0.0"


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


def _close(size_bytes: int) -> str:
    """Return a size without the space, as Docker has it in this place."""
    return output.human_size(size_bytes).replace(" ", "")


def _namespaces(pid: int) -> dict[str, str]:
    """Return the inode numbers of a process's namespaces; nothing if it has ended."""
    found = {}
    for kind in ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts"):
        try:
            found[kind] = os.readlink(f"/proc/{pid}/ns/{kind}").partition("[")[2].rstrip("]")
        except OSError:
            continue
    return found


def _sizes(context: Context, containers: list[Container]) -> dict[str, tuple[int, int]]:
    """Return what each container has written, and that plus its image, in bytes."""
    from engine.containers import usage

    written = usage.written_bytes(context, [c.dir for c in containers])
    return {c.id: (n, n + usage.image_bytes(context.store, c)) for c, n in zip(containers, written, strict=True)}


class PortOptions(Options):
    all: bool = flag("--all", "-a", help="list the ports of all running containers")
    latest: bool = flag("--latest", "-l", help="list the ports of the container that was created last")
    container: str | None = argument("CONTAINER", optional=True, complete="containers")
    port: str | None = argument("PORT[/PROTO]", optional=True, help="show only where this port is published")


@verb(PortOptions, examples=(("where is port 80 of web?", "pyman port web 80"),))
def port(options: PortOptions, context: Context) -> int:
    """List the published ports of a container: where each port of it can be reached on the host."""
    words = [word for word in (options.container, options.port) if word is not None]
    wanted = words.pop() if len(words) == 2 or (words and (options.all or options.latest)) else None
    if options.all and wanted:
        raise UsageError("--all takes no PORT")
    names = [] if options.all or options.latest else words
    containers, errors = selection.select(context.store, names, all=options.all, latest=options.latest)
    if errors:
        raise errors[0]
    number_text, _, protocol = (wanted or "").partition("/")
    if wanted and not number_text.isdecimal():
        raise UsageError(f'"{wanted}" is no port', hint="give PORT or PORT/PROTOCOL")
    found = False
    for c in containers:
        if options.all and not c.is_running:
            continue
        for inside, outside in published(c.config.ports):
            if wanted and inside != f"{number_text}/{protocol or 'tcp'}":
                continue
            found = True
            start = f"{c.id[:_SHORT_ID]}\t" if options.all else ""
            output.emit(f"{outside}\n" if wanted else f"{start}{inside} -> {outside}\n")
    if wanted and not found:
        raise NotFound(f'no public port "{wanted}" is published for {words[0] if words else containers[0].name}')
    return 0


def published(ports: tuple[PortMapping, ...]) -> list[tuple[str, str]]:
    """Return (80/tcp, 0.0.0.0:8080) pairs, one for each single port."""
    return [
        (f"{p.container_port + n}/{p.protocol}", f"{_host(p)}:{p.host_port + n}") for p in ports for n in range(p.count)
    ]


class ExistsOptions(Options):
    external = refused("--external", reason="the store holds pyman's own containers only")
    container: str = argument("CONTAINER", complete="containers")


@verb(ExistsOptions, examples=(("use it in a script", "pyman container exists web || pyman run -d --name web IMAGE"),))
def exists(options: ExistsOptions, context: Context) -> int:
    """Tell by the exit status whether a container exists: 0 if it does, 1 if not, 125 if that is not clear."""
    try:
        lookup.find_id(context.store, options.container)
    except NotFound:
        return 1
    return 0
