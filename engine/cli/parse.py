"""Options declared once, as data, and the small parser that reads argv from the declaration.

The meaning of a command line is pflag's, which Podman and Docker use: `--name value`, `--name=value`, `-n value`,
`-nvalue`, `-n=value`, clusters of short flags (`-it`), `--flag=false`, `--` ends the options. A class with a `rest`
takes everything after its first positional verbatim. help.py makes a Typer app from the same declaration.
"""

from __future__ import annotations

from engine.errors import NotSupported, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, TypeVar

    from engine.context import Context

    Given = TypeVar("Given", bound="Options")

FLAG = "flag"
TEXT = "text"
TEXTS = "texts"
NUMBER = "number"
DECIMAL = "decimal"
SIZE = "size"
REFUSED = "refused"
ARGUMENT = "argument"
ARGUMENTS = "arguments"
REST = "rest"

POSITIONAL = (ARGUMENT, ARGUMENTS, REST)
_TRUE = ("true", "True", "TRUE", "t", "T", "1")
_FALSE = ("false", "False", "FALSE", "f", "F", "0")
_SIZE_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


class Option:
    """One option or positional of a verb; `attribute` is the name that it was assigned to in its class."""

    __slots__ = (
        "attribute",
        "choices",
        "complete",
        "default",
        "help",
        "kind",
        "maximum",
        "metavar",
        "minimum",
        "names",
        "optional",
        "reason",
        "split",
    )

    def __init__(
        self,
        kind: str,
        names: tuple[str, ...],
        *,
        help: str = "",
        metavar: str = "",
        default: Any = None,
        choices: tuple[str, ...] = (),
        optional: str | None = None,
        minimum: int = 0,
        maximum: int = 0,
        split: bool = False,
        complete: str = "",
        reason: str = "",
    ) -> None:
        self.kind = kind
        self.names = names
        self.help = help
        self.metavar = metavar
        self.default = default
        self.choices = choices
        self.optional = optional
        self.minimum = minimum
        self.maximum = maximum
        self.split = split
        self.complete = complete
        self.reason = reason
        self.attribute = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name


# The functions below are what an options class is written with. They return an Option; type checkers are told the
# type of the parsed value instead, as with dataclasses.field. `complete` names what the shell completes the value
# with: containers, running, images, volumes, sources (volumes and files), files, directories.


def flag(*names: str, help: str, default: bool | None = False) -> Any:
    """Declare `--name[=true|false]`; with `default=None` the value tells whether it was given at all."""
    return Option(FLAG, names, help=help, default=default)


def text(
    *names: str,
    help: str,
    metavar: str = "TEXT",
    default: str | None = None,
    choices: tuple[str, ...] = (),
    optional: str | None = None,
    complete: str = "",
) -> Any:
    """Declare `--name TEXT`; with `optional`, the bare `--name` means that value and others need `--name=TEXT`."""
    return Option(
        TEXT, names, help=help, metavar=metavar, default=default, choices=choices, optional=optional, complete=complete
    )


def texts(
    *names: str,
    help: str,
    metavar: str = "TEXT",
    choices: tuple[str, ...] = (),
    split: bool = False,
    complete: str = "",
) -> Any:
    """Declare a repeatable `--name TEXT`; with `split`, commas separate values."""
    return Option(TEXTS, names, help=help, metavar=metavar, choices=choices, split=split, complete=complete)


def number(*names: str, help: str, metavar: str = "N", default: int | None = None, minimum: int = -(1 << 63)) -> Any:
    """Declare `--name N`, a whole number."""
    return Option(NUMBER, names, help=help, metavar=metavar, default=default, minimum=minimum)


def decimal(*names: str, help: str, metavar: str = "N", default: float | None = None) -> Any:
    """Declare `--name N`, a number with or without fraction, not negative."""
    return Option(DECIMAL, names, help=help, metavar=metavar, default=default)


def size(*names: str, help: str, metavar: str = "BYTES[bkmgt]", default: int | None = None) -> Any:
    """Declare `--name 512m`; the value is in bytes. -1 is let through, for options where it means unlimited."""
    return Option(SIZE, names, help=help, metavar=metavar, default=default)


def refused(*names: str, reason: str) -> Any:
    """Declare options that are known, and refused by name with the reason."""
    return Option(REFUSED, names, reason=reason)


def argument(metavar: str, *, optional: bool = False, help: str = "", complete: str = "") -> Any:
    """Declare one positional; None if it is optional and missing."""
    return Option(ARGUMENT, (), metavar=metavar, help=help, minimum=0 if optional else 1, maximum=1, complete=complete)


def arguments(metavar: str, *, minimum: int = 1, maximum: int = 0, help: str = "", complete: str = "") -> Any:
    """Declare the remaining positionals; `maximum` 0 is no limit."""
    return Option(ARGUMENTS, (), metavar=metavar, help=help, minimum=minimum, maximum=maximum, complete=complete)


def rest(metavar: str, *, minimum: int = 0, help: str = "") -> Any:
    """Declare that options end at the first positional, and what follows the other positionals is taken verbatim."""
    return Option(REST, (), metavar=metavar, help=help, minimum=minimum)


class Options:
    """Base of the options of a verb: class attributes declare, instance attributes hold the values."""

    def __init__(self, **values: Any) -> None:
        own = self.__dict__
        for option in declared(type(self)):
            if option.kind != REFUSED:
                own[option.attribute] = [] if option.kind in (TEXTS, ARGUMENTS, REST) else option.default
        unknown = values.keys() - own.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        own.update(values)


class Verb:
    """A function that carries out a command, with the declaration of its options."""

    __slots__ = ("description", "examples", "function", "options")

    def __init__(
        self,
        options: type[Options],
        function: Callable[[Any, Context], int],
        examples: tuple[tuple[str, str], ...],
    ) -> None:
        self.options = options
        self.function = function
        self.examples = examples
        self.description = function.__doc__ or ""

    def __call__(self, options: Options, context: Context) -> int:
        return self.function(options, context)


def verb(
    options: type[Given], *, examples: tuple[tuple[str, str], ...] = ()
) -> Callable[[Callable[[Given, Context], int]], Verb]:
    """Make a function a verb. `examples` are (what it does, command line) pairs for help and manual page."""
    return lambda function: Verb(options, function, examples)


class HelpWanted(Exception):
    """Not an error: argv holds --help."""


def declared(options: type[Options]) -> list[Option]:
    """Return the declarations of a class, inherited ones first, in the order of their writing."""
    found = {}
    for base in reversed(options.__mro__):
        for name, value in base.__dict__.items():
            if type(value) is Option:
                found[name] = value
    return list(found.values())


def parse(options: type[Given], argv: list[str], outer: Options | None = None) -> Given:
    """Return the values that argv gives.

    Options that are not of this class but of `outer` (the global options) are stored there.
    Raises UsageError, NotSupported for refused options, HelpWanted for --help.
    """
    result: Given = _Parser(options, argv, outer).run()
    return result


class _Parser:
    def __init__(self, options: type[Any], argv: list[str], outer: Options | None) -> None:
        self.argv = argv
        self.index = 0
        self.result = options()
        self.owners: dict[int, Options] = {}
        self.by_name: dict[str, Option] = {}
        self.positionals: list[Option] = []
        if outer is not None:
            for option in declared(type(outer)):
                for name in option.names:
                    self.by_name[name] = option
                self.owners[id(option)] = outer
        for option in declared(options):
            for name in option.names:
                self.by_name[name] = option
            if option.kind in POSITIONAL:
                self.positionals.append(option)

    def run(self) -> Any:
        argv, count = self.argv, len(self.argv)
        verbatim = bool(self.positionals) and self.positionals[-1].kind == REST
        words: list[str] = []
        while self.index < count:
            word = argv[self.index]
            self.index += 1
            if word[:1] != "-" or word == "-":
                words.append(word)
                if verbatim:
                    words += argv[self.index :]
                    break
            elif word == "--":
                words += argv[self.index :]
                break
            elif word[1] == "-":
                name, equals, value = word.partition("=")
                self.store(self.find(name), name, value if equals else None)
            else:
                self.cluster(word)
        self.place(words)
        return self.result

    def cluster(self, word: str) -> None:
        """Read `-it`, `-eNAME=1`, `-e=NAME=1`, `-e NAME=1`."""
        at = 1
        while at < len(word):
            name = f"-{word[at]}"
            option = self.find(name, word)
            at += 1
            if word[at : at + 1] == "=":
                self.store(option, name, word[at + 1 :])
                return
            if option.kind != FLAG and option.optional is None and option.kind != REFUSED and at < len(word):
                self.store(option, name, word[at:])
                return
            self.store(option, name, None)

    def find(self, name: str, word: str = "") -> Option:
        option = self.by_name.get(name)
        if option is None:
            if name in ("--help", "-h"):
                raise HelpWanted
            _unknown(name, word, list(self.by_name))
        if option.kind == REFUSED:
            raise NotSupported(f"{name} is not supported: {option.reason}")
        return option

    def store(self, option: Option, name: str, value: str | None) -> None:
        values = self.owners.get(id(option), self.result).__dict__
        if option.kind == FLAG:
            values[option.attribute] = True if value is None else _boolean(name, value)
            return
        if value is None:
            value = option.optional
        if value is None:
            if self.index >= len(self.argv):
                raise UsageError(f"{name} needs a value ({option.metavar})")
            value = self.argv[self.index]
            self.index += 1
        if option.kind == TEXTS:
            for item in value.split(",") if option.split else (value,):
                values[option.attribute].append(converted(option, name, item))
        else:
            values[option.attribute] = converted(option, name, value)

    def place(self, words: list[str]) -> None:
        """Give the positionals their words."""
        values = self.result.__dict__
        for option in self.positionals:
            if len(words) < option.minimum:
                raise UsageError(f"missing argument {option.metavar}")
            if option.kind == ARGUMENT:
                values[option.attribute] = words.pop(0) if words else None
            else:
                values[option.attribute], words = words, []
                if 0 < option.maximum < len(values[option.attribute]):
                    words = values[option.attribute][option.maximum :]
        if words:
            raise UsageError(f'unexpected argument "{words[0]}"')


def converted(option: Option, name: str, value: str) -> str | int | float:
    """Return the value of one option as its type. Raises UsageError."""
    if option.choices and value not in option.choices:
        raise UsageError(f'invalid value "{value}" for {name}: choose from {", ".join(option.choices)}')
    if option.kind == NUMBER:
        return _whole(name, value, option.minimum)
    if option.kind == DECIMAL:
        return _decimal(name, value)
    if option.kind == SIZE:
        return size_bytes(name, value)
    return value


def _boolean(name: str, value: str) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise UsageError(f'invalid value "{value}" for {name}: choose from true, false')


def _whole(name: str, value: str, minimum: int) -> int:
    digits = value[1:] if value[:1] in ("-", "+") else value
    if not (digits.isdecimal() and digits.isascii() and len(digits) < 20):
        raise UsageError(f'invalid value "{value}" for {name}: not a whole number')
    if int(value) < minimum:
        raise UsageError(f'invalid value "{value}" for {name}: must be {minimum} or more')
    return int(value)


def _decimal(name: str, value: str) -> float:
    try:
        result = float(value)
    except ValueError:
        result = -1.0
    if not 0 <= result < 1e18:  # also false for nan
        raise UsageError(f'invalid value "{value}" for {name}: not a number')
    return result


def size_bytes(name: str, value: str) -> int:
    """Return the bytes that `512m` means, -1 for -1. Raises UsageError, with the name of the option."""
    if value == "-1":
        return -1
    letters = value.lower()
    if letters[-1:] == "b":
        letters = letters[:-1]
        if letters[-1:] == "i":
            letters = letters[:-1]
    unit = letters[-1:] if letters[-1:].isalpha() else ""
    amount = letters[: len(letters) - len(unit)].rstrip(" ")
    whole, _, fraction = amount.partition(".")
    if unit not in _SIZE_UNITS or not (whole + fraction).isdecimal() or not amount.isascii() or not whole:
        raise UsageError(f'invalid value "{value}" for {name}: not a size such as 512m or 2g')
    result = int(float(amount) * _SIZE_UNITS[unit]) if fraction else int(whole) * _SIZE_UNITS[unit]
    if result >= 1 << 63:
        raise UsageError(f'invalid value "{value}" for {name}: too large')
    return result


def _unknown(name: str, word: str, known: list[str]) -> NoReturn:
    import difflib  # only to answer a mistake

    if word and word != name:
        name = f"{name} in {word}"
    close = difflib.get_close_matches(name, [n for n in known if n.startswith("--")], 1, 0.6)
    raise UsageError(f"unknown option {name}", hint=f"did you mean {close[0]}?" if close else "")
