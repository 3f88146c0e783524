"""Networks: none, host, slirp4netns; published ports; hosts and resolv.conf."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.fixtures.command import Pyman

RUN = ("run", "--rm")


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
def host_server() -> Iterator[int]:
    """An HTTP server on the host's loopback; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"from the host\n"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(port: int, address: str = "127.0.0.1") -> str:
    """Fetch from a server in a container, once it is up."""
    deadline = time.monotonic() + 10
    while True:
        try:
            with urllib.request.urlopen(f"http://{address}:{port}/", timeout=5) as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def ask(pyman: Pyman, network: str, image: str, address: str, port: int) -> str:
    """Return what a server says to a request from a container; nothing if it is out of reach."""
    script = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {address} {port}"
    return pyman(*RUN, network, image, "sh", "-c", script, check=False).stdout


SERVE = "mkdir -p /www; echo hello >/www/index.html; exec httpd -f -p 80 -h /www"


def test_none(pyman: Pyman, busybox_image: str, host_server: int) -> None:
    said = pyman.text(*RUN, "--network=none", busybox_image, "ip", "-o", "addr")
    assert {line.split()[1] for line in said.splitlines()} == {"lo"} and "127.0.0.1" in said
    assert ask(pyman, "--network=none", busybox_image, "127.0.0.1", host_server) == ""
    result = pyman(*RUN, "--network=none", "-p", "8080:80", busybox_image, "true", check=False)
    assert result.returncode == 125 and "--network=none" in result.stderr


def test_host(pyman: Pyman, busybox_image: str, host_server: int) -> None:
    assert "from the host" in ask(pyman, "--network=host", busybox_image, "127.0.0.1", host_server)
    assert pyman.text(*RUN, "--network=host", busybox_image, "readlink", "/proc/self/ns/net") == os.readlink(
        "/proc/self/ns/net"
    )


def test_slirp4netns(pyman: Pyman, busybox_image: str, host_server: int) -> None:
    """An address of its own; the host's loopback only if asked for."""
    for mode in ((), ("--network=slirp4netns",), ("--network=private",)):
        said = pyman.text(*RUN, *mode, busybox_image, "sh", "-c", "ip -o -4 addr show tap0; ip route")
        assert "10.0.2.100/24" in said and "default via 10.0.2.2" in said
    assert ask(pyman, "--network=slirp4netns", busybox_image, "10.0.2.2", host_server) == ""
    options = "--network=slirp4netns:allow_host_loopback=true"
    assert "from the host" in ask(pyman, options, busybox_image, "10.0.2.2", host_server)
    options = "--network=slirp4netns:cidr=10.9.8.0/24,mtu=1500,enable_ipv6=false"
    said = pyman.text(
        *RUN, options, busybox_image, "sh", "-c", "ip -o -4 addr; cat /sys/class/net/tap0/mtu; tail -1 /etc/hosts"
    )
    assert "10.9.8.100/24" in said and "\n1500\n" in said and said.splitlines()[-1].startswith("10.9.8.100\t")
    for bad in ("bogus=1", "mtu=x", "allow_host_loopback=maybe", "cidr="):
        assert pyman(*RUN, f"--network=slirp4netns:{bad}", busybox_image, "true", check=False).returncode == 125


def test_published_port(pyman: Pyman, busybox_image: str) -> None:
    port, again = free_port(), free_port()
    pyman("run", "-d", "--name=web", "-p", f"127.0.0.1:{port}:80", busybox_image, "sh", "-c", SERVE)
    assert fetch(port) == "hello\n"
    # In use: said at once, in one line, and nothing is left.
    result = pyman("run", "-d", "--rm", "-p", f"127.0.0.1:{port}:80", busybox_image, "true", check=False)
    assert result.returncode in (125, 126) and f"{port}/tcp: it is already in use" in result.stderr
    assert len(pyman.container_ids()) == 1
    pyman("stop", "-t0", "web")
    with socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", port)) != 0
    pyman("start", "web")
    assert fetch(port) == "hello\n"
    # All addresses, and a port that pyman chooses.
    pyman("run", "-d", "--name=all", "-p", f"{again}:80", "-p", "127.0.0.1::80", busybox_image, "sh", "-c", SERVE)
    assert fetch(again) == "hello\n"
    ports = pyman.text("port", "all", "80").splitlines()
    assert f"0.0.0.0:{again}" in ports and len(ports) == 2
    (chosen,) = [int(entry.rpartition(":")[2]) for entry in ports if entry.startswith("127.")]
    assert fetch(chosen) == "hello\n"


LOOPBACK_REPLIES = "slirp4netns drops what a container answers to the host's loopback (--disable-host-loopback)"


@pytest.mark.parametrize(
    "loopback", [False, pytest.param(True, marks=pytest.mark.xfail(reason=LOOPBACK_REPLIES, raises=TimeoutError))]
)
def test_published_udp(pyman: Pyman, loopback: bool) -> None:
    address = "127.0.0.1" if loopback else outward_address()
    port = free_port(socket.SOCK_DGRAM)
    echo = "import socket as s; k = s.socket(2, 2); k.bind(('', 53)); print('up')\nwhile 1: k.sendto(*k.recvfrom(99))"
    python = os.path.realpath(sys.executable)
    pyman("run", "-d", "--name=u", "-p", f"{port}:53/udp", "--rootfs", "/:O", python, "-uc", echo)
    while pyman.text("logs", "u") != "up":
        time.sleep(0.05)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.sendto(b"ping", (address, port))
        assert sock.recv(100) == b"ping"


def outward_address() -> str:
    """Return the host's address on its way out; skips the test when it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("needs an interface beside loopback")
        address: str = sock.getsockname()[0]
        return address


def test_range_of_ports(pyman: Pyman, busybox_image: str) -> None:
    first = free_port()
    pyman("create", "--name=r", "-p", f"127.0.0.1:{first}-{first + 2}:80-82", busybox_image, "true")
    assert sorted(pyman.text("port", "r").splitlines()) == [f"{80 + n}/tcp -> 127.0.0.1:{first + n}" for n in range(3)]


def test_privileged_port(pyman: Pyman, busybox_image: str) -> None:
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        lowest = int(file.read())
    if os.getuid() == 0 or lowest < 82:
        pytest.skip("port 81 is free for everybody here")
    result = pyman(*RUN, "-p", "81:80", busybox_image, "true", check=False)
    assert result.returncode in (125, 126) and pyman.container_ids() == []
    assert f"ip_unprivileged_port_start ({lowest})" in result.stderr and "8081" in result.stderr


def test_ports_with_the_hosts_network(pyman: Pyman, busybox_image: str) -> None:
    """As in Podman they mean nothing and do no harm."""
    assert pyman.text(*RUN, "--network=host", "-p", "80:80", busybox_image, "echo", "x") == "x"


def test_hosts(pyman: Pyman, busybox_image: str) -> None:
    options = (
        "--add-host",
        "one.test:1.2.3.4",
        "--add-host",
        "two.test:host-gateway",
        "--hostname=own",
        "--name=named",
    )
    said = pyman.text(*RUN, *options, busybox_image, "cat", "/etc/hosts")
    entries = {name: line.split()[0] for line in said.splitlines() for name in line.split()[1:]}
    assert entries["one.test"] == "1.2.3.4" and entries["two.test"] == "10.0.2.2"
    assert entries["own"] == entries["named"] == "10.0.2.100" and "localhost" in entries
    assert entries["host.containers.internal"] == "10.0.2.2"
    assert pyman(*RUN, "--network=none", "--no-hosts", busybox_image, "cat", "/etc/hosts", check=False).returncode == 1
    assert "\town " in pyman.text(*RUN, "--network=none", "--hostname=own", busybox_image, "cat", "/etc/hosts")


def test_resolv_conf(pyman: Pyman, busybox_image: str) -> None:
    options = ("--dns=9.9.9.9,8.8.8.8", "--dns-search=a.test", "--dns-option=ndots:3")
    said = pyman.text(*RUN, "--network=none", *options, busybox_image, "cat", "/etc/resolv.conf")
    assert said.splitlines() == ["search a.test", "nameserver 9.9.9.9", "nameserver 8.8.8.8", "options ndots:3"]
    assert "nameserver 10.0.2.3" in pyman.text(*RUN, busybox_image, "cat", "/etc/resolv.conf")
    with open("/etc/resolv.conf") as file:
        servers = {line.split()[1] for line in file if line.startswith("nameserver")}
    said = pyman.text(*RUN, "--network=host", busybox_image, "cat", "/etc/resolv.conf")
    assert {line.split()[1] for line in said.splitlines() if line.startswith("nameserver")} == servers


def test_files_can_be_written(pyman: Pyman, busybox_image: str) -> None:
    """hosts and resolv.conf belong to the container, and are made anew by the next start."""
    script = "echo '9.9.9.9 mine' >>/etc/hosts; grep -c mine /etc/hosts"
    assert pyman.text("run", "--name=h", "--network=none", busybox_image, "sh", "-c", script) == "1"
    assert pyman.text("start", "-a", "h") == "1"


def test_abstract_sockets_of_the_host(pyman: Pyman, busybox_image: str) -> None:
    """They are out of reach (CVE-2020-15257): the container has a network namespace of its own."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("\0pyman-test-abstract")
        sock.listen()
        said = pyman.text(*RUN, "--network=none", busybox_image, "cat", "/proc/net/unix")
        assert "pyman-test-abstract" not in said
