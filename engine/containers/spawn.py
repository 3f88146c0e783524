"""The monitor's process, forked before the command line is even parsed.

Forked this early it is small, and it imports what it needs while the command works out what to start: two processors,
two halves of the start. It waits for one START frame; end of file instead means that no container is wanted.
Imports next to nothing: it is on the way of every `run`.
"""

from __future__ import annotations

import _socket
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn
else:
    import _signal as signal


def spawn(*, debug: bool) -> _socket.socket:
    """Fork a monitor that waits for its container. Returns our end of the stream between us; the caller owns it."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    if os.fork() == 0:
        _become_monitor(theirs, debug=debug)
    theirs.close()
    return ours


def _become_monitor(command: _socket.socket, *, debug: bool) -> NoReturn:
    """From here on: a process of its own. Never returns."""
    status = 1
    try:
        _detach(command.fileno(), debug=debug)
        from engine.containers import life

        life.live(command, debug=debug)
        status = 0
    except BaseException as error:
        from engine.containers import monitor

        monitor.report_failure(command, error)
        if debug:
            import traceback

            traceback.print_exc()
    finally:
        os._exit(status)


def _detach(command_fd: int, *, debug: bool) -> None:
    """Leave the command's session, terminal and descriptors; ignore what is meant for its process group."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTSTP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    null_fd = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1) if debug else (0, 1, 2):
        os.dup2(null_fd, fd)
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in (0, 1, 2, command_fd):
            try:
                os.close(int(name))
            except OSError:
                continue  # the listing's own descriptor
    os.chdir("/")
