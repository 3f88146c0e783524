"""The small parser and the Typer app give one meaning to the same words, for every verb."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cli import help, parse
from engine.cli.parse import Option

_WORD = st.text(string.ascii_letters + string.digits + "=:/,._ äß-", min_size=0, max_size=12)
_PLAIN_WORD = st.text(string.ascii_letters + string.digits + "=:/,._ ä", min_size=1, max_size=12)


def value_of(option: Option) -> st.SearchStrategy[str]:
    if option.choices:
        return st.sampled_from(option.choices)
    if option.kind == parse.NUMBER:
        return st.integers(max(option.minimum, -(10**6)), 10**6).map(str)
    if option.kind == parse.SIZE:
        return st.tuples(st.integers(0, 999), st.sampled_from(["", "k", "m", "G", "b"])).map(lambda p: f"{p[0]}{p[1]}")
    if option.kind == parse.DECIMAL:
        return st.decimals(0, 100, places=2).map(str)
    return _WORD


@st.composite
def option_words(draw: st.DrawFn, options: list[Option]) -> list[str]:
    """Draw one option in one of its forms; forms that click reads otherwise (`--flag=true`, `-n=5`) are left out."""
    option = draw(st.sampled_from(options))
    name = draw(st.sampled_from(option.names))
    short = not name.startswith("--")
    if option.kind == parse.FLAG:
        if not short:
            return [name]
        flags = [n for o in options if o.kind == parse.FLAG for n in o.names if not n.startswith("--")]
        return ["-" + "".join(n[1] for n in draw(st.lists(st.sampled_from(flags), min_size=1, max_size=4)))]
    value = draw(value_of(option))
    if draw(st.booleans()):
        return [name, value]
    if not short:
        return [f"{name}={value}"]
    return [name + value] if value and not value.startswith("=") else [name, value]


@st.composite
def command_line(draw: st.DrawFn, verb: parse.Verb) -> list[str]:
    declared = parse.declared(verb.options)
    options = [o for o in declared if o.names and o.kind != parse.REFUSED and o.optional is None]
    given_options = draw(st.lists(option_words(options), max_size=6)) if options else []
    words: list[list[str]] = []
    positionals = [o for o in declared if not o.names]
    verbatim = bool(positionals) and positionals[-1].kind == parse.REST
    for option in positionals:
        if option.kind == parse.REST:
            continue
        most = option.maximum or 3
        count = draw(st.integers(option.minimum, most))
        words += [[word] for word in draw(st.lists(_PLAIN_WORD, min_size=count, max_size=count))]
        if count < most:
            break  # a missing one is the last
    rest: list[str] = []
    if verbatim:
        minimum = positionals[-1].minimum
        anything = st.one_of(_WORD, st.sampled_from(["--", "-t", "--help", "-", "--name=x"]))
        rest = draw(st.lists(anything, min_size=minimum, max_size=4))
        if len(positionals) == 1 and rest and (rest[0].startswith("-") or not rest[0]):
            rest.insert(0, "--")
    if verbatim:
        return [word for group in [*given_options, *words] for word in group] + rest
    mixed = draw(st.permutations([*given_options, *words])) if given_options or words else []
    return [word for group in mixed for word in group]


VERBS = help.visible_verbs()


@pytest.mark.parametrize("name", VERBS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_one_meaning(name: str, data: st.DataObject) -> None:
    verb = help.load(name)
    argv = data.draw(command_line(verb))
    assert by_typer(name, argv) == parse.parse(verb.options, argv).__dict__


_COMMANDS: dict[str, Any] = {}


def by_typer(name: str, argv: list[str]) -> object:
    if name not in _COMMANDS:
        _COMMANDS[name] = help.command(name, help.load(name))
    return _COMMANDS[name].main(list(argv), prog_name="pyman", standalone_mode=False)
