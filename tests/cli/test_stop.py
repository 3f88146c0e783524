"""stop, kill, rm, wait."""

from __future__ import annotations

import re
import signal as signals
import time
from pathlib import Path

import pytest

from tests.fixtures.command import Pyman

STUBBORN = "trap '' TERM; trap 'echo hup' HUP; trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done"
POLITE = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.02; done"


def start(pyman: Pyman, image: str, name: str, script: str, *options: str) -> None:
    """Run a script in the background; it says `up` when its traps are set."""
    pyman("run", "-d", f"--name={name}", "--network=none", *options, image, "sh", "-c", script)
    wait_for_log(pyman, name, "up")


def wait_for_log(pyman: Pyman, name: str, line: str) -> None:
    deadline = time.monotonic() + 10
    while line not in pyman.text("logs", name).splitlines():
        assert time.monotonic() < deadline, f"{name} never said {line}"
        time.sleep(0.02)


def state(pyman: Pyman, name: str) -> str:
    return pyman.text("ps", "-a", "--filter", f"name=^{name}$", "--format", "{{.State}} {{.ExitCode}}")


# --- stop ---


def test_stop(pyman: Pyman, busybox_image: str) -> None:
    start(pyman, busybox_image, "polite", POLITE)
    before = time.monotonic()
    assert pyman("stop", "polite").stdout == "polite\n"
    assert time.monotonic() - before < 3
    assert state(pyman, "polite") == "exited 3"
    assert pyman.text("logs", "polite") == "up\nbye"
    assert pyman("stop", "polite").stdout == "polite\n"  # again: no error


def test_stop_of_one_that_ignores_it(pyman: Pyman, busybox_image: str) -> None:
    start(pyman, busybox_image, "a", STUBBORN)
    before = time.monotonic()
    pyman("stop", "-t", "1", "a")
    assert 0.9 < time.monotonic() - before < 4
    assert state(pyman, "a") == "exited 137"
    start(pyman, busybox_image, "b", STUBBORN, "--stop-timeout=1")
    before = time.monotonic()
    pyman("stop", "b")
    assert 0.9 < time.monotonic() - before < 4
    start(pyman, busybox_image, "c", STUBBORN, "--stop-signal=USR1", "--stop-timeout=0")
    before = time.monotonic()
    pyman("stop", "c")
    assert time.monotonic() - before < 1
    assert "usr1" not in pyman.text("logs", "c")  # no patience, no signal


def test_stop_signal(pyman: Pyman, busybox_image: str) -> None:
    start(
        pyman, busybox_image, "s", "trap 'exit 9' RTMIN+3; " + POLITE.replace("TERM", "QUIT"), "--stop-signal=SIGQUIT"
    )
    pyman("stop", "s")
    assert state(pyman, "s") == "exited 3"


def test_stop_several(pyman: Pyman, busybox_image: str, tmp_path: Path) -> None:
    start(pyman, busybox_image, "a", POLITE, f"--cidfile={tmp_path}/cid", "--label=x=y")
    start(pyman, busybox_image, "b", POLITE)
    pyman("create", "--name=new", busybox_image, "true")
    result = pyman("stop", "nosuch", "b", "new", check=False)
    assert (result.returncode, result.stdout) == (125, "b\nnew\n")
    assert pyman("stop", "--ignore", "nosuch").stdout == ""
    pyman("stop", f"--cidfile={tmp_path}/cid")
    assert pyman.text("ps", "-q") == ""
    pyman("start", "a", "b")
    pyman("stop", "--filter=label=x=y")
    assert pyman.text("ps", "--format", "{{.Names}}") == "b"
    pyman("stop", "--latest", "--time=1")
    pyman("stop", "--all", "-t", "1")
    assert pyman.text("ps", "-q") == ""
    assert pyman("stop", check=False).returncode == 125


# --- kill ---


def test_kill(pyman: Pyman, busybox_image: str) -> None:
    start(pyman, busybox_image, "k", STUBBORN)
    for name, said in (("HUP", "hup"), ("SIGUSR1", "usr1"), ("1", "hup")):
        assert pyman("kill", "-s", name, "k").stdout == "k\n"
        wait_for_log(pyman, "k", said)
    assert state(pyman, "k") == "running 0"
    assert pyman("kill", "k").stdout == "k\n"
    assert state(pyman, "k") == "exited 137"
    result = pyman("kill", "k", check=False)
    assert result.returncode == 125 and "not running" in result.stderr
    assert pyman("kill", "-s", "BOGUS", "k", check=False).returncode == 125


@pytest.mark.parametrize(("signal", "status"), [("TERM", 143), ("INT", 130), ("KILL", 137)])
def test_death_by_a_signal(pyman: Pyman, busybox_image: str, signal: str, status: int) -> None:
    """128 + n, for the attached command, too. (Without --init pid 1 ignores what it has no handler for.)"""
    attached = pyman.start(
        "run", "--init", "--name=d", "--network=none", busybox_image, "sh", "-c", "echo up; exec sleep 99"
    )
    assert attached.stdout is not None and attached.stdout.readline() == "up\n"
    pyman("kill", "-s", signal, "d")
    attached.communicate(timeout=10)
    assert attached.returncode == status
    assert state(pyman, "d") == f"exited {status}"


@pytest.mark.parametrize("signal", ["TERM", "INT", "HUP", "USR1"])
def test_signals_to_the_command_are_passed_on(pyman: Pyman, busybox_image: str, signal: str) -> None:
    script = f"trap 'echo got; exit 5' {signal}; echo up; while :; do sleep 0.02; done"
    attached = pyman.start("run", "--name=p", "--network=none", busybox_image, "sh", "-c", script)
    assert attached.stdout is not None and attached.stdout.readline() == "up\n"
    attached.send_signal(signals.Signals[f"SIG{signal}"])
    said, _ = attached.communicate(timeout=10)
    assert (attached.returncode, said) == (5, "got\n")


def test_signals_stay_with_the_command(pyman: Pyman, busybox_image: str) -> None:
    attached = pyman.start("run", "--sig-proxy=false", "--name=p", "--network=none", busybox_image, "sh", "-c", POLITE)
    assert attached.stdout is not None and attached.stdout.readline() == "up\n"
    attached.terminate()
    attached.communicate(timeout=10)
    assert attached.returncode in (-15, 143)
    assert state(pyman, "p") == "running 0"


# --- rm ---


def test_rm(pyman: Pyman, busybox_image: str, tmp_path: Path) -> None:
    start(pyman, busybox_image, "a", POLITE, f"--cidfile={tmp_path}/cid")
    pyman("create", "--name=new", "--label=x=y", busybox_image, "true")
    result = pyman("rm", "a", check=False)
    assert result.returncode == 2 and re.match("Error: .* a.*--force", result.stderr)
    result = pyman("rm", "nosuch", "new", check=False)
    assert (result.returncode, result.stdout) == (1, "new\n")
    assert pyman("rm", "--ignore", "nosuch").stdout == ""
    assert pyman("rm", "-f", "nosuch").returncode == 0
    pyman("rm", "-f", f"--cidfile={tmp_path}/cid")
    assert pyman.container_ids() == []
    start(pyman, busybox_image, "a", POLITE)
    pyman("create", "--label=x=y", busybox_image, "true")
    pyman("create", "--label=x=z", busybox_image, "true")
    pyman("rm", "--filter=label=x=y")
    pyman("rm", "--all", check=False)
    assert pyman.text("ps", "-a", "--format", "{{.Names}}") == "a"
    pyman("rm", "-fa", "-t0")
    assert pyman.container_ids() == []


@pytest.mark.usefixtures("needs_subids")
def test_rm_of_what_only_others_may_remove(pyman: Pyman, busybox_image: str) -> None:
    script = "mkdir -p /x/y; chown -R 1000:1000 /x; chmod 0 /x/y /x; mkdir -m 0 /z"
    pyman("run", "--name=c", "--network=none", busybox_image, "sh", "-c", script)
    pyman("rm", "c")
    assert list((pyman.root / "trash").iterdir()) == []


# --- wait ---


def test_wait(pyman: Pyman, busybox_image: str) -> None:
    for name, seconds, code in (("a", "0.3", 4), ("b", "0.1", 5)):
        pyman(
            "run", "-d", f"--name={name}", "--network=none", busybox_image, "sh", "-c", f"sleep {seconds}; exit {code}"
        )
    assert pyman.text("wait", "a", "b").splitlines() == ["4", "5"]
    assert pyman.text("wait", "a") == "4"
    result = pyman("wait", "nosuch", check=False)
    assert result.returncode == 125 and "no such container" in result.stderr
    assert pyman.text("wait", "--ignore", "nosuch") == "-1"
    assert pyman("wait", check=False).returncode == 125
    assert pyman("wait", "--interval=x", "a", check=False).returncode == 125
    pyman("create", "--name=new", "--network=none", busybox_image, "sleep", "1000")
    waiting = pyman.start("wait", "--condition=running", "-i", "50ms", "new")
    time.sleep(0.3)
    assert waiting.poll() is None
    pyman("start", "new")
    said, _ = waiting.communicate(timeout=10)
    assert (waiting.returncode, said) == (0, "-1\n") or said == "0\n"
    waiting = pyman.start("wait", "new")
    pyman("rm", "-f", "-t0", "new")
    waiting.communicate(timeout=10)
    assert pyman.container_ids() != []
