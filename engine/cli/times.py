"""Points in time as people give them: Unix time, RFC 3339, a date, or how long ago (90s, 1h30m)."""

from __future__ import annotations

import time

from engine.errors import UsageError

_UNIT_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}


def parse_time(text: str) -> int:
    """Return nanoseconds since the epoch. Raises UsageError."""
    whole, _, fraction = text.partition(".")
    if whole.isdecimal() and (fraction.isdecimal() or not fraction):
        return int(whole) * 10**9 + int(fraction[:9].ljust(9, "0"))
    if (duration := _duration_ns(text)) is not None:
        return time.time_ns() - duration
    import datetime  # only for dates

    try:
        moment = datetime.datetime.fromisoformat(_six_digits(text))
    except ValueError:
        raise UsageError(
            f'"{text}" is no time',
            hint="give 2025-01-31T09:05:00Z, 2025-01-31, a Unix time, or 10m for ten minutes ago",
        ) from None
    return round(moment.timestamp() * 1_000_000) * 1000


def parse_duration(text: str) -> float:
    """Return seconds for 250ms, 90s, 1h30m; a bare number is milliseconds, as in Podman. Raises UsageError."""
    if text.isdecimal() and text.isascii():
        return int(text) / 1000
    duration = _duration_ns(text)
    if duration is None:
        raise UsageError(f'"{text}" is no duration', hint="give for example 250ms, 90s or 1h30m")
    return duration / 1e9


def _duration_ns(text: str) -> int | None:
    """Read Go's form of durations; None for anything else."""
    total, at = 0.0, 0
    while at < len(text):
        end = at
        while end < len(text) and (text[end].isdecimal() or text[end] == "."):
            end += 1
        unit_end = end
        while unit_end < len(text) and text[unit_end].isalpha():
            unit_end += 1
        unit = _UNIT_NS.get(text[end:unit_end])
        if unit is None or not text[at:end].replace(".", "", 1).isdecimal() or not text.isascii():
            return None
        total += float(text[at:end]) * unit
        at = unit_end
    return int(total) if text else None


def _six_digits(text: str) -> str:
    """Cut a fraction to the six digits that datetime reads."""
    start = text.find(".")
    if start < 0:
        return text
    end = start + 1
    while end < len(text) and text[end].isdecimal():
        end += 1
    return text[:start] + "." + text[start + 1 : end][:6].ljust(6, "0") + text[end:]
