"""What the shells offer, asked as they ask."""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest

from tests.fixtures.command import COMMAND, Pyman


def offered(pyman: Pyman, *words: str) -> list[str]:
    return [line.partition("\t")[0] for line in pyman.text("__complete", "--", *words).splitlines()]


def test_commands(pyman: Pyman) -> None:
    assert offered(pyman, "vol") == ["volume", ":nothing"]
    assert {"run", "ps", "image"} < set(offered(pyman, ""))
    assert not [name for name in offered(pyman, "") if name.startswith("_") or " " in name]
    assert offered(pyman, "volume", "p") == ["prune", ":nothing"]
    assert "rm" in offered(pyman, "image", "")
    assert offered(pyman, "--log-level", "de") == ["debug", ":nothing"]
    assert offered(pyman, "--root", "/x", "pul") == ["pull", ":nothing"]
    assert offered(pyman, "--root", "/") == [":directories"]
    assert offered(pyman, "nonsense", "") == [":nothing"]


def test_global_options_choose_the_store(pyman: Pyman, fresh_pyman: Pyman) -> None:
    fresh_pyman("volume", "create", "elsewhere")
    assert offered(pyman, "--root", str(fresh_pyman.root), "volume", "rm", "e") == ["elsewhere", ":nothing"]


def test_options(pyman: Pyman) -> None:
    assert offered(pyman, "run", "--read") == ["--read-only", "--read-only-tmpfs", ":nothing"]
    assert offered(pyman, "run", "--pull", "ne") == ["never", "newer", ":nothing"]
    assert offered(pyman, "run", "--pull=ne") == ["--pull=never", "--pull=newer", ":nothing"]
    assert offered(pyman, "run", "--env-file", "x") == [":files"]
    assert "--gpus" not in offered(pyman, "run", "--g")


def test_names(pyman: Pyman, busybox_image: str) -> None:
    pyman("run", "-d", "--network=none", "--name=running", busybox_image, "sleep", "1000")
    pyman("create", "--name=resting", busybox_image, "true")
    pyman("volume", "create", "cli-complete")
    try:
        assert offered(pyman, "rm", "r") == ["running", "resting", ":nothing"]
        assert offered(pyman, "stop", "-t", "3", "r") == ["running", ":nothing"]
        assert offered(pyman, "exec", "-it", "r") == ["running", ":nothing"]
        assert offered(pyman, "exec", "-it", "running", "s") == [":files"]
        assert offered(pyman, "run", "-it", "b") == ["bb:latest", ":nothing"]
        assert offered(pyman, "run", "-itv", "cli-c") == ["cli-complete", ":files"]
        assert offered(pyman, "volume", "rm", "cli-c") == ["cli-complete", ":nothing"]
    finally:
        pyman("volume", "rm", "cli-complete")


def test_it_is_quick(pyman: Pyman, busybox_image: str) -> None:
    def seconds() -> float:
        start = time.perf_counter()
        offered(pyman, "run", "")
        return time.perf_counter() - start

    assert min(seconds() for _ in range(10)) < 0.06


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_read_by_their_shells(pyman: Pyman, shell: str) -> None:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    script = pyman.text("completion", shell)
    result = subprocess.run([path, "-n"], input=script + "\n", text=True, capture_output=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_unknown_shell(pyman: Pyman) -> None:
    result = pyman("completion", "tcsh", check=False)
    assert (result.returncode, result.stderr) == (
        125,
        'Error: there is no completion for "tcsh": choose from bash, fish, zsh\n',
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pyman vol", ["volume"]),
        ("pyman run --pull ne", ["never", "newer"]),
        ("pyman run --pull=ne", ["never", "newer"]),  # bash has cut the word at the =
        ("pyman volume prune --fo", ["--force"]),
        ("pyman images ", ["bb:latest", "localhost/bb:latest"]),
        ("pyman rmi bb:la", ["latest"]),  # and at the :
    ],
)
def test_bash(pyman: Pyman, busybox_image: str, line: str, expected: list[str]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    # As readline does it: the words, cut at COMP_WORDBREAKS, and the line.
    program = r"""
        pyman() { "$COMMAND" --root "$ROOT" "$@"; }
        source <(pyman completion bash)
        compopt() { :; }
        COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=()
        rest=$1
        while [[ $rest =~ ^(\ *)([^ =:]+|[=:])(.*)$ ]]; do
            COMP_WORDS+=("${BASH_REMATCH[2]}") rest=${BASH_REMATCH[3]}
        done
        [[ $1 == *" " ]] && COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _pyman
        printf '%s\n' "${COMPREPLY[@]}"
    """
    environment = {**pyman.environment, "COMMAND": COMMAND, "ROOT": str(pyman.root)}
    result = subprocess.run([bash, "-c", program, "bash", line], env=environment, text=True, capture_output=True)
    assert (result.stdout.split(), result.stderr) == (expected, "")
