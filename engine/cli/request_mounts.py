"""-v, --mount and --tmpfs -> mounts of a container."""

from __future__ import annotations

import os

from engine.errors import UsageError
from engine.model import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.cli.options import ContainerOptions

_VOLUME_OPTIONS = frozenset(
    "ro rw rro z Z U O nocopy copy bind rbind private rprivate slave rslave shared rshared unbindable runbindable "
    "nosuid suid nodev dev noexec exec".split()
)
_TMPFS_OPTIONS = frozenset("ro rw nosuid suid nodev dev noexec exec noatime tmpcopyup notmpcopyup".split())
_TMPFS_VALUES = ("size", "mode", "uid", "gid", "nr_inodes", "huge", "nr_blocks")


def mounts(options: ContainerOptions) -> tuple[Mount, ...]:
    """Return all mounts. Raises UsageError for a bad one, a missing source, or two on one place."""
    found = [volume(text) for text in options.volume]
    found += [tmpfs(text) for text in options.tmpfs]
    found += [mount(text) for text in options.mount]
    seen = set()
    for item in found:
        if item.destination in seen:
            raise UsageError(f"{item.destination}: duplicate mount destination")
        seen.add(item.destination)
    return tuple(found)


def volume(text: str) -> Mount:
    """Parse -v [SOURCE:]DIR[:OPTIONS]."""
    parts = _split_volume(text)
    if len(parts) == 1:
        return Mount("volume", _destination("--volume", parts[0]))
    if len(parts) > 3:
        raise UsageError(f"--volume {text!r}: must be [SOURCE:]DIR[:OPTIONS]")
    options = tuple(option for option in (parts[2].split(",") if len(parts) == 3 else []) if option)
    unknown = [option for option in options if option not in _VOLUME_OPTIONS]
    if unknown:
        raise UsageError(f"--volume {text!r}: unknown option {unknown[0]!r}")
    return _bind_or_volume(f"--volume {text!r}", parts[0], _destination("--volume", parts[1]), options)


def _split_volume(text: str) -> list[str]:
    """Split at colons; a backslash keeps one that belongs to a path."""
    parts = [""]
    escaped = False
    for character in text:
        if escaped:
            parts[-1] += character if character == ":" else f"\\{character}"
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ":":
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _bind_or_volume(option: str, source: str, destination: str, options: tuple[str, ...]) -> Mount:
    if source.startswith(("/", ".", "~")) or "/" in source:
        source = os.path.abspath(os.path.expanduser(source) if source.startswith("~/") else source)
        if not os.path.lexists(source):
            raise UsageError(
                f"{option}: {source}: no such file or directory", hint="make it first; a volume's name has no '/'"
            )
        return Mount("overlay" if "O" in options else "bind", destination, source, options)
    _check_volume(source)
    if "O" in options:
        raise UsageError(f"{option}: O is for directories of the host, not for volumes")
    return Mount("volume", destination, source, options)


def _check_volume(name: str) -> None:
    from engine import volumes  # few containers have one

    volumes.check_name(name)


def _destination(option: str, path: str) -> str:
    if not path.startswith("/"):
        raise UsageError(f"{option}: the directory in the container must be an absolute path, not {path!r}")
    normal = os.path.normpath(path)
    if normal in ("/", "//"):
        raise UsageError(f"{option}: nothing can be mounted on / of the container")
    return normal


def tmpfs(text: str) -> Mount:
    """Parse --tmpfs DIR[:OPTIONS]."""
    path, _, options = text.partition(":")
    return Mount("tmpfs", _destination("--tmpfs", path), "", _tmpfs_options(f"--tmpfs {text!r}", options.split(",")))


def _tmpfs_options(option: str, words: list[str]) -> tuple[str, ...]:
    kept = []
    for word in words:
        name, equals, value = word.partition("=")
        if not word:
            continue
        if (equals and name in _TMPFS_VALUES and value) or (not equals and name in _TMPFS_OPTIONS):
            kept.append(word)
        else:
            raise UsageError(f"{option}: unknown option {word!r}")
    return tuple(kept)


def mount(text: str) -> Mount:
    """Parse --mount type=TYPE,key=value,... with the keys and synonyms that Podman and Docker document."""
    pairs = [part.partition("=")[::2] for part in text.split(",") if part]
    values = {name.lower(): value for name, value in pairs}
    option = f"--mount {text!r}"
    kind = values.pop("type", "volume")
    source = _take(values, "source", "src")
    destination = _take(values, "destination", "dst", "target")
    if destination is None:
        raise UsageError(f"{option}: it needs a destination")
    target = _destination("--mount", destination)
    if kind == "tmpfs":
        words = [_tmpfs_key(name, value) for name, value in values.items()]
        return Mount("tmpfs", target, "", _tmpfs_options(option, words))
    if kind in ("devpts", "ramfs"):
        return Mount(kind, target, "", tuple(f"{name}={value}" if value else name for name, value in values.items()))
    if kind not in ("bind", "volume"):
        raise UsageError(f"{option}: type {kind} is not available", hint="bind, volume, tmpfs, devpts and ramfs are")
    options = tuple(_bind_option(option, name, value) for name, value in values.items())
    if kind == "volume":
        if source is not None:
            _check_volume(source)
        return Mount("volume", target, source or "", options)
    if source is None:
        raise UsageError(f"{option}: a bind needs a source")
    path = source if "/" in source else f"./{source}"
    return _bind_or_volume(option, path, target, tuple(word for word in options if word))


def _take(values: dict[str, str], *names: str) -> str | None:
    found = [values.pop(name) for name in names if name in values]
    return found[0] if found else None


def _tmpfs_key(name: str, value: str) -> str:
    known = {"tmpfs-size": "size", "tmpfs-mode": "mode"}
    if name in ("readonly", "ro"):
        return "ro" if value in ("", "true", "1") else "rw"
    return f"{known.get(name, name)}={value}" if value else name


def _bind_option(option: str, name: str, value: str) -> str:
    true, false = ("", "true", "1"), ("false", "0")
    if name in ("readonly", "ro"):
        return "ro" if value in true else "rw"
    if name in ("bind-propagation",) and value in _VOLUME_OPTIONS:
        return value
    if name in ("u", "chown") and value in (*true, *false):
        return "U" if value in true else "rw"
    if name == "bind-nonrecursive" and value in (*true, *false):
        return "bind" if value in true else "rbind"
    if name == "volume-nocopy" and value in true:
        return "nocopy"
    if name == "relabel" and value in ("shared", "private"):
        return "z" if value == "shared" else "Z"
    if not value and name in _VOLUME_OPTIONS:
        return name
    raise UsageError(f"{option}: unknown option {name!r}")
