"""Who we are to a registry: `--creds`, auth.json of containers-auth.json(5), Docker's config.json."""

from __future__ import annotations

import base64
import binascii
import os

from engine.context import home_directory
from engine.errors import PymanError
from rootless import jsontext
from rootless.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.images.references import Reference

_HUB_KEYS = ("docker.io", "index.docker.io", "https://index.docker.io/v1/", "registry-1.docker.io")
_MAX_FILE_BYTES = 4 << 20


class Credentials(Record):
    """A name and a password for one registry; never printed."""

    user: str
    password: str

    def __repr__(self) -> str:
        return "Credentials(...)"

    def basic(self) -> str:
        """Return the value of the Authorization header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def find(reference: Reference, *, creds: str | None = None, authfile: str | None = None) -> Credentials | None:
    """Return the credentials for a repository, or None to be anonymous."""
    if creds is not None:
        return _parse_creds(creds)
    for path in [authfile] if authfile else _files():
        entries = _read(path, required=authfile is not None)
        for key in _keys(reference):
            if (found := _decode(entries.get(key), path)) is not None:
                return found
    return None


def _parse_creds(creds: str) -> Credentials:
    user, colon, password = creds.partition(":")
    if not user:
        raise PymanError("--creds needs USER[:PASSWORD]")
    if not colon:
        import getpass

        try:
            password = getpass.getpass("Password: ")
        except EOFError:
            raise PymanError("no password on standard input", hint="give --creds USER:PASSWORD") from None
    return Credentials(user, password)


def _files() -> list[str]:
    home = home_directory()
    config_home = os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    docker = os.environ.get("DOCKER_CONFIG") or f"{home}/.docker"
    asked_for = os.environ.get("REGISTRY_AUTH_FILE")
    if asked_for:
        return [asked_for]
    return [f"{runtime_dir}/containers/auth.json", f"{config_home}/containers/auth.json", f"{docker}/config.json"]


def _read(path: str, *, required: bool) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            value = jsontext.loads(file.read(_MAX_FILE_BYTES))
    except FileNotFoundError:
        if required:
            raise PymanError(f"{path}: no such file") from None
        return {}
    except PermissionError:
        if required:
            raise PymanError(f"{path}: permission denied") from None
        return {}
    except (OSError, ValueError, RecursionError):
        raise PymanError(f"cannot read the credentials in {path}", hint="it must be JSON, as login writes it") from None
    entries = value.get("auths") if isinstance(value, dict) else None
    return entries if isinstance(entries, dict) else {}


def _keys(reference: Reference) -> list[str]:
    """Return the keys that may hold credentials: the repository, its namespaces, the registry."""
    parts = reference.name.split("/")
    keys = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    if reference.registry == "docker.io":
        keys += _HUB_KEYS
    return [*keys, f"https://{reference.registry}", f"https://{reference.registry}/v1/"]


def _decode(entry: object, path: str) -> Credentials | None:
    if not isinstance(entry, dict) or not entry.get("auth"):
        return None
    try:
        user, colon, password = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if not colon:
        raise PymanError(f"damaged credentials in {path}", hint="log in again")
    return Credentials(user, password.rstrip("\0"))
