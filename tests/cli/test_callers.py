"""The life of a container, for every kind of caller: a user with subordinate ids, one without, and root."""

from __future__ import annotations

import os

import pytest

from tests.fixtures.command import Pyman

pytestmark = pytest.mark.anyone


def test_life(pyman: Pyman, busybox_image: str) -> None:
    """From `run -d` to `rm`, with what lies between."""
    pyman("run", "-d", "--name", "web", "--network=none", busybox_image, "sh", "-c", "echo said; exec sleep 1000")
    assert pyman.text("exec", "web", "sh", "-c", "echo inside $(id -u)") == "inside 0"
    assert pyman.text("ps", "--format", "{{.Names}} {{.State}}") == "web running"
    pyman("stop", "-t", "0", "web")
    assert pyman.text("ps", "-a", "--format", "{{.Names}} {{.State}}") == "web exited"
    pyman("start", "web")
    assert pyman.text("exec", "web", "echo", "again") == "again"
    assert pyman("rm", "-f", "-t", "0", "web").stdout == "web\n"
    assert pyman.text("ps", "-aq") == ""


def test_exit_status(pyman: Pyman, busybox_image: str) -> None:
    assert pyman("run", "--rm", "--network=none", busybox_image, "sh", "-c", "exit 7", check=False).returncode == 7
    assert pyman("run", "--rm", "--network=none", busybox_image, "/missing", check=False).returncode == 127
    assert pyman("run", "--rm", "--network=none", busybox_image, "/etc/passwd", check=False).returncode == 126


def test_changes_of_owner_succeed(pyman: Pyman, busybox_image: str, has_subids: bool) -> None:
    """With one id only they seem to: package managers insist on them."""
    command = "touch /file && chown 1000:1000 /file && stat -c %u /file"
    said = pyman.text("run", "--rm", "--network=none", busybox_image, "sh", "-c", command)
    assert said == ("1000" if has_subids else "0")


def test_default_network(pyman: Pyman, busybox_image: str) -> None:
    said = pyman.text("run", "--rm", busybox_image, "ip", "-o", "-4", "addr")
    assert "10.0.2." in said


def test_one_line_says_what_is_different(pyman: Pyman, busybox_image: str, has_subids: bool) -> None:
    said = pyman("run", "--rm", "--network=none", busybox_image, "true").stderr.splitlines()
    if os.getuid() == 0:
        assert len(said) == 1 and "root" in said[0]
    elif has_subids:
        assert said == []
    else:
        assert len(said) == 1 and "subordinate" in said[0]
