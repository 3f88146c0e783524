"""Processes that stay themselves: a number plus a start time, within one boot."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # the enum-free core of `signal`, 4 ms cheaper


def boot_id() -> str:
    """Return the id of this boot of the machine (random(4), /proc/sys/kernel/random/boot_id)."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def start_time(pid: int) -> int:
    """Return when the process started, in clock ticks after boot; 0 if it is gone or a zombie (proc(5), field 22)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            data = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # The command name, in parentheses, may hold anything; the fields follow its last parenthesis.
    fields = data[data.rindex(b")") + 2 :].split()
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def is_alive(pid: int, started: int) -> bool:
    """Tell whether `pid` still is the process that started at `started` (clock ticks)."""
    return pid > 0 and started > 0 and start_time(pid) == started


def exit_code(wait_status: int) -> int:
    """Return the exit status as a shell tells it: 128 + N for a death by signal N."""
    code = os.waitstatus_to_exitcode(wait_status)
    return 128 - code if code < 0 else code


def open_pidfd(pid: int, started: int) -> int | None:
    """Return a pidfd that surely means the process that started at `started`, or None if that is gone."""
    if pid <= 0:
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except (ProcessLookupError, OSError):
        return None
    if is_alive(pid, started):  # checked after the open: from then on the number cannot be reused unnoticed
        return pidfd
    os.close(pidfd)
    return None


def send_signal(pidfd: int, number: int) -> bool:
    """Signal through a pidfd (pidfd_send_signal(2), Linux 5.1). False if the process is gone."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


def wait_pidfd(pidfd: int, timeout_s: float | None) -> bool:
    """Wait until the process has ended; False if it has not within the time."""
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if timeout_s is None else max(0, int(timeout_s * 1000))))


SIGNALS = {
    name: getattr(signal, name)
    for name in dir(signal)
    if name.startswith("SIG") and not name.startswith("SIG_") and isinstance(getattr(signal, name), int)
}


def signal_number(name: str) -> int:
    """Return the number for SIGTERM, TERM, term, 15, RTMIN+3. Raises ValueError."""
    if name.isdecimal():
        number = int(name)
        if 0 <= number <= 64:
            return number
        raise ValueError(f"no such signal: {name}")
    text = name.upper()
    text = text if text.startswith("SIG") else f"SIG{text}"
    base, plus, offset = text.partition("+")
    minus_base, minus, minus_offset = text.partition("-")
    if text in SIGNALS:
        return int(SIGNALS[text])
    if plus and base == "SIGRTMIN" and offset.isdecimal() and int(offset) <= 30:
        return int(SIGNALS["SIGRTMIN"]) + int(offset)
    if minus and minus_base == "SIGRTMAX" and minus_offset.isdecimal() and int(minus_offset) <= 30:
        return int(SIGNALS["SIGRTMAX"]) - int(minus_offset)
    raise ValueError(f"no such signal: {name}")
