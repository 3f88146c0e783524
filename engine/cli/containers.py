"""ps, port, container exists."""

from __future__ import annotations

import time

from engine.cli import output, selection
from engine.cli.container_rows import FIELDS, SHORT_ID, View, host_address, row
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
_SORT_KEYS: dict[str, Callable[[Container], Any]] = {
    "command": lambda c: c.config.argv,
    "created": lambda c: c.config.created_ns,
    "id": lambda c: c.id,
    "image": lambda c: c.config.image_name,
    "names": lambda c: c.name,
    "runningfor": lambda c: -c.config.created_ns,
    "status": lambda c: c.state.status,
}


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
        output.emit("\n")
        output.flush()
        time.sleep(options.watch)


def _print_containers(options: PsOptions, context: Context) -> None:
    store = context.store
    containers = _chosen(options, store)
    if options.quiet:
        ids = (c.id if options.no_trunc else c.id[:SHORT_ID] for c in containers)
        output.emit("".join(f"{container_id}\n" for container_id in ids))
        return
    sizes = _sizes(context, containers) if options.size or options.sort == "size" else {}
    if options.sort == "size":
        containers.sort(key=lambda c: sizes[c.id][1])
    columns = _NAMESPACE_COLUMNS if options.ns else COLUMNS
    if options.size:
        columns = (*columns, ("SIZE", "Size"))
    fields = [field for _, field in columns]
    if options.format:
        fields = [] if options.format == "json" else list(FIELDS)
    raw = bool(options.format)
    rows = [row(View(c, sizes.get(c.id), full=options.no_trunc), fields, raw=raw) for c in containers]
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
            start = f"{c.id[:SHORT_ID]}\t" if options.all else ""
            output.emit(f"{outside}\n" if wanted else f"{start}{inside} -> {outside}\n")
    if wanted and not found:
        raise NotFound(f'no public port "{wanted}" is published for {words[0] if words else containers[0].name}')
    return 0


def published(ports: tuple[PortMapping, ...]) -> list[tuple[str, str]]:
    """Return (80/tcp, 0.0.0.0:8080) pairs, one for each single port."""
    return [
        (f"{p.container_port + n}/{p.protocol}", f"{host_address(p)}:{p.host_port + n}")
        for p in ports
        for n in range(p.count)
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
