"""A command as root of the caller's own user namespace: there the files of subordinate ids can be handled."""

from __future__ import annotations

import os

from engine.errors import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND
from rootless import process, syscalls, userns
from rootless.constants import CLONE_NEWNS, CLONE_NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from engine.context import Context
else:
    import _signal as signal


def run(context: Context, command: list[str]) -> int:
    """Run the command with our own terminal and streams; returns its exit status."""
    go_read, go_write = os.pipe2(os.O_CLOEXEC)
    pid, pidfd = syscalls.clone(CLONE_NEWUSER | CLONE_NEWNS)
    if pid == 0:
        os.close(go_write)
        _execute(command, go_read)
    os.close(go_read)
    try:
        userns.write_maps(pid, context.maps)
    except BaseException:
        os.close(go_write)
        os.waitpid(pid, 0)
        raise
    for name in ("SIGINT", "SIGQUIT"):
        signal.signal(process.SIGNALS[name], signal.SIG_IGN)  # they reach the command through the terminal
    os.write(go_write, b"1")
    os.close(go_write)
    _, status = os.waitpid(pid, 0)
    os.close(pidfd)
    return process.exit_code(status)


def _execute(command: list[str], go_read: int) -> None:
    status = 125
    try:
        if os.read(go_read, 1) != b"1":
            return
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        try:
            os.execvpe(command[0], command, os.environ)
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            status = EXIT_NOT_FOUND if missing else EXIT_NOT_EXECUTABLE
            reason = "not found" if missing else os.strerror(error.errno or 0)
            os.write(2, f'Error: cannot execute "{command[0]}": {reason}\n'.encode())
    finally:
        os._exit(status)
