"""Write docs/man from the declarations of the verbs: a page per verb, and one for the program.

python3 contrib/manpages.py            writes the pages
python3 contrib/manpages.py --check    tells which ones differ, and writes nothing
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from engine.cli import parse, table  # noqa: E402 -- not findable before
from engine.cli.main import CommandLine, GlobalOptions  # noqa: E402 -- not findable before
from engine.cli.parse import Option, Options, Verb  # noqa: E402 -- not findable before

PAGES = ROOT / "docs/man"
ABOUT = "run containers as an ordinary user"
_DESCRIPTION = """\
Pyman runs containers for ordinary users: no root, no daemon, nothing left running when no container runs. Its commands
and options are those of **podman**(1), and with few exceptions those of **docker**(1).

Values are given as `--name value`, `--name=value`, `-n value` or `-nvalue`; flags as `--flag` or `--flag=false`. A `--`
ends the options.
"""
_EXIT_STATUS = """\
**0**
: Success.

**1**
: A named object does not exist.

**2**
: An object is in use.

**125**
: Pyman itself failed, or the command line makes no sense.

**126**
: The command of the container cannot be executed.

**127**
: The command of the container does not exist.

**128 + N**
: The container's first process was ended by signal N.

Otherwise the exit status of the container's first process.
"""
_ENVIRONMENT = """\
**XDG_DATA_HOME**
: Images, containers and volumes are in **$XDG_DATA_HOME/pyman**, by default in **~/.local/share/pyman**.

**XDG_RUNTIME_DIR**
: Sockets are in **$XDG_RUNTIME_DIR/pyman**.
"""


def pages() -> dict[str, str]:
    """Return file name -> text of every page."""
    found = {"pyman.1.md": program_page()}
    for name in visible_verbs():
        module, function, _ = table.VERBS[name]
        __import__(module)
        verb: Verb = getattr(sys.modules[module], function)
        found[f"{page_name(name)}.1.md"] = verb_page(name, verb)
    return found


def visible_verbs() -> list[str]:
    return [name for name in sorted(table.VERBS) if not name.startswith("_")]


def page_name(verb: str) -> str:
    return f"pyman-{verb.replace(' ', '-')}"


def program_page() -> str:
    rows = [f"| [{page_name(n)}(1)]({page_name(n)}.1.md) | {table.VERBS[n][2]} |" for n in visible_verbs()]
    sections = [
        f"% pyman 1\n\n## NAME\n\npyman - {ABOUT}\n",
        "## SYNOPSIS\n\n**pyman** [*options*] *COMMAND* ...\n",
        f"## DESCRIPTION\n\n{_DESCRIPTION}",
        _options_section("GLOBAL OPTIONS", [*parse.declared(CommandLine), *parse.declared(GlobalOptions)]),
        "## COMMANDS\n\n| Command | What it does |\n| --- | --- |\n" + "\n".join(rows) + "\n",
        f"## EXIT STATUS\n\n{_EXIT_STATUS}",
        f"## ENVIRONMENT\n\n{_ENVIRONMENT}",
    ]
    return "\n".join(sections)


def verb_page(name: str, verb: Verb) -> str:
    options = parse.declared(verb.options)
    page, summary = page_name(name), table.VERBS[name][2]
    lines = [f"**pyman {form}** {_synopsis(verb.options)}" for form in (name, *_other_names(name))]
    description = inspect.cleandoc(verb.description) or f"{summary}."
    sections = [
        f"% {page} 1\n\n## NAME\n\n{page} - {summary[0].lower()}{summary[1:]}\n",
        "## SYNOPSIS\n\n" + "\n\n".join(line.strip() for line in lines) + "\n",
        f"## DESCRIPTION\n\n{_escaped(description)}\n" + _arguments(options),
        _options_section("OPTIONS", options),
        _refused_section(options),
        _examples_section(verb),
        "## SEE ALSO\n\n[pyman(1)](pyman.1.md)\n",
    ]
    return "\n".join(section for section in sections if section)


def _other_names(name: str) -> list[str]:
    return sorted(alias for alias, verb in table.ALIASES.items() if verb == name)


def _synopsis(options: type[Options]) -> str:
    words = ["[*options*]"]
    for option in parse.declared(options):
        if not option.names:
            many = " ..." if option.kind != parse.ARGUMENT and option.maximum != 1 else ""
            word = f"*{_escaped(option.metavar)}*{many}"
            words.append(word if option.minimum else f"[{word}]")
    return " ".join(words)


def _arguments(options: list[Option]) -> str:
    described = [o for o in options if not o.names and o.kind != parse.REFUSED and o.help]
    return "".join(f"\n*{_escaped(o.metavar)}*: {_escaped(o.help)}.\n" for o in described)


def _options_section(title: str, options: list[Option]) -> str:
    entries = [_option(o) for o in sorted(options, key=_sort_key) if o.names and o.kind != parse.REFUSED]
    return f"## {title}\n\n" + "\n".join([*entries, "#### **--help**\n\nShow help.\n"])


def _sort_key(option: Option) -> str:
    return option.names[0].lstrip("-") if option.names else ""


def _option(option: Option) -> str:
    names = ", ".join(f"**{name}**" for name in option.names)
    if option.kind == parse.FLAG:
        heading = names
    elif option.optional is not None:
        heading = f"{names}[=*{_escaped(option.metavar)}*]"
    else:
        heading = f"{names}=*{_escaped(option.metavar)}*"
    text = f"{option.help[0].upper()}{option.help[1:].rstrip('.')}."
    if option.kind == parse.TEXTS:
        text += " May be given several times"
        text += ", or with values separated by commas." if option.split else "."
    if option.choices:
        text += f" One of {', '.join(option.choices)}."
    if option.kind in (parse.TEXT, parse.NUMBER) and option.default not in (None, "", -1):
        text += f" The default is {option.default}."
    return f"#### {heading}\n\n{_escaped(text)}\n"


def _refused_section(options: list[Option]) -> str:
    refused = [o for o in options if o.kind == parse.REFUSED]
    if not refused:
        return ""
    lines = [f"- {', '.join(f'**{name}**' for name in o.names)}: {_escaped(o.reason)}." for o in refused]
    return "## OPTIONS OF PODMAN AND DOCKER THAT ARE REFUSED\n\n" + "\n".join(lines) + "\n"


def _examples_section(verb: Verb) -> str:
    if not verb.examples:
        return ""
    blocks = [f"{what[0].upper()}{what[1:]}:\n\n```\n$ {line}\n```\n" for what, line in verb.examples]
    return "## EXAMPLES\n\n" + "\n".join(blocks)


def _escaped(text: str) -> str:
    for character in "\\*_[]<>`":
        text = text.replace(character, f"\\{character}")
    return text


def differences() -> list[str]:
    """Return what is wrong with docs/man, one line each."""
    wanted = pages()
    wrong = [f"{name} is missing or out of date" for name, text in wanted.items() if _read(name) != text]
    return wrong + [f"{path.name} belongs to no verb" for path in PAGES.glob("*.md") if path.name not in wanted]


def _read(name: str) -> str:
    path = PAGES / name
    return path.read_text() if path.exists() else ""


def main() -> int:
    if "--check" in sys.argv:
        print("\n".join(differences()))
        return 1 if differences() else 0
    PAGES.mkdir(parents=True, exist_ok=True)
    for path in PAGES.glob("*.md"):
        path.unlink()
    for name, text in pages().items():
        (PAGES / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
