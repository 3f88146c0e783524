"""The small parser: pflag's rules, and what it says about mistakes."""

from __future__ import annotations

import pytest

from engine.cli import parse
from engine.cli.parse import (
    HelpWanted,
    Options,
    argument,
    arguments,
    decimal,
    flag,
    number,
    refused,
    rest,
    size,
    text,
    texts,
)
from engine.errors import NotSupported, UsageError


class Sample(Options):
    all: bool = flag("--all", "-a", help="")
    quiet: bool = flag("--quiet", "-q", help="")
    proxy: bool = flag("--proxy", default=True, help="")
    verify: bool | None = flag("--verify", default=None, help="")
    time: int | None = number("--time", "-t", minimum=-1, help="")
    cpus: float | None = decimal("--cpus", help="")
    memory: int | None = size("--memory", "-m", help="")
    env: list[str] = texts("--env", "-e", help="")
    caps: list[str] = texts("--cap-add", split=True, help="")
    pull: str = text("--pull", default="missing", choices=("always", "missing"), help="")
    color: str | None = text("--color", optional="auto", help="")
    secret = refused("--secret", "-s", reason="no secrets yet")
    containers: list[str] = arguments("CONTAINER", minimum=0)


class Run(Options):
    tty: bool = flag("--tty", "-t", help="")
    name: str | None = text("--name", help="")
    image: str = argument("IMAGE")
    command: list[str] = rest("COMMAND")


class Copy(Options):
    source: str = argument("SOURCE")
    target: str = argument("TARGET")
    mode: str | None = argument("MODE", optional=True)


class Limited(Options):
    words: list[str] = arguments("WORD", minimum=1, maximum=2)


class Global(Options):
    root: str | None = text("--root", help="")


def read(*argv: str) -> Sample:
    return parse.parse(Sample, list(argv))


def test_nothing_given() -> None:
    values = read()
    assert values.__dict__ == {
        "all": False,
        "quiet": False,
        "proxy": True,
        "verify": None,
        "time": None,
        "cpus": None,
        "memory": None,
        "env": [],
        "caps": [],
        "pull": "missing",
        "color": None,
        "containers": [],
    }


def test_lists_are_not_shared() -> None:
    read("-e", "A=1").env.append("B=2")
    assert read().env == []


@pytest.mark.parametrize(
    "argv",
    [["--time", "5"], ["--time=5"], ["-t", "5"], ["-t5"], ["-t=5"], ["-qt5"], ["-qt", "5"], ["-t3", "--time=5"]],
)
def test_forms_of_a_value(argv: list[str]) -> None:
    assert read(*argv).time == 5


def test_clusters() -> None:
    values = read("-aqeFOO=1", "-e", "BAR=a b", "-e=BAZ=", "x")
    assert (values.all, values.quiet) == (True, True)
    assert (values.env, values.containers) == (["FOO=1", "BAR=a b", "BAZ="], ["x"])


@pytest.mark.parametrize(("given", "value"), [("true", True), ("1", True), ("T", True), ("false", False), ("0", False)])
def test_flags_with_a_value(given: str, value: bool) -> None:
    assert read(f"--all={given}").all is value
    assert read(f"--proxy={given}").proxy is value
    assert read(f"--verify={given}").verify is value
    assert read(f"-a={given}").all is value


def test_a_flag_does_not_take_the_next_word() -> None:
    values = read("--all", "false")
    assert (values.all, values.containers) == (True, ["false"])


def test_the_last_value_wins() -> None:
    assert read("--pull", "always", "--pull", "missing", "-t", "1", "-t", "2").time == 2


def test_a_value_may_look_like_an_option() -> None:
    assert read("-e", "--all", "--env", "-q").env == ["--all", "-q"]
    assert read("-t", "-1").time == -1


def test_options_may_follow_arguments() -> None:
    values = read("a", "--all", "b", "-t", "3", "c")
    assert (values.containers, values.all, values.time) == (["a", "b", "c"], True, 3)


def test_two_dashes_end_the_options() -> None:
    values = read("a", "--", "--all", "-q", "--")
    assert (values.containers, values.all) == (["a", "--all", "-q", "--"], False)


def test_a_dash_is_an_argument() -> None:
    assert read("-", "a").containers == ["-", "a"]


def test_commas_separate_only_where_declared() -> None:
    values = read("--cap-add", "a,b", "--cap-add=c", "-e", "A=1,2")
    assert (values.caps, values.env) == (["a", "b", "c"], ["A=1,2"])


def test_optional_values() -> None:
    assert read("--color").color == "auto"
    assert read("--color", "always").containers == ["always"]
    assert read("--color=always").color == "always"


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("0", 0),
        ("512", 512),
        ("1b", 1),
        ("512m", 512 << 20),
        ("512M", 512 << 20),
        ("2g", 2 << 30),
        ("2GiB", 2 << 30),
        ("1.5k", 1536),
        ("1 kb", 1024),
        ("1t", 1 << 40),
        ("-1", -1),
    ],
)
def test_sizes(given: str, value: int) -> None:
    assert read("-m", given).memory == value


@pytest.mark.parametrize(
    "given", ["", "m", "1x", "1,5m", "-5", "1..5m", "1e3", "\u0663m", "9999999p", "0x10", "nan", ".m"]
)
def test_bad_sizes(given: str) -> None:
    with pytest.raises(UsageError, match="for --memory"):
        read("--memory", given)


@pytest.mark.parametrize(("given", "value"), [("1.5", 1.5), ("2", 2.0), ("0.25", 0.25)])
def test_decimals(given: str, value: float) -> None:
    assert read("--cpus", given).cpus == value


@pytest.mark.parametrize("given", ["", "x", "-1", "nan", "inf", "1e400"])
def test_bad_decimals(given: str) -> None:
    with pytest.raises(UsageError, match="--cpus: not a number"):
        read("--cpus", given)


@pytest.mark.parametrize("given", ["", "x", "1.5", "--1", "\u0661", "1_0", "9" * 30, " 1"])
def test_bad_numbers(given: str) -> None:
    with pytest.raises(UsageError, match="for --time: not a whole number"):
        read(f"--time={given}")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--tme", "3"], "unknown option --tme"),
        (["-x"], "unknown option -x"),
        (["-qx"], "unknown option -x in -qx"),
        (["--time"], r"--time needs a value \(N\)"),
        (["-qt"], r"-t needs a value \(N\)"),
        (["--time", "-2"], "must be -1 or more"),
        (["--pull", "never"], 'invalid value "never" for --pull: choose from always, missing'),
        (["--all=maybe"], 'invalid value "maybe" for --all: choose from true, false'),
    ],
)
def test_mistakes(argv: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(*argv)


def test_a_suggestion() -> None:
    with pytest.raises(UsageError) as caught:
        read("--tiem=3")
    assert caught.value.hint == "did you mean --time?"
    assert caught.value.exit_status == 125


@pytest.mark.parametrize("argv", [["--secret", "x"], ["--secret=x"], ["-s"], ["-qs"]])
def test_refused(argv: list[str]) -> None:
    with pytest.raises(NotSupported, match="is not supported: no secrets yet"):
        read(*argv)


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["a", "--help"], ["-qh"]])
def test_help(argv: list[str]) -> None:
    with pytest.raises(HelpWanted):
        read(*argv)


def test_help_as_a_value_is_none() -> None:
    assert read("-e", "--help").env == ["--help"]


def test_rest_is_verbatim() -> None:
    values = parse.parse(Run, ["-t", "busybox", "ls", "-t", "--", "--name", "x"])
    assert (values.tty, values.image, values.command) == (True, "busybox", ["ls", "-t", "--", "--name", "x"])
    assert parse.parse(Run, ["busybox", "--help"]).command == ["--help"]
    values = parse.parse(Run, ["--", "-odd", "-t"])
    assert (values.tty, values.image, values.command) == (False, "-odd", ["-t"])


def test_positionals() -> None:
    assert parse.parse(Copy, ["a", "b"]).__dict__ == {"source": "a", "target": "b", "mode": None}
    assert parse.parse(Copy, ["a", "b", "c"]).mode == "c"
    with pytest.raises(UsageError, match="missing argument TARGET"):
        parse.parse(Copy, ["a"])
    with pytest.raises(UsageError, match='unexpected argument "d"'):
        parse.parse(Copy, ["a", "b", "c", "d"])
    with pytest.raises(UsageError, match="missing argument IMAGE"):
        parse.parse(Run, ["-t"])
    assert parse.parse(Limited, ["a", "b"]).words == ["a", "b"]
    with pytest.raises(UsageError, match='unexpected argument "c"'):
        parse.parse(Limited, ["a", "b", "c"])
    with pytest.raises(UsageError, match="missing argument WORD"):
        parse.parse(Limited, [])


def test_outer_options_may_follow_the_verb() -> None:
    outer = Global()
    values = parse.parse(Sample, ["--root", "/x", "-q", "a"], outer)
    assert (outer.root, values.quiet, values.containers) == ("/x", True, ["a"])


def test_own_options_hide_outer_ones() -> None:
    class Inner(Options):
        root: bool = flag("--root", help="")

    outer = Global()
    assert parse.parse(Inner, ["--root"], outer).root is True
    assert outer.root is None


def test_making_values_in_code() -> None:
    assert Sample(all=True, env=["A=1"]).env == ["A=1"]
    with pytest.raises(TypeError, match="Sample has no nonsense"):
        Sample(nonsense=1)


def test_declared_in_order_with_the_inherited_first() -> None:
    class More(Sample):
        extra: bool = flag("--extra", help="")
        time: int | None = number("--time", help="again")

    names = [option.attribute for option in parse.declared(More)]
    assert names[:5] == ["all", "quiet", "proxy", "verify", "time"]
    assert names[-1] == "extra"
    assert len(names) == len(set(names))
