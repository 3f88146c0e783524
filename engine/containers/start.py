"""The start sequence; reads as a list.

    command                      monitor (forked)                   init (forked by the monitor)
    record, lock
    fork               ->        detach, LIFE lock
                                 clone                     ->       import, build the launch
                                 id maps, slirp4netns               wait for MAPS_WRITTEN
                                 ports                     <-       mounts, pivot: MOUNTS_READY
                                 START                     ->       credentials, seccomp, execve
    STARTED            <-        poll loop
"""

from __future__ import annotations

import _socket
import os

from engine.containers import frames
from engine.containers.lookup import EXIT_KILLED, Container
from engine.errors import PymanError, WrongState
from rootless import jsontext
from storage import locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

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
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        if os.fork() == 0:
            ours.close()
            _become_monitor(context, container, theirs, window)
        theirs.close()
        if not container.config.remove:
            make_durable(container)  # while the monitor is at work
        return _wait_started(ours, container)


def make_durable(container: Container) -> None:
    """What the command is about to report must survive a power cut."""
    for path in (f"{container.dir}/config.json", container.dir, os.path.dirname(container.dir)):
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
                f"cannot start {container.name}: {fields['text']}", hint=fields["hint"], exit_status=fields["exit_status"]
            )
        started = Started(sock, decoder, received[1:])
        started.pid = fields["pid"]
        started.notices = fields["notices"]
        return started
    raise PymanError(f"cannot start {container.name}: its monitor was killed", exit_status=EXIT_KILLED)


def _become_monitor(
    context: Context, container: Container, command: _socket.socket, window: tuple[int, int] | None
) -> NoReturn:
    """From here on: the monitor, a process of its own. Never returns."""
    status = 1
    try:
        from engine.containers import life

        life.live(context, container, command, window)
        status = 0
    except BaseException as error:
        from engine.containers import monitor

        monitor.report_failure(command, error)
        if context.debug:
            import traceback

            traceback.print_exc()
    finally:
        os._exit(status)
