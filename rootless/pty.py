"""Terminals: a new pair, raw mode for the user's own terminal with its restoration, window sizes.

Only C modules are used: this is on the way of `run -it` and `exec -it`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios

from rootless.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from types import TracebackType
else:
    import _signal as signal

# ioctls.h; the module termios has no names for them. POWER numbers directions the other way round.
if os.uname().machine.startswith("ppc"):
    TIOCGPTN, TIOCSPTLCK, TIOCGPTPEER = 0x40045430, 0x80045431, 0x20005441
else:
    TIOCGPTN, TIOCSPTLCK, TIOCGPTPEER = 0x80045430, 0x40045431, 0x5441
_IFLAG, _OFLAG, _CFLAG, _LFLAG, _CC = 0, 1, 2, 3, 6  # places in the list of tcgetattr


def open_pair(
    ptmx: str = "/dev/ptmx", *, window: tuple[int, int] | None = None, owner: int | None = None
) -> tuple[int, int, int]:
    """Open a new terminal: (master fd, slave fd, number below the devpts); both close-on-exec, neither controlling us.

    In a container's mount namespace `ptmx` is /dev/pts/ptmx: /dev/ptmx may be what the image wants it to be. `owner` is
    the user who may open the slave by its path.
    """
    try:
        master = os.open(ptmx, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(
            f"cannot open a terminal at {ptmx}: {os.strerror(error.errno or 0)}", errno=error.errno or 0
        ) from error
    try:
        number = struct.unpack("I", fcntl.ioctl(master, TIOCGPTN, b"\0\0\0\0"))[0]
        fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
        # TIOCGPTPEER (Linux 4.13) opens the slave without a path that somebody could have replaced (CVE-2025-52565).
        slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            if window:
                set_window_size(slave, *window)
            if owner is not None and os.fstat(slave).st_uid != owner:
                os.fchown(slave, owner, -1)
        except OSError:
            os.close(slave)
            raise
    except OSError:
        os.close(master)
        raise
    return master, slave, number


def make_controlling(slave: int) -> None:
    """Make the terminal the controlling one of this session, whose leader we are, and our stdin, stdout and stderr."""
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in range(3):
        os.dup2(slave, fd)
    if slave > 2:
        os.close(slave)


def window_size(fd: int) -> tuple[int, int] | None:
    """Return (rows, columns), or None for what is no terminal or does not know (0 by 0: a serial line, some CI)."""
    try:
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8))
    except OSError:
        return None
    return (rows, columns) if rows and columns else None


def set_window_size(fd: int, rows: int, columns: int) -> None:
    """Set the size; the kernel tells the foreground processes (SIGWINCH) if it has changed."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows & 0xFFFF, columns & 0xFFFF, 0, 0))


class RawTerminal:
    """`with RawTerminal(0):` the terminal hands every key on, Ctrl-C too; afterwards it is as it was.

    What is no terminal is left alone. Leaving the block restores; so does the interpreter's exit, should a signal
    handler raise SystemExit at a bad moment; only SIGKILL leaves the terminal raw.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._saved: list[object] | None = None

    def __enter__(self) -> RawTerminal:
        if not os.isatty(self._fd):
            return self
        import atexit  # a C module

        self._saved = termios.tcgetattr(self._fd)
        atexit.register(self.restore)  # before the change: whatever happens next, it is undone
        _set_attributes(self._fd, _raw(self._saved))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()

    @property
    def active(self) -> bool:
        return self._saved is not None

    def restore(self) -> None:
        """Set the terminal back; any number of times, and from the background, too."""
        saved, self._saved = self._saved, None
        if saved is None:
            return
        import atexit

        atexit.unregister(self.restore)
        try:
            _set_attributes(self._fd, saved)
        except (termios.error, OSError) as error:
            if error.args[:1] not in ((errno.EIO,), (errno.EBADF,), (errno.ENOTTY,)):  # hung up or closed: it is gone
                raise


def _raw(attributes: list[object]) -> list[object]:
    """Return attributes as cfmakeraw(3) would set them."""
    raw = list(attributes)
    for place, cleared in (
        (
            _IFLAG,
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON,
        ),
        (_OFLAG, termios.OPOST),
        (_CFLAG, termios.CSIZE | termios.PARENB),
        (_LFLAG, termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN),
    ):
        raw[place] = int(str(raw[place])) & ~cleared
    raw[_CFLAG] = int(str(raw[_CFLAG])) | termios.CS8
    characters = raw[_CC]
    assert isinstance(characters, list)
    raw[_CC] = characters = list(characters)
    characters[termios.VMIN] = 1
    characters[termios.VTIME] = 0
    return raw


def _set_attributes(fd: int, attributes: list[object]) -> None:
    """Call tcsetattr with SIGTTOU blocked: else a process in the background would stop here instead (tcsetattr(3))."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTTOU,))
    try:
        termios.tcsetattr(fd, termios.TCSADRAIN, attributes)  # type: ignore[arg-type]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
