"""The functions of templates, and how Go prints values."""

from __future__ import annotations

from engine.cli.output import Map, Row, Time, go_time
from engine.cli.template_tokens import TemplateError
from rootless import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def truth(value: object) -> bool:
    """Tell whether Go takes the value for true: not empty, not zero, not nil."""
    return bool(value)


def shown(value: Any) -> str:
    """Return a value as Go's fmt prints it with %v."""
    if isinstance(value, Time):
        return go_time(value.ns)
    if isinstance(value, str):
        return str(value)
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
    if isinstance(value, Map):
        return "map[" + " ".join(f"{k}:{shown(v)}" for k, v in sorted(value.items())) + "]"
    if isinstance(value, dict):
        return "{" + " ".join(shown(v) for v in value.values()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(shown(v) for v in value) + "]"
    return str(value)


def _json(value: object) -> str:
    return jsontext.dumps(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Row):
        value = value.raw
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def _join(values: Any, separator: Any) -> str:
    if isinstance(values, str) and not isinstance(separator, str):
        values, separator = separator, values  # `.Names | join ","` passes them the other way round
    if isinstance(values, str):
        return values
    if values is None:
        return ""
    return _text(separator).join(shown(value) for value in values)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TemplateError(f"{shown(value)[:40]!r} is not text")
    return value


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, (list, tuple, str)):
            if not isinstance(key, int) or not 0 <= key < len(value):
                raise TemplateError(f"index {shown(key)} is out of range")
            value = ord(value[key]) if isinstance(value, str) else value[key]
        elif value is None:
            return None
        else:
            raise TemplateError(f"cannot index {shown(value)[:40]!r}")
    return value


def _slice(value: Any, *bounds: int) -> Any:
    if not isinstance(value, (list, tuple, str)):
        raise TemplateError(f"cannot slice {shown(value)[:40]!r}")
    low = bounds[0] if bounds else 0
    high = bounds[1] if len(bounds) > 1 else len(value)
    if not 0 <= low <= high <= len(value):
        raise TemplateError("slice bounds are out of range")
    return value[low:high]


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode(errors="surrogateescape"))
    if isinstance(value, (list, tuple, dict)):
        return len(value)
    raise TemplateError(f"{shown(value)[:40]!r} has no length")


def _comparable(left: Any, right: Any) -> None:
    numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
    if not (numbers and isinstance(left, bool) == isinstance(right, bool)) and not (
        isinstance(left, str) and isinstance(right, str)
    ):
        raise TemplateError(f"cannot compare {shown(left)[:40]!r} with {shown(right)[:40]!r}")


def _equal(left: Any, *others: Any) -> bool:
    for other in others:
        if left is None or other is None:
            if left is other:
                return True
            continue
        _comparable(left, other)
        if left == other:
            return True
    return False


def _less(left: Any, right: Any) -> bool:
    _comparable(left, right)
    return bool(left < right)


def _print(*values: Any) -> str:
    """Join as Go's Print: a space between operands of which neither is text."""
    out = ""
    for i, value in enumerate(values):
        if i and not isinstance(value, str) and not isinstance(values[i - 1], str):
            out += " "
        out += shown(value)
    return out


def _printf(pattern: Any, *values: Any) -> str:
    pattern, out, at, used = _text(pattern), "", 0, 0
    while at < len(pattern):
        if pattern[at] != "%":
            out += pattern[at]
            at += 1
            continue
        end = at + 1
        while end < len(pattern) and pattern[end] in "+-# 0123456789.":
            end += 1
        flags, letter = pattern[at + 1 : end], pattern[end : end + 1]
        at = end + 1
        if letter == "%":
            out += "%"
            continue
        if used >= len(values):
            raise TemplateError(f"printf has no value for %{flags}{letter}")
        out += _formatted(flags, letter, values[used])
        used += 1
    return out


def _formatted(flags: str, letter: str, value: Any) -> str:
    try:
        if letter in ("s", "v"):
            return f"%{flags}s" % shown(value)
        if letter == "q":
            return f"%{flags}s" % jsontext.dumps(_text(value))
        if letter == "t":
            return f"%{flags}s" % ("true" if value else "false")
        if letter in ("d", "x", "X", "o", "c") and isinstance(value, int):
            return f"%{flags}{letter}" % value
        if letter in ("x", "X") and isinstance(value, str):
            return value.encode(errors="surrogateescape").hex()
        if letter in ("f", "F", "g", "G", "e", "E") and isinstance(value, (int, float)):
            return f"%{flags}{letter}" % value
    except (TypeError, ValueError):
        pass
    raise TemplateError(f"printf cannot show {shown(value)[:40]!r} with %{flags}{letter}")


def _truncate(value: Any, length: int) -> str:
    return _text(value)[:length]


def _pad(value: Any, before: int, after: int) -> str:
    text = _text(value)
    return " " * before + text + " " * after if text else text


# name -> (function, fewest arguments, most arguments or -1)
FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "and": (lambda *values: values[-1], 1, -1),  # these two are evaluated step by step by the compiler
    "or": (lambda *values: values[-1], 1, -1),
    "not": (lambda value: not truth(value), 1, 1),
    "eq": (_equal, 2, -1),
    "ne": (lambda left, right: not _equal(left, right), 2, 2),
    "lt": (_less, 2, 2),
    "le": (lambda left, right: not _less(right, left), 2, 2),
    "gt": (lambda left, right: _less(right, left), 2, 2),
    "ge": (lambda left, right: not _less(left, right), 2, 2),
    "index": (_index, 1, -1),
    "slice": (_slice, 1, 3),
    "len": (_length, 1, 1),
    "print": (_print, 0, -1),
    "println": (lambda *values: " ".join(shown(value) for value in values) + "\n", 0, -1),
    "printf": (_printf, 1, -1),
    "json": (_json, 1, 1),
    "join": (_join, 2, 2),
    "split": (lambda value, separator: _text(value).split(_text(separator)), 2, 2),
    "lower": (lambda value: _text(value).lower(), 1, 1),
    "upper": (lambda value: _text(value).upper(), 1, 1),
    "title": (lambda value: _text(value).title(), 1, 1),
    "truncate": (_truncate, 2, 2),
    "pad": (_pad, 3, 3),
}
