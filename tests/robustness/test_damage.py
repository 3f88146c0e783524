"""Damaged records, hostile names, full disks: each hurts as little as it can, and is said in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.command import COMMAND, Pyman, remove_tree
from tests.fixtures.processes import Processes

# --- damaged records ---


def broken_files(directory: Path, name: str) -> list[bytes | None]:
    whole = (directory / name).read_bytes()
    return [b"", b"\0" * len(whole), whole[: len(whole) // 2], b"[]", b"{}", b'{"id": 5}', b"\xff\xfe", None]


@pytest.mark.parametrize("name", ["config.json", "state.json", "lock"])
def test_damaged_record(pyman: Pyman, busybox_image: str, name: str) -> None:
    """Only the one container suffers, no command gets a traceback, and `rm -f` removes it."""
    pyman("run", "-d", "--name=good", "--network=none", busybox_image, "sleep", "1000")
    good = pyman.container_ids()[0]
    for damage in range(8):
        bad = pyman.text("create", "--name=bad", "--network=none", busybox_image, "true")
        directory = pyman.root / "containers" / bad
        content = broken_files(directory, name)[damage]
        (directory / name).unlink()
        if content is not None:
            (directory / name).write_bytes(content)
        assert "good" in pyman.text("ps", "-a", "--format", "{{.Names}}").split()
        for command in (
            ("inspect", "bad"),
            ("start", "bad"),
            ("stop", "bad"),
            ("logs", "bad"),
            ("exec", "bad", "true"),
        ):
            result = pyman(*command, check=False)
            assert "internal error" not in result.stderr, f"{command} with {content!r}: {result.stderr}"
        pyman("exec", "good", "true")
        result = pyman("rm", "-f", "bad", check=False)
        assert result.returncode == 0, f"{content!r}: {result.stderr}"
        assert pyman.container_ids() == [good], repr(content)
        assert pyman("create", "--name=bad", "--network=none", busybox_image, "true").returncode == 0
        pyman("rm", "bad")


def test_damaged_while_it_runs(pyman: Pyman, busybox_image: str) -> None:
    """Its processes end with its removal all the same."""
    processes = Processes(str(pyman.root))
    for name in ("config.json", "state.json"):
        bad = pyman.text("run", "-d", "--name=bad", "--network=none", busybox_image, "sleep", "1000")
        (pyman.root / "containers" / bad / name).write_bytes(b"{")
        pyman("ps", "-a")
        pyman("rm", "-f", "-t", "0", "bad")
        assert pyman.container_ids() == []
        processes.wait_none()


def test_strange_entries(pyman: Pyman, busybox_image: str) -> None:
    """Files and directories that are none of ours, where containers are."""
    containers = pyman.root / "containers"
    (containers / "file").write_text("x")
    (containers / "directory").mkdir()
    (containers / "link").symlink_to("/nonexistent")
    try:
        pyman("create", "--name=c", "--network=none", busybox_image, "true")
        assert pyman.text("ps", "-a", "--format", "{{.Names}}") == "c"
        pyman("start", "-a", "c")
        pyman("rm", "c")
    finally:
        (containers / "file").unlink(missing_ok=True)
        (containers / "link").unlink(missing_ok=True)
        shutil.rmtree(containers / "directory", ignore_errors=True)


def test_half_made_and_half_removed(pyman: Pyman, busybox_image: str) -> None:
    """What killed commands left is invisible, and swept by the next `rm`."""
    (pyman.root / "containers" / f"{'a' * 64}~999999999").mkdir()
    (pyman.root / "trash" / f"{'b' * 64}~999999999").mkdir()
    mine = pyman.root / "trash" / f"{'c' * 64}~{os.getpid()}"
    mine.mkdir()
    assert pyman.text("ps", "-a", "--format", "{{.Names}}") == ""
    pyman("create", "--name=c", "--network=none", busybox_image, "true")
    pyman("rm", "c")
    assert pyman.container_ids() == []
    assert list((pyman.root / "trash").iterdir()) == [mine]  # its process lives: hands off
    mine.rmdir()


# --- hostile names ---

NAMES = [
    *("", ".", "..", "../x", "a/b", "/etc/passwd", "-a", "--", "a b", "a\nb", "a\tb", "\x1b[31m", "a:b", "a@b", "a*"),
    *("~", "a~1", "$(id)", "a;b", "\u202eabc", "\u00e4", "x" * 300, ".hidden", "_x", "a\\b", "%s", "{}"),
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:12]))
def test_hostile_name(pyman: Pyman, busybox_image: str, name: str) -> None:
    """Refused as a name, unknown as a reference; nothing is made or removed by it, and it is printed escaped."""
    before = snapshot(pyman.root)
    result = pyman("create", f"--name={name}", "--network=none", busybox_image, "true", check=False)
    assert result.returncode == 125 and len(result.stderr.splitlines()) == 1 and "\x1b" not in result.stderr
    for verb in ("start", "stop", "kill", "inspect", "logs", "wait", "rm"):
        result = pyman(verb, *(["--"] if name.startswith("-") else []), name, check=False)
        assert result.returncode in (1, 125), verb
        assert "internal error" not in result.stderr and "\x1b" not in result.stderr
        assert len(result.stderr.splitlines()) == 1, verb
    pyman("rm", "-f", "--", name, check=False)
    assert snapshot(pyman.root) == before


def snapshot(root: Path) -> list[str]:
    return sorted(
        str(path) for name in ("containers", "names", "volumes", "images") for path in (root / name).glob("*")
    )


# --- a full disk ---


@pytest.fixture
def small_store(busybox_tar: Path) -> Iterator[Path]:
    """A directory for the mount, and a copy of the image's archive."""
    directory = Path(tempfile.mkdtemp(prefix="pyman-test-", dir="/var/tmp"))
    shutil.copy(busybox_tar, directory / "bb.tar")
    (directory / "disk").mkdir()
    yield directory
    remove_tree(directory)


SCRIPT = r"""
set -u
mount -t tmpfs -o size=12m tmpfs disk || exit 99
p() { "$PYMAN" --root "$PWD/disk/store" "$@"; }
show() { echo "== $1 $2 $(wc -l <err) $(head -c 300 err | tr '\n' '|')"; }
p import bb.tar bb:latest >/dev/null 2>err; show import $?
p run --name=old --network=none bb sh -c 'echo said' >/dev/null 2>err; show run $?
p run -d --name=up --network=none bb sh -c 'while :; do echo line; sleep 0.01; done' >/dev/null 2>err; show run-d $?
dd if=/dev/zero of=disk/fill bs=4k >/dev/null 2>&1
p run --rm --network=none bb true 2>err; show full-run $?
p create --network=none bb true >/dev/null 2>err; show full-create $?
p import bb.tar other:latest >/dev/null 2>err; show full-import $?
p run --name=writer --network=none bb dd if=/dev/zero of=/x bs=1M count=4 2>err; show full-write $?
p ps -a --format '{{.Names}}' >list 2>err; show full-ps $?
echo "== ps $(tr '\n' ' ' <list)"
p logs old >out 2>err; show full-logs $?
echo "== logs $(cat out)"
p stop -t 0 up >/dev/null 2>err; show full-stop $?
p rm -f old up >/dev/null 2>err; show full-rm $?
p rm -fa >/dev/null 2>err; show full-rm-all $?
p rmi -f bb >/dev/null 2>err; show full-rmi $?
rm disk/fill
p import bb.tar bb:latest >/dev/null 2>err; show again-import $?
p run --rm --network=none bb echo fine >out 2>err; show again-run $?
echo "== again $(cat out)"
ls disk/store/containers disk/store/trash | tr '\n' ' ' >list; echo "== left $(cat list)"
"""


def test_full_disk(small_store: Path) -> None:
    """Errors are one clear line, reading and removing still work, and with space all is well again."""
    if os.getuid() != 0 and subprocess.run([COMMAND, "unshare", "true"], capture_output=True).returncode != 0:
        pytest.skip("needs user namespaces")
    result = subprocess.run(
        [COMMAND, "unshare", "sh", "-c", SCRIPT],
        cwd=small_store,
        env={**os.environ, "PYMAN": COMMAND},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if result.returncode == 99:
        pytest.skip("needs tmpfs in user namespaces")
    steps = {}
    for line in result.stdout.splitlines():
        if line.startswith("== "):
            name, _, rest = line[3:].partition(" ")
            steps[name] = rest
    said = json.dumps(steps, indent=1)

    def outcome(name: str) -> tuple[int, int]:
        status, error_lines = steps[name].split()[:2]
        return int(status), int(error_lines)

    for name in ("import", "run", "run-d", "full-ps", "full-logs", "full-stop", "full-rm", "full-rm-all", "full-rmi"):
        assert outcome(name)[0] == 0, f"{name}\n{said}"
    for name in ("full-run", "full-create", "full-import"):
        status, error_lines = outcome(name)
        assert status == 125 and "internal error" not in steps[name], f"{name}\n{said}"
        assert "no space left" in steps[name], f"{name}\n{said}"
        assert error_lines == 1, f"{name}\n{said}"
    assert {"old", "up"} <= set(steps["ps"].split()), said
    assert steps["logs"] == "said"
    assert outcome("again-import")[0] == outcome("again-run")[0] == 0, said
    assert steps["again"] == "fine" and steps["left"].split() == ["disk/store/containers:", "disk/store/trash:"], said
