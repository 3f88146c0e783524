"""run and create."""

from __future__ import annotations

import os

from engine.cli.attached import attached, print_notices
from engine.cli.options import CreateOptions, RunOptions
from engine.cli.output import emit
from engine.cli.parse import verb
from engine.errors import PymanError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.cli.options import ContainerOptions
    from engine.containers.lookup import Container
    from engine.context import Context
    from engine.images.local import Image


@verb(
    RunOptions,
    examples=(
        ("a shell in a container that is gone afterwards", "pyman run -it --rm debian bash"),
        ("a web server in the background, on port 8080 of this machine", "pyman run -d --name web -p 8080:80 nginx"),
        (
            "your own directory inside, with your own user",
            "pyman run --rm --userns keep-id -v .:/work -w /work alpine ls -l",
        ),
        ("a command on this machine's own files, with changes thrown away", "pyman run --rm --rootfs /:O ls /etc"),
    ),
)
def run(options: RunOptions, context: Context) -> int:
    from engine.containers import attach, start

    detach_keys = attach.parse_detach_keys(options.detach_keys)
    if options.detach and options.attach:
        raise UsageError("--detach and --attach exclude each other")
    streams = _streams(options.attach, interactive=options.interactive)
    container = _create(context, options, detach=options.detach)
    try:
        window = attach.caller_window() if options.tty else None
        started = start.start(context, container, window=window)
    except BaseException:
        _remove_failed(context, container)
        raise
    print_notices(started, quiet=options.quiet)
    if options.detach:
        emit(f"{container.id}\n")
        return 0
    return attached(started, streams, container, detach_keys=detach_keys, sig_proxy=options.sig_proxy)


def _remove_failed(context: Context, container: Container) -> None:
    """A container of `run --rm` that never started is removed by its monitor; here only if there was none."""
    if container.config.remove:
        from engine.containers import cleanup

        cleanup.remove_container(context, container)


def _streams(names: list[str], *, interactive: bool) -> attach_module.Streams:
    from engine.containers import attach

    unknown = [name for name in names if name not in ("stdin", "stdout", "stderr")]
    if unknown:
        raise UsageError(f"--attach {unknown[0]}: must be stdin, stdout or stderr")
    if not names:
        return attach.Streams(stdin=interactive)
    return attach.Streams(stdin=interactive and "stdin" in names, stdout="stdout" in names, stderr="stderr" in names)


def _create(context: Context, options: ContainerOptions, *, detach: bool) -> Container:
    from engine.cli import request as requests
    from engine.containers import create as creation

    request = requests.from_options(context, options, detach=detach)
    if request.name is not None:
        creation.check_name(request.name)
    _check_cidfile(options.cidfile)
    image, image_name = (None, "") if options.rootfs else _image(context, options)
    container = creation.create(context, request, image, image_name)
    if options.cidfile:
        _write_cidfile(context, container, options.cidfile)
    return container


def _image(context: Context, options: ContainerOptions) -> tuple[Image, str]:
    """Return the image, pulled if the policy says so, and its full name."""
    from engine.errors import NotFound
    from engine.images import local

    if options.pull in ("missing", "never"):
        try:
            image, name = local.find_named(context.store, options.image)
            return image, name or image.id
        except NotFound:
            if options.pull == "never":
                raise
    from engine.images import manifests, references, transfer

    image = transfer.pull(
        context,
        options.image,
        tls_verify=options.tls_verify,
        quiet=options.quiet,
        creds=options.creds,
        authfile=options.authfile,
        platform=manifests.wanted_platform(options.platform, options.os, options.arch, options.variant),
        policy="newer" if options.pull == "newer" else "always",
    )
    return image, str(references.parse(options.image))


def _check_cidfile(path: str | None) -> None:
    if path and os.path.exists(path):
        raise PymanError(f"container ID file exists: {path}", hint="remove it, or name another file")


def _write_cidfile(context: Context, container: Container, path: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        os.write(fd, container.id.encode())
        os.close(fd)
    except OSError as error:
        from engine.containers import cleanup

        cleanup.remove_container(context, container)
        raise PymanError(f"cannot write the ID file {path}: {os.strerror(error.errno or 0)}") from error


@verb(
    CreateOptions,
    examples=(("make a container, to be started later", "pyman create --name db -v data:/var/lib/db postgres"),),
)
def create(options: CreateOptions, context: Context) -> int:
    from engine.containers import start

    container = _create(context, options, detach=True)
    start.make_durable(container)
    emit(f"{container.id}\n")
    return 0


if TYPE_CHECKING:
    from engine.containers import attach as attach_module
