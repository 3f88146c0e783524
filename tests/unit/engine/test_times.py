"""Points in time and durations as people give them."""

from __future__ import annotations

import time

import pytest

from engine.cli.times import parse_duration, parse_time
from engine.errors import UsageError


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("0", 0),
        ("1700000000", 1700000000 * 10**9),
        ("1700000000.5", 1700000000_500000000),
        ("2023-11-14T22:13:20Z", 1700000000 * 10**9),
        ("2023-11-14T22:13:20.123456789Z", 1700000000_123456000),
        ("2023-11-14T23:13:20+01:00", 1700000000 * 10**9),
        ("2023-11-14T22:13:20", 1700000000 * 10**9),
        ("2023-11-14", 1699920000 * 10**9),
    ],
)
def test_times(text: str, ns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC0")
    time.tzset()
    assert parse_time(text) == ns


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172800), ("250ms", 0.25)]
)
def test_how_long_ago(text: str, seconds: float) -> None:
    assert abs(time.time_ns() - parse_time(text) - seconds * 10**9) < 10**9


@pytest.mark.parametrize("text", ["", "yesterday", "10x", "h", "1h-", "2023-13-01", "1..5h", "\u0661s"])
def test_no_times(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        parse_time(text)


@pytest.mark.parametrize(("text", "seconds"), [("250ms", 0.25), ("1s", 1), ("1m30s", 90), ("500", 0.5), ("2us", 2e-6)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "-1s", "s", "1 s", "1x"])
def test_no_durations(text: str) -> None:
    with pytest.raises(UsageError, match="is no duration"):
        parse_duration(text)
