"""The opened world of one command: its settings, its store, its run directory."""

from __future__ import annotations

import os

from rootless import userns
from storage import store as store_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from rootless.idmap import Maps
    from storage.store import Store


class Context:
    """What every verb is given. Nothing is opened before it is asked for."""

    def __init__(
        self,
        *,
        root: str | None = None,
        debug: bool = False,
        storage_driver: str = "",
    ) -> None:
        self._root = root
        self._store: Store | None = None
        self._run_dir: str | None = None
        self._maps: Maps | None = None
        self.monitor: socket | None = None  # stream to a monitor that waits for a container (containers/spawn.py)
        self.debug = debug
        self.storage_driver = storage_driver  # empty: the best that works

    @property
    def store(self) -> Store:
        if self._store is None:
            self._store = store_module.open_store(self._root or default_root())
        return self._store

    @property
    def run_dir(self) -> str:
        """The directory for sockets: private to the user, gone after a reboot."""
        if self._run_dir is None:
            self._run_dir = open_run_dir()
        return self._run_dir

    @property
    def maps(self) -> Maps:
        """The caller's base maps, under which layers are stored."""
        if self._maps is None:
            self._maps = userns.default_maps()
        return self._maps


def default_root() -> str:
    """Return $XDG_DATA_HOME/pyman, by default ~/.local/share/pyman."""
    data_home = os.environ.get("XDG_DATA_HOME", "")
    if not data_home.startswith("/"):
        data_home = f"{home_directory()}/.local/share"
    return f"{data_home}/pyman"


def home_directory() -> str:
    home = os.environ.get("HOME", "")
    if home.startswith("/"):
        return home
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return f"/var/tmp/pyman-{os.getuid()}"


def open_run_dir() -> str:
    """Return $XDG_RUNTIME_DIR/pyman if that directory is ours, otherwise a private one in /tmp; made if missing."""
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR", "")
    for base in (runtime_dir, f"/run/user/{os.getuid()}"):
        if base.startswith("/") and _is_private(base):
            path = f"{base}/pyman"
            break
    else:
        path = f"/tmp/pyman-{os.getuid()}"
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    if not _is_private(path):
        from engine.errors import PymanError

        raise PymanError(f"{path} is not a private directory of yours", hint="set XDG_RUNTIME_DIR to one that is")
    return path


def _is_private(path: str) -> bool:
    """Tell whether this is a directory, not a link, of ours that nobody else can write to."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return (status.st_mode & 0o170022) == 0o040000 and status.st_uid == os.getuid()
