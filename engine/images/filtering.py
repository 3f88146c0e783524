"""`--filter` of images: reference, label, dangling, before, since, until, id, containers. Pure, but for the lookups."""

from __future__ import annotations

from engine.errors import UsageError
from engine.images import inspection, local, references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.images.local import Image
    from storage.store import Store

    Test = Callable[[Image], bool]

_TRUE, _FALSE = ("true", "1"), ("false", "0")


def image_filter(
    store: Store, filters: list[str], names_by_id: dict[str, list[str]], users: dict[str, list[str]]
) -> Test:
    """Return the test for `KEY=VALUE` filters: any value of one key must fit, and all keys. Raises UsageError."""
    tests: dict[str, list[Test]] = {}
    for text in filters:
        key, equals, value = text.partition("=")
        negative = key.endswith("!")
        key = key.rstrip("!")
        if not equals or not value:
            raise UsageError(f"--filter {text}: not KEY=VALUE")
        test = _test(store, key, value, names_by_id, users)
        if negative:
            tests.setdefault(text, []).append(_opposite(test))
        else:
            # Labels narrow each other; of other keys one value must fit.
            tests.setdefault(text if key == "label" else key, []).append(test)
    return lambda image: all(any(test(image) for test in group) for group in tests.values())


def _opposite(test: Test) -> Test:
    return lambda image: not test(image)


def _test(store: Store, key: str, value: str, names_by_id: dict[str, list[str]], users: dict[str, list[str]]) -> Test:
    if key == "reference":
        return lambda image: any(matches_reference(name, value) for name in names_by_id.get(image.id, ()))
    if key == "label":
        name, equals, wanted = value.partition("=")
        return lambda image: _has_label(image, name, wanted if equals else None)
    if key == "id":
        return lambda image: image.id.startswith(value.removeprefix("sha256:"))
    if key in ("dangling", "containers", "intermediate", "readonly"):
        wanted_truth = _truth(key, value)
        if key == "dangling":
            return lambda image: (not names_by_id.get(image.id)) == wanted_truth
        if key == "containers":
            return lambda image: (image.id in users) == wanted_truth
        return lambda image: not wanted_truth  # no image here is one or the other
    if key in ("before", "since", "after"):
        moment = inspection.parse_time(local.find(store, value).created)
        if key == "before":
            return lambda image: inspection.parse_time(image.created) < moment
        return lambda image: inspection.parse_time(image.created) > moment
    if key == "until":
        moment = _moment(value)
        return lambda image: inspection.parse_time(image.created) < moment
    raise UsageError(f'--filter: unknown key "{key}"', hint="reference, label, dangling, before, since, until, id")


def _truth(key: str, value: str) -> bool:
    if value not in (*_TRUE, *_FALSE):
        raise UsageError(f"--filter {key}={value}: true or false")
    return value in _TRUE


def _has_label(image: Image, name: str, wanted: str | None) -> bool:
    labels = image.config.get("Labels") or {}
    return name in labels and (wanted is None or labels[name] == wanted)


def _moment(value: str) -> int:
    """Return nanoseconds since 1970 of a time, a Unix timestamp, or an age such as 24h or 1h30m."""
    import re
    import time

    if value.isdecimal():
        return int(value) * 1_000_000_000
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
    if re.fullmatch(r"(\d+[smhdw])+", value):
        age = sum(int(part[:-1]) * units[part[-1]] for part in re.findall(r"\d+[smhdw]", value))
        return time.time_ns() - age * 1_000_000_000
    if moment := inspection.parse_time(value):
        return moment
    raise UsageError(f"--filter until={value}: neither a time nor an age such as 24h")


def matches_reference(name: str, pattern: str) -> bool:
    """Tell whether a stored name fits a pattern: last components, shell wildcards in each; a tag only if given."""
    from fnmatch import fnmatchcase

    repository, _ = references.split_stored(name)
    wanted = pattern.split("/")
    full = (name if ":" in wanted[-1] or "@" in wanted[-1] else repository).split("/")
    if len(wanted) > len(full):
        return False
    return all(fnmatchcase(part, want) for part, want in zip(full[-len(wanted) :], wanted, strict=True))
