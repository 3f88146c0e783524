"""Many commands at once: parallel runs, readers among them, pairs that race for one container."""

from __future__ import annotations

import itertools
import json
import subprocess
import time

import pytest

from tests.fixtures.command import Pyman
from tests.fixtures.processes import Processes


def finish(commands: list[subprocess.Popen[str]], timeout_s: float = 120) -> list[tuple[int, str, str]]:
    results = []
    for command in commands:
        said, errors = command.communicate(timeout=timeout_s)
        results.append((command.returncode, said, errors))
    return results


def test_100_runs_and_readers(pyman: Pyman, busybox_image: str) -> None:
    """All succeed, and whoever looks meanwhile sees whole containers only."""
    processes = Processes(str(pyman.root))
    runs = [
        pyman.start("run", "--rm", "--network=none", busybox_image, "sh", "-c", f"echo {n}; exit {n % 7}")
        for n in range(100)
    ]
    readers = 0
    time.sleep(0.1)
    while any(command.poll() is None for command in runs):
        for row in json.loads(pyman.text("ps", "-a", "--format", "json") or "[]"):
            assert row["State"] in ("created", "running", "exited", "stopped") and row["Names"] and row["Image"]
        assert pyman("images").returncode == 0
        readers += 1
    assert readers > 0
    for n, (status, said, errors) in enumerate(finish(runs)):
        assert (status, said, errors) == (n % 7, f"{n}\n", "")
    assert pyman.container_ids() == []
    processes.wait_none()


def test_one_name_for_many(pyman: Pyman, busybox_image: str) -> None:
    """Of twenty that want a name one gets it; the others say so and leave nothing."""
    commands = [pyman.start("create", "--name=one", "--network=none", busybox_image, "true") for _ in range(20)]
    results = finish(commands)
    assert sorted(status for status, _, _ in results) == [0] + [125] * 19
    assert all("already in use" in errors for status, _, errors in results if status)
    assert len(pyman.container_ids()) == 1


PAIRS = list(
    itertools.combinations_with_replacement(("start", "stop -t 0", "rm -f -t 0", "kill", "restart -t 0", "wait"), 2)
)


@pytest.mark.parametrize("running", [True, False])
def test_pairs_that_race(pyman: Pyman, busybox_image: str, running: bool) -> None:
    """Whatever two commands do at once to a container: they end, and it is running, exited or gone."""
    processes = Processes(str(pyman.root))
    for pair in PAIRS:
        pyman("create", "--name=c", "--network=none", busybox_image, "sleep", "1000")
        if running:
            pyman("start", "c")
        commands = [pyman.start(*verb.split(), "c") for verb in pair]
        if "wait" in pair:  # what it waits for may never happen
            time.sleep(0.3)
            pyman("stop", "-t", "0", "c", check=False)
            pyman("rm", "-f", "-t", "0", "c")
        for (status, _, errors), verb in zip(finish(commands, 60), pair, strict=True):
            assert status in (0, 125, 2), f"{pair}: {verb}: {status} {errors}"
            assert len(errors.splitlines()) <= 1 and "internal" not in errors, f"{pair}: {verb}: {errors}"
        state = pyman.text("ps", "-a", "--format", "{{.State}}")
        assert state in ("", "running", "exited", "created"), f"{pair}: {state}"
        assert (state == "running") == bool(processes.monitors()), f"{pair}: {state}"
        pyman("rm", "-f", "-t", "0", "c")
        assert pyman.container_ids() == [], pair
    processes.wait_none()


def test_removal_by_many(pyman: Pyman, busybox_image: str) -> None:
    for _ in range(3):
        pyman("run", "-d", "--name=c", "--network=none", busybox_image, "sleep", "1000")
        results = finish([pyman.start("rm", "-f", "-t", "0", "c") for _ in range(8)])
        assert [status for status, _, _ in results] == [0] * 8, results
        assert pyman.container_ids() == []


def test_replacement_by_many(pyman: Pyman, busybox_image: str) -> None:
    options = ("--name=c", "--replace", "--stop-timeout=0", "--network=none")
    results = finish([pyman.start("run", "-d", *options, busybox_image, "sleep", "1000") for _ in range(8)])
    assert all(status in (0, 125) and "internal" not in errors for status, _, errors in results), results
    assert pyman.text("ps", "-a", "--format", "{{.Names}}") == "c"


def test_fork_bomb(pyman: Pyman, busybox_image: str) -> None:
    """The limit holds, the host stays usable, and the bomb can be stopped.

    RLIMIT_NPROC counts all processes of the user, in whatever namespace: so the limit starts from what runs now.
    """
    others = len(Processes(str(pyman.root)).own())
    command = "b(){ b | b & }; b; exec sleep 1000"  # busybox allows no function named ":"
    pyman(
        "run",
        "-d",
        "--name=bomb",
        "--network=none",
        f"--ulimit=nproc={others + 64}",
        busybox_image,
        "sh",
        "-c",
        command,
    )
    time.sleep(1)
    before = time.monotonic()
    assert pyman.text("ps", "--format", "{{.Names}}") == "bomb"
    pyman("stop", "-t", "1", "bomb")
    assert time.monotonic() - before < 20
    pyman("rm", "-f", "bomb")
