"""Which containers a command line means: names, --all, --latest, --cidfile, --filter."""

from __future__ import annotations

import os

from engine.containers import lookup
from engine.errors import NotFound, PymanError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.containers.lookup import Container
    from storage.store import Store

    Test = Callable[[Container], bool]

STATUSES = ("created", "exited", "initialized", "paused", "removing", "running", "stopped", "stopping", "unknown")


def select(
    store: Store,
    names: Sequence[str],
    *,
    all: bool = False,
    latest: bool = False,
    cidfiles: Sequence[str] = (),
    filters: Sequence[str] = (),
    ignore: bool = False,
) -> tuple[list[Container], list[PymanError]]:
    """Return the containers meant, each once, and an error for each name that means none (`ignore`: no error).

    Raises UsageError if nothing was named, or if the ways of naming exclude each other.
    """
    named = [*names, *(read_cidfile(path) for path in cidfiles)]
    if sum((bool(named), all, latest, bool(filters))) > 1:
        raise UsageError("give either containers, or one of --all, --latest and --filter")
    if all or filters:
        return filtered(store, lookup.all_containers(store), filters), []
    if latest:
        return [latest_container(store)], []
    if not named:
        if cidfiles or ignore:
            return [], []
        raise UsageError("name at least one container")
    found: dict[str, Container] = {}
    errors: list[PymanError] = []
    for name in named:
        try:
            container = lookup.find(store, name)
        except NotFound as error:
            if not ignore:
                errors.append(error)
            continue
        except PymanError as error:
            errors.append(error)
            continue
        found.setdefault(container.id, container)
    return list(found.values()), errors


def latest_container(store: Store) -> Container:
    """Return the container that was created last. Raises NotFound."""
    containers = lookup.all_containers(store)
    if not containers:
        raise NotFound("there is no container")
    return containers[-1]


def read_cidfile(path: str) -> str:
    """Return the ID in a file that --cidfile wrote. Raises PymanError."""
    try:
        with open(path, errors="replace") as file:
            return file.readline().strip()
    except OSError as error:
        raise PymanError(f"cannot read the container's ID from {path}: {os.strerror(error.errno or 0)}") from None


def filtered(store: Store, containers: list[Container], filters: Sequence[str]) -> list[Container]:
    """Return the containers that pass: one of the values of each key, but every label. Raises UsageError."""
    tests: dict[str, list[Test]] = {}
    for number, text in enumerate(filters):
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f'"{text}" is no filter', hint="filters are KEY=VALUE")
        kind = f"label{number}" if key.startswith("label") else key
        tests.setdefault(kind, []).append(_test(store, key, value))
    return [c for c in containers if all(any(test(c) for test in alternatives) for alternatives in tests.values())]


def _test(store: Store, key: str, value: str) -> Test:
    maker = _FILTERS.get(key)
    if maker is None:
        import difflib  # only to answer a mistake

        close = difflib.get_close_matches(key, _FILTERS, 1)
        hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(sorted(_FILTERS))}"
        raise UsageError(f"{key} is an invalid filter", hint=hint)
    return maker(store, value)


def pattern(value: str) -> Callable[[str], bool]:
    """Return a search for a regular expression; plain text, which is nearly always meant, needs no `re`."""
    if all(c.isalnum() or c in "_-:/@" for c in value):
        return lambda text: value in text
    import re  # 6 ms

    try:
        expression = re.compile(value)
    except re.error as error:
        raise UsageError(f'"{value}" is no regular expression: {error}') from None
    return lambda text: expression.search(text) is not None


def _id(store: Store, value: str) -> Test:
    if value.isalnum():
        return lambda c: c.id.startswith(value.lower())
    matches = pattern(value)
    return lambda c: matches(c.id)


def _name(store: Store, value: str) -> Test:
    matches = pattern(value)
    return lambda c: matches(c.name)


def _command(store: Store, value: str) -> Test:
    matches = pattern(value)
    return lambda c: bool(c.config.argv) and matches(c.config.argv[0])


def _label(store: Store, value: str) -> Test:
    key, equals, wanted = value.partition("=")
    return lambda c: any(k == key and (not equals or v == wanted) for k, v in c.config.labels)


def _not_label(store: Store, value: str) -> Test:
    has = _label(store, value)
    return lambda c: not has(c)


def _exited(store: Store, value: str) -> Test:
    try:
        code = int(value)
    except ValueError:
        raise UsageError(f'invalid value "{value}" for the filter exited: not a whole number') from None
    return lambda c: c.state.status == "exited" and c.state.exit_code == code


def _status(store: Store, value: str) -> Test:
    if value not in STATUSES:
        raise UsageError(f'invalid value "{value}" for the filter status: choose from {", ".join(STATUSES)}')
    wanted = "exited" if value == "stopped" else value
    return lambda c: c.state.status == wanted


def _ancestor(store: Store, value: str) -> Test:
    from engine.images import local

    try:
        image = local.find(store, value)
    except PymanError:
        matches = pattern(value)  # the image may be gone while its containers are not
        return lambda c: matches(c.config.image_name) or bool(c.config.image_id and c.config.image_id.startswith(value))
    bottom = image.layers
    return lambda c: c.config.image_id == image.id or (bool(bottom) and c.config.layers[: len(bottom)] == bottom)


def _before(store: Store, value: str) -> Test:
    limit = lookup.find(store, value).config.created_ns
    return lambda c: c.config.created_ns < limit


def _since(store: Store, value: str) -> Test:
    limit = lookup.find(store, value).config.created_ns
    return lambda c: c.config.created_ns > limit


def _until(store: Store, value: str) -> Test:
    from engine.cli.times import parse_time

    limit = parse_time(value)
    return lambda c: c.config.created_ns < limit


def _volume(store: Store, value: str) -> Test:
    return lambda c: any(value in (mount.source, mount.destination) for mount in c.config.mounts)


def _network(store: Store, value: str) -> Test:
    return lambda c: value in (c.config.network, c.config.network.partition(":")[0])


_FILTERS: dict[str, Callable[[Store, str], Test]] = {
    "ancestor": _ancestor,
    "before": _before,
    "command": _command,
    "exited": _exited,
    "id": _id,
    "label": _label,
    "label!": _not_label,
    "name": _name,
    "network": _network,
    "since": _since,
    "status": _status,
    "until": _until,
    "volume": _volume,
}
