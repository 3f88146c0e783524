"""start: again, several, attached, with input."""

from __future__ import annotations

from tests.fixtures.command import Pyman


def test_again(pyman: Pyman, busybox_image: str) -> None:
    """What it wrote is still there, its log goes on, and its configuration is the same."""
    script = "echo start; cat /count 2>/dev/null; echo one >>/count; exit $(wc -l </count)"
    assert pyman("run", "--name=c", "--network=none", busybox_image, "sh", "-c", script, check=False).returncode == 1
    assert pyman("start", "-a", "c", check=False).returncode == 2
    assert pyman("start", "c").stdout == "c\n"
    assert pyman.text("wait", "c") == "3"
    assert pyman.text("logs", "c").splitlines() == ["start", "start", "one", "start", "one", "one"]


def test_several(pyman: Pyman, busybox_image: str) -> None:
    for name in ("a", "b"):
        pyman("create", f"--name={name}", "--network=none", "--label=x=y", busybox_image, "sleep", "1000")
    result = pyman("start", "a", "nosuch", "b", check=False)
    assert (result.returncode, result.stdout) == (125, "a\nb\n")
    assert result.stderr.splitlines() == ['Error: no container with name or ID "nosuch" found: no such container']
    assert pyman("start", "a").stdout == "a\n"  # it runs already, which is what was wished
    pyman("stop", "-t0", "--all")
    pyman("start", "--filter=label=x=y")
    assert len(pyman.text("ps", "-q").split()) == 2
    pyman("stop", "-t0", "b")
    pyman("start", "--all")
    assert len(pyman.text("ps", "-q").split()) == 2
    pyman("restart", "-t0", "a")
    assert len(pyman.text("ps", "-q").split()) == 2


def test_restart(pyman: Pyman, busybox_image: str) -> None:
    pyman("run", "-d", "--name=r", "--network=none", busybox_image, "sh", "-c", "echo up; sleep 1000")
    before = pyman.text("inspect", "-f", "{{.State.Pid}}", "r")
    assert pyman("restart", "-t0", "r").stdout == "r\n"
    assert pyman.text("inspect", "-f", "{{.State.Pid}} {{.State.Status}}", "r") != f"{before} running"
    pyman("stop", "-t0", "r")
    pyman("restart", "r")
    assert pyman.text("ps", "--format", "{{.Names}}") == "r"


def test_input(pyman: Pyman, busybox_image: str) -> None:
    pyman("create", "-i", "--name=c", "--network=none", busybox_image, "cat")
    assert pyman("start", "-a", "-i", "c", input="text\n").stdout == "text\n"
    assert pyman("start", "-ai", "c", input="again").stdout == "again"
    pyman("create", "--name=closed", "--network=none", busybox_image, "cat")
    assert pyman("start", "-ai", "closed", input="text\n").stdout == ""


def test_attaching_to_what_runs(pyman: Pyman, busybox_image: str) -> None:
    pyman("run", "-d", "--name=c", "--network=none", busybox_image, "sh", "-c", "sleep 0.5; echo later; exit 4")
    result = pyman("start", "-a", "c", check=False)
    assert (result.returncode, result.stdout) == (4, "later\n")
    pyman("create", "--name=other", busybox_image, "true")
    assert pyman("start", "-a", "c", "other", check=False).returncode == 125
