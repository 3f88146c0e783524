"""JSON without the import cost of `json` (7 ms: it compiles regular expressions).

The C accelerators behind `json` are used directly; where an interpreter lacks them, `json` itself is.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Context:
    """What the C scanner reads its options from; the same defaults as `json.loads`."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str] = {}  # noqa: RUF012 -- the scanner empties it after each call


def _not_serializable(value: object) -> object:
    raise TypeError(f"not JSON: {type(value).__name__}")


try:
    import _json

    _scan = _json.make_scanner(_Context)  # type: ignore[arg-type]  # typeshed's stub is wrong
    _encode = _json.make_encoder(
        None, _not_serializable, _json.encode_basestring_ascii, None, ":", ",", False, False, False
    )
except (ImportError, AttributeError, TypeError):  # pragma: no cover -- another interpreter than CPython
    _scan = _encode = None  # type: ignore[assignment]


def loads(text: str | bytes) -> Any:
    """Parse one JSON value. Raises ValueError."""
    if isinstance(text, bytes):
        text = text.decode()
    text = text.strip(" \t\r\n")
    try:
        value, end = _scan(text, 0)
        if end == len(text):
            return value
    except (StopIteration, SystemError, TypeError):  # what the bare scanner makes of bad text
        pass
    import json

    return json.loads(text)


def dumps(value: object) -> str:
    """Return `value` as compact JSON text on one line, in ASCII."""
    if _encode is None:
        import json

        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    return "".join(_encode(value, 0))


def dumps_indented(value: object) -> str:
    """Return `value` as JSON for people and scripts, indented by four spaces as Podman's."""
    import json

    return json.dumps(value, indent=4, ensure_ascii=False)
