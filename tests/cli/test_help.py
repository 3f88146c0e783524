"""--help, mistakes on the command line, the exit statuses of both."""

from __future__ import annotations

import os
import pty
import subprocess

import pytest

from engine.cli import table
from tests.fixtures.command import COMMAND, Pyman

pytestmark = pytest.mark.anyone

VERBS = [name for name in sorted(table.VERBS) if not name.startswith("_")]


def test_help_of_everything(pyman: Pyman) -> None:
    text = pyman.text("--help")
    for name in VERBS:
        assert f" {name.partition(' ')[0]} " in text
    assert "--root" in text
    assert "__complete" not in text


@pytest.mark.parametrize("name", VERBS)
def test_help_of_a_verb(pyman: Pyman, name: str) -> None:
    text = pyman.text(*name.split(), "--help")
    assert f"Usage: pyman {name} " in text
    assert "--help" in text
    assert "Traceback" not in text
    assert "Examples" in text


def test_help_has_what_the_options_say(pyman: Pyman) -> None:
    text = " ".join(pyman.text("run", "--help").split())
    assert "--cap-add" in text
    assert "-it --rm" in text  # an example
    assert "--gpus" not in text  # refused
    assert "Usage: pyman run [OPTIONS] IMAGE [COMMAND...] " in text


def test_help_of_a_group(pyman: Pyman) -> None:
    for arguments in (["volume"], ["volume", "--help"]):
        text = pyman.text(*arguments)
        assert "prune" in text
        assert "Usage: pyman volume" in text


@pytest.mark.parametrize("arguments", [["help", "ps"], ["ps", "-h"], ["container", "ls", "--help"]])
def test_ways_to_ask_for_help(pyman: Pyman, arguments: list[str]) -> None:
    assert "Usage: pyman ps" in pyman.text(*arguments)


def test_options_of_the_command_inside_are_not_ours(pyman: Pyman) -> None:
    """`pyman run IMAGE ls --help` is about ls."""
    result = pyman("run", "--pull", "never", "no-such-image", "ls", "--help", check=False)
    assert (result.returncode, result.stdout) == (125, "")
    assert "no-such-image" in result.stderr


def test_nothing_at_all(pyman: Pyman) -> None:
    result = pyman(check=False)
    assert (result.returncode, result.stdout) == (125, "")
    assert "Usage: pyman" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rnu"], "there is no command \"rnu\" (did you mean 'run'? See 'pyman --help')"),
        (
            ["volume", "creat"],
            "there is no command \"volume creat\" (did you mean 'volume create'? See 'pyman --help')",
        ),
        (["zzzzzz"], "there is no command \"zzzzzz\" (see 'pyman --help')"),
        (["machine", "init"], 'there is no command "machine": pyman runs on Linux only, no virtual machine is needed'),
        (["ps", "--al"], "unknown option --al (did you mean --all? Otherwise see 'pyman ps --help')"),
        (["ps", "x"], "unexpected argument \"x\" (see 'pyman ps --help')"),
        (["run"], "missing argument IMAGE (see 'pyman run --help')"),
        (["run", "-m", "?", "x"], "invalid value \"?\" for -m: not a size such as 512m or 2g (see 'pyman run --help')"),
        (["run", "--gpus", "all", "x"], "--gpus is not supported: not available yet"),
        (["--remote", "ps"], "--remote is not supported: pyman works on this machine only"),
        (["--root"], "--root needs a value (DIR)"),
        (["ps", "--format", "{{.Nmaes}"], "cannot understand --format: unexpected character '}'"),
        (["exec", "-it"], "missing argument CONTAINER (see 'pyman exec --help')"),
        (["stop"], "name at least one container"),
        (["rm", "--all", "x"], "give either containers, or one of --all, --latest and --filter"),
    ],
)
def test_mistakes_are_one_line(pyman: Pyman, arguments: list[str], message: str) -> None:
    result = pyman(*arguments, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (125, "", f"Error: {message}\n")


def test_global_options_may_follow_the_verb(pyman: Pyman) -> None:
    assert pyman("ps", "--log-level=error", "-q").stdout == ""


def test_debug_shows_the_traceback(pyman: Pyman) -> None:
    result = pyman("--log-level=debug", "inspect", "-t", "container", "--format", "{{", "x", check=False)
    assert result.returncode == 125
    result = pyman("--log-level=debug", "port", "no-such-container", check=False)
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith('Error: no container with name or ID "no-such-container" found')


def test_an_error_does_not_steer_the_terminal(pyman: Pyman) -> None:
    result = pyman("inspect", "\x1b]0;owned\x07\n\x9b", check=False)
    assert result.stderr == 'Error: no such object: "\\x1b]0;owned\\x07\\n\\x9b"\n'


def test_bytes_that_are_no_text(pyman: Pyman) -> None:
    argv = [os.fsencode(word) for word in pyman.argv("inspect")]
    result = subprocess.run([*argv, b"\xff"], capture_output=True)
    assert result.stderr == b'Error: no such object: "\\xff"\n'


def test_nobody_reads(pyman: Pyman) -> None:
    """`pyman ... | head -1` ends quietly."""
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    with os.fdopen(write_fd, "w") as out:
        result = subprocess.run(pyman.argv("run", "--help"), stdout=out, stderr=subprocess.PIPE, text=True)
    assert (result.returncode, result.stderr) == (141, "")


def test_closed_streams(pyman: Pyman) -> None:
    result = subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *pyman.argv("ps", "--nonsense")])
    assert result.returncode == 125
    result = subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh", *pyman.argv("ps")])
    assert result.returncode == 0


def test_help_on_a_terminal_is_coloured() -> None:
    primary, secondary = pty.openpty()
    environment = {"TERM": "xterm-256color", "PATH": "/usr/bin:/bin"}
    with subprocess.Popen([COMMAND, "ps", "--help"], stdout=secondary, stderr=secondary, env=environment) as process:
        os.close(secondary)
        seen = b""
        while True:
            try:
                chunk = os.read(primary, 65536)
            except OSError:  # EIO: the other side is closed
                break
            if not chunk:
                break
            seen += chunk
        process.wait(timeout=30)
    os.close(primary)
    assert b"\x1b[" in seen
