"""start, stop, exec and the other verbs that act on existing containers."""

from __future__ import annotations

import os

from engine.cli import selection
from engine.cli.attached import attached, print_notices
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

    from engine.containers.lookup import Container
    from engine.context import Context


@verb(StartOptions, examples=(("start it again and see its output", "pyman start --attach web"),))
def start(options: StartOptions, context: Context) -> int:
    from engine.containers import attach
    from engine.containers import start as starting

    wants_attachment = options.attach or options.interactive
    chosen = _choose(context, options, among=lambda container: not options.all or not container.is_running)
    if wants_attachment:
        if len(chosen.containers) + len(chosen.errors) != 1:
            raise UsageError("--attach needs exactly one container")
        container = chosen.only()
        keys = attach.parse_detach_keys(options.detach_keys)
        streams = attach.Streams(stdin=options.interactive and container.config.interactive)
        if container.is_running:
            started = attach.connect(context, container)
        else:
            started = starting.start(
                context, container, window=attach.caller_window() if container.config.tty else None
            )
        sig_proxy = options.sig_proxy if options.sig_proxy is not None else True
        return attached(started, streams, container, detach_keys=keys, sig_proxy=sig_proxy)

    def start_one(container: Container) -> None:
        if not container.is_running:
            print_notices(starting.start(context, container), quiet=False)

    return _each(chosen, start_one)


@verb(AttachOptions, examples=(("see what it prints, from now on", "pyman attach --no-stdin web"),))
def attach(options: AttachOptions, context: Context) -> int:
    from engine.containers import attach as attaching

    container = _one(context, options.container, latest=options.latest)
    if not container.is_running:
        raise WrongState("you can only attach to running containers", hint=f"pyman start --attach {container.name}")
    keys = attaching.parse_detach_keys(options.detach_keys)
    streams = attaching.Streams(stdin=not options.no_stdin and container.config.interactive)
    started = attaching.connect(context, container)
    return attached(started, streams, container, detach_keys=keys, sig_proxy=options.sig_proxy)


@verb(
    StopOptions,
    examples=(("give it three seconds", "pyman stop --time 3 web"), ("stop everything", "pyman stop --all")),
)
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
        print_notices(starting.start(context, container), quiet=False)

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


@verb(
    RmOptions,
    examples=(("stop and remove at once", "pyman rm --force web"), ("remove all that have ended", "pyman rm --all")),
)
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
    from engine.cli.times import parse_duration
    from engine.containers import stop as stopping
    from engine.errors import NotFound

    interval_s = parse_duration(options.interval)
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


@verb(
    ExecOptions,
    examples=(
        ("a shell beside what runs", "pyman exec -it web sh"),
        ("as another user, in another directory", "pyman exec -u postgres -w /var/lib db ls"),
    ),
)
def exec_(options: ExecOptions, context: Context) -> int:
    from engine.cli.request import environment_entries
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
        self._typed = typed

    def word(self, container: Container) -> str:
        """Return what the user typed for it; its ID if it was meant by --all, --filter and the like."""
        if container.name in self._typed:
            return container.name
        names = {other.name for other in self.containers}  # "b" is a name first, then the beginning of an ID
        return next((w for w in self._typed if container.id.startswith(w) and w not in names), container.id)

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
    for container in chosen.containers:
        try:
            action(container)
        except Exception as error:
            statuses.append(failed(error))
            continue
        emit(f"{chosen.word(container)}\n")
    return max(statuses, default=0)
