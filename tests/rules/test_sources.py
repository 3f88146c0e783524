"""What no source may contain."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAX_LINES = 500
SHIPPED = ("engine", "rootless", "storage", "contrib")
ALL = (*SHIPPED, "tests")

FORBIDDEN_IMPORTS = {
    "pickle": "runs what it reads",
    "marshal": "crashes on what it reads",
    "shelve": "is pickle",
    "yaml.load": "runs what it reads; use safe_load",
}
FORBIDDEN_CALLS = {
    "os.system": "takes a shell line",
    "os.popen": "takes a shell line",
    "subprocess.getoutput": "takes a shell line",
    "eval": "runs what it reads",
    "exec": "runs what it reads",
    "tempfile.mktemp": "names a file that somebody else may make first",
}
# On files of the host that is right; on paths inside a container or image it is a race that the container wins.
# The exception is written on the same line: `# host path: why`.
REALPATH = {"os.path.realpath", "path.realpath", "realpath"}
# tarfile's own extraction follows links that the archive planted (CVE-2025-4517 and others).
EXTRACT = {"extract", "extractall"}


def sources(*packages: str) -> Iterator[tuple[Path, str]]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path, path.read_text()


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def calls(text: str) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_there_is_something_to_check() -> None:
    assert len(list(sources(*SHIPPED))) > 20


def test_size() -> None:
    long = [f"{path.relative_to(ROOT)}: {n}" for path, text in sources(*SHIPPED) if (n := text.count("\n")) > MAX_LINES]
    assert not long, f"above {MAX_LINES} lines: split by subject"


def test_annotations_are_not_evaluated() -> None:
    """`from __future__ import annotations` makes typing names free at run time."""
    missing = []
    for path, text in sources(*ALL):
        code = [node for node in ast.parse(text).body if not isinstance(node, ast.Expr)]
        if code and "from __future__ import annotations" not in text and path.name != "__main__.py":
            missing.append(str(path.relative_to(ROOT)))
    assert not missing


def test_docstrings() -> None:
    assert not [
        str(path.relative_to(ROOT)) for path, text in sources(*SHIPPED) if not ast.get_docstring(ast.parse(text))
    ]


def test_packages_are_empty() -> None:
    """Importing engine.cli.main imports engine and engine.cli first: nothing but a docstring in __init__.py."""
    assert not [
        str(path.relative_to(ROOT))
        for path, text in sources(*SHIPPED)
        if path.name == "__init__.py" and len(ast.parse(text).body) > 1
    ]


def test_tests_are_no_packages() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_no_shell() -> None:
    wrong = []
    for path, text in sources(*ALL):
        for name, call in calls(text):
            shell = [keyword for keyword in call.keywords if keyword.arg == "shell"]
            if shell and ast.unparse(shell[0].value) != "False":
                wrong.append(f"{place(path, call.lineno)}: shell=")
            if name in FORBIDDEN_CALLS and path.relative_to(ROOT).parts[0] != "tests":
                wrong.append(f"{place(path, call.lineno)}: {name} {FORBIDDEN_CALLS[name]}")
    assert not wrong


def test_no_forbidden_import() -> None:
    wrong = []
    for path, text in sources(*ALL):
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, (ast.Import, ast.ImportFrom)):
                continue
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{name}" for name in names)]
            wrong += [
                f"{place(path, node.lineno)}: {n} {FORBIDDEN_IMPORTS[n]}" for n in names if n in FORBIDDEN_IMPORTS
            ]
    assert not wrong


def test_no_extraction_by_tarfile() -> None:
    wrong = []
    for path, text in sources(*SHIPPED):
        for name, call in calls(text):
            if name.rpartition(".")[2] in EXTRACT:
                wrong.append(f"{place(path, call.lineno)}: {name}")
    assert not wrong, "storage.tar_apply extracts, beneath a directory descriptor"


def test_no_realpath_on_container_paths() -> None:
    wrong = []
    for path, text in sources("engine", "rootless", "storage"):
        lines = text.splitlines()
        for name, call in calls(text):
            resolves = name in REALPATH or (name.endswith(".resolve") and not call.args)
            if resolves and "# host path:" not in lines[(call.end_lineno or call.lineno) - 1]:
                wrong.append(f"{place(path, call.lineno)}: {name}")
    assert not wrong, "open beneath the root instead, or say on the line `# host path: why`"


def test_nothing_unfinished() -> None:
    wrong = []
    marks = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")
    for path, text in sources(*ALL):
        for number, line in enumerate(text.splitlines(), 1):
            if marks.search(line):
                wrong.append(f"{place(path, number)}: {line.strip()}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Name) and node.id == "NotImplementedError":
                wrong.append(f"{place(path, node.lineno)}: {node.id}")
    assert not wrong


def test_storage_and_rootless_do_not_print() -> None:
    wrong = []
    for path, text in sources("rootless", "storage"):
        for name, call in calls(text):
            if name == "print" or name.startswith(("logging.", "warnings.")):
                wrong.append(f"{place(path, call.lineno)}: {name}")
    assert not wrong, "they return or raise; the engine reports"


def test_only_main_exits() -> None:
    """os._exit belongs to forked children; sys.exit and SystemExit to the command line and to programs."""
    wrong = []
    for path, text in sources("engine", "rootless", "storage"):
        if path.relative_to(ROOT).as_posix() != "engine/cli/main.py":
            wrong += [place(path, call.lineno) for name, call in calls(text) if name in ("sys.exit", "exit", "quit")]
    assert not wrong


def test_exceptions_to_a_rule_carry_their_reason() -> None:
    """`# noqa: X -- why` and `# type: ignore[x]` with a code; neither may be bare."""
    wrong = []
    for path, _ in sources("engine", "rootless", "storage", "contrib"):
        with tokenize.open(path) as file:
            for token in tokenize.generate_tokens(file.readline):
                if token.type != tokenize.COMMENT:
                    continue
                comment = token.string
                if re.search(r"noqa(?!: [A-Z]+[0-9]+(, ?[A-Z]+[0-9]+)* -- \w)", comment) or (
                    "type: ignore" in comment and "type: ignore[" not in comment
                ):
                    wrong.append(f"{place(path, token.start[0])}: {comment}")
    assert not wrong


def test_skips_say_why() -> None:
    wrong = []
    for path, text in sources("tests"):
        for name, call in calls(text):
            named = bool(call.args) or any(keyword.arg == "reason" for keyword in call.keywords)
            if name.endswith(("pytest.skip", "mark.skip", "mark.skipif", "mark.xfail")) and not named:
                wrong.append(place(path, call.lineno))
    assert not wrong
