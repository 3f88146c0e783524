"""What is left after a reboot and after a power cut."""

from __future__ import annotations

import pytest

from tests.fixtures.oci import push_busybox
from tests.fixtures.registry import Registry
from tests.vm.conftest import Machine

pytestmark = pytest.mark.vm

# As QEMU shows the host's loopback interface to the guest.
HOST = "10.0.2.2"

STATES = "pyman ps -a --sort names --format '{{.Names}} {{.State}}'"
# Every file of the image, as the archive has it.
INTACT = """
pyman run --rm --network none %s sh -c 'cd / && find bin etc -type f -exec md5sum {} + | sort' >/tmp/found
rm -rf /tmp/wanted-root; mkdir /tmp/wanted-root; tar -C /tmp/wanted-root -xf /opt/fixtures/busybox-rootfs.tar
(cd /tmp/wanted-root && find bin etc -type f -exec md5sum {} + | sort) >/tmp/wanted
grep -v ' etc/\\(hosts\\|resolv.conf\\|hostname\\|mtab\\)$' /tmp/found | diff - /tmp/wanted
"""


def test_reboot(machine: Machine, image: str) -> None:
    machine.sh(
        """
        pyman run -d --network none --name web -v kept:/data bb sh -c 'echo before >>/data/log; sleep 100000'
        pyman run --network none --name three bb sh -c 'exit 3' || true
        pyman create --network none --name fresh bb true
        """
    )
    machine.control("reboot")
    said = machine.sh(f"{STATES}; pyman inspect --format '{{{{.State.ExitCode}}}}' three")
    assert said.splitlines() == ["fresh created", "three exited", "web exited", "3"]
    said = machine.sh(
        f"""
        pyman start web >/dev/null
        pyman exec web cat /data/log
        {STATES}
        pyman stop -t 0 web >/dev/null
        pyman start -a fresh && echo started
        pyman volume rm -f kept >/dev/null 2>&1 || true
        """
    )
    assert said.splitlines() == ["before", "before", "fresh created", "three exited", "web running", "started"]


def test_image_survives_a_power_cut(machine: Machine) -> None:
    """Reported as imported, cut the moment after: every byte is there."""
    machine.sh("pyman import /opt/fixtures/busybox-rootfs.tar cut:imported")
    machine.control("powercut")
    machine.sh(INTACT % "cut:imported")


def test_pulled_image_survives_a_power_cut(machine: Machine, registry: Registry) -> None:
    pushed = push_busybox(registry, "cut", "pulled")
    port = registry.address.rpartition(":")[2]
    reference = f"{HOST}:{port}/cut:pulled"
    machine.sh(f"pyman pull -q --tls-verify=false {reference}")
    machine.control("powercut")
    said = machine.sh(f"pyman run --rm --network none {reference} sh -c 'md5sum /bin/busybox; cat /etc/passwd'")
    assert said.split()[0] == pushed.busybox_md5
    assert said.partition("\n")[2] == pushed.passwd.strip()


def test_container_survives_a_power_cut(machine: Machine, image: str) -> None:
    """What `create` and `run -d` reported is known afterwards, as not running, and starts."""
    machine.sh(
        """
        pyman run -d --network none --name ran bb sleep 100000
        pyman create --network none --name made --label colour=blue bb echo made
        """
    )
    machine.control("powercut")
    said = machine.sh(
        f"""
        {STATES}
        pyman inspect --format '{{{{index .Config.Labels "colour"}}}}' made
        pyman start -a made
        pyman start ran
        pyman exec ran echo inside
        pyman rm -f -t 0 ran made >/dev/null
        """
    )
    assert said.splitlines() == ["made created", "ran exited", "blue", "made", "ran", "inside"]
