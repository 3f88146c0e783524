"""Names of signals."""

from __future__ import annotations

import signal

import pytest

from rootless import process


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *[("TERM", 15), ("SIGTERM", 15), ("term", 15), ("sigterm", 15), ("15", 15), ("0", 0), ("KILL", 9), ("HUP", 1)],
        *[
            ("RTMIN", signal.SIGRTMIN),
            ("SIGRTMIN+3", signal.SIGRTMIN + 3),
            ("rtmax-1", signal.SIGRTMAX - 1),
            ("64", 64),
        ],
    ],
)
def test_signals(name: str, number: int) -> None:
    assert process.signal_number(name) == number


@pytest.mark.parametrize(
    "name",
    [
        "",
        "BOGUS",
        "SIG",
        "65",
        "-1",
        "+1",
        "1.5",
        "RTMIN+31",
        "RTMIN+",
        "RTMIN+x",
        "RTMAX-99",
        "TERM+1",
        "TERM ",
        "_IGN",
        "SIG_DFL",
    ],
)
def test_no_signals(name: str) -> None:
    with pytest.raises(ValueError, match="no such signal"):
        process.signal_number(name)
