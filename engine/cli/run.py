"""run, create, start, attach, exec and the other verbs that act on containers."""

from __future__ import annotations

import os
import sys

from engine.cli import selection
from engine.cli.options import CreateOptions, RunOptions
from engine.cli.options_lifecycle import (
    AttachOptions,
    ExecOptions,
    KillOptions,
    RestartOptions,
    RmOptions,
    StartOptions,
    StopOptions,
    UnshareOptions,
    WaitOptions,
)
from engine.cli.output import emit
from engine.cli.parse import verb
from engine.errors import EXIT_FAILED, PymanError, UsageError, WrongState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.cli.options import ContainerOptions
    from engine.containers.lookup import Container
    from engine.containers.start import Started
    from engine.context import Context
    from engine.images.local import Image


@verb(
    RunOptions,
    examples=(
        ("a shell in a container that is gone afterwards", "pyman run -it --rm debian bash"),
        ("a web server in the background, on port 8080 of this machine", "pyman run -d --name web -p 8080:80 nginx"),
        ("your own directory inside, with your own user", "pyman run --rm --userns keep-id -v .:/work -w /work alpine ls -l"),
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
    _print_notices(started, quiet=options.quiet)
    if options.detach:
        emit(f"{container.id}\n")
        return 0
    return _attached(started, streams, container, detach_keys=detach_keys, sig_proxy=options.sig_proxy)


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
    return attach.Streams(
        stdin=interactive and "stdin" in names, stdout="stdout" in names, stderr="stderr" in names
    )


def _print_notices(started: Started, *, quiet: bool) -> None:
    if not quiet:
        for notice in started.notices:
            sys.stderr.write(f"pyman: {notice}\n")


def _attached(
    started: Started, streams: attach_module.Streams, container: Container, *, detach_keys: bytes, sig_proxy: bool
) -> int:
    from engine.containers import attach

    sys.stdout.flush()
    attachment = attach.Attachment(
        started, streams, tty=container.config.tty, detach_keys=detach_keys, sig_proxy=sig_proxy
    )
    try:
        return attachment.run()
    except attach.Detached:
        return 0


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
    from engine.images import pulling

    return pulling.for_run(context, options)


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


@verb(CreateOptions, examples=(("make a container, to be started later", "pyman create --name db -v data:/var/lib/db postgres"),))
def create(options: CreateOptions, context: Context) -> int:
    from engine.containers import start

    container = _create(context, options, detach=True)
    start.make_durable(container)
    emit(f"{container.id}\n")
    return 0


@verb(StartOptions, examples=(("start it again and see its output", "pyman start --attach web"),))
def start(options: StartOptions, context: Context) -> int:
    from engine.containers import attach
    from engine.containers import start as starting

    attached = options.attach or options.interactive
    chosen = _choose(context, options, among=lambda container: not options.all or not container.is_running)
    if attached:
        if len(chosen.containers) + len(chosen.errors) != 1:
            raise UsageError("--attach needs exactly one container")
        container = chosen.only()
        keys = attach.parse_detach_keys(options.detach_keys)
        streams = attach.Streams(stdin=options.interactive and container.config.interactive)
        if container.is_running:
            started = attach.connect(context, container)
        else:
            started = starting.start(context, container, window=attach.caller_window() if container.config.tty else None)
        sig_proxy = options.sig_proxy if options.sig_proxy is not None else True
        return _attached(started, streams, container, detach_keys=keys, sig_proxy=sig_proxy)

    def start_one(container: Container) -> None:
        if not container.is_running:
            _print_notices(starting.start(context, container), quiet=False)

    return _each(chosen, start_one, as_typed=options.containers)


@verb(AttachOptions, examples=(("see what it prints, from now on", "pyman attach --no-stdin web"),))
def attach(options: AttachOptions, context: Context) -> int:
    from engine.containers import attach as attaching

    container = _one(context, options.container, latest=options.latest)
    if not container.is_running:
        raise WrongState("you can only attach to running containers", hint=f"pyman start --attach {container.name}")
    keys = attaching.parse_detach_keys(options.detach_keys)
    streams = attaching.Streams(stdin=not options.no_stdin and container.config.interactive)
    started = attaching.connect(context, container)
    return _attached(started, streams, container, detach_keys=keys, sig_proxy=options.sig_proxy)


@verb(StopOptions, examples=(("give it three seconds", "pyman stop --time 3 web"), ("stop everything", "pyman stop --all")))
def stop(options: StopOptions, context: Context) -> int:
    from engine.containers import stop as stopping

    chosen = _choose(context, options, ignore=options.ignore, among=lambda c: not options.all or c.is_running)
    return _each(chosen, lambda container: stopping.stop(container, options.time))


@verb(RestartOptions, examples=(("restart with the same configuration", "pyman restart web"),))
def restart(options: RestartOptions, context: Context) -> int:
    from engine.containers import start as starting
    from engine.containers import stop as stopping

    def restart_one(container: Container) -> None:
        stopping.stop(container, options.time)
        _print_notices(starting.start(context, container), quiet=False)

    chosen = _choose(context, options, all_of=options.running, among=lambda c: not options.running or c.is_running)
    return _each(chosen, restart_one)


@verb(KillOptions, examples=(("have it read its configuration again", "pyman kill --signal HUP web"),))
def kill(options: KillOptions, context: Context) -> int:
    from engine.containers import stop as stopping
    from rootless import process

    try:
        number = process.signal_number(options.signal)
    except ValueError as error:
        raise UsageError(str(error)) from None
    chosen = _choose(context, options, among=lambda c: not options.all or c.is_running)
    return _each(chosen, lambda container: stopping.kill(container, number))


@verb(RmOptions, examples=(("stop and remove at once", "pyman rm --force web"), ("remove all that have ended", "pyman rm --all")))
def rm(options: RmOptions, context: Context) -> int:
    from engine.containers import cleanup
    from engine.containers import stop as stopping

    damaged = _damaged(context, options)
    chosen = _choose(
        context,
        options,
        ignore=options.ignore or options.force or bool(damaged),
        among=lambda c: not options.all or options.force or not c.is_running,
    )
    status = _each(
        chosen,
        lambda container: stopping.remove(
            context, container, force=options.force, volumes=options.volumes, timeout_s=options.time
        ),
    )
    for container_id in damaged:
        stopping.remove_damaged(context, container_id)
        emit(f"{container_id}\n")
    cleanup.sweep(context)
    # A name that means nothing: Podman's `rm` alone answers 1.
    return 1 if status == EXIT_FAILED and chosen.errors else status


def _damaged(context: Context, options: RmOptions) -> list[str]:
    """Return the IDs of containers with a damaged record among those that `rm` means, and forget their names."""
    from engine.containers import lookup
    from engine.errors import NotFound

    known = lookup.damaged_ids(context.store)
    if options.all or not known:
        return known
    wanted = []
    for name in list(options.containers):
        try:
            container_id = lookup.find_id(context.store, name)
        except (NotFound, PymanError):
            continue
        if container_id in known:
            wanted.append(container_id)
            options.containers.remove(name)
    return wanted


@verb(WaitOptions, examples=(("wait for a job and print its exit status", "pyman wait job"),))
def wait(options: WaitOptions, context: Context) -> int:
    from engine.containers import stop as stopping
    from engine.errors import NotFound

    interval_s = _seconds(options.interval)
    names = options.containers or ([selection.latest_container(context.store).id] if options.latest else [])
    if not names:
        raise UsageError("name the containers to wait for")
    for name in names:
        try:
            container = _one(context, name)
        except NotFound:
            if not options.ignore:
                raise
            emit("-1\n")
            continue
        if options.condition:
            stopping.wait_condition(container, options.condition, interval_s=interval_s)
        else:
            stopping.wait_stopped(container, interval_s=interval_s)
        emit(f"{stopping.exit_code_of(container)}\n")
    return 0


def _seconds(text: str) -> float:
    """Parse 250ms, 2s, 1m; a bare number is milliseconds, as in Podman."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    digits = text.rstrip("hms")
    unit = text[len(digits) :] or "ms"
    try:
        return float(digits) * units[unit]
    except (ValueError, KeyError):
        raise UsageError(f"--interval {text!r}: not a duration such as 250ms or 2s") from None


@verb(
    ExecOptions,
    examples=(
        ("a shell beside what runs", "pyman exec -it web sh"),
        ("as another user, in another directory", "pyman exec -u postgres -w /var/lib db ls"),
    ),
)
def exec_(options: ExecOptions, context: Context) -> int:
    from engine.cli.request import environment_entries
    from engine.containers import attach
    from engine.containers import exec as execution

    container = _one(context, options.container)
    request = execution.ExecRequest(
        argv=tuple(options.command),
        env=tuple(environment_entries(options.env, options.env_file)),
        user=options.user,
        workdir=options.workdir,
        tty=options.tty,
        interactive=options.interactive,
        detach=options.detach,
        privileged=options.privileged,
        detach_keys=attach.parse_detach_keys(options.detach_keys),
    )
    return execution.run(context, container, request)


@verb(UnshareOptions, examples=(("remove files that a container's user left", "pyman unshare rm -r data"),))
def unshare(options: UnshareOptions, context: Context) -> int:
    from engine.containers import unshare as unsharing

    command = options.command or [os.environ.get("SHELL", "/bin/sh")]
    return unsharing.run(context, command)


class _Chosen:
    """The containers that a command line means, and an error for each name that means none."""

    def __init__(self, containers: list[Container], errors: list[PymanError], typed: list[str]) -> None:
        self.containers = containers
        self.errors = errors
        self.typed = typed if len(typed) == len(containers) and not errors else []

    def only(self) -> Container:
        if self.errors:
            raise self.errors[0]
        return self.containers[0]


def _choose(
    context: Context,
    options: StartOptions | StopOptions | RestartOptions | KillOptions | RmOptions,
    *,
    all_of: bool = False,
    ignore: bool = False,
    among: Callable[[Container], bool] = lambda container: True,
) -> _Chosen:
    containers, errors = selection.select(
        context.store,
        options.containers,
        all=options.all or all_of,
        latest=options.latest,
        cidfiles=getattr(options, "cidfile", ()),
        filters=getattr(options, "filter", ()),
        ignore=ignore,
    )
    return _Chosen([container for container in containers if among(container)], errors, options.containers)


def _one(context: Context, name: str | None, *, latest: bool = False) -> Container:
    from engine.containers import lookup

    if latest and not name:
        return selection.latest_container(context.store)
    if not name or latest:
        raise UsageError("name one container" if not name else "give either a container or --latest")
    return lookup.find(context.store, name)


def _each(chosen: _Chosen, action: Callable[[Container], object]) -> int:
    """Do it for each and print what the user typed for it; a failure does not keep the others from theirs."""
    from engine.cli.main import failed

    statuses = [failed(error) for error in chosen.errors]
    for index, container in enumerate(chosen.containers):
        try:
            action(container)
        except Exception as error:
            statuses.append(failed(error))
            continue
        emit(f"{chosen.typed[index] if chosen.typed else container.id}\n")
    return max(statuses, default=0)


if TYPE_CHECKING:
    from engine.containers import attach as attach_module
