"""Limits by cgroup v2, delegated by systemd."""

from __future__ import annotations

import pytest

from tests.vm.conftest import Machine

pytestmark = pytest.mark.vm


def test_limits_are_set(machine: Machine, image: str) -> None:
    said = machine.sh(
        "pyman run --rm --network none -m 64m --cpus 0.5 --pids-limit 20 bb "
        "sh -c 'cd /sys/fs/cgroup && cat memory.max cpu.max pids.max'"
    )
    assert said.splitlines() == [str(64 << 20), "50000 100000", "20"]


def test_memory(machine: Machine, image: str) -> None:
    """What needs more than it may have is killed, and nothing else is."""
    said = machine.sh(
        """
        status=0; pyman run --network none --name greedy -m 64m bb tail /dev/zero || status=$?
        echo "$status"
        pyman inspect --format '{{.State.ExitCode}} {{.State.OOMKilled}}' greedy
        pyman run --rm --network none -m 64m bb echo modest
        """
    )
    assert said.splitlines() == ["137", "137 true", "modest"]


def test_cpus(machine: Machine, image: str) -> None:
    """A loop on a fifth of a CPU gets about that, whatever the machine has to spare."""
    said = machine.sh(
        """
        look() { pyman exec busy sh -c 'cut -d" " -f1 /proc/uptime; grep usage_usec /sys/fs/cgroup/cpu.stat'; }
        pyman run -d --network none --name busy --cpus 0.2 bb sh -c 'while :; do :; done' >/dev/null
        look; sleep 10; look
        """
    ).split()
    uptimes, usages = [float(said[0]), float(said[3])], [int(said[2]), int(said[5])]
    share = (usages[1] - usages[0]) / 1e6 / (uptimes[1] - uptimes[0])
    assert 0.05 < share < 0.35


def test_pids(machine: Machine, image: str) -> None:
    said = machine.sh(
        "pyman run --rm --network none --pids-limit 20 bb "
        "sh -c 'trap \"cat /sys/fs/cgroup/pids.current\" EXIT; for i in $(seq 50); do sleep 20 & done' 2>&1",
        check=False,
    )
    assert "fork" in said  # busybox: can't fork: Resource temporarily unavailable


@pytest.mark.parametrize("limit", ["--pids-limit 64", "--ulimit nproc=64"])
def test_fork_bomb(machine: Machine, image: str, limit: str) -> None:
    """The machine stays usable, and the bomb can be removed."""
    bomb = "bomb() { bomb | bomb & }; bomb; sleep 1000"
    machine.sh(f"pyman run -d --network none --name bomb {limit} bb sh -c '{bomb}' >/dev/null")
    said = machine.sh(
        """
        sleep 5
        pyman ps --format '{{.Names}}'
        pyman run --rm --network none bb echo usable
        pyman rm -f -t 1 bomb
        pyman ps -aq
        """
    )
    assert said.splitlines() == ["bomb", "usable", "bomb"]
    # Processes of the container would run as alice, its root, or as one of her subordinate ids.
    left = machine.sh("ps -eo uid=,args= | awk '$1 >= 100000 || /bomb \\|/' | grep -v awk || true", user="root")
    assert left == ""


def test_without_delegation(machine: Machine) -> None:
    """Outside of what systemd delegates no limit can be set: the user is told, nothing is ignored in silence."""
    said = machine.sh(
        """
        loginctl terminate-user bob 2>/dev/null || true
        for i in $(seq 60); do test -e /run/user/$(id -u bob) || break; sleep 1; done
        mkdir -p /sys/fs/cgroup/undelegated; echo $$ >/sys/fs/cgroup/undelegated/cgroup.procs
        exec setpriv --reuid=bob --regid=bob --init-groups --reset-env sh -ec '
            cd /tmp
            pyman image exists bb || pyman import /opt/fixtures/busybox-rootfs.tar bb >/dev/null
            pyman run --rm --network none -m 64m bb cat /sys/fs/cgroup/memory.max 2>&1 || true
            pyman run --rm --network none bb echo plain 2>&1'
        """,
        user="root",
    ).splitlines()
    assert said[-1] == "plain"
    assert str(64 << 20) not in said
    assert "cgroup" in said[0]
