"""Image references: `[registry/]path[:tag][@digest]`. Pure. On the start path: no `re`."""

from __future__ import annotations

from engine.errors import PymanError
from rootless.record import Record

DOCKER_HUB = "docker.io"
LOCAL = "localhost"
DEFAULT_TAG = "latest"
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_HEX = frozenset("0123456789abcdef")
_TAG_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_TAG = _TAG_FIRST | frozenset(".-")
_HOST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-")
_TRANSPORTS = ("containers-storage:", "docker-archive:", "docker-daemon:", "dir:", "oci:", "oci-archive:", "sif:")
MAX_NAME = 255


class InvalidReference(PymanError):
    """A reference that breaks the grammar."""


class Reference(Record):
    """A complete reference. `digest` is `sha256:...` or empty; `tag` is empty where only a digest was given."""

    registry: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Return registry and path."""
        return f"{self.registry}/{self.path}"

    def __str__(self) -> str:
        """Return the name under which the image is stored; a tag beside a digest is dropped, as Podman does."""
        if self.digest:
            return f"{self.name}@{self.digest}"
        return f"{self.name}:{self.tag or DEFAULT_TAG}"


def parse(text: str, *, registry: str = DOCKER_HUB) -> Reference:
    """Return the complete reference; what has no registry is of `registry`. Raises PymanError."""
    rest = text.removeprefix("docker://")
    for transport in _TRANSPORTS:
        if rest.startswith(transport):
            raise InvalidReference(f'{text}: the transport "{transport}" is not supported here', hint="see pyman load")
    rest, at, digest = rest.partition("@")
    if at:
        _check_digest(digest, text)
    head, slash, tail = rest.rpartition("/")
    tail, colon, tag = tail.partition(":")
    if colon:
        _check_tag(tag, text)
    name = f"{head}{slash}{tail}"
    first, slash, path = name.partition("/")
    if slash and _is_registry(first):
        _check_registry(first, text)
        registry = DOCKER_HUB if first == "index.docker.io" else first
    else:
        path = name
    _check_path(path, text)
    if registry == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    if len(registry) + 1 + len(path) > MAX_NAME:
        raise InvalidReference(f"{text[:60]}...: the name is longer than {MAX_NAME} characters")
    return Reference(registry, path, tag if tag or digest else DEFAULT_TAG, digest)


def has_registry(text: str) -> bool:
    """Tell whether the reference names its registry; otherwise it is a short name."""
    first, slash, _ = text.partition("@")[0].partition("/")
    return bool(slash) and _is_registry(first)


def candidates(text: str) -> list[str]:
    """Return the stored names that a user can mean by `text`, the likeliest first."""
    if has_registry(text) or text.startswith("docker://"):
        return [str(parse(text))]
    return [str(parse(text, registry=LOCAL)), str(parse(text))]


def local(text: str) -> Reference:
    """Return the reference for a name given to an image here: without a registry it is of localhost."""
    reference = parse(text, registry=LOCAL)
    if reference.digest:
        raise InvalidReference(f"{text}: an image cannot be named by a digest", hint="use NAME:TAG")
    return reference


def split_stored(name: str) -> tuple[str, str]:
    """Return (repository, tag) of a stored name; the tag is empty where the name has a digest."""
    repository, at, _ = name.partition("@")
    if at:
        return repository, ""
    repository, _, tag = name.rpartition(":")
    return repository, tag


def _is_registry(first: str) -> bool:
    """A first component is a host if it has a dot or a port, or is localhost; docker/distribution's rule."""
    return "." in first or ":" in first or first == LOCAL or first.lower() != first


def _check_registry(registry: str, text: str) -> None:
    host, colon, port = registry.partition(":")
    if registry.startswith("["):
        host, bracket, port = registry[1:].partition("]")
        valid = bracket and not host.strip("0123456789abcdefABCDEF:") and (not port or port.startswith(":"))
        colon, port = port[:1], port[1:]
    else:
        labels = host.split(".")
        valid = _HOST.issuperset(host) and all(
            label and not label.startswith("-") and not label.endswith("-") for label in labels
        )
    if not valid or (colon and not (port.isascii() and port.isdigit() and int(port[:6]) < 65536)):
        raise _invalid(text, f"{registry!r} is not a registry host")


def _check_path(path: str, text: str) -> None:
    if not path:
        raise _invalid(text, "the name is empty")
    if path.lower() != path:
        raise _invalid(text, "repository name must be lowercase")
    if len(path) == 64 and _HEX.issuperset(path):
        raise _invalid(text, "a name cannot be 64 hexadecimal digits")
    for component in path.split("/"):
        words = component.replace("__", "_").replace(".", "_")
        # Words of letters and digits, joined by one '.', one or two '_', or any number of '-'.
        while "--" in words:
            words = words.replace("--", "-")
        if "___" in component or not all(
            word and _LOWER.issuperset(word) for word in words.replace("-", "_").split("_")
        ):
            raise _invalid(text, f"{component!r} is not a path component")


def _check_tag(tag: str, text: str) -> None:
    if not tag or len(tag) > 128 or tag[0] not in _TAG_FIRST or not _TAG.issuperset(tag):
        raise _invalid(text, f"{tag[:140]!r} is not a tag")


def _check_digest(digest: str, text: str) -> None:
    algorithm, _, digits = digest.partition(":")
    if algorithm != "sha256" or len(digits) != 64 or not _HEX.issuperset(digits):
        raise _invalid(text, f"{digest[:80]!r} is not a sha256 digest")


def _invalid(text: str, reason: str) -> PymanError:
    return InvalidReference(f"{_shown(text)}: invalid reference: {reason}")


def _shown(text: str) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in text[:200])
    return shown or '""'
