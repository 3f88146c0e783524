"""run, exec and attach on a terminal."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.command import Pyman
from tests.fixtures.terminal import Terminal

RUN = ("run", "--network=none")
Open = Callable[..., Terminal]


@pytest.fixture
def terminal(pyman: Pyman) -> Iterator[Open]:
    """terminal("run", ...) starts a pyman command on a terminal."""
    opened: list[Terminal] = []

    def start(*args: str | Path, rows: int = 24, columns: int = 80) -> Terminal:
        opened.append(Terminal(pyman.argv(*args), rows=rows, columns=columns))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def wait_until(condition: Callable[[], bool], timeout_s: float = 15) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_run(terminal: Open, pyman: Pyman, busybox_image: str) -> None:
    """A shell: its terminal has our size, follows it, edits lines, and passes its exit status on."""
    shell = terminal(*RUN, "-it", "--rm", "--name=t", busybox_image, "sh", rows=33, columns=101)
    shell.wait_for("# ")
    shell.type(
        "tty; stty size; echo $TERM; ls -l /dev/console | cut -c1; test -t 0 -a -t 1 -a -t 2 && echo all-three\r"
    )
    said = shell.wait_for("all-three\r\n")
    said += shell.wait_for("all-three\r\n") if "/dev/pts/0" not in said else ""
    assert "/dev/pts/0\r\n33 101\r\nxterm\r\nc\r\n" in said
    shell.resize(44, 77)
    wait_until(lambda: pyman.text("exec", "t", "stty", "-F", "/dev/pts/0", "size") == "44 77")
    shell.type("exit 5\r")
    status, _ = shell.end()
    assert status == 5
    assert pyman.container_ids() == []


def test_control_c_reaches_the_container(terminal: Open, pyman: Pyman, busybox_image: str) -> None:
    shell = terminal(*RUN, "-it", "--rm", busybox_image, "sh")
    shell.wait_for("# ")
    shell.type("sleep 1000\r")
    shell.wait_for("sleep 1000")
    time.sleep(0.3)
    shell.type("\x03")
    shell.wait_for("^C")
    shell.type("echo $?-after\r")
    shell.wait_for("130-after")
    shell.type("\x04")
    assert shell.end()[0] == 0


def test_terminal_is_as_before(terminal: Open, pyman: Pyman, busybox_image: str) -> None:
    """The caller's terminal is raw while the container has it, and restored, even after a SIGTERM."""
    wrapper = Terminal(["sh"])
    try:
        before = wrapper.attributes()
        command = " ".join(pyman.argv(*RUN, "-it", "--rm", "--name=r", busybox_image, "sh"))
        wrapper.type(f"{command}; echo over-$?\r")
        wrapper.wait_for("/ # ")
        assert wrapper.attributes() != before
        wrapper.type("exit 3\r")
        wrapper.wait_for("over-3")
        assert wrapper.attributes() == before
    finally:
        wrapper.close()


def test_detach_and_attach(terminal: Open, pyman: Pyman, busybox_image: str) -> None:
    first = terminal(*RUN, "-it", "--name=d", busybox_image, "sh")
    first.wait_for("# ")
    first.type("\x10echo not-detached\r")  # ctrl-p alone is passed on
    first.wait_for("not-detached\r\n")
    first.type("\x10\x11")
    assert first.end()[0] == 0
    assert pyman.text("ps", "--format", "{{.Names}}") == "d"

    second = terminal("attach", "--detach-keys=ctrl-a,x", "d")
    second.type("\r")
    second.wait_for("# ")
    second.type("\x10\x11echo still-here\r")
    second.wait_for("still-here\r\n")
    second.type("\x01x")
    assert second.end()[0] == 0

    third = terminal("attach", "--detach-keys=", "d", rows=20, columns=50)
    third.type("stty size\r")
    third.wait_for("20 50")
    third.type("exit 4\r")
    assert third.end()[0] == 4
    assert pyman.text("ps", "-a", "--format", "{{.State}} {{.ExitCode}}") == "exited 4"


def test_exec(terminal: Open, pyman: Pyman, busybox_image: str) -> None:
    pyman(*RUN, "-d", "--name=e", busybox_image, "sleep", "1000")
    shell = terminal("exec", "-it", "e", "sh", rows=31, columns=99)
    shell.wait_for("# ")
    shell.type("stty size; tty; echo $TERM-\r")
    shell.wait_for("31 99\r\n/dev/pts/0\r\nxterm-")
    shell.resize(40, 60)
    time.sleep(0.3)
    shell.type("stty size\r")
    shell.wait_for("40 60")
    shell.type("sleep 1000\r")
    time.sleep(0.3)
    shell.type("\x03")
    time.sleep(0.1)
    shell.type("echo code-$?\r")
    shell.wait_for("code-130")
    shell.type("exit 6\r")
    assert shell.end()[0] == 6


def test_start_with_a_terminal(terminal: Open, pyman: Pyman, busybox_image: str) -> None:
    pyman("create", "-it", "--network=none", "--name=s", busybox_image, "sh")
    shell = terminal("start", "-ai", "s", rows=28, columns=88)
    shell.wait_for("# ")
    shell.type("stty size; exit 2\r")
    shell.wait_for("28 88")
    assert shell.end()[0] == 2


def test_terminal_without_stdin(terminal: Open, pyman: Pyman, busybox_image: str) -> None:
    """-t alone: output on a terminal, \\r\\n in pipes, Ctrl-C ends us and thereby the container."""
    result = subprocess.run(pyman.argv(*RUN, "-t", "--rm", busybox_image, "echo", "x"), capture_output=True)
    assert (result.stdout, result.stderr) == (b"x\r\n", b"")
    only = terminal(
        *RUN, "-t", "--rm", busybox_image, "sh", "-c", "trap 'echo got-int; exit 9' INT; echo up; sleep 1000 & wait"
    )
    only.wait_for("up")
    only.type("\x03")
    only.wait_for("got-int")
    assert only.end()[0] == 9


def test_hang_up(terminal: Open, pyman: Pyman, busybox_image: str) -> None:
    """A closed terminal window: the shell in the container reads its end, and nothing is left."""
    shell = terminal(*RUN, "-it", "--rm", busybox_image, "sh")
    shell.wait_for("# ")
    shell.hang_up()
    wait_until(lambda: not pyman.container_ids())


def test_large_paste(terminal: Open, pyman: Pyman, busybox_image: str) -> None:
    """What is typed faster than it is read is not lost; the terminal's line limit is 4095 bytes."""
    reader = terminal(*RUN, "-it", "--rm", busybox_image, "sh", "-c", "stty -echo; echo ready; head -n 300 | md5sum")
    reader.wait_for("ready\r\n")
    text = "".join(f"line {n} {'x' * 100}\n" for n in range(300))
    for start in range(0, len(text), 1000):
        reader.type(text[start : start + 1000].replace("\n", "\r"))
    reader.wait_for(hashlib.md5(text.encode()).hexdigest())
    assert reader.end()[0] == 0
