"""exec: the process, its rights and surroundings, its streams and exit statuses."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.command import Pyman


@pytest.fixture
def c(pyman: Pyman, busybox_image: str) -> Iterator[str]:
    pyman(
        *("run", "-d", "--name=c", "--network=none", "-e", "FROM=run", "-w", "/home", "--cap-drop=net_raw"),
        *("--ulimit=nofile=99:99", "--umask=077", "--tmpfs=/t", busybox_image, "sleep", "1000"),
    )
    yield "c"


def test_exit_status(pyman: Pyman, c: str) -> None:
    assert pyman("exec", c, "sh", "-c", "exit 7", check=False).returncode == 7
    assert pyman("exec", c, "sh", "-c", "kill -9 $$", check=False).returncode == 137
    assert pyman("exec", c, "sh", "-c", "kill -15 $$", check=False).returncode == 143
    for command, status in (("/missing", 127), ("missing", 127), ("/etc/passwd", 126), ("/etc", 126)):
        result = pyman("exec", c, command, check=False)
        assert result.returncode == status
        (line,) = result.stderr.splitlines()
        assert line.startswith("Error: ") and command in line
    assert pyman("exec", "nosuch", "true", check=False).returncode == 125
    assert pyman("exec", c, check=False).returncode == 125
    assert pyman("exec", "-u", "nosuch", c, "true", check=False).returncode == 126
    assert pyman("exec", "-w", "/nosuch", c, "true", check=False).returncode == 126


def test_not_running(pyman: Pyman, c: str, busybox_image: str) -> None:
    pyman("stop", "-t0", c)
    result = pyman("exec", c, "true", check=False)
    assert result.returncode == 125 and "exited" in result.stderr and "pyman start c" in result.stderr


def test_surroundings(pyman: Pyman, c: str, tmp_path: Path) -> None:
    """As in the container's own process, but for what the options say."""
    (tmp_path / "env").write_text("FILE=x\n")
    script = "pwd; echo $FROM $OWN $FILE; umask; ulimit -n; id -u; echo $HOME; mount | grep -c ' /t '"
    said = pyman.text("exec", "-e", "OWN=y", f"--env-file={tmp_path}/env", c, "sh", "-c", script)
    assert said.splitlines() == ["/home", "run y x", "0077", "99", "0", "/root", "1"]
    said = pyman.text(
        "exec", "-u", "user", "-w", "/tmp", "-e", "FROM=exec", c, "sh", "-c", "pwd; echo $FROM; id; echo $HOME"
    )
    assert said.splitlines() == [
        "/tmp",
        "exec",
        "uid=1000(user) gid=1000(user) groups=1000(user),2000(extra)",
        "/home/user",
    ]
    assert pyman.text("exec", "-u", "1000:77", c, "id", "-G") == "77"


def test_namespaces(pyman: Pyman, c: str) -> None:
    """All of them are the container's."""
    script = "for n in cgroup ipc mnt net pid user uts; do readlink /proc/$1/ns/$n; done"
    one, own = (pyman.text("exec", c, "sh", "-c", script, "-", pid) for pid in ("1", "self"))
    assert one == own and len(set(one.split())) == 7
    host = {os.readlink(f"/proc/self/ns/{name}") for name in ("ipc", "mnt", "net", "pid", "user", "uts")}
    assert not host & set(one.split())


def test_rights(pyman: Pyman, c: str) -> None:
    """Inheritable and ambient sets are empty; the bounding set is the container's (CVE-2022-27649 and others)."""
    script = "grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/$1/status | tr '\\n' ' ' | tr '\\t' ' '"
    one, own = (pyman.text("exec", c, "sh", "-c", script, "-", pid) for pid in ("1", "self"))
    assert one == own
    assert "CapInh: 0000000000000000" in own and "CapAmb: 0000000000000000" in own and "Seccomp: 2" in own
    user = pyman.text("exec", "-u", "user", c, "sh", "-c", script, "-", "self")
    assert "CapPrm: 0000000000000000 CapEff: 0000000000000000" in user
    privileged = pyman.text("exec", "--privileged", c, "sh", "-c", script, "-", "self")
    assert "CapEff: 000001ffffffffff" in privileged and "Seccomp: 0" in privileged


def test_streams(pyman: Pyman, c: str) -> None:
    result = pyman("exec", c, "sh", "-c", "echo out; echo err >&2", input="ignored")
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    assert pyman("exec", c, "cat", input="text").stdout == ""
    assert pyman("exec", "-i", c, "cat", input="text").stdout == "text"
    assert pyman("exec", "-i", c, "wc", "-c", input="").stdout == "0\n"
    assert pyman("exec", "-i", c, "head", "-c3", input="x" * 3_000_000).stdout == "xxx"
    assert len(pyman("exec", c, "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x").stdout) == 3_000_000
    raw = subprocess.run(pyman.argv("exec", "-t", c, "echo", "x"), stdin=subprocess.DEVNULL, capture_output=True)
    assert (raw.stdout, raw.stderr) == (b"x\r\n", b"")
    assert pyman.text("exec", c, "ls", "/proc/self/fd").split() == ["0", "1", "2", "3"]


def test_binary(pyman: Pyman, c: str, tmp_path: Path) -> None:
    data = os.urandom(20_000_000)
    (tmp_path / "in").write_bytes(data)
    with open(tmp_path / "in", "rb") as source:
        result = subprocess.run(pyman.argv("exec", "-i", c, "cat"), stdin=source, capture_output=True)
    assert result.stdout == data


def test_children_do_not_hold_it(pyman: Pyman, c: str) -> None:
    before = time.monotonic()
    assert pyman.text("exec", c, "sh", "-c", "sleep 30 & echo done") == "done"
    assert time.monotonic() - before < 5


def test_detached(pyman: Pyman, c: str) -> None:
    pyman("exec", "-d", c, "sh", "-c", "sleep 0.2; echo x >/made")
    deadline = time.monotonic() + 10
    while pyman("exec", c, "test", "-s", "/made", check=False).returncode:
        assert time.monotonic() < deadline
    assert pyman("exec", "-d", c, "/missing", check=False).returncode == 127


def test_signals(pyman: Pyman, c: str) -> None:
    """They go to the command; and a command whose caller is killed does not stay."""
    command = pyman.start("exec", c, "sh", "-c", "trap 'echo got; exit 3' TERM; echo up; while :; do sleep 0.02; done")
    assert command.stdout is not None and command.stdout.readline() == "up\n"
    command.terminate()
    said, _ = command.communicate(timeout=10)
    assert (command.returncode, said) == (3, "got\n")
    command = pyman.start("exec", c, "sleep", "1234")
    while "1234" not in pyman.text("exec", c, "ps"):
        pass
    command.kill()
    command.communicate()
    deadline = time.monotonic() + 10
    while "1234" in pyman.text("exec", c, "ps"):
        assert time.monotonic() < deadline, pyman.text("exec", c, "ps")


def test_the_container_ends_meanwhile(pyman: Pyman, c: str) -> None:
    command = pyman.start("exec", c, "sh", "-c", "echo up; sleep 1000")
    assert command.stdout is not None and command.stdout.readline() == "up\n"
    pyman("kill", c)
    command.communicate(timeout=10)
    assert command.returncode == 137


def test_many_at_once(pyman: Pyman, c: str) -> None:
    commands = [pyman.start("exec", c, "sh", "-c", f"echo {n}; exit {n}") for n in range(20)]
    for n, command in enumerate(commands):
        said, _ = command.communicate(timeout=30)
        assert (said, command.returncode) == (f"{n}\n", n)
