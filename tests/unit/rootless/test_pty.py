from __future__ import annotations

import errno
import os
import signal
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from rootless import pty
from rootless.errors import KernelError


@pytest.fixture
def pair() -> Iterator[tuple[int, int]]:
    master, slave, _ = pty.open_pair()
    yield master, slave
    for fd in (master, slave):
        try:
            os.close(fd)
        except OSError as error:
            assert error.errno == errno.EBADF


def test_pair_carries_bytes_both_ways(pair: tuple[int, int]) -> None:
    master, slave = pair
    assert os.isatty(slave)
    assert not os.get_inheritable(master) and not os.get_inheritable(slave)
    os.write(master, b"line\n")
    assert os.read(slave, 100) == b"line\n"
    assert os.read(master, 100) == b"line\r\n"  # the echo
    os.write(slave, b"answer\n")
    assert os.read(master, 100) == b"answer\r\n"


def test_number_is_the_name_of_the_slave() -> None:
    master, slave, number = pty.open_pair()
    assert os.ttyname(slave) == f"/dev/pts/{number}"
    os.close(master)
    os.close(slave)


def test_a_missing_ptmx_is_named() -> None:
    with pytest.raises(KernelError, match="cannot open a terminal at /nowhere/ptmx: No such file"):
        pty.open_pair("/nowhere/ptmx")


def test_window_size() -> None:
    master, slave, _ = pty.open_pair(window=(33, 111))
    assert pty.window_size(slave) == pty.window_size(master) == (33, 111)
    pty.set_window_size(master, 5, 7)
    assert pty.window_size(slave) == (5, 7)
    os.close(master)
    os.close(slave)


def test_no_window_size(pair: tuple[int, int]) -> None:
    assert pty.window_size(pair[1]) is None  # new terminals are 0 by 0
    with open("/dev/null") as file:
        assert pty.window_size(file.fileno()) is None


def test_raw_mode_and_back(pair: tuple[int, int]) -> None:
    master, slave = pair
    before = termios.tcgetattr(slave)
    with pty.RawTerminal(slave) as terminal:
        assert terminal.active
        os.write(master, b"\x03\r\x1a")
        assert os.read(slave, 100) == b"\x03\r\x1a"
        os.write(slave, b"a\nb")
        assert os.read(master, 100) == b"a\nb"
    assert termios.tcgetattr(slave) == before
    assert not terminal.active


def test_raw_mode_ends_with_an_exception(pair: tuple[int, int]) -> None:
    before = termios.tcgetattr(pair[1])
    with pytest.raises(ZeroDivisionError), pty.RawTerminal(pair[1]):
        raise ZeroDivisionError
    assert termios.tcgetattr(pair[1]) == before


def test_restore_twice_and_on_a_closed_terminal(pair: tuple[int, int]) -> None:
    terminal = pty.RawTerminal(pair[1]).__enter__()
    terminal.restore()
    terminal.restore()
    terminal = pty.RawTerminal(pair[1]).__enter__()
    os.close(pair[0])  # the user closed the window
    terminal.restore()


def test_what_is_no_terminal_is_left_alone() -> None:
    read, write = os.pipe()
    with pty.RawTerminal(read) as terminal:
        assert not terminal.active
    os.close(read)
    os.close(write)


def _in_session_of_terminal(code: str, slave: int) -> int:
    """Start an interpreter as leader of a session on the terminal; returns its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            pty.make_controlling(os.dup(slave))
            os.execve(sys.executable, [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": os.getcwd()})
        finally:
            os._exit(99)
    return pid


def test_exit_in_a_signal_handler_restores(pair: tuple[int, int]) -> None:
    master, slave = pair
    before = termios.tcgetattr(slave)
    code = """
import os, signal, sys, time
from rootless import pty
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
terminal = pty.RawTerminal(0).__enter__()
os.write(1, b"raw")
while True:
    time.sleep(1)
"""
    pid = _in_session_of_terminal(code, slave)
    assert os.read(master, 100) == b"raw"
    assert termios.tcgetattr(slave) != before
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    assert termios.tcgetattr(slave) == before


def test_restore_works_from_the_background(pair: tuple[int, int]) -> None:
    master, slave = pair
    code = """
import os, signal, termios
from rootless import pty
before = termios.tcgetattr(0)
terminal = pty.RawTerminal(0).__enter__()
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)  # a process group in the background
    terminal.restore()
    os._exit(7)
_, status = os.waitpid(pid, os.WUNTRACED)
if os.WIFSTOPPED(status):
    os.kill(pid, signal.SIGKILL)
os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) and termios.tcgetattr(0) == before else 99)
"""
    pid = _in_session_of_terminal(code, slave)
    deadline = time.monotonic() + 20
    while (waited := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert waited[0] == pid
    assert os.waitstatus_to_exitcode(waited[1]) == 7
    os.close(master)
