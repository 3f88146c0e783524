"""hosts and resolv.conf."""

from __future__ import annotations

import pytest

from engine.containers import etc_files
from engine.model import ContainerConfig

HOST = "# comment\nsearch corp.test\nnameserver 127.0.0.53\nnameserver 10.1.1.1\noptions edns0 trust-ad\nbroken\n"


def config(**fields: object) -> ContainerConfig:
    return ContainerConfig(id="a" * 64, name="web", created_ns=0, hostname="own").replace(**fields)


def test_hosts() -> None:
    text = etc_files.hosts(
        config(add_hosts=(("one", "1.2.3.4"), ("gw", "host-gateway"), ("a b", "::1"))), "10.0.2.100", "10.0.2.2"
    )
    assert text.splitlines() == [
        "1.2.3.4\tone",
        "10.0.2.2\tgw",
        "::1\ta b",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost",
        "10.0.2.2\thost.containers.internal host.docker.internal",
        "10.0.2.100\town web",
    ]


def test_hosts_without_a_network() -> None:
    lines = etc_files.hosts(config(network="none", hostname="web"), "", "").splitlines()
    assert lines[-1] == "127.0.1.1\tweb" and not any("host.containers" in line for line in lines)
    lines = etc_files.hosts(config(network="host"), "", "").splitlines()
    assert not any("own" in line for line in lines)


@pytest.mark.parametrize(
    ("fields", "forwarder", "expected"),
    [
        ({}, "", "search corp.test\nnameserver 127.0.0.53\nnameserver 10.1.1.1\noptions edns0 trust-ad\n"),
        ({}, "10.0.2.3", "search corp.test\nnameserver 10.0.2.3\nnameserver 10.1.1.1\noptions edns0 trust-ad\n"),
        ({"dns": ("9.9.9.9",)}, "10.0.2.3", "search corp.test\nnameserver 9.9.9.9\noptions edns0 trust-ad\n"),
        (
            {"dns_search": ("x", "y"), "dns_options": ("ndots:1",)},
            "",
            "search x y\nnameserver 127.0.0.53\nnameserver 10.1.1.1\noptions ndots:1\n",
        ),
        ({"dns_search": (".",), "dns": ("1.1.1.1", "1.1.1.1")}, "", "nameserver 1.1.1.1\noptions edns0 trust-ad\n"),
    ],
)
def test_resolv_conf(fields: dict[str, object], forwarder: str, expected: str) -> None:
    assert etc_files.resolv_conf(config(**fields), HOST, forwarder=forwarder) == expected


def test_resolv_conf_of_a_host_without_one() -> None:
    assert etc_files.resolv_conf(config(), "", forwarder="10.0.2.3") == "nameserver 10.0.2.3\n"
    assert etc_files.resolv_conf(config(), "", forwarder="") == ""
