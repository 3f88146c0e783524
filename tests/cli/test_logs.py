"""logs and attach: what containers printed, and what they print."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.fixtures.command import Pyman

SCRIPT = "echo one; echo two >&2; sleep 0.05; printf 'three\\nlast'"


def run(pyman: Pyman, image: str, script: str, *options: str, name: str = "c") -> None:
    pyman("run", "-d", f"--name={name}", "--network=none", *options, image, "sh", "-c", script)


def log_file(pyman: Pyman) -> Path:
    return pyman.root / "containers" / pyman.container_ids()[0] / "ctr.log"


@pytest.mark.parametrize("driver", ["k8s-file", "json-file"])
def test_logs(pyman: Pyman, busybox_image: str, driver: str) -> None:
    run(pyman, busybox_image, SCRIPT, f"--log-driver={driver}")
    pyman("wait", "c")
    result = pyman("logs", "c")
    assert (result.stdout, result.stderr) == ("one\nthree\nlast", "two\n")
    assert pyman("logs", "--tail=1", "c").stdout == "last"
    assert pyman("logs", "--tail=2", "c").stdout == "three\nlast"
    assert pyman("logs", "--tail=0", "c").stdout == ""
    assert pyman("logs", "--tail=100", "c").stdout == "one\nthree\nlast"
    stamped = pyman.text("logs", "-t", "c").splitlines()
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(\+00:00|Z) one", stamped[0])
    assert pyman("logs", "-n", "c").stdout.startswith("c one\n")
    assert pyman("logs", "--since=1h", "c").stdout == "one\nthree\nlast"
    assert pyman("logs", "--until=1h", "c").stdout == ""
    moment = stamped[1].split()[0]
    assert pyman("logs", f"--since={moment}", "c").stdout == "three\nlast"
    assert pyman("logs", "--since=bogus", "c", check=False).returncode == 125


def test_file_formats(pyman: Pyman, busybox_image: str) -> None:
    """The formats of CRI and Docker, which other tools read."""
    run(pyman, busybox_image, SCRIPT)
    pyman("wait", "c")
    lines = sorted(line.split(" ", 3)[1:] for line in log_file(pyman).read_text().splitlines())
    assert lines == [["stderr", "F", "two"], ["stdout", "F", "one"], ["stdout", "F", "three"], ["stdout", "P", "last"]]
    assert log_file(pyman).stat().st_mode & 0o777 == 0o600
    pyman("rm", "c")
    run(pyman, busybox_image, SCRIPT, "--log-driver=json-file")
    pyman("wait", "c")
    rows = [json.loads(line) for line in log_file(pyman).read_text().splitlines()]
    assert sorted((row["stream"], row["log"]) for row in rows) == [
        ("stderr", "two\n"),
        ("stdout", "last"),
        ("stdout", "one\n"),
        ("stdout", "three\n"),
    ]


def test_log_options(pyman: Pyman, busybox_image: str, tmp_path: Path) -> None:
    run(pyman, busybox_image, "echo x", f"--log-opt=path={tmp_path}/log", name="path")
    pyman("wait", "path")
    assert (tmp_path / "log").read_text().endswith(" stdout F x\n")
    assert pyman.text("logs", "path") == "x"
    run(pyman, busybox_image, "echo x", "--log-driver=none", name="none")
    pyman("wait", "none")
    result = pyman("logs", "none", check=False)
    assert result.returncode == 125 and "--log-driver=none" in result.stderr
    # max-size bounds what is kept: one older file beside the current one.
    run(
        pyman,
        busybox_image,
        "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done",
        "--log-opt=max-size=10k",
        name="m",
    )
    pyman("wait", "m")
    kept = pyman.text("logs", "m").splitlines()
    assert kept[-1] == "line 1999" and len(kept) < 1000
    numbers = [int(line.split()[1]) for line in kept]
    assert numbers == list(range(numbers[0], 2000))


def test_binary_and_long_lines(pyman: Pyman, busybox_image: str) -> None:
    """Long lines come out whole, in whatever pieces the file has them."""
    run(
        pyman, busybox_image, "head -c 100000 /dev/zero | tr '\\0' x; echo; echo; printf '\\t\\r\\377\\n' >&2; echo end"
    )
    pyman("wait", "c")
    result = subprocess.run(pyman.argv("logs", "c"), capture_output=True)
    assert (result.stdout, result.stderr) == (b"x" * 100_000 + b"\n\nend\n", b"\t\r\xff\n")


def test_follow(pyman: Pyman, busybox_image: str) -> None:
    run(
        pyman, busybox_image, "echo first; while [ ! -e /go ]; do sleep 0.02; done; echo second; echo third >&2; exit 3"
    )
    follower = pyman.start("logs", "-f", "c")
    late = pyman.start("logs", "-f", "--tail=0", "c")
    assert follower.stdout is not None and follower.stdout.readline() == "first\n"
    time.sleep(0.5)
    assert follower.poll() is None
    pyman("exec", "c", "touch", "/go")
    assert follower.communicate(timeout=10) == ("second\n", "third\n")
    assert late.communicate(timeout=10) == ("second\n", "third\n")
    assert follower.returncode == late.returncode == 0
    assert pyman("logs", "-f", "c").stdout == "first\nsecond\n"  # ended: it does not wait


def test_follow_beyond_a_removal(pyman: Pyman, busybox_image: str) -> None:
    run(pyman, busybox_image, "echo x; sleep 1000")
    follower = pyman.start("logs", "-f", "c")
    assert follower.stdout is not None and follower.stdout.readline() == "x\n"
    pyman("rm", "-f", "-t0", "c")
    follower.communicate(timeout=10)
    assert follower.returncode == 0


def test_several(pyman: Pyman, busybox_image: str) -> None:
    for name in ("a", "b"):
        run(pyman, busybox_image, f"echo from {name}", name=name)
    pyman("wait", "a", "b")
    assert pyman("logs", "-n", "a", "b").stdout.splitlines() == ["a from a", "b from b"]
    assert pyman("logs", "-l").stdout == "from b\n"
    assert pyman("logs", "nosuch", check=False).returncode == 125
    pyman("create", "--name=new", busybox_image, "true")
    assert pyman("logs", "new").stdout == ""


def test_damaged_log(pyman: Pyman, busybox_image: str) -> None:
    run(pyman, busybox_image, "echo one; echo two")
    pyman("wait", "c")
    text = log_file(pyman).read_bytes()
    log_file(pyman).write_bytes(
        b"\0\0\0\n" + text[: text.index(b"\n") + 1] + b"garbage\n\n" + text[text.index(b"\n") + 1 :]
    )
    assert pyman("logs", "c").stdout == "one\ntwo\n"
    assert pyman("logs", "--tail=1", "c").stdout == "two\n"


def test_flood(pyman: Pyman, busybox_image: str) -> None:
    """A fast writer with nobody attached: everything is in the log, and the exit status is right."""
    run(pyman, busybox_image, "head -c 20000000 /dev/zero | tr '\\0' x; echo; exit 6")
    assert pyman.text("wait", "c") == "6"
    assert len(pyman("logs", "c").stdout) == 20_000_001


# --- attach ---


def test_attach(pyman: Pyman, busybox_image: str) -> None:
    """From now on, to both outputs, with the exit status; several at once."""
    pyman(
        "run",
        "-di",
        "--name=c",
        "--network=none",
        busybox_image,
        "sh",
        "-c",
        "echo before; read l; echo $l; echo e >&2; exit 3",
    )
    while pyman.text("logs", "c") != "before":
        pass
    only_sees = pyman.start("attach", "--no-stdin", "c")
    time.sleep(0.3)
    result = pyman("attach", "c", input="typed\n", check=False)
    assert (result.returncode, result.stdout, result.stderr) == (3, "typed\n", "e\n")
    assert only_sees.communicate(timeout=10) == ("typed\n", "e\n")
    assert only_sees.returncode == 3
    result = pyman("attach", "c", check=False)
    assert result.returncode == 125 and "running" in result.stderr
    assert pyman("attach", check=False).returncode == 125


def test_attach_passes_signals_on(pyman: Pyman, busybox_image: str) -> None:
    script = "trap 'echo got; exit 5' TERM; echo up; while :; do sleep 0.02; done"
    run(pyman, busybox_image, script)
    while pyman.text("logs", "c") != "up":
        pass
    attached = pyman.start("attach", "c")
    time.sleep(0.3)
    attached.terminate()
    assert attached.communicate(timeout=10)[0] == "got\n"
    assert attached.returncode == 5


def test_a_slow_client_slows_the_container_and_nothing_is_lost(pyman: Pyman, busybox_image: str) -> None:
    run = ("run", "--rm", "--log-driver=none", "--network=none")
    command = subprocess.Popen(
        pyman.argv(*run, busybox_image, "head", "-c", "5000000", "/dev/zero"), stdout=subprocess.PIPE
    )
    time.sleep(1)
    assert command.poll() is None
    said, _ = command.communicate(timeout=20)
    assert (len(said), command.returncode) == (5_000_000, 0)
