"""Who may import whom, and what the start of a container may not import."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("rootless", "storage", "engine")
MAY_IMPORT = {
    "rootless": {"rootless"},
    "storage": {"storage", "rootless"},
    "engine": {"engine", "storage", "rootless"},
}

# Measured: each costs 3 to 60 of the 40 ms that a start may take, by itself or by what it imports.
TOO_SLOW = {
    *("argparse", "asyncio", "collections", "contextlib", "dataclasses", "datetime", "email", "enum", "functools"),
    *("getpass", "gzip", "http", "inspect", "json", "logging", "multiprocessing", "pathlib", "random", "re"),
    *("shlex", "shutil", "signal", "socket", "ssl", "string", "subprocess", "tempfile", "threading", "traceback"),
    *("typing", "urllib", "uuid", "zipfile", "tarfile"),
}
START_VERBS = ("run", "create", "start", "exec", "stop", "kill", "rm", "ps", "logs", "inspect", "images", "wait")
START_MODULES = ("engine.cli.main", "engine.containers.monitor", "rootless.init")


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def module_path(name: str) -> Path | None:
    """Return the file of one of our modules or packages."""
    base = ROOT.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.exists() and name.partition(".")[0] in PACKAGES:
            return path
    return None


def imports(nodes: list[ast.stmt], *, deep: bool) -> Iterator[tuple[str, int]]:
    """Yield the imported modules and their lines; without `deep` only what importing the module itself imports."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield node.module or "", node.lineno
            for alias in node.names:  # `from engine.cli import parse` imports a module, too
                yield f"{node.module}.{alias.name}", node.lineno
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not deep:
            continue
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from imports(node.orelse, deep=deep)
        else:
            for field in ("body", "orelse", "finalbody"):
                yield from imports(getattr(node, field, []), deep=deep)
            for handler in getattr(node, "handlers", []):
                # `except ImportError` is for other interpreters than CPython: slower there, and right.
                if deep or handler.type is None or ast.unparse(handler.type) != "ImportError":
                    yield from imports(handler.body, deep=deep)


def parse(path: Path) -> list[ast.stmt]:
    return ast.parse(path.read_text(), str(path)).body


def ours(name: str) -> str:
    """Return which of our modules an imported name is, or an empty string."""
    if name.partition(".")[0] not in PACKAGES:
        return ""
    return name if module_path(name) else ours(name.rpartition(".")[0])


@pytest.mark.parametrize("package", PACKAGES)
def test_direction(package: str) -> None:
    wrong = []
    for path in (ROOT / package).rglob("*.py"):
        for name, line in imports(parse(path), deep=True):
            top = name.partition(".")[0]
            if top in PACKAGES and top not in MAY_IMPORT[package]:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong


def test_rootless_needs_the_standard_library_only() -> None:
    wrong = []
    for path in (ROOT / "rootless").rglob("*.py"):
        for name, line in imports(parse(path), deep=True):
            top = name.partition(".")[0]
            if top != "rootless" and top not in sys.stdlib_module_names:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong


def test_modules_of_verbs_exist() -> None:
    """mypy checks import statements, but not the table of verbs, whose modules are imported by name."""
    from engine.cli import table

    missing = [module for module, _, _ in table.VERBS.values() if module_path(module) is None]
    assert not missing


def start_path() -> dict[str, str]:
    """Return the modules that the start of a container imports, with the one that imports each."""
    from engine.cli import table

    waiting = [(table.VERBS[verb][0], f"verb {verb}") for verb in START_VERBS if verb in table.VERBS]
    waiting += [(name, "start") for name in START_MODULES]
    reached: dict[str, str] = {}
    while waiting:
        name, importer = waiting.pop()
        path = module_path(name)
        if path is None or name in reached:
            continue
        reached[name] = importer
        waiting += [(ours(imported), name) for imported, _ in imports(parse(path), deep=False) if ours(imported)]
    return reached


def test_start_path_reaches_what_it_should() -> None:
    """Guards the test below against checking nothing."""
    reached = start_path()
    assert {"engine.cli.main", "engine.cli.parse", "engine.errors", "rootless.init", "rootless.syscalls"} <= set(
        reached
    )


def test_start_path_imports_nothing_slow() -> None:
    wrong = []
    for name, importer in sorted(start_path().items()):
        path = module_path(name)
        assert path is not None
        for imported, line in imports(parse(path), deep=False):
            top = imported.partition(".")[0]
            if top in TOO_SLOW or (top not in PACKAGES and top not in sys.stdlib_module_names):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {imported} (on the start path by {importer})")
    assert not wrong, "import these in the function that needs them:\n" + "\n".join(sorted(set(wrong)))
