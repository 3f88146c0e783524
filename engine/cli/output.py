"""Tables, JSON, sizes and ages for people and scripts. No heavy imports: `ps`, `images` and `inspect` use it.

A listing is made of rows. A Row is a dict from field names (of `--format`) to what is shown; `raw` is the object that
`--format json` shows for it.
"""

from __future__ import annotations

import sys
import time

try:
    from _json import encode_basestring, encode_basestring_ascii
except ImportError:  # pragma: no cover -- another interpreter than CPython
    from json.encoder import encode_basestring, encode_basestring_ascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

_MINIMUM_WIDTH = 12  # of a column, with the two spaces that end it; Podman's tables
_SIZE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


class Row(dict[str, "Any"]):
    """One line of a listing."""

    __slots__ = ("raw",)

    def __init__(self, values: dict[str, Any], raw: object = None) -> None:
        super().__init__(values)
        self.raw = raw if raw is not None else values


class Map(dict[str, "Any"]):
    """A JSON object whose keys are data, such as labels: `--format` prints `<no value>` for a missing key."""

    __slots__ = ()


class Time(str):
    """A point in time: as text the RFC 3339 form that JSON holds, in templates the form that Go prints."""

    __slots__ = ("ns",)
    ns: int

    def __new__(cls, ns: int) -> Time:
        self = super().__new__(cls, rfc3339(ns))
        self.ns = ns
        return self


def emit(text: str) -> None:
    """Write text to stdout, as it is."""
    if sys.stdout is not None:
        sys.stdout.write(text)


def flush() -> None:
    """Let what was emitted be seen now."""
    if sys.stdout is not None:
        sys.stdout.flush()


def confirmed(question: str) -> bool:
    """Ask; everything but y or yes is no, the end of input too."""
    emit(f"{question} [y/N] ")
    flush()
    answer = sys.stdin.readline() if sys.stdin is not None else ""
    return answer.strip().lower() in ("y", "yes")


def print_listing(
    rows: Sequence[Row], columns: Sequence[tuple[str, str]], *, format: str | None = None, noheading: bool = False
) -> None:
    """Print rows as a table of (heading, field) columns, or as `format` says: json, table TEMPLATE, TEMPLATE."""
    if format == "json":
        emit(json_text([row.raw for row in rows]) + "\n")
    elif format is None or format.strip() == "table":
        lines = [[printable(str(row[field])) for _, field in columns] for row in rows]
        if not noheading:
            lines.insert(0, [heading for heading, _ in columns])
        emit(align(lines))
    else:
        from engine.cli import templates  # only for --format

        emit(templates.render_rows(format, rows, {f: h for h, f in columns}, noheading=noheading))


def print_objects(objects: Sequence[Any], *, format: str | None = None, single: bool = False) -> None:
    """Print whole objects as a JSON array (`single`: the only one as itself), or each by the template `format`."""
    if format is None or format == "json":
        emit(json_text(objects[0] if single else list(objects)) + "\n")
        return
    from engine.cli import templates  # only for --format

    for text in templates.render_objects(format, objects):
        emit(text)


def align(lines: Iterable[Sequence[str]]) -> str:
    """Return lines of cells as text in columns; the last cell of a line is not padded."""
    lines = list(lines)
    widths: list[int] = []
    for line in lines:
        for index, cell in enumerate(line[:-1]):
            if index == len(widths):
                widths.append(_MINIMUM_WIDTH)
            widths[index] = max(widths[index], len(cell) + 2)
    padded = ("".join(cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False)) for line in lines)
    return "".join(f"{start}{line[-1]}\n" for start, line in zip(padded, lines, strict=True))


def printable(text: str) -> str:
    """Return text with control characters as escapes: what comes from outside must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def printable_lines(text: str) -> str:
    """Like printable, but line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def json_text(value: object, indent: str = "") -> str:
    """Return indented JSON (the module `json` costs 7 ms to import). Characters that steer terminals are escaped."""
    if isinstance(value, str):
        return encode_basestring(value) if value.isprintable() else encode_basestring_ascii(value)
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    inner = f"{indent}    "
    if isinstance(value, dict):
        items = [f"{inner}{json_text(str(k))}: {json_text(v, inner)}" for k, v in value.items()]
        opening, closing = "{}"
    elif isinstance(value, (list, tuple)):
        items = [f"{inner}{json_text(v, inner)}" for v in value]
        opening, closing = "[]"
    else:
        raise TypeError(f"not JSON: {type(value).__name__}")
    if not items:
        return opening + closing
    return f"{opening}\n" + ",\n".join(items) + f"\n{indent}{closing}"


def human_size(size_bytes: float, digits: int = 3) -> str:
    """Return a size in decimal units with so many significant digits: 2.13 MB."""
    value = float(size_bytes)
    for unit in _SIZE_UNITS:
        text = f"{value:.{digits}g}"
        if "e" not in text and float(text) < 1000:
            return f"{text} {unit}"
        value /= 1000
    return f"{value * 1000:.0f} {_SIZE_UNITS[-1]}"


def human_duration(seconds: float) -> str:
    """Return a duration as Go's units library words it: 3 minutes, About an hour."""
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return "1 second" if seconds < 2 else f"{int(seconds)} seconds"
    minutes = int(seconds / 60)
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    for limit, unit, name in ((48, 1, "hours"), (336, 24, "days"), (1440, 168, "weeks"), (17520, 720, "months")):
        if hours < limit:
            return f"{hours // unit} {name}"
    return f"{hours // 8760} years"


def ago(ns: int) -> str:
    """Return how long ago a point in time was: 3 minutes ago."""
    return f"{human_duration(max(0.0, time.time() - ns / 1e9))} ago"


def rfc3339(ns: int) -> str:
    """Return local time with its offset, to the nanosecond: 2025-01-31T09:05:00.123456789+01:00."""
    if ns == 0:
        return "0001-01-01T00:00:00Z"
    date, clock, fraction, zone, _ = _parts(ns)
    return f"{date}T{clock}{fraction}{'Z' if zone == '+0000' else f'{zone[:3]}:{zone[3:]}'}"


def go_time(ns: int) -> str:
    """Return local time as Go prints it: 2025-01-31 09:05:00.123456789 +0100 CET."""
    if ns == 0:
        return "0001-01-01 00:00:00 +0000 UTC"
    date, clock, fraction, zone, name = _parts(ns)
    return f"{date} {clock}{fraction} {zone} {name}"


def _parts(ns: int) -> tuple[str, str, str, str, str]:
    """Return date, clock, fraction, offset and name of the zone."""
    local = time.localtime(ns // 1_000_000_000)
    fraction = f".{ns % 1_000_000_000:09}".rstrip("0") if ns % 1_000_000_000 else ""
    offset = local.tm_gmtoff // 60
    zone = f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02}{abs(offset) % 60:02}"
    date = f"{local.tm_year:04}-{local.tm_mon:02}-{local.tm_mday:02}"
    clock = f"{local.tm_hour:02}:{local.tm_min:02}:{local.tm_sec:02}"
    return date, clock, fraction, zone, local.tm_zone or zone


def _escaped(character: str) -> str:
    # A lone surrogate stands for an undecodable byte (PEP 383).
    if 0xDC80 <= ord(character) <= 0xDCFF:
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
