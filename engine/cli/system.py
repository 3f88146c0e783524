"""info, version."""

from __future__ import annotations

from engine.cli import output
from engine.cli.parse import Options, flag, text, verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.context import Context


class InfoOptions(Options):
    format: str | None = text("--format", "-f", metavar="TEMPLATE", help="json or a Go template")
    debug: bool = flag("--debug", "-D", help="show where pyman, its Python and its modules are, too")


@verb(
    InfoOptions,
    examples=(
        ("show everything", "pyman info"),
        ("show how layers are mounted", "pyman info --format '{{.Store.GraphDriverName}}'"),
    ),
)
def info(options: InfoOptions, context: Context) -> int:
    """Show what pyman found on this machine: kernel, ids, helper programs, the store, and what follows from it."""
    from engine import info as facts  # subprocess and platform: not for the start path

    value = facts.collect(context)
    if options.debug:
        value["debug"] = _debug()
    if options.format is None:
        output.emit(output.printable_lines("".join(f"{line}\n" for line in yaml_lines(value))))
    else:
        output.print_objects([value], format=options.format, single=True)
    return 0


def _debug() -> dict[str, Any]:
    import sys

    return {"executable": sys.executable, "modules": __file__.rpartition("/engine/")[0], "path": list(sys.path)}


def yaml_lines(value: Any, indent: str = "") -> list[str]:
    """Return YAML as Podman's `info` prints it: enough for texts, numbers, lists and objects."""
    lines: list[str] = []
    for key, item in value.items():
        if isinstance(item, dict) and item:
            lines += [f"{indent}{key}:", *yaml_lines(item, f"{indent}  ")]
        elif isinstance(item, list) and item:
            lines.append(f"{indent}{key}:")
            for entry in item:
                block = yaml_lines(entry, f"{indent}  ") if isinstance(entry, dict) else [f"{indent}  {_scalar(entry)}"]
                lines += [f"{indent}- {block[0].lstrip()}", *block[1:]]
        elif isinstance(item, str) and "\n" in item:
            lines += [f"{indent}{key}: |-", *(f"{indent}  {line}" for line in item.splitlines())]
        else:
            lines.append(f"{indent}{key}: {_scalar(item)}")
    return lines


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return "{}" if isinstance(value, dict) else "[]"
    if not isinstance(value, str):
        return str(value)
    plain = value and value == value.strip() and value[0] not in "!&*-?|>@`\"'%#{}[],:" and ": " not in value
    looks_other = value.lower() in ("true", "false", "null", "yes", "no", "on", "off", "~") or _is_number(value)
    return value if plain and not looks_other and " #" not in value else output.json_text(value)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


class VersionOptions(Options):
    format: str | None = text("--format", "-f", metavar="TEMPLATE", help="json or a Go template")


@verb(
    VersionOptions,
    examples=(("show the version alone", "pyman version --format '{{.Client.Version}}'"),),
)
def version(options: VersionOptions, context: Context) -> int:
    """Show the version of pyman and of the Python that it runs on."""
    from engine import info as facts

    client = facts.version()
    if options.format is not None:
        output.print_objects([{"Client": client, "Server": None, **client}], format=options.format, single=True)
        return 0
    rows = (
        ("Client:", "pyman"),
        ("Version:", client["Version"]),
        ("API Version:", client["APIVersion"]),
        ("Python Version:", client["PythonVersion"]),
        ("OS/Arch:", client["OsArch"]),
    )
    output.emit("".join(f"{name:<15} {value}\n" for name, value in rows))
    return 0
