"""What the verbs that must be quick import, counted in a real run. A budget is what a verb needs and a bit more."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.command import Pyman

ROOT = Path(__file__).parents[2]

# Measured: each costs 3 to 60 of the 40 ms that a start may take, by itself or by what it imports.
FORBIDDEN = {
    *("argparse", "asyncio", "collections", "contextlib", "dataclasses", "datetime", "email", "enum", "functools"),
    *("http", "inspect", "json", "logging", "multiprocessing", "pathlib", "random", "re", "shlex", "shutil", "signal"),
    *(
        "site",
        "socket",
        "ssl",
        "string",
        "subprocess",
        "tempfile",
        "threading",
        "traceback",
        "typing",
        "urllib",
        "uuid",
    ),
    *("isal", "pyroute2", "rich", "typer", "urllib3", "zstandard"),
}
# Runs one command line; when the process, or one that it forked, leaves, it writes the names of its modules.
PROBE = """
import os, sys
target, root, parent, leave = sys.argv[1], sys.argv[2], os.getpid(), os._exit
def report(status):
    name = target if os.getpid() == parent else f'{target}.{os.getpid()}'
    with open(f'{name}~', 'w') as file:
        file.write(chr(10).join(sys.modules))
    os.rename(f'{name}~', name)
    leave(status)
os._exit = report
sys.path.append(root)
from engine.cli.main import main
main(sys.argv[3:])
"""
# The interpreter itself, started with -I -S, has about 30 modules.
BUDGETS = {
    "version": 42,
    "ps": 74,
    "images": 74,
    "inspect": 86,
    "logs": 76,
    "run": 95,
    "run -d": 95,
    "exec": 105,
    "stop": 85,
    "start": 95,
    "rm": 85,
}


def modules_of(pyman: Pyman, tmp_path: Path, *arguments: str, status: int = 0) -> set[str]:
    target = tmp_path / "modules"
    argv = [sys.executable, "-I", "-S", "-X", "utf8", "-c", PROBE, str(target), str(ROOT), "--root", str(pyman.root)]
    result = subprocess.run(
        [*argv, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, env=pyman.environment
    )
    assert result.returncode == status, result.stderr
    return set(target.read_text().split("\n"))


def forbidden(modules: set[str]) -> list[str]:
    return sorted(module for module in modules if module.partition(".")[0] in FORBIDDEN)


def check(name: str, modules: set[str]) -> None:
    assert "engine.cli.main" in modules, "the probe measured something else"
    assert not forbidden(modules), f"{name} imports {', '.join(forbidden(modules))}"
    own = sorted(module for module in modules if module.partition(".")[0] in ("engine", "rootless", "storage"))
    assert len(modules) <= BUDGETS[name], f"{name} imports {len(modules)} modules, of ours: {', '.join(own)}"


@pytest.fixture
def web(pyman: Pyman, busybox_image: str) -> Iterator[str]:
    """A running container."""
    pyman("run", "-d", "--name", "web", "--network", "none", busybox_image, "sleep", "1000")
    yield "web"
    pyman("rm", "-f", "-t", "0", "web")


def test_version(pyman: Pyman, tmp_path: Path) -> None:
    check("version", modules_of(pyman, tmp_path, "--version"))


@pytest.mark.parametrize("arguments", [["ps"], ["ps", "-a", "--no-trunc"], ["ps", "-aq", "--filter", "name=w"]])
def test_ps(pyman: Pyman, web: str, tmp_path: Path, arguments: list[str]) -> None:
    check("ps", modules_of(pyman, tmp_path, *arguments))


def test_images(pyman: Pyman, busybox_image: str, tmp_path: Path) -> None:
    check("images", modules_of(pyman, tmp_path, "images"))


@pytest.mark.parametrize("arguments", [["inspect"], ["inspect", "--format", "{{.State.Status}}"]])
def test_inspect(pyman: Pyman, web: str, tmp_path: Path, arguments: list[str]) -> None:
    check("inspect", modules_of(pyman, tmp_path, *arguments, web))


def test_logs(pyman: Pyman, web: str, tmp_path: Path) -> None:
    check("logs", modules_of(pyman, tmp_path, "logs", "--tail", "5", web))


def test_exec(pyman: Pyman, web: str, tmp_path: Path) -> None:
    check("exec", modules_of(pyman, tmp_path, "exec", "-e", "A=1", web, "true"))


@pytest.mark.parametrize("network", ["none", "host", "slirp4netns"])
def test_run(pyman: Pyman, busybox_image: str, tmp_path: Path, network: str) -> None:
    argv = ["run", "--rm", "--network", network, "-e", "A=1", "-v", "/usr:/host-usr:ro", busybox_image, "true"]
    check("run", modules_of(pyman, tmp_path, *argv))


def test_the_monitor(pyman: Pyman, busybox_image: str, tmp_path: Path) -> None:
    """The command waits for it, and its memory is there as long as the container is."""
    modules_of(pyman, tmp_path, "run", "--rm", "--network", "slirp4netns", busybox_image, "true")
    deadline = time.monotonic() + 10
    while not (found := [path for path in tmp_path.glob("modules.*") if not path.name.endswith("~")]):
        assert time.monotonic() < deadline, "no forked process left by os._exit"
        time.sleep(0.05)
    for path in found:
        modules = set(path.read_text().split("\n"))
        assert "engine.containers.monitor" in modules or "rootless.init" in modules, modules
        assert not forbidden(modules)


def test_run_detached(pyman: Pyman, busybox_image: str, tmp_path: Path) -> None:
    check("run -d", modules_of(pyman, tmp_path, "run", "-d", "--rm", "--network", "none", busybox_image, "true"))


def test_stop_start_rm(pyman: Pyman, web: str, tmp_path: Path) -> None:
    check("stop", modules_of(pyman, tmp_path, "stop", "-t", "0", web))
    check("start", modules_of(pyman, tmp_path, "start", web))
    check("rm", modules_of(pyman, tmp_path, "rm", "-f", "-t", "0", web))
    pyman("run", "-d", "--name", web, "--network", "none", "bb", "sleep", "1000")  # for the fixture to remove


def test_listing_costs_little_more_than_python(pyman: Pyman) -> None:
    """Processor time, the best of several runs: not disturbed by what else the machine does."""
    bare = min(_processor_time([sys.executable, "-I", "-S", "-c", ""]) for _ in range(9))
    listing = min(_processor_time(pyman.argv("ps", "-a")) for _ in range(9))
    assert listing < 4 * bare, f"ps {listing * 1000:.0f} ms, python {bare * 1000:.0f} ms"


def _processor_time(argv: list[str]) -> float:
    pid = os.posix_spawn(
        argv[0], argv, dict(os.environ), file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
    )
    _, status, usage = os.wait4(pid, 0)
    assert status == 0
    return usage.ru_utime + usage.ru_stime
