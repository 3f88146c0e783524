"""What becomes of containers when their user logs out. Each script runs in a session of its own, which ends with it."""

from __future__ import annotations

import pytest

from tests.vm.conftest import Machine

pytestmark = pytest.mark.vm

RUN = "pyman run -d --network none --name service bb sleep 100000 >/dev/null"


def test_lingering_user_keeps_containers(machine: Machine, image: str) -> None:
    machine.sh(RUN)
    said = machine.sh("pyman exec service echo inside; pyman ps --format '{{.Names}} {{.State}}'")
    assert said.splitlines() == ["inside", "service running"]


def test_ps_tells_the_truth_after_the_last_logout(machine: Machine) -> None:
    """bob's user manager and runtime directory may end with his last session, and so may his containers.

    Whichever it is, `ps` says so, the container can be used or started, and it can be removed.
    """
    machine.sh(f"pyman import /opt/fixtures/busybox-rootfs.tar bb >/dev/null; {RUN}", user="bob")
    machine.sh(
        # "closing" while processes of his are left, then unknown.
        "cd /; for i in $(seq 60); do loginctl show-user bob -p State 2>&1 | grep -Eq 'active|online' || exit 0; "
        "sleep 1; done; exit 1",
        user="root",
    )
    state = machine.sh("pyman ps -a --format '{{.State}}'", user="bob")
    alive = machine.sh("pgrep -u bob -x sleep >/dev/null && echo running || echo exited", user="root")
    assert state == alive
    said = machine.sh(
        """
        pyman start service >/dev/null
        pyman exec service echo inside
        pyman rm -f -t 0 service
        pyman ps -aq
        """,
        user="bob",
    )
    assert said.splitlines() == ["inside", "service"]


def test_user_without_subordinate_ids(machine: Machine) -> None:
    said = machine.sh(
        """
        pyman import /opt/fixtures/busybox-rootfs.tar bb >/dev/null
        pyman run --rm --network none bb sh -c 'id -u; touch /file; chown 1:1 /file; echo "$?"'
        pyman rmi -f bb >/dev/null
        """,
        user="carol",
    )
    assert said.splitlines() == ["0", "0"]
