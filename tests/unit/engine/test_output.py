"""Tables, JSON, sizes, ages, and what must not reach a terminal."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cli import output
from engine.cli.output import Map, Row, Time


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC0")
    time.tzset()


def test_columns_are_as_wide_as_podmans() -> None:
    lines = [("CONTAINER ID", "IMAGE", "NAMES"), ("2fe2ec07e236", "localhost/bb:latest", "t1")]
    assert output.align(lines) == (
        "CONTAINER ID  IMAGE                NAMES\n"  #
        "2fe2ec07e236  localhost/bb:latest  t1\n"
    )
    assert output.align([("ID", "TAG", "SIZE")]) == "ID          TAG         SIZE\n"
    assert output.align([]) == ""


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (2129920, "2.13 MB"),
        (999_999, "1 MB"),
        (469_736_960, "470 MB"),
        (1_234_000_000, "1.23 GB"),
        (10**30, "1000000000000 EB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert output.human_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "Less than a second"),
        (1, "1 second"),
        (59.9, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (5400, "2 hours"),
        (86400, "24 hours"),
        (2 * 86400, "2 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_durations_are_worded_as_by_go(seconds: float, text: str) -> None:
    assert output.human_duration(seconds) == text


def test_ago_of_a_time_to_come() -> None:
    assert output.ago(time.time_ns() + 10**12) == "Less than a second ago"


def test_times() -> None:
    moment = 1700000000_120000000
    assert output.rfc3339(moment) == "2023-11-14T22:13:20.12Z"
    assert output.go_time(moment) == "2023-11-14 22:13:20.12 +0000 UTC"
    assert output.rfc3339(0) == "0001-01-01T00:00:00Z"
    assert output.go_time(0) == "0001-01-01 00:00:00 +0000 UTC"
    assert (Time(moment), Time(moment).ns) == ("2023-11-14T22:13:20.12Z", moment)


def test_times_elsewhere(berlin: None) -> None:
    assert output.rfc3339(1700000000 * 10**9) == "2023-11-14T23:13:20+01:00"
    assert output.go_time(1700000000 * 10**9) == "2023-11-14 23:13:20 +0100 CET"


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(_VALUES)
def test_json_is_json(value: object) -> None:
    text = output.json_text(value)
    assert json.loads(text) == value
    assert not [c for c in text if ord(c) < 0x20 and c != "\n"]


def test_json_looks_as_that_of_the_library() -> None:
    value = {"a": [1, {"b": None, "ü": "ü"}], "empty": [{}, []], "f": 1.5, "t": True}
    assert output.json_text(value) == json.dumps(value, indent=4, ensure_ascii=False)


def test_json_escapes_what_steers_terminals() -> None:
    assert output.json_text("a\x1b[31m\x9b\x7f") == '"a\\u001b[31m\\u009b\\u007f"'


def test_other_objects_are_no_json() -> None:
    with pytest.raises(TypeError):
        output.json_text({"a": object()})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 漢", "plain ü 漢"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202eevil", "\\u202eevil"),
        (b"\xff\xfe".decode(errors="surrogateescape"), "\\xff\\xfe"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert output.printable(text) == shown


@given(st.text())
def test_printable_is_printable(text: str) -> None:
    assert output.printable(text).isprintable()
    assert output.printable_lines(text).replace("\n", "").replace("\t", "").isprintable()


ROWS = [
    Row({"ID": "1", "Names": "a", "Labels": Map(x="y")}, {"Id": "11"}),
    Row({"ID": "2", "Names": "\x1bb", "Labels": Map()}),
]
COLUMNS = (("CONTAINER ID", "ID"), ("NAMES", "Names"))


@pytest.mark.parametrize(
    ("format", "noheading", "text"),
    [
        (None, False, "CONTAINER ID  NAMES\n1             a\n2             \\x1bb\n"),
        ("table", False, "CONTAINER ID  NAMES\n1             a\n2             \\x1bb\n"),
        (None, True, "1           a\n2           \\x1bb\n"),
        ("table {{.Names}}\\t{{.ID}}", False, "NAMES       CONTAINER ID\na           1\n\\x1bb       2\n"),
        ("table {{.Names}}\t{{.ID}}", True, "a           1\n\\x1bb       2\n"),
        ("{{.ID}}:{{.Names}}", False, "1:a\n2:\\x1bb\n"),
        ("{{range .}}{{.ID}};{{end}}", False, "1;2;\n"),
        ("table {{.Labels}}", False, "LABELS\nmap[x:y]\nmap[]\n"),
    ],
)
def test_listing(format: str | None, noheading: bool, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.print_listing(ROWS, COLUMNS, format=format, noheading=noheading)
    assert capsys.readouterr().out == text


def test_listing_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_listing(ROWS, COLUMNS, format="json")
    assert json.loads(capsys.readouterr().out) == [{"Id": "11"}, {"ID": "2", "Names": "\x1bb", "Labels": {}}]


def test_objects(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_objects([{"Id": "1"}])
    assert json.loads(capsys.readouterr().out) == [{"Id": "1"}]
    output.print_objects([{"Id": "1"}], format="json", single=True)
    assert json.loads(capsys.readouterr().out) == {"Id": "1"}
    output.print_objects([{"Id": "1"}, {"Id": "2"}], format="{{.ID}}")
    assert capsys.readouterr().out == "1\n2\n"
