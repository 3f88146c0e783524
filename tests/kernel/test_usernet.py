"""slirp4netns for a namespace of a child."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rootless import syscalls, usernet, userns
from rootless.constants import CLONE_NEWNET, CLONE_NEWUSER
from rootless.errors import KernelError
from rootless.usernet import SlirpOptions

pytestmark = [
    pytest.mark.anyone,
    pytest.mark.skipif(shutil.which("slirp4netns") is None, reason="needs slirp4netns"),
    pytest.mark.skipif(not os.access("/dev/net/tun", os.R_OK | os.W_OK), reason="needs /dev/net/tun"),
]


@pytest.fixture
def child() -> Iterator[int]:
    """A process that waits in a user and a network namespace of its own."""
    read_fd, write_fd = os.pipe()
    pid, pidfd = syscalls.clone(CLONE_NEWUSER | CLONE_NEWNET)
    if pid == 0:
        os.close(write_fd)
        os.read(read_fd, 1)
        os._exit(0)
    os.close(read_fd)
    userns.write_maps(pid, userns.default_maps())
    yield pid
    os.close(write_fd)
    os.waitpid(pid, 0)
    os.close(pidfd)


def interfaces(pid: int) -> str:
    return Path(f"/proc/{pid}/net/dev").read_text()


def test_network(child: int, tmp_path: Path) -> None:
    """tap0 appears, ports are published and refused, and all of it goes with `stop`."""
    before = os.listdir("/proc/self/fd")
    api = f"/tmp/pyman-test-{os.getpid()}.slirp"  # a socket's path is short
    network = usernet.start(child, SlirpOptions(), api)
    try:
        usernet.wait_ready(network)
        assert "tap0" in interfaces(child)
        port = usernet.free_port("tcp", "127.0.0.1")
        usernet.publish(network, "tcp", "127.0.0.1", port, 80)
        with socket.socket() as sock:
            assert sock.connect_ex(("127.0.0.1", port)) == 0
        with pytest.raises(KernelError, match=f"cannot publish port {port}/tcp"):
            usernet.publish(network, "tcp", "127.0.0.1", port, 80)
        with pytest.raises(KernelError, match=f"{port}/tcp: it is already in use"):
            usernet.check_port_free("tcp", "127.0.0.1", port)
    finally:
        usernet.stop(network)
        Path(api).unlink(missing_ok=True)
    usernet.check_port_free("tcp", "127.0.0.1", port)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_killed(child: int) -> None:
    """One that was killed is stopped like any other; one that cannot start says why."""
    network = usernet.start(child, SlirpOptions(), "")
    usernet.wait_ready(network)
    os.kill(network.pid, 9)
    usernet.stop(network)
    network = usernet.start(child, SlirpOptions(cidr="bogus"), "")
    with pytest.raises(KernelError, match=r"slirp4netns failed: .*CIDR"):
        usernet.wait_ready(network)
    usernet.stop(network)


def test_ports(child: int) -> None:
    for protocol, kind in (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)):
        with socket.socket(socket.AF_INET, kind) as sock:
            sock.bind(("127.0.0.1", 0))
            if protocol == "tcp":
                sock.listen()
            port = sock.getsockname()[1]
            with pytest.raises(KernelError, match="already in use"):
                usernet.check_port_free(protocol, "127.0.0.1", port)
        usernet.check_port_free(protocol, "127.0.0.1", port)
    with pytest.raises(KernelError, match=r"cannot publish port 192\.0\.2\.77:5000/tcp"):
        usernet.check_port_free("tcp", "192.0.2.77", 5000)
