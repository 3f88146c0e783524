"""`--change` of import (and commit): Containerfile instructions that only change an image's config. Pure."""

from __future__ import annotations

from engine.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_COMMANDS = {"CMD": "Cmd", "ENTRYPOINT": "Entrypoint"}
_TEXTS = {"USER": "User", "WORKDIR": "WorkingDir", "STOPSIGNAL": "StopSignal"}


def apply(config: dict[str, Any], instructions: list[str]) -> dict[str, Any]:
    """Return the config with the instructions carried out in order. Raises UsageError."""
    result = dict(config)
    for instruction in instructions:
        word, _, value = instruction.strip().partition(" ")
        if "=" in word:  # Podman also takes CMD=value
            word, _, value = instruction.strip().partition("=")
        value = value.strip()
        if not value:
            raise UsageError(f"--change {instruction}: no value")
        _change(result, word.upper(), value, instruction)
    return result


def _change(config: dict[str, Any], word: str, value: str, instruction: str) -> None:
    if word in _COMMANDS:
        config[_COMMANDS[word]] = _command(value)
    elif word in _TEXTS:
        config[_TEXTS[word]] = value
    elif word == "ENV":
        pairs = _pairs(value, instruction)
        kept = [item for item in config.get("Env") or [] if item.partition("=")[0] not in pairs]
        config["Env"] = [*kept, *(f"{name}={item}" for name, item in pairs.items())]
    elif word == "LABEL":
        config["Labels"] = {**(config.get("Labels") or {}), **_pairs(value, instruction)}
    elif word == "EXPOSE":
        ports = [port if "/" in port else f"{port}/tcp" for port in value.split()]
        config["ExposedPorts"] = {**(config.get("ExposedPorts") or {}), **{port: {} for port in ports}}
    elif word == "VOLUME":
        paths = _array(value) or value.split()
        config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in paths}}
    elif word == "ONBUILD":
        config["OnBuild"] = [*(config.get("OnBuild") or []), value]
    else:
        raise UsageError(
            f"--change {instruction}: unknown instruction {word}",
            hint="CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR",
        )


def _command(value: str) -> list[str]:
    return _array(value) or ["/bin/sh", "-c", value]


def _array(value: str) -> list[str] | None:
    """Return a JSON array of strings, or None for what is none."""
    if not value.startswith("["):
        return None
    from rootless import jsontext

    try:
        items = jsontext.loads(value)
    except ValueError:
        return None
    return items if isinstance(items, list) and all(isinstance(item, str) for item in items) else None


def _pairs(value: str, instruction: str) -> dict[str, str]:
    """Return the pairs of `NAME=value NAME2="a b"`, or of the old form `NAME value`."""
    import shlex

    first = value.split()[0]
    if "=" not in first:
        name, _, rest = value.partition(" ")
        return {name: rest.strip()}
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise UsageError(f"--change {instruction}: {error}") from None
    pairs = {}
    for word in words:
        name, equals, item = word.partition("=")
        if not equals or not name:
            raise UsageError(f"--change {instruction}: {word} is not NAME=value")
        pairs[name] = item
    return pairs
