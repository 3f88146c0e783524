"""The start sequence; reads as a list.

command                      monitor (forked)                   init (forked by the monitor)
fork, by name of the verb -> detach, import
parse, record, lock
START              ->        LIFE lock
                             clone                     ->       import, build the launch
                             id maps, slirp4netns               wait for MAPS_WRITTEN
                             ports                     <-       mounts, pivot: MOUNTS_READY
                             START                     ->       credentials, seccomp, execve
STARTED            <-        poll loop
"""

from __future__ import annotations

import _socket
import os

from engine.containers import frames, spawn
from engine.containers.lookup import EXIT_KILLED, Container
from engine.errors import PymanError, WrongState
from rootless import jsontext
from storage import locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.context import Context


class Started:
    """A started container, as its command sees it: init's pid, and the stream to the monitor."""

    def __init__(self, sock: _socket.socket, decoder: frames.Decoder, early: list[tuple[int, bytes]]) -> None:
        self.sock = sock
        self.decoder = decoder
        self.early = early  # frames that came together with STARTED
        self.pid = 0
        self.notices: list[str] = []


def start(context: Context, container: Container, *, window: tuple[int, int] | None = None) -> Started:
    """Start a container that does not run. Raises PymanError; its exit status tells 125, 126 or 127.

    `window` is the size of the terminal it gets (rows, columns).
    """
    with locks.Locked(container.lock_path):
        status = container.refresh().status
        if status in ("running", "paused", "stopping"):
            raise WrongState(f'container "{container.name}" is running already')
        sock, context.monitor = context.monitor or spawn.spawn(debug=context.debug), None
        wanted = {
            "root": context.store.root,
            "id": container.id,
            "window": window,
            "storage_driver": context.storage_driver,
        }
        try:
            sock.sendall(frames.frame(frames.START, jsontext.dumps(wanted).encode()))
        except OSError:
            raise _monitor_killed(container) from None
        if not container.config.remove:
            make_durable(container)  # while the monitor is at work
        return _wait_started(sock, container)


def _monitor_killed(container: Container) -> PymanError:
    return PymanError(f"cannot start {container.name}: its monitor was killed", exit_status=EXIT_KILLED)


def make_durable(container: Container) -> None:
    """What the command is about to report must survive a power cut."""
    for name in ("config.json", "state.json", "", ".."):
        path = f"{container.dir}/{name}"
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _wait_started(sock: _socket.socket, container: Container) -> Started:
    decoder = frames.Decoder()
    while data := sock.recv(1 << 16):
        received = decoder.feed(data)
        if not received:
            continue
        kind, payload = received[0]
        fields = jsontext.loads(payload)
        if kind == frames.FAILED:
            raise PymanError(
                f"cannot start {container.name}: {fields['text']}",
                hint=fields["hint"],
                exit_status=fields["exit_status"],
            )
        started = Started(sock, decoder, received[1:])
        started.pid = fields["pid"]
        started.notices = fields["notices"]
        return started
    raise _monitor_killed(container)
