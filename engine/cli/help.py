"""The declarations of the verbs as a Typer app: what people read. Imports typer and rich, hence only for --help."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from engine.cli import parse, table
from engine.cli.main import CommandLine, GlobalOptions, ReaderGone, find_verb
from engine.cli.parse import Option, Options, Verb
from engine.errors import PymanError, UsageError

try:
    import typer
    from rich.console import Console
    from rich.text import Text
    from typer.core import TyperCommand
except ImportError as error:
    raise PymanError(f"help needs a library that is not installed: {error.name}", hint="pip install typer") from None

ABOUT = "Run containers as an ordinary user: no root, no daemon, Podman's command line."
_PANELS = {
    "engine.cli.run": "Containers",
    "engine.cli.containers": "Containers",
    "engine.cli.images": "Images",
}


class HelpOptions(Options):
    words: list[str] = parse.arguments("COMMAND", minimum=0, maximum=2, help="the command to explain")


@parse.verb(HelpOptions, examples=(("explain a command", "pyman help run"),))
def help_(options: HelpOptions, context: object) -> int:
    """Show what a command does, its options, and examples."""
    if not options.words:
        return show("")
    name, rest = find_verb(options.words)
    if rest:
        raise UsageError(f'"{options.words[0]}" has no command "{rest[0]}"')
    return show(name)


def show(name: str, *, to_stderr: bool = False) -> int:
    """Print the help of a verb, of a group of verbs, or (empty name) of everything; returns the exit status 0."""
    stdout = sys.stdout
    if to_stderr:
        sys.stdout = sys.stderr
    try:
        if name in table.VERBS:
            verb = load(name)
            _print_help(command(name, verb), f"pyman {name}")
            _print_examples(verb.examples)
        else:
            _print_help(overview(name), f"pyman {name}".rstrip())
    except SystemExit:  # rich's answer to a broken pipe
        raise ReaderGone from None
    finally:
        sys.stdout = stdout
    return 0


def load(name: str) -> Verb:
    """Import the module of a verb and return the verb."""
    module, function, _ = table.VERBS[name]
    __import__(module)
    verb: Verb = getattr(sys.modules[module], function)
    return verb


def visible_verbs() -> list[str]:
    return [name for name in sorted(table.VERBS) if not name.startswith("_")]


def command(name: str, verb: Verb) -> Any:
    """Return the click command that Typer makes of a verb. It returns the values that it parsed, as a dict."""
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    verbatim = any(option.kind == parse.REST for option in parse.declared(verb.options))
    settings = {"allow_interspersed_args": not verbatim, "help_option_names": _help_names(verb.options)}
    description = inspect.cleandoc(verb.description) or table.VERBS[name][2] + "."
    pieces = ["[OPTIONS]", *(_positional(o) for o in parse.declared(verb.options) if o.kind in parse.POSITIONAL)]

    class Command(TyperCommand):
        def collect_usage_pieces(self, ctx: Any) -> list[str]:
            return pieces  # versions of Typer differ in how they decorate positionals

    app.command(name, cls=Command, help=description, context_settings=settings)(_callback(verb.options))
    return typer.main.get_command(app)


def overview(group: str) -> Any:
    """Return a click group that has the verbs of a group, or all verbs, with their summaries only."""
    app = typer.Typer(add_completion=False, rich_markup_mode="rich", no_args_is_help=False)
    app.callback(help=table.GROUPS.get(group, ABOUT))(_nothing if group else _callback(CommandLine, GlobalOptions))
    prefix = f"{group} " if group else ""
    entries = {name: table.VERBS[name] for name in visible_verbs() if name.startswith(prefix)}
    entries |= {name: table.VERBS[verb] for name, verb in table.ALIASES.items() if group and name.startswith(prefix)}
    panels: dict[str, list[tuple[str, str]]] = {"Containers": [], "Images": [], "Other": [], "Groups": []}
    for name, (module, _, summary) in sorted(entries.items()):
        panels[_PANELS.get(module, "Other")].append((name.removeprefix(prefix), summary))
    if not group:
        panels["Groups"] = list(table.GROUPS.items())
    for panel, words in panels.items():
        for word, summary in words:
            if " " not in word:
                app.command(word, help=summary, rich_help_panel=None if group else panel)(_nothing)
    return typer.main.get_command(app)


def _print_help(click_command: Any, program: str) -> None:
    context = click_command.make_context(program, [], resilient_parsing=True)
    text = click_command.get_help(context)  # Typer prints it itself, with rich, and returns nothing of interest
    if text:
        print(text)


def _print_examples(examples: tuple[tuple[str, str], ...]) -> None:
    console = Console(highlight=False)
    if examples:
        console.print(Text(" Examples", style="bold"))
    for what, line in examples:
        console.print(Text(f"   {what[:1].upper()}{what[1:]}:"), soft_wrap=True)
        console.print(Text(f"     {line}", style="cyan"), soft_wrap=True)
    if examples:
        console.print()


def _nothing() -> None:
    pass


def _callback(*classes: type[Options]) -> Any:
    """Return a function whose signature Typer reads as the options."""
    options = [option for options in classes for option in parse.declared(options)]
    parameters = [
        _parameter(o) for o in options if o.kind != parse.REFUSED and not (o.kind == parse.REST and len(classes) > 1)
    ]

    def callback(**values: Any) -> dict[str, Any]:
        return {
            option.attribute: _as_parsed(option, values[option.attribute])
            for option in options
            if option.attribute in values
        }

    callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    callback.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return callback


def _as_parsed(option: Option, value: Any) -> Any:
    """Return a value as the small parser has it: lists are never None, and flat."""
    if option.kind == parse.TEXTS:
        return [item for items in value or [] for item in items]
    return list(value or []) if option.kind in (parse.ARGUMENTS, parse.REST) else value


def _parameter(option: Option) -> inspect.Parameter:
    kind, annotation, default = option.kind, _annotation(option), option.default
    if kind in parse.POSITIONAL:
        required = ... if option.minimum else None
        value: Any = typer.Argument(required, metavar=option.metavar, help=option.help, show_default=False)
    else:
        repeated = kind == parse.TEXTS
        value = typer.Option(
            None if repeated else default,
            *option.names,
            metavar=" " if kind == parse.FLAG else option.metavar,
            help=_sentence(option),
            show_default=False,
            parser=None if kind == parse.FLAG else _parser(option),
        )
    return inspect.Parameter(option.attribute, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=annotation)


def _annotation(option: Option) -> Any:
    if option.kind == parse.FLAG:
        return bool if option.default is not None else bool | None
    if option.kind in (parse.TEXTS, parse.ARGUMENTS, parse.REST):
        return list[str] | None
    if option.kind in (parse.NUMBER, parse.SIZE):
        return int | None
    return float | None if option.kind == parse.DECIMAL else str | None


def _parser(option: Option) -> Any:
    """Return the conversion of the small parser, for Typer."""

    def convert(text: object) -> Any:
        if not isinstance(text, str):  # a default, converted already
            return text
        try:
            items = text.split(",") if option.split else [text]
            converted = [parse.converted(option, option.names[0], item) for item in items]
            return converted if option.kind == parse.TEXTS else converted[0]
        except UsageError as error:
            raise typer.BadParameter(str(error)) from None

    return convert


def _sentence(option: Option) -> str:
    text = option.help
    if option.kind in (parse.TEXT, parse.NUMBER) and option.default not in (None, "", -1):
        text += f" (default {option.default})"
    return text.replace("[", "\\[")


def _positional(option: Option) -> str:
    """Return a positional as it stands in the usage line: CONTAINER..., [COMMAND...]."""
    many = "..." if option.kind != parse.ARGUMENT and option.maximum != 1 else ""
    return f"{option.metavar}{many}" if option.minimum else f"[{option.metavar}{many}]"


def _help_names(options: type[Options]) -> list[str]:
    taken = {name for option in parse.declared(options) for name in option.names}
    return ["--help"] if "-h" in taken else ["--help", "-h"]
