"""Texts of options -> values."""

from __future__ import annotations

import pytest

from engine.cli import request, request_mounts
from engine.errors import UsageError
from engine.model import Mount, PortMapping


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", [PortMapping(0, 80)]),
        ("8080:80", [PortMapping(8080, 80)]),
        ("8080:80/udp", [PortMapping(8080, 80, "udp")]),
        ("127.0.0.1:8080:80", [PortMapping(8080, 80, "tcp", "127.0.0.1")]),
        ("127.0.0.1::80", [PortMapping(0, 80, "tcp", "127.0.0.1")]),
        ("0.0.0.0:8080:80", [PortMapping(8080, 80)]),
        ("[::1]:8080:80", [PortMapping(8080, 80, "tcp", "::1")]),
        ("8080-8082:80-82", [PortMapping(8080, 80, "tcp", "", 3)]),
        ("80-81", [PortMapping(0, 80), PortMapping(0, 81)]),
    ],
)
def test_publish(text: str, ports: list[PortMapping]) -> None:
    assert request.parse_publish(text) == ports


@pytest.mark.parametrize(
    "text",
    ["", "x", "0", "65536", "1:2:3:4", "80:", "80-79", "1-2:3", "[::1:80", "80/tcp/udp", "-1", "80/icmp", " 80", "8_0"],
)
def test_bad_publish(text: str) -> None:
    with pytest.raises(UsageError, match="--publish"):
        request.parse_publish(text)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/data", Mount("volume", "/data")),
        ("vol:/data", Mount("volume", "/data", "vol")),
        ("vol:/data:ro,nocopy", Mount("volume", "/data", "vol", ("ro", "nocopy"))),
        ("/etc:/x/", Mount("bind", "/x", "/etc")),
        ("/etc:/x/../y:ro", Mount("bind", "/y", "/etc", ("ro",))),
        ("/etc:/x:O", Mount("overlay", "/x", "/etc", ("O",))),
    ],
)
def test_volume(text: str, mount: Mount) -> None:
    assert request_mounts.volume(text) == mount


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "a:",
        "/x:y",
        "vol:/",
        "vol:/data:bogus",
        "a:b:c:d",
        "/nonexistent:/x",
        "../../nonexistent:/x",
        "-v:/x",
        ".v:/x",
        "v\n:/x",
    ],
)
def test_bad_volume(text: str) -> None:
    with pytest.raises(UsageError):
        request_mounts.volume(text)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("type=bind,src=/etc,dst=/x", Mount("bind", "/x", "/etc")),
        ("type=bind,source=/etc,target=/x,readonly", Mount("bind", "/x", "/etc", ("ro",))),
        ("type=bind,source=/etc,destination=/x,ro=false", Mount("bind", "/x", "/etc", ("rw",))),
        ("type=volume,src=v,dst=/x,volume-nocopy", Mount("volume", "/x", "v", ("nocopy",))),
        ("dst=/x", Mount("volume", "/x")),
        ("type=tmpfs,dst=/x,tmpfs-size=1m,tmpfs-mode=700", Mount("tmpfs", "/x", "", ("size=1m", "mode=700"))),
    ],
)
def test_mount(text: str, mount: Mount) -> None:
    assert request_mounts.mount(text) == mount


@pytest.mark.parametrize(
    "text",
    [
        "",
        "type=bind,dst=/x",
        "type=bind,src=/etc",
        "type=bogus,dst=/x",
        "type=bind,src=/etc,dst=/x,bogus",
        "type=tmpfs,dst=/x,bogus=1",
        "dst=x",
    ],
)
def test_bad_mount(text: str) -> None:
    with pytest.raises(UsageError):
        request_mounts.mount(text)


def test_environment_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "x=y")
    assert request.environment_entries(["A=1", "HERE", "GONE", "B="], []) == ["A=1", "HERE=x=y", "B="]
    for bad in ("=x", "", "A\0=x"):
        with pytest.raises(UsageError):
            request.environment_entries([bad], [])
