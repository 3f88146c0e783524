"""How the command starts: from wherever it is installed, and without reading what lies around (or is set) there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.command import COMMAND

ROOT = Path(__file__).parents[2]
LAUNCHER = ROOT / "contrib/launcher/pyman.sh"

pytestmark = pytest.mark.anyone


@pytest.fixture
def version() -> str:
    return subprocess.run([COMMAND, "--version"], capture_output=True, text=True, check=True).stdout


def run(*argv: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    result = subprocess.run(
        [str(arg) for arg in argv], cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def test_version(version: str) -> None:
    assert version.startswith("pyman version ")


def test_through_a_link(version: str, tmp_path: Path) -> None:
    """pipx links ~/.local/bin/pyman to the script in a venv."""
    (tmp_path / "first").symlink_to(COMMAND)
    (tmp_path / "pyman").symlink_to("first")
    assert run(tmp_path / "pyman", "--version") == version
    assert run("pyman", "--version", env={"PATH": f"{tmp_path}:/usr/bin:/bin"}) == version


def test_bare_checkout(version: str, tmp_path: Path) -> None:
    checkout = _checkout(tmp_path)
    assert run(checkout / "contrib/launcher/pyman.sh", "--version", cwd=tmp_path) == version
    # It ran what lies there, not an installed pyman.
    (checkout / "engine/cli/main.py").write_text("def main(argv: object) -> None:\n    print('the checkout', argv)\n")
    assert run(checkout / "contrib/launcher/pyman.sh", "ps", cwd=tmp_path) == "the checkout ['ps']\n"


def test_editable_install(tmp_path: Path) -> None:
    """The launcher follows the .pth file that an editable install leaves, and finds the venv's libraries."""
    checkout = _checkout(tmp_path)
    (checkout / "engine/cli/main.py").write_text(
        "def main(argv: object) -> None:\n    import pyman_library\n    print(pyman_library.NAME, argv)\n"
    )
    venv = tmp_path / "venv"
    packages = venv / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    packages.mkdir(parents=True)
    (venv / "bin").mkdir()
    python = venv / f"bin/python{sys.version_info.major}.{sys.version_info.minor}"
    python.symlink_to(os.path.realpath(sys.executable))
    (venv / "pyvenv.cfg").write_text(f"home = {os.path.dirname(os.path.realpath(sys.executable))}\n")
    (packages / "_pyman.pth").write_text(f"{checkout}\n{checkout}/contrib/launcher\n")
    (packages / "pyman_library.py").write_text("NAME = 'the library'\n")
    shutil.copy(LAUNCHER, venv / "bin/pyman")
    assert run(venv / "bin/pyman", cwd=tmp_path) == "the library []\n"


def test_no_python(tmp_path: Path) -> None:
    """An upgrade of the distribution can take the interpreter away."""
    packages = tmp_path / "lib/python3.2/site-packages/pyman"
    packages.mkdir(parents=True)
    (packages / "__main__.py").touch()
    (tmp_path / "bin").mkdir()
    shutil.copy(LAUNCHER, tmp_path / "bin/pyman")
    result = subprocess.run([tmp_path / "bin/pyman", "ps"], capture_output=True, text=True)
    assert result.returncode == 125
    assert "there is no python3.2" in result.stderr


# Modules that pyman, its libraries or the interpreter import. None may come from where the user happens to be.
TRAPS = (
    *("engine", "rootless", "storage", "typer", "rich", "click", "urllib3", "zstandard", "isal", "pyroute2", "pyman"),
    *("os", "json", "re", "typing", "ctypes", "subprocess", "shutil", "site", "sitecustomize", "usercustomize"),
    *("encodings", "codecs", "io", "abc", "runpy", "struct", "select", "platform", "argparse", "email", "textwrap"),
)


@pytest.fixture
def trap(tmp_path: Path) -> tuple[Path, Path]:
    """A directory of modules that leave a mark when they are imported, and the mark."""
    mark = tmp_path / "sprung"
    directory = tmp_path / "hostile"
    directory.mkdir()
    text = f"with open({str(mark)!r}, 'a') as file:\n    file.write(__file__ + '\\n')\n"
    for name in TRAPS:
        (directory / f"{name}.py").write_text(text)
    for name in ("startup", "pythonrc"):
        (directory / f"{name}.py").write_text(text)
    (directory / "evil.pth").write_text("import sitecustomize\n")
    return directory, mark


COMMAND_LINES = [
    pytest.param(["--version"], id="version"),
    pytest.param(["ps"], id="ps"),
    pytest.param(["images"], id="images"),
    pytest.param(["run", "--help"], id="help"),  # with typer and rich
    pytest.param(["rnu"], id="mistake"),
    pytest.param(["info"], id="info"),
]


@pytest.mark.parametrize("arguments", COMMAND_LINES)
def test_nothing_is_imported_from_around(arguments: list[str], trap: tuple[Path, Path], tmp_path: Path) -> None:
    directory, mark = trap
    user_site = tmp_path / "home/.local/lib" / f"python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    shutil.copytree(directory, user_site)
    hostile = {
        "PYTHONPATH": str(directory),
        "PYTHONHOME": str(directory),
        "PYTHONSTARTUP": str(directory / "startup.py"),
        "PYTHONUSERBASE": str(tmp_path / "home/.local"),
        "PYTHONINSPECT": "",
        "PYTHONPLATLIBDIR": str(directory),
        "PYTHONBREAKPOINT": "sitecustomize.x",
        "PYTHONWARNINGS": "error::sitecustomize.Trap",
        "ENV": str(directory / "startup.py"),
        "BASH_ENV": str(directory / "startup.py"),
        "HOME": str(tmp_path / "home"),
        "PATH": f".:{directory}:/usr/bin:/bin:/usr/sbin:/sbin",
    }
    for name in ("readlink", "dirname", "python3", "env"):
        program = directory / name
        program.write_text(f"#!/bin/sh\necho {name} >>{mark}\n")
        program.chmod(0o755)
    link = tmp_path / "pyman"
    link.symlink_to(COMMAND)
    result = subprocess.run(
        [link, "--root", tmp_path / "store", *arguments],
        cwd=directory,
        env={**os.environ, **hostile},
        capture_output=True,
        text=True,
    )
    assert not mark.exists(), f"{mark.read_text()}\n{result.stderr}"
    assert result.returncode == (125 if arguments == ["rnu"] else 0), result.stderr


def test_the_trap_works(trap: tuple[Path, Path]) -> None:
    """A plain interpreter does spring it: the test above tests something."""
    directory, mark = trap
    subprocess.run([sys.executable, "-c", "import typer"], cwd=directory, capture_output=True, check=True)
    assert "typer.py" in mark.read_text()


def _checkout(tmp_path: Path) -> Path:
    """Return a copy of the sources without a venv and without bytecode."""
    checkout = tmp_path / "checkout"
    for name in ("engine", "rootless", "storage", "contrib/launcher"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    return checkout
