"""The verbs on local images: images, history, tag, untag, rmi, image exists, image prune; import, load, pull."""

from __future__ import annotations

from engine.cli import output
from engine.cli.output import Row, Time
from engine.cli.parse import Options, argument, arguments, flag, refused, text, texts, verb
from engine.errors import EXIT_FAILED, InUse, NotFound, PymanError, UsageError
from engine.images import inspection, local, references
from rootless.errors import KernelError
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from engine.context import Context
    from engine.images.local import Image

_COLUMNS = (
    ("REPOSITORY", "Repository"),
    ("TAG", "Tag"),
    ("IMAGE ID", "ID"),
    ("CREATED", "Created"),
    ("SIZE", "Size"),
)
_NONE = "<none>"
EXIT_NOT_KNOWN = 1  # of `rmi` and `image exists`


class ImagesOptions(Options):
    all: bool = flag("--all", "-a", help="also show images without a name (they are shown anyway)")
    digests: bool = flag("--digests", help="show the digests of the manifests")
    filter: list[str] = texts(
        "--filter", "-f", metavar="KEY=VALUE", help="reference, label, dangling, before, since, id, containers"
    )
    format: str | None = text("--format", metavar="FORMAT", help="json, or a Go template")
    history: bool = flag("--history", help="show the names of the image in a further column")
    no_trunc: bool = flag("--no-trunc", help="show whole IDs")
    noheading: bool = flag("--noheading", "-n", help="print no heading")
    quiet: bool = flag("--quiet", "-q", help="print IDs only")
    sort: str = text(
        "--sort",
        metavar="KEY",
        default="created",
        choices=("created", "id", "repository", "size", "tag"),
        help="created, id, repository, size or tag",
    )
    name: str | None = argument("IMAGE", optional=True, complete="images")


@verb(
    ImagesOptions,
    examples=(("all images", "pyman images"), ("IDs of those without a name", "pyman images -q -f dangling=true")),
)
def images(options: ImagesOptions, context: Context) -> int:
    """List the images that are here."""
    store = context.store
    by_id = local.names_by_id(store)
    users = _users(context)
    filters = list(options.filter)
    if options.name:
        filters.append(f"reference={options.name}")
    accepted = _image_filter(context, filters, by_id, users)
    found = [image for image in local.all_images(store) if accepted(image)]
    if options.quiet:
        for image_id in dict.fromkeys(image.id for image in _sorted_images(found, options.sort)):
            output.emit(f"sha256:{image_id}\n" if options.no_trunc else f"{image_id[:12]}\n")
        return 0
    wanted = [item.partition("=")[2] for item in filters if item.startswith("reference=")]
    rows = []
    for image in found:
        names = by_id.get(image.id, [])
        shown = [name for name in names if _matches_any(name, wanted)] if wanted else names
        raw = _raw(image, names, len(users.get(image.id, ())))
        for name in shown or [f"{_NONE}:{_NONE}"]:
            rows.append(_row(image, name, names, raw, options))
    rows = _sorted_rows(rows, options.sort)
    if options.format == "json":
        rows = list({row["Id"]: row for row in rows}.values())
    columns = list(_COLUMNS)
    if options.digests:
        columns.insert(2, ("DIGEST", "Digest"))
    if options.history:
        columns.append(("HISTORY", "History"))
    output.print_listing(rows, columns, format=options.format, noheading=options.noheading)
    return 0


def _raw(image: Image, names: list[str], containers: int) -> dict[str, Any]:
    created = inspection.parse_time(image.created)
    return {
        "Id": image.id,
        "ParentId": "",
        "RepoTags": [name for name in names if "@" not in name],
        "RepoDigests": local.repo_digests(image, names),
        "Size": image.size,
        "SharedSize": 0,
        "VirtualSize": image.size,
        "Labels": image.config.get("Labels"),
        "Containers": containers,
        "Dangling": not names,
        "Names": names,
        "Digest": image.digest,
        "History": names,
        "Created": created // 1_000_000_000,
        "CreatedAt": image.created,
        "Arch": image.architecture,
        "Os": image.os,
    }


def _row(image: Image, name: str, names: list[str], raw: dict[str, Any], options: ImagesOptions) -> Row:
    repository, tag = references.split_stored(name)
    created = inspection.parse_time(image.created)
    since = output.ago(created) if created else "N/A"
    size = output.human_size(image.size)
    return Row(
        {
            "Repository": repository,
            "Tag": tag or _NONE,
            "ID": f"sha256:{image.id}" if options.no_trunc else image.id[:12],
            "Id": image.id,
            "Digest": image.digest or _NONE,
            "Created": since,
            "CreatedSince": since,
            "CreatedAt": Time(created),
            "CreatedTime": Time(created),
            "Size": size,
            "VirtualSize": size,
            "RawSize": image.size,
            "Labels": output.Map(image.config.get("Labels") or {}),
            "Names": names,
            "RepoTags": raw["RepoTags"],
            "RepoDigests": raw["RepoDigests"],
            "Containers": raw["Containers"],
            "Dangling": raw["Dangling"],
            "ParentId": "",
            "SharedSize": 0,
            "ReadOnly": False,
            "Arch": image.architecture,
            "Os": image.os,
            "History": ", ".join(names),
        },
        raw,
    )


def _sorted_images(found: list[Image], key: str) -> list[Image]:
    if key == "id":
        return sorted(found, key=lambda image: image.id)
    if key == "size":
        return sorted(found, key=lambda image: image.size)
    return found


def _sorted_rows(rows: list[Row], key: str) -> list[Row]:
    if key == "created":
        return rows
    field = {"id": "Id", "repository": "Repository", "tag": "Tag"}.get(key)
    if field is None:
        return sorted(rows, key=lambda row: int(row["RawSize"]))
    return sorted(rows, key=lambda row: str(row[field]))


def _users(context: Context) -> dict[str, list[str]]:
    from engine.images import usage

    return usage.users_of(context.store)


def _image_filter(
    context: Context, filters: list[str], by_id: dict[str, list[str]], users: dict[str, list[str]]
) -> Any:
    if not filters:
        return lambda image: True
    from engine.images import filtering  # most listings have no filter

    return filtering.image_filter(context.store, filters, by_id, users)


def _matches_any(name: str, patterns: list[str]) -> bool:
    from engine.images import filtering

    return any(filtering.matches_reference(name, pattern) for pattern in patterns)


class HistoryOptions(Options):
    format: str | None = text("--format", metavar="FORMAT", help="json, or a Go template")
    human: bool = flag("--human", "-H", default=True, help="sizes and times for people (default)")
    no_trunc: bool = flag("--no-trunc", help="show everything in full")
    quiet: bool = flag("--quiet", "-q", help="print IDs only")
    image: str = argument("IMAGE", complete="images")


@verb(HistoryOptions, examples=(("how an image was made", "pyman history debian"),))
def history(options: HistoryOptions, context: Context) -> int:
    """Show how an image was made, the last step first."""
    store = context.store
    steps = inspection.history(store, local.find(store, options.image))
    rows = []
    for step in steps:
        created = inspection.parse_time(step["created"])
        full_id, by = step["id"], step["createdBy"]
        values = {
            "ID": full_id if options.no_trunc else full_id[:12],
            "Created": _when(created, options.human),
            "CreatedSince": _when(created, human=True),
            "CreatedAt": step["created"],
            "CreatedBy": by if options.no_trunc or len(by) <= 45 else f"{by[:42]}...",
            "Size": output.human_size(step["size"]) if options.human else str(step["size"]),
            "Comment": step["comment"],
            "Tags": step["tags"],
        }
        rows.append(Row(values, {**step, "created": step["created"]}))
    if options.quiet:
        for row in rows:
            output.emit(f"{row['ID']}\n")
        return 0
    columns = (
        ("ID", "ID"),
        ("CREATED", "Created"),
        ("CREATED BY", "CreatedBy"),
        ("SIZE", "Size"),
        ("COMMENT", "Comment"),
    )
    output.print_listing(rows, columns, format=options.format)
    return 0


def _when(created_ns: int, human: bool) -> str:
    if not created_ns:
        return "N/A"
    return output.ago(created_ns) if human else output.rfc3339(created_ns)


class TagOptions(Options):
    image: str = argument("IMAGE", complete="images")
    names: list[str] = arguments("NAME")


@verb(TagOptions, examples=(("a second name", "pyman tag web registry.example.org/team/web:1.2"),))
def tag(options: TagOptions, context: Context) -> int:
    """Give an image further names; a name that another image has moves to this one."""
    from engine.images import removal

    removal.tag(context.store, options.image, options.names)
    return 0


class UntagOptions(Options):
    image: str = argument("IMAGE", complete="images")
    names: list[str] = arguments("NAME", minimum=0, complete="images")


@verb(UntagOptions, examples=(("take one name away", "pyman untag web registry.example.org/team/web:1.2"),))
def untag(options: UntagOptions, context: Context) -> int:
    """Take names from an image, without NAME all of them; the image stays."""
    from engine.images import removal

    removal.untag(context.store, options.image, options.names)
    return 0


class ExistsOptions(Options):
    image: str = argument("IMAGE", complete="images")


@verb(ExistsOptions, examples=(("pull only what is missing", "pyman image exists web || pyman pull web"),))
def exists(options: ExistsOptions, context: Context) -> int:
    """Tell by the exit status whether an image is here: 0 yes, 1 no."""
    try:
        local.find(context.store, options.image)
    except NotFound:
        return 1
    return 0


class RmiOptions(Options):
    all: bool = flag("--all", "-a", help="remove all images")
    force: bool = flag("--force", "-f", help="also remove containers that use the image; no error for unknown images")
    ignore: bool = flag("--ignore", "-i", help="no error for images that do not exist")
    no_prune: bool = flag("--no-prune", help="do not remove what nothing needs any more (there is nothing else here)")
    images: list[str] = arguments("IMAGE", minimum=0, complete="images")


@verb(RmiOptions, examples=(("a name, or with the last name the image", "pyman rmi web"),))
def rmi(options: RmiOptions, context: Context) -> int:
    """Remove names of images; with its last name an image goes."""
    from engine.cli import main
    from engine.images import removal

    if not options.images and not options.all:
        raise UsageError("at least one image must be given", hint="or --all")
    wanted = [image.id for image in local.all_images(context.store)] if options.all else options.images
    force = options.force or options.all
    status = 0
    for name in wanted:
        try:
            removed = removal.remove(
                context, name, force=force, remove_container=_container_remover(context) if options.force else None
            )
        except NotFound as error:
            if not (options.ignore or options.force):
                main.failed(error)
                status = status or EXIT_NOT_KNOWN
            continue
        except (PymanError, StorageError, KernelError, OSError) as error:
            # Not known says less than other errors, in use says more: as with Podman.
            this = main.failed(error)
            status = this if status in (0, EXIT_NOT_KNOWN) or isinstance(error, InUse) else status
            continue
        for gone in removed.untagged:
            output.emit(f"Untagged: {gone}\n")
        if removed.deleted:
            output.emit(f"Deleted: {removed.deleted}\n")
    removal.empty_trash(context)
    return status


def _container_remover(context: Context) -> Callable[[str], object]:
    def remove(container_id: str) -> None:
        from engine.containers import lookup, stop

        stop.remove(context, lookup.find(context.store, container_id), force=True)

    return remove


class PruneOptions(Options):
    all: bool = flag("--all", "-a", help="remove all images that no container uses, not only those without a name")
    external = refused("--external", "--build-cache", reason="pyman keeps no images outside of its store")
    filter: list[str] = texts("--filter", metavar="KEY=VALUE", help="label=, label!=, until=")
    force: bool = flag("--force", "-f", help="do not ask")


@verb(PruneOptions, examples=(("free space without a question", "pyman image prune -f"),))
def prune(options: PruneOptions, context: Context) -> int:
    """Remove the images that have no name, and what killed pulls have left."""
    from engine.images import removal

    if not options.force and not _confirmed(options.all):
        return 0
    fits = None
    if options.filter:
        by_id = local.names_by_id(context.store)
        fits = _image_filter(context, options.filter, by_id, _users(context))
    removed, _freed = removal.prune(context, all_unused=options.all, fits=fits)
    for image_id in removed:
        output.emit(f"{image_id}\n")
    return 0


def _confirmed(all_unused: bool) -> bool:
    what = "all images without at least one container" if all_unused else "all dangling images"
    output.emit(f"WARNING! This command removes {what}.\n")
    try:
        answer = input("Are you sure you want to continue? [y/N] ")
    except EOFError:
        raise PymanError("no answer on standard input", hint="use --force") from None
    return answer.strip().lower() in ("y", "yes")


class ImportOptions(Options):
    change: list[str] = texts("--change", "-c", metavar="INSTRUCTION", help="CMD, ENV, ... as in a Containerfile")
    message: str = text("--message", "-m", metavar="TEXT", default="", help="comment in the image's history")
    platform: str | None = text("--platform", metavar="OS/ARCH[/VARIANT]", help="what the image runs on")
    arch: str | None = text("--arch", metavar="ARCH", help="architecture of the image")
    os: str | None = text("--os", metavar="OS", help="operating system of the image")
    variant: str | None = text("--variant", metavar="VARIANT", help="variant of the architecture")
    quiet: bool = flag("--quiet", "-q", help="print the ID only (nothing else is printed anyway)")
    path: str = argument("FILE", complete="files")
    name: str | None = argument("NAME", optional=True)


@verb(
    ImportOptions,
    examples=(
        ("a root file system", "pyman import debian.tar.zst debian:12"),
        ("from a pipe", "mmdebstrap --variant=apt bookworm - | pyman import - debian:12"),
    ),
)
def import_(options: ImportOptions, context: Context) -> int:
    """Make an image from an archive of a root file system (tar, also compressed; `-` is standard input)."""
    from engine.images import changes, importing, manifests

    config = changes.apply({}, options.change)
    platform = manifests.wanted_platform(options.platform, options.os, options.arch, options.variant)
    image = importing.import_archive(
        context, options.path, options.name, config=config, message=options.message, platform=platform
    )
    output.emit(f"sha256:{image.id}\n")
    return 0


class LoadOptions(Options):
    input: str | None = text(
        "--input", "-i", metavar="FILE", help="archive to read (default: standard input)", complete="files"
    )
    quiet: bool = flag("--quiet", "-q", help="print only the names")


@verb(LoadOptions, examples=(("what podman save or docker save wrote", "pyman load -i images.tar"),))
def load(options: LoadOptions, context: Context) -> int:
    """Load images from an archive that `save` of pyman, Podman or Docker wrote (docker-archive, oci-archive)."""
    from engine.images import archives

    for name in archives.load(context, options.input or "-"):
        output.emit(f"Loaded image: {output.printable(name)}\n")
    return 0


class PullOptions(Options):
    quiet: bool = flag("--quiet", "-q", help="show no progress")
    tls_verify: bool | None = flag(
        "--tls-verify", default=None, help="require HTTPS with a valid certificate (default)"
    )
    creds: str | None = text("--creds", metavar="USER[:PASSWORD]", help="credentials for the registry")
    authfile: str | None = text("--authfile", metavar="FILE", help="file with registry credentials", complete="files")
    cert_dir: str | None = text(
        "--cert-dir", metavar="DIR", help="directory with certificates of authorities", complete="directories"
    )
    platform: str | None = text("--platform", metavar="OS/ARCH[/VARIANT]", help="platform of the image to choose")
    arch: str | None = text("--arch", metavar="ARCH", help="architecture of the image to choose")
    os: str | None = text("--os", metavar="OS", help="operating system of the image to choose")
    variant: str | None = text("--variant", metavar="VARIANT", help="architecture variant of the image to choose")
    policy: str = text(
        "--policy",
        metavar="POLICY",
        default="always",
        choices=("always", "missing", "never", "newer"),
        help="always, missing, never or newer",
    )
    later = refused("--all-tags", "-a", "--decryption-key", "--retry", "--retry-delay", reason="not available yet")
    images: list[str] = arguments("IMAGE", complete="images")


@verb(
    PullOptions,
    examples=(
        ("from Docker Hub", "pyman pull debian:12"),
        ("from a registry without TLS", "pyman pull --tls-verify=false localhost:5000/web"),
    ),
)
def pull(options: PullOptions, context: Context) -> int:
    """Pull images from registries; every layer that is here already is not fetched again."""
    from engine.cli import main
    from engine.images import manifests, transfer

    platform = manifests.wanted_platform(options.platform, options.os, options.arch, options.variant)
    status = 0
    for name in options.images:
        try:
            image = transfer.pull(
                context,
                name,
                tls_verify=options.tls_verify,
                quiet=options.quiet,
                creds=options.creds,
                authfile=options.authfile,
                cert_dir=options.cert_dir,
                platform=platform,
                policy=options.policy,
            )
            output.emit(f"{image.id}\n")
        except (PymanError, StorageError, KernelError) as error:
            main.failed(error)
            status = EXIT_FAILED
    return status
