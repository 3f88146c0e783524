"""A real Debian machine: systemd, logind sessions, cgroup v2 with delegation, reboots and power cuts.

Everything in it is emulated and slow: a command takes seconds, a power cut 40, so a test does much in one script.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

NAME = "pyman-test"
TIMEOUT_S = 900


class Machine:
    """The virtual machine. alice has subordinate ids and lingers, bob does not linger, carol has no subordinate ids."""

    def __init__(self, program: str) -> None:
        self._program = program

    def control(self, command: str, *args: str) -> str:
        """Run one command of the program that drives the machine: reboot, powercut, ..."""
        return self._call(command, "--name", NAME, *args)

    def sh(self, script: str, *, user: str = "alice", check: bool = True) -> str:
        """Run a shell script in a login session of its own and return what it printed; it stops at the first error."""
        return self._call("run", "--name", NAME, "--user", user, "--", "sh", "-ec", script, check=check)

    def _call(self, *args: str, check: bool = True) -> str:
        result = subprocess.run(
            [self._program, *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        if check and result.returncode != 0:
            raise AssertionError(f"{args[-1]}\nexit {result.returncode}\n{result.stdout}{result.stderr}")
        return result.stdout.strip()


@pytest.fixture(scope="session")
def started_machine() -> Iterator[Machine]:
    program, share = os.environ.get("PYMAN_VM"), os.environ.get("PYMAN_VM_SHARE")
    if not program or not share:
        pytest.skip("needs PYMAN_VM and PYMAN_VM_SHARE: make test-vm")
    assert (Path(share) / "pyman/bin/pyman").exists()
    machine = Machine(program)
    machine.control("start", "--share", share)
    try:
        machine.sh("cp -a /host/pyman /opt/ && ln -s /opt/pyman/bin/pyman /usr/local/bin/pyman", user="root")
        yield machine
    finally:
        machine.control("stop")


@pytest.fixture
def machine(started_machine: Machine) -> Iterator[Machine]:
    """The running machine; what alice and bob left is removed after the test."""
    yield started_machine
    for user in ("alice", "bob"):
        started_machine.sh("pyman rm -af -t 0 >/dev/null", user=user)


@pytest.fixture
def image(machine: Machine) -> str:
    """The name of a busybox image in alice's store."""
    machine.sh("pyman image exists bb || pyman import /opt/fixtures/busybox-rootfs.tar bb >/dev/null; sync")
    return "bb"
