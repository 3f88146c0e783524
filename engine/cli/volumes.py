"""volume create, ls, inspect, rm, prune, exists."""

from __future__ import annotations

from engine import volumes
from engine.cli import inspect as inspect_verbs
from engine.cli import output
from engine.cli.main import failed, print_error
from engine.cli.output import Map, Row
from engine.cli.parse import Options, argument, arguments, flag, number, refused, text, texts, verb
from engine.errors import EXIT_FAILED, NotFound, PymanError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.context import Context
    from engine.volumes import Volume

    Test = Callable[[Volume], bool]

EXIT_NO_SUCH = 1  # Podman's, for names that do not exist


class CreateOptions(Options):
    ignore: bool = flag("--ignore", help="no error if the volume exists already")
    label: list[str] = texts("--label", "-l", metavar="KEY[=VALUE]", help="set a label on the volume")
    driver: str = text(
        "--driver", "-d", metavar="NAME", default="local", choices=("local",), help="only local is known"
    )
    opt = refused("--opt", "-o", "--uid", "--gid", reason="options of volumes are not available yet")
    name: str | None = argument("NAME", optional=True)


@verb(
    CreateOptions, examples=(("make a volume and use it", "pyman volume create data && pyman run -v data:/data IMAGE"),)
)
def create(options: CreateOptions, context: Context) -> int:
    """Create a volume and print its name; without a name it gets a random one."""
    labels = [(key, value) for key, _, value in (label.partition("=") for label in options.label)]
    name = options.name or ""
    if options.ignore and name:
        try:
            output.emit(f"{volumes.create(context.store, name, labels).name}\n")
        except PymanError:
            volume, _ = volumes.ensure(context.store, name)  # raises again, unless it exists
            output.emit(f"{volume.name}\n")
        return 0
    output.emit(f"{volumes.create(context.store, name, labels).name}\n")
    return 0


class LsOptions(Options):
    filter: list[str] = texts(
        "--filter",
        "-f",
        metavar="KEY=VALUE",
        help="show those that match: name, label, dangling, anonymous, since, until",
    )
    format: str | None = text("--format", metavar="TEMPLATE", help="json, a Go template, or table TEMPLATE")
    noheading: bool = flag("--noheading", "-n", help="show no headings")
    quiet: bool = flag("--quiet", "-q", help="show names only")


@verb(LsOptions, examples=(("list the volumes that no container uses", "pyman volume ls --filter dangling=true"),))
def ls(options: LsOptions, context: Context) -> int:
    """List volumes.

    Filters: name (regular expression), label and label! (KEY or KEY=VALUE), dangling (used by no container),
    anonymous, driver, since (volume), until (time).

    Fields for --format: Name, Driver, Mountpoint, CreatedAt, Labels, Scope, Options, Anonymous.
    """
    if options.quiet and options.format:
        raise UsageError("--quiet excludes --format")
    found = filtered(context, volumes.all_volumes(context.store), options.filter)
    if options.quiet:
        output.emit("".join(f"{volume.name}\n" for volume in found))
        return 0
    rows = [_row(context, volume) for volume in found]
    output.print_listing(
        rows, (("DRIVER", "Driver"), ("VOLUME NAME", "Name")), format=options.format, noheading=options.noheading
    )
    return 0


def _row(context: Context, volume: Volume) -> Row:
    values = {
        "Name": volume.name,
        "Driver": "local",
        "Mountpoint": volumes.data_dir(context.store, volume.name),
        "CreatedAt": output.Time(volume.created_ns),
        "Labels": Map(volume.labels),
        "Scope": "local",
        "Options": Map(),
        "Anonymous": volume.anonymous,
    }
    return Row(values)


class InspectOptions(Options):
    all: bool = flag("--all", "-a", help="inspect all volumes")
    format: str | None = text("--format", "-f", metavar="TEMPLATE", help="json or a Go template")
    names: list[str] = arguments("VOLUME", minimum=0, complete="volumes")


@verb(InspectOptions, examples=(("show where its files are", "pyman volume inspect -f '{{.Mountpoint}}' data"),))
def inspect(options: InspectOptions, context: Context) -> int:
    """Show everything about volumes, as JSON or by a template."""
    names = _named(options.names, context, all=options.all)
    found, errors = [], []
    for name in names:
        try:
            found.append(inspect_verbs.volume_object(context, name))
        except PymanError as error:
            errors.append(error)
    if found or options.format in (None, "json"):
        output.print_objects(found, format=options.format)
    for problem in errors:
        print_error(str(problem), problem.hint)
    return EXIT_FAILED if errors else 0


class RmOptions(Options):
    all: bool = flag("--all", "-a", help="remove all volumes that no container uses")
    force: bool = flag("--force", "-f", help="first remove the containers that use the volume, also running ones")
    time: int | None = number(
        "--time", "--timeout", "-t", metavar="SECONDS", minimum=-1, help="with --force: seconds until SIGKILL"
    )
    names: list[str] = arguments("VOLUME", minimum=0, complete="volumes")


@verb(RmOptions, examples=(("remove a volume with its files", "pyman volume rm data"),))
def rm(options: RmOptions, context: Context) -> int:
    """Remove volumes, with all files in them."""
    status = 0
    for name in _named(options.names, context, all=options.all):
        try:
            if options.force:
                _remove_users(context, name, options.time)
            volumes.remove(context, name)
            output.emit(f"{name}\n")
        except NotFound as error:
            error.exit_status = EXIT_NO_SUCH
            status = status if options.force else failed(error)
        except Exception as error:
            status = failed(error)
    return status


def _remove_users(context: Context, name: str, timeout_s: int | None) -> None:
    from engine.containers import lookup, stop

    for container_id in volumes.users(context.store).get(name, ()):
        stop.remove(context, lookup.find(context.store, container_id), force=True, timeout_s=timeout_s)


class PruneOptions(Options):
    filter: list[str] = texts(
        "--filter", metavar="KEY=VALUE", help="only those that match: label, anonymous, since, until"
    )
    force: bool = flag("--force", "-f", help="do not ask")


@verb(PruneOptions, examples=(("remove all unused volumes without asking", "pyman volume prune -f"),))
def prune(options: PruneOptions, context: Context) -> int:
    """Remove the volumes that no container uses, with all files in them."""
    using = volumes.users(context.store)
    found = [v for v in filtered(context, volumes.all_volumes(context.store), options.filter) if v.name not in using]
    if not found:
        return 0
    if not options.force:
        output.emit("WARNING! This will remove all volumes not used by at least one container:\n")
        output.emit("".join(f"    {volume.name}\n" for volume in found))
        if not output.confirmed("Are you sure you want to continue?"):
            return 0
    status = 0
    for volume in found:
        try:
            volumes.remove(context, volume.name)
            output.emit(f"{volume.name}\n")
        except Exception as error:
            status = failed(error)
    return status


class ExistsOptions(Options):
    name: str = argument("VOLUME", complete="volumes")


@verb(ExistsOptions, examples=(("use it in a script", "pyman volume exists data || pyman volume create data"),))
def exists(options: ExistsOptions, context: Context) -> int:
    """Tell by the exit status whether a volume exists: 0 if it does, 1 if not."""
    return 0 if any(volume.name == options.name for volume in volumes.all_volumes(context.store)) else 1


def filtered(context: Context, found: list[Volume], filters: Sequence[str]) -> list[Volume]:
    """Return the volumes that pass: one of the values of each key, but every label. Raises UsageError."""
    tests: dict[str, list[Test]] = {}
    for index, given in enumerate(filters):
        key, equals, value = given.partition("=")
        if not equals:
            raise UsageError(f'"{given}" is no filter', hint="filters are KEY=VALUE")
        tests.setdefault(f"label{index}" if key.startswith("label") else key, []).append(_test(context, key, value))
    return [v for v in found if all(any(test(v) for test in alternatives) for alternatives in tests.values())]


def _test(context: Context, key: str, value: str) -> Test:
    if key == "name":
        from engine.cli.selection import pattern

        matches = pattern(value)
        return lambda v: matches(v.name)
    if key in ("label", "label!"):
        name, equals, wanted = value.partition("=")
        expected = key == "label"
        return lambda v: any(k == name and (not equals or t == wanted) for k, t in v.labels) == expected
    if key == "dangling":
        using = volumes.users(context.store)
        wanted_unused = _boolean(key, value)
        return lambda v: (v.name not in using) == wanted_unused
    if key == "anonymous":
        wanted_anonymous = _boolean(key, value)
        return lambda v: v.anonymous == wanted_anonymous
    if key == "driver":
        return lambda v: value == "local"
    if key in ("until", "since", "after"):
        from engine.cli.times import parse_time

        limit = volumes.find(context.store, value).created_ns if key in ("since", "after") else parse_time(value)
        return lambda v: v.created_ns < limit if key == "until" else v.created_ns > limit
    raise UsageError(
        f"{key} is an invalid volume filter", hint="choose from anonymous, dangling, driver, label, name, since, until"
    )


def _boolean(key: str, value: str) -> bool:
    if value.lower() not in ("true", "false", "1", "0"):
        raise UsageError(f'invalid value "{value}" for the filter {key}: choose from true, false')
    return value.lower() in ("true", "1")


def _named(names: list[str], context: Context, *, all: bool) -> list[str]:
    if all and names:
        raise UsageError("--all takes no names")
    if not all and not names:
        raise UsageError("name at least one volume")
    return [volume.name for volume in volumes.all_volumes(context.store)] if all else names
