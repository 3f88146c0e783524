"""inspect: everything about containers, images and volumes, with the field names and types of Podman and Docker."""

from __future__ import annotations

from engine.cli import output, selection
from engine.cli.main import print_error
from engine.cli.parse import Options, arguments, flag, text, verb
from engine.errors import EXIT_FAILED, NotFound, PymanError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from engine.context import Context

    Look = Callable[[Context, str, bool], dict[str, Any]]


class InspectOptions(Options):
    format: str | None = text("--format", "-f", metavar="TEMPLATE", help="json or a Go template")
    latest: bool = flag("--latest", "-l", help="inspect the container that was created last")
    size: bool = flag("--size", "-s", help="show how much containers have written")
    type: str = text(
        "--type",
        "-t",
        metavar="TYPE",
        default="all",
        choices=("all", "container", "image", "volume"),
        help="what to look for",
    )
    names: list[str] = arguments("NAME", minimum=0, complete="containers")


@verb(
    InspectOptions,
    examples=(
        ("show everything", "pyman inspect web"),
        ("show one field", "pyman inspect --format '{{.State.Status}}' web"),
        ("show where its volumes are", "pyman inspect -f '{{range .Mounts}}{{println .Source}}{{end}}' web"),
    ),
)
def inspect(options: InspectOptions, context: Context) -> int:
    """Show everything about containers, images or volumes, as JSON or by a template."""
    kinds: Sequence[str] = tuple(_LOOKS) if options.type == "all" else (options.type,)
    return _inspect(context, options, kinds)


class InspectContainerOptions(Options):
    format: str | None = text("--format", "-f", metavar="TEMPLATE", help="json or a Go template")
    latest: bool = flag("--latest", "-l", help="inspect the container that was created last")
    size: bool = flag("--size", "-s", help="show how much the containers have written")
    names: list[str] = arguments("CONTAINER", minimum=0, complete="containers")


@verb(InspectContainerOptions, examples=(("show everything", "pyman container inspect web"),))
def inspect_containers(options: InspectContainerOptions, context: Context) -> int:
    """Show everything about containers, as JSON or by a template."""
    return _inspect(context, options, ("container",))


class InspectImageOptions(Options):
    format: str | None = text("--format", "-f", metavar="TEMPLATE", help="json or a Go template")
    names: list[str] = arguments("IMAGE", complete="images")


@verb(
    InspectImageOptions, examples=(("show what an image runs", "pyman image inspect -f '{{json .Config.Cmd}}' IMAGE"),)
)
def inspect_images(options: InspectImageOptions, context: Context) -> int:
    """Show everything about images, as JSON or by a template."""
    return _inspect(context, options, ("image",))


def _inspect(context: Context, options: Any, kinds: Sequence[str]) -> int:
    """Show what is found; then print an error for each name that is nothing."""
    latest = getattr(options, "latest", False)
    size = getattr(options, "size", False)
    if latest and options.names:
        raise UsageError("--latest takes no names")
    names = [selection.latest_container(context.store).id] if latest else options.names
    if not names:
        raise UsageError("name at least one object")
    found, errors = [], []
    for name in names:
        try:
            found.append(_look(context, name, kinds, size=size))
        except PymanError as error:
            errors.append(error)
    if found or options.format in (None, "json"):
        output.print_objects(found, format=options.format)
    for problem in errors:
        print_error(str(problem), problem.hint)
    return EXIT_FAILED if errors else 0


def _look(context: Context, name: str, kinds: Sequence[str], *, size: bool) -> dict[str, Any]:
    for kind in kinds:
        try:
            return _LOOKS[kind](context, name, size)
        except NotFound:
            if len(kinds) == 1:
                raise
    raise NotFound(f'no such object: "{name}"')


def _container(context: Context, name: str, size: bool) -> dict[str, Any]:
    from engine.cli.inspect_container import container_object
    from engine.containers import lookup, usage

    container = lookup.find(context.store, name)
    value = container_object(context.store, container)
    if size:
        (written,) = usage.written_bytes(context, [container.dir])
        value["SizeRw"] = written
        value["SizeRootFs"] = written + usage.image_bytes(context.store, container)
    return value


def _image(context: Context, name: str, size: bool) -> dict[str, Any]:
    from engine.images import inspection, local

    value = inspection.describe(context.store, local.find(context.store, name))
    for key in ("Labels", "Annotations"):
        if value[key] is not None:
            value[key] = output.Map(value[key])
    return value


def _volume(context: Context, name: str, size: bool) -> dict[str, Any]:
    from engine import volumes

    volume = volumes.find(context.store, name)
    return volume_object(context, volume.name)


def volume_object(context: Context, name: str) -> dict[str, Any]:
    """Return a volume as JSON has it."""
    from engine import volumes

    store = context.store
    volume = volumes.find(store, name)
    return {
        "Name": volume.name,
        "Driver": "local",
        "Mountpoint": volumes.data_dir(store, volume.name),
        "CreatedAt": output.Time(volume.created_ns),
        "Labels": output.Map(volume.labels),
        "Scope": "local",
        "Options": output.Map(),
        "Anonymous": volume.anonymous,
        "MountCount": len(volumes.users(store).get(volume.name, ())),
    }


_LOOKS: dict[str, Look] = {"container": _container, "image": _image, "volume": _volume}
