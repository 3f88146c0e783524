"""Start-up is designed, not hoped for: what each verb imports, and what the launcher costs."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fixtures.command import COMMAND, Pyman

# Each costs 3 to 60 of the 40 ms that a start may take.
SLOW = {
    *("argparse", "asyncio", "collections", "contextlib", "dataclasses", "datetime", "enum", "functools", "inspect"),
    *("json", "logging", "pathlib", "re", "shutil", "signal", "site", "socket", "ssl", "subprocess", "tempfile"),
    *("threading", "traceback", "typing", "click", "rich", "typer", "urllib3", "pyroute2", "zstandard", "isal"),
}
MAX_MODULES = 90  # of all kinds; the bare interpreter has 25


def imported(pyman: Pyman, *arguments: str) -> set[str]:
    """Return the modules that a command imports, as the interpreter itself tells."""
    interpreter = (sys.executable, "-I", "-S", "-X", "utf8", "-X", "importtime")
    command = [*interpreter, main_program(), "--root", str(pyman.root), *arguments]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr[-2000:]
    return set(re.findall(r"^import time: +\d+ \| +\d+ \| *(\S+)$", result.stderr, re.MULTILINE))


def main_program() -> str:
    """Return the program that the launcher gives to the interpreter."""
    packages = (
        Path(COMMAND).parent.parent / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    )
    installed = packages / "pyman/__main__.py"
    return str(installed if installed.exists() else Path(__file__).parents[2] / "contrib/launcher/pyman/__main__.py")


@pytest.fixture
def running(pyman: Pyman, busybox_image: str) -> str:
    pyman("run", "-d", "--name", "idle", "--network=none", busybox_image, "sleep", "1000")
    return "idle"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["run", "--rm", "--network=none", "bb", "true"],
        ["run", "--rm", "--network=slirp4netns", "bb", "true"],
        ["run", "-d", "--network=none", "bb", "true"],
        ["create", "bb", "true"],
        ["exec", "idle", "true"],
        ["ps"],
        ["images"],
        ["inspect", "idle"],
        ["logs", "idle"],
        ["stop", "-t", "0", "idle"],
        ["kill", "idle"],
        ["rm", "-f", "-t", "0", "idle"],
    ],
    ids=" ".join,
)
def test_imports(pyman: Pyman, running: str, arguments: list[str]) -> None:
    modules = imported(pyman, *arguments)
    assert "engine.cli.main" in modules  # the interpreter did tell
    assert not modules & SLOW
    assert len(modules) <= MAX_MODULES, sorted(modules)


def test_the_launcher_is_cheap(tmp_path: Path) -> None:
    """`pyman --version` against the bare interpreter, in pairs: measured 1.3 times; with `site` it would be 1.8."""

    def seconds(*command: str) -> float:
        start = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env={"HOME": str(tmp_path)})
        return time.perf_counter() - start

    # Best of twenty: the machine may be busy, and is never faster than it is.
    pairs = [(seconds(COMMAND, "--version"), seconds(sys.executable, "-I", "-S", "-c", "")) for _ in range(20)]
    ours, bare = (min(values) for values in zip(*pairs, strict=True))
    assert ours / bare < 1.7, f"{ours * 1000:.1f} ms against {bare * 1000:.1f} ms, {os.cpu_count()} CPUs"
    assert statistics.median(pair[0] for pair in pairs) < 0.5
