"""SIGKILL at random moments, to the command, the monitor, init, slirp4netns: the truth stays, nothing else does."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.busybox import write_busybox_tar
from tests.fixtures.command import Pyman
from tests.fixtures.processes import Processes

ROUNDS = int(os.environ.get("PYMAN_TEST_KILLS", "200"))
SECONDS = float(os.environ.get("PYMAN_TEST_KILL_SECONDS", "80"))
VICTIMS = ("command", "monitor", "init", "slirp4netns")
SEED = int(os.environ.get("PYMAN_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)


@pytest.fixture
def store(fresh_pyman: Pyman, tmp_path: Path) -> Iterator[Pyman]:
    write_busybox_tar(tmp_path / "bb.tar")
    fresh_pyman("import", tmp_path / "bb.tar", "bb:latest")
    yield fresh_pyman


def test_random_kills(store: Pyman, tmp_path: Path) -> None:
    """After each kill `ps` tells the truth and `rm -f` works; nothing is left in the end: process, mount, socket."""
    print(f"seed {SEED}: repeat with PYMAN_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    mounts = Path("/proc/self/mountinfo").read_text()
    processes = Processes(str(store.root))
    sockets = _run_directory()
    deadline = time.monotonic() + SECONDS
    done = 0
    hits = dict.fromkeys(VICTIMS, 0)
    while done < ROUNDS and time.monotonic() < deadline:
        victim = chance.choice(VICTIMS)
        hits[victim] += _round(store, processes, chance, victim, f"seed {SEED}, round {done}")
        done += 1
    print(f"killed {hits}")
    assert all(count >= done // 20 for count in hits.values()), hits
    assert done >= min(ROUNDS, 60), f"only {done} rounds within {SECONDS:.0f} s"
    processes.wait_none()
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert _run_directory() == sockets
    for directory in ("containers", "trash", "names/containers"):
        path = store.root / directory
        assert not path.exists() or os.listdir(path) == [], directory


def _round(store: Pyman, processes: Processes, chance: random.Random, victim: str, where: str) -> bool:
    """Start a container, kill one process of it at some moment, look. Returns whether there was one to kill."""
    network = "slirp4netns" if victim == "slirp4netns" or chance.random() < 0.2 else "none"
    options = [f"--network={network}", *(["--rm"] if chance.random() < 0.3 else [])]
    background = chance.random() < 0.6
    argv = store.argv("run", *options, *(["-d"] if background else []), "bb", "sleep", "1000")
    command = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        if chance.random() < 0.5:
            time.sleep(chance.uniform(0, 0.15))  # in the middle of the start
        else:
            _wait_running(store, command)
        if victim == "command":
            hit = command.poll() is None
            command.kill()
        else:
            hit = processes.kill(victim)
        if chance.random() < 0.5:
            time.sleep(chance.uniform(0, 0.05))
        _check(store, processes, where)
    finally:
        if not background:
            command.kill()
        command.wait(timeout=60)
    result = store("rm", "-fa", "-t", "0", check=False)
    assert result.returncode == 0, f"{where}: {result.stderr}"
    if store.container_ids():  # a start that was under way has just been recorded, or a monitor is removing it (--rm)
        time.sleep(0.2)
        store("rm", "-fa", "-t", "0")
    assert [entry for entry in store.container_ids() if "~" not in entry] == [], where
    return hit


def _wait_running(store: Pyman, command: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for entry in store.container_ids():
            try:
                state = json.loads((store.root / "containers" / entry / "state.json").read_text())
            except (OSError, ValueError):
                continue
            if state.get("status") == "running":
                return
        time.sleep(0.005)
    raise AssertionError("the container does not start")


def _check(store: Pyman, processes: Processes, where: str) -> None:
    """What `ps` says must be what the kernel says."""
    listed = json.loads(store.text("ps", "-a", "--format", "json") or "[]")
    for row in listed:
        if row["State"] == "running":
            pid = int(store("inspect", "-f", "{{.State.Pid}}", row["Id"], check=False).stdout.strip() or 0)
            alive = pid > 0 and os.path.exists(f"/proc/{pid}")
            # It may have ended since: then `ps` says so now.
            assert alive or _state(store, row["Id"]) != "running", f"{where}: {row['Id'][:12]} is not running"
        else:
            # The kernel ends an init after its monitor, not with it; a start may be under way: both soon agree.
            deadline = time.monotonic() + 5
            while (alive_now := processes.of_container(row["Id"])) and _state(store, row["Id"]) == row["State"]:
                assert time.monotonic() < deadline, (
                    f"{where}: {row['Id'][:12]} is {row['State']}, and runs: {alive_now}"
                )


def _state(store: Pyman, container_id: str) -> str:
    time.sleep(0.1)
    return store.text("ps", "-a", "--no-trunc", "--filter", f"id={container_id}", "--format", "{{.State}}")


def _run_directory() -> list[str]:
    """Return what there is beside the store: sockets of monitors and of slirp4netns."""
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime_dir:
        pytest.skip("needs XDG_RUNTIME_DIR")
    return sorted(os.listdir(f"{runtime_dir}/pyman"))


def test_init_is_killed(store: Pyman) -> None:
    store("run", "-d", "--name=c", "--network=none", "bb", "sleep", "1000")
    os.kill(int(store.text("inspect", "-f", "{{.State.Pid}}", "c")), 9)
    assert store.text("wait", "c") == "137"
    store("start", "c")
    assert store.text("ps", "--format", "{{.Names}}") == "c"


def test_monitor_is_killed(store: Pyman) -> None:
    """The container goes with it; the attached command says why; the next start is like any other."""
    command = store.start("run", "--name=c", "--network=none", "bb", "sh", "-c", "echo up; sleep 1000")
    assert command.stdout is not None and command.stdout.readline() == "up\n"
    state = json.loads((store.root / "containers" / store.container_ids()[0] / "state.json").read_text())
    os.kill(state["monitor_pid"], 9)
    _, said = command.communicate(timeout=10)
    assert (command.returncode, said) == (137, "Error: the container's monitor was killed, and the container with it\n")
    assert store.text("ps", "-a", "--format", "{{.State}} {{.ExitCode}}") == "exited 137"
    store("start", "c")
    assert store.text("ps", "--format", "{{.Names}}") == "c"


def test_monitor_is_killed_while_init_ignores_it(store: Pyman) -> None:
    """A container can clear its death signal; the next look ends it all the same."""
    store("run", "-d", "--name=c", "--network=none", "bb", "sleep", "1000")
    directory = store.root / "containers" / store.container_ids()[0]
    state = json.loads((directory / "state.json").read_text())
    os.kill(state["init_pid"], 19)  # stopped: it will not even notice
    os.kill(state["monitor_pid"], 9)
    assert store.text("ps", "-a", "--format", "{{.State}}") == "exited"
    Processes.wait_gone(state["init_pid"])


def test_another_boot(store: Pyman) -> None:
    """After a reboot it shows as exited, and starts again."""
    store("run", "-d", "--name=c", "--network=none", "bb", "sleep", "1000")
    record = store.root / "containers" / store.container_ids()[0] / "state.json"
    state = json.loads(record.read_text())
    os.kill(state["monitor_pid"], 9)
    Processes.wait_gone(state["init_pid"])
    # Its processes' numbers may mean anything now: ours, for example.
    mine = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    state.update(boot_id="00000000-0000-0000-0000-000000000000", init_pid=os.getpid(), init_start_time=mine)
    record.write_text(json.dumps(state))
    assert store.text("ps", "-a", "--format", "{{.State}} {{.ExitCode}}") == "exited 255"
    assert store("kill", "c", check=False).returncode == 125
    store("stop", "c")
    store("start", "c")
    assert store.text("ps", "--format", "{{.State}}") == "running"


def test_reused_process_numbers(store: Pyman) -> None:
    """A stored number that means another process now: nothing of ours touches that process."""
    bystander = subprocess.Popen(["sleep", "1000"])
    try:
        store("run", "-d", "--name=c", "--network=none", "bb", "sleep", "1000")
        record = store.root / "containers" / store.container_ids()[0] / "state.json"
        state = json.loads(record.read_text())
        os.kill(state["monitor_pid"], 9)
        Processes.wait_gone(state["init_pid"])
        state.update(init_pid=bystander.pid, monitor_pid=bystander.pid)
        record.write_text(json.dumps(state))
        assert store.text("ps", "-a", "--format", "{{.State}}") == "exited"
        assert store("kill", "c", check=False).returncode == 125
        assert store("exec", "c", "true", check=False).returncode == 125
        store("stop", "c")
        store("rm", "-f", "c")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_slirp4netns_is_killed(store: Pyman) -> None:
    """The container goes on without a network, and ends like any other."""
    store("run", "-d", "--name=c", "bb", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done")
    processes = Processes(str(store.root))
    processes.kill("slirp4netns")
    assert store.text("ps", "--format", "{{.State}}") == "running"
    store("stop", "c")
    assert store.text("wait", "c") == "3"


def test_monitor_with_ports_is_killed(store: Pyman) -> None:
    before = _run_directory()
    processes = Processes(str(store.root))
    store("run", "-d", "--name=c", "-p", "127.0.0.1::80", "bb", "sleep", "1000")
    processes.kill("monitor")
    processes.wait_none()
    port = store.text("port", "c", "80")
    store("start", "c")
    assert store.text("port", "c", "80") == port
    processes.kill("monitor")
    store("rm", "-f", "c")
    processes.wait_none()
    assert _run_directory() == before


def test_the_command_is_killed(store: Pyman) -> None:
    """The container goes on; its output is in the log and can be attached to again."""
    command = store.start("run", "--name=c", "--network=none", "bb", "sh", "-c", "echo up; sleep 1; echo later; exit 4")
    assert command.stdout is not None and command.stdout.readline() == "up\n"
    command.kill()
    command.communicate()
    assert store.text("ps", "--format", "{{.State}}") == "running"
    assert store.text("wait", "c") == "4"
    assert store.text("logs", "c") == "up\nlater"
