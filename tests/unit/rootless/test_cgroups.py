"""Limits in the words of the kernel and of systemd, and the wire between us and its manager."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless import limits as limits_module
from rootless import systemd_bus
from rootless.errors import KernelError
from rootless.limits import Limits, parse_cpus, settings, unit_properties

MIB = 1 << 20


def _files(limits: Limits) -> dict[str, str]:
    return {setting.file: setting.value for setting in settings(limits)}


@pytest.mark.parametrize(
    ("limits", "files"),
    [
        (Limits(), {}),
        (Limits(memory=MIB), {"memory.max": "1048576", "memory.swap.max": "1048576"}),
        (Limits(memory=MIB, memory_swap=MIB), {"memory.max": "1048576", "memory.swap.max": "0"}),
        (Limits(memory=MIB, memory_swap=3 * MIB), {"memory.max": "1048576", "memory.swap.max": "2097152"}),
        (Limits(memory=MIB, memory_swap=-1), {"memory.max": "1048576", "memory.swap.max": "max"}),
        (Limits(memory=-1), {"memory.max": "max"}),
        (Limits(memory_reservation=MIB), {"memory.low": "1048576"}),
        (Limits(cpus=1.5), {"cpu.max": "150000 100000"}),
        (Limits(cpus=0.001), {"cpu.max": "1000 100000"}),
        (Limits(cpu_shares=2), {"cpu.weight": "1"}),
        (Limits(cpu_shares=1024), {"cpu.weight": "39"}),
        (Limits(cpu_shares=262144), {"cpu.weight": "10000"}),
        (Limits(cpu_shares=1), {"cpu.weight": "1"}),
        (Limits(cpuset_cpus="0-1,3"), {"cpuset.cpus": "0-1,3"}),
        (Limits(pids_limit=100), {"pids.max": "100"}),
        (Limits(pids_limit=-1), {"pids.max": "max"}),
    ],
)
def test_settings(limits: Limits, files: dict[str, str]) -> None:
    assert _files(limits) == files


def test_swap_that_follows_from_memory_was_not_asked_for() -> None:
    explicit = {setting.option: setting.explicit for setting in settings(Limits(memory=MIB))}
    assert explicit == {"--memory": True, "--memory-swap": False}
    assert all(setting.explicit for setting in settings(Limits(memory=MIB, memory_swap=2 * MIB)))


@pytest.mark.parametrize("limits", [Limits(memory_swap=MIB), Limits(memory=2 * MIB, memory_swap=MIB)])
def test_swap_without_a_meaning(limits: Limits) -> None:
    with pytest.raises(KernelError, match="--memory-swap"):
        settings(limits)


@pytest.mark.parametrize(("text", "numbers"), [("0", [0]), ("0-3,8", [0, 1, 2, 3, 8]), ("3,1,1-2", [1, 2, 3])])
def test_cpus(text: str, numbers: list[int]) -> None:
    assert parse_cpus(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "3-1", "-1", "0-", "0,,1", "0-99999999", "0;1", "\u0661"])
def test_bad_cpus(text: str) -> None:
    with pytest.raises(KernelError, match="not a list of CPUs"):
        parse_cpus(text)


def test_unit_properties_say_the_same() -> None:
    limits = Limits(memory=MIB, cpus=0.5, cpu_shares=1024, cpuset_cpus="0,9", pids_limit=-1)
    assert dict(unit_properties(limits)) == {
        "MemoryMax": ("t", MIB),
        "MemorySwapMax": ("t", MIB),
        "CPUQuotaPerSecUSec": ("t", 500_000),
        "CPUWeight": ("t", 39),
        "AllowedCPUs": ("ay", b"\x01\x02"),
        "TasksMax": ("t", (1 << 64) - 1),
    }
    assert len(unit_properties(limits)) == len(limits_module.settings(limits))


def test_a_call_on_the_wire() -> None:
    """The bytes of a small call, worked out by hand from the specification."""
    data = systemd_bus.encode_call(1, "d.e", "/p", "i.f", "M", (("s", "ab"), ("au", [7])))
    header = (
        b"l\1\0\1" + struct.pack("<II", 16, 1)
        # the array of fields, then each: code, signature of the variant, value, padding to 8
        + struct.pack("<I", 73)
        + b"\1\1o\0" + struct.pack("<I", 2) + b"/p\0" + b"\0" * 5
        + b"\2\1s\0" + struct.pack("<I", 3) + b"i.f\0" + b"\0" * 4
        + b"\3\1s\0" + struct.pack("<I", 1) + b"M\0" + b"\0" * 6
        + b"\6\1s\0" + struct.pack("<I", 3) + b"d.e\0" + b"\0" * 4
        + b"\x08\1g\0\3sau\0"
    )  # fmt: skip
    body = struct.pack("<I", 2) + b"ab\0" + b"\0" + struct.pack("<II", 4, 7)
    assert data == header + b"\0" * (-len(header) % 8) + body
    assert systemd_bus.message_length(data[:16]) == len(data)


@given(
    st.text(alphabet=st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=50),
    st.integers(1, 1000),
)
def test_strings_survive(text: str, serial: int) -> None:
    data = systemd_bus.encode_call(serial, "a.b", "/x", "c.d", "Member", (("s", text), ("o", "/job"), ("u", 5)))
    message = systemd_bus.decode(data)
    assert message.member == "Member"
    assert message.strings == (text, "/job")


@given(st.binary(min_size=16, max_size=200))
def test_nonsense_is_refused_in_one_way(data: bytes) -> None:
    try:
        systemd_bus.decode(data)
    except KernelError as error:
        assert "makes no sense" in str(error)


def test_nested_arrays_on_the_wire() -> None:
    data = systemd_bus.encode_call(9, "a.b", "/x", "c.d", "M", (("a(sv)", [("Key", ("t", 1)), ("L", ("au", [1, 2]))]),))
    body_bytes = struct.unpack_from("<I", data, 4)[0]
    assert data[-body_bytes:] == (
        struct.pack("<I", 48) + b"\0" * 4
        + struct.pack("<I", 3) + b"Key\0" + b"\1t\0" + b"\0" * 5 + struct.pack("<Q", 1)
        + struct.pack("<I", 1) + b"L\0" + b"\2au\0" + b"\0" * 2 + struct.pack("<III", 8, 1, 2)
    )  # fmt: skip


def _reply(kind: int, reply_to: int, fields: list[tuple[int, str, str]], body: bytes, signature: str) -> bytes:
    writer = systemd_bus._Writer()
    for byte in (ord("l"), kind, 0, 1):
        writer.write("y", byte)
    writer.write("u", len(body))
    writer.write("u", 77)
    items: list[tuple[int, tuple[str, object]]] = [(code, (sig, value)) for code, sig, value in fields]
    items += [(5, ("u", reply_to)), (8, ("g", signature))]
    writer.write("a(yv)", items)
    writer.align(8)
    return bytes(writer.data) + body


def _string(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode() + b"\0"


def _strings(*texts: str) -> bytes:
    body = b""
    for text in texts:
        body += b"\0" * (-len(body) % 4) + _string(text)
    return body


Serve = Callable[[socket.socket], None]


@pytest.fixture
def manager_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Serve], systemd_bus.Manager]]:
    """Serve one connection on a private socket, and connect to it."""
    threads: list[threading.Thread] = []
    connections: list[systemd_bus.Manager] = []
    if os.geteuid() == 0:
        pytest.skip("root talks to the system's manager")
    # A socket's path is short.
    directory = Path(f"/tmp/pyman-test-{os.getpid()}")
    (directory / "systemd").mkdir(parents=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "systemd/private"))
    listener.listen(1)

    def start(serve: Serve) -> systemd_bus.Manager:
        def run() -> None:
            sock, _ = listener.accept()
            with sock:
                serve(sock)

        thread = threading.Thread(target=run)
        thread.start()
        threads.append(thread)
        connections.append(systemd_bus.connect())
        return connections[-1]

    yield start
    for connection in connections:
        connection.close()
    for thread in threads:
        thread.join()
    listener.close()
    for path in (directory / "systemd/private", directory / "systemd", directory):
        path.unlink() if path.is_socket() else path.rmdir()


def _expect_call(sock: socket.socket, member: bytes) -> None:
    data = b""
    while member not in data:
        data += sock.recv(65536)
    assert data.startswith(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\nBEGIN\r\n")


def test_a_job_that_is_done(manager_at: Callable[[Serve], systemd_bus.Manager]) -> None:
    def serve(sock: socket.socket) -> None:
        _expect_call(sock, b"StartTransientUnit")
        sock.sendall(b"OK 0123456789\r\n")
        answer = _reply(2, 1, [], _string("/job/5"), "o")
        sock.sendall(answer[:20])
        sock.sendall(answer[20:])
        other = struct.pack("<I", 4) + _strings("/job/4", "other.scope", "failed")
        sock.sendall(_reply(4, 0, [(3, "s", "JobRemoved")], other, "uoss"))
        mine = struct.pack("<I", 5) + _strings("/job/5", "my.scope", "done")
        sock.sendall(_reply(4, 0, [(3, "s", "JobRemoved")], mine, "uoss"))
        sock.recv(1)

    manager = manager_at(serve)
    answer = manager.answer(manager.call("StartTransientUnit", ("s", "my.scope")))
    assert answer.strings == ("/job/5",)
    manager.wait_for_job("/job/5", lambda: False)
    manager.close()


def test_a_job_that_fails(manager_at: Callable[[Serve], systemd_bus.Manager]) -> None:
    def serve(sock: socket.socket) -> None:
        _expect_call(sock, b"StartTransientUnit")
        sock.sendall(b"OK 0123456789\r\n")
        body = struct.pack("<I", 5) + _strings("/job/5", "my.scope", "failed")
        sock.sendall(_reply(4, 0, [(3, "s", "JobRemoved")], body, "uoss"))
        sock.recv(1)

    manager = manager_at(serve)
    manager.call("StartTransientUnit")
    with pytest.raises(KernelError, match="the job ended as failed"):
        manager.wait_for_job("/job/5", lambda: False)
    manager.close()


@pytest.mark.parametrize(
    ("reaction", "text"),
    [
        (b"REJECTED EXTERNAL\r\n", "systemd does not let us in: REJECTED EXTERNAL"),
        (
            b"OK 1\r\n" + _reply(3, 1, [(4, "s", "org.x.UnitExists")], _string("Unit a.scope already exists."), "s"),
            "systemd refuses: Unit a.scope already exists.",
        ),
        (b"", "systemd closed the connection"),
        (b"OK 1\r\n" + b"l\2\0\1" + b"\xff" * 12, "systemd sent a message that is too long"),
    ],
)
def test_refusals(manager_at: Callable[[Serve], systemd_bus.Manager], reaction: bytes, text: str) -> None:
    def serve(sock: socket.socket) -> None:
        _expect_call(sock, b"Reload")
        sock.sendall(reaction)

    manager = manager_at(serve)
    with pytest.raises(KernelError) as caught:
        manager.answer(manager.call("Reload"))
    assert str(caught.value) == text


def test_silence_ends(manager_at: Callable[[Serve], systemd_bus.Manager]) -> None:
    manager = manager_at(lambda sock: _expect_call(sock, b"Reload"))
    release = manager.call("Reload")
    with pytest.raises(KernelError, match=r"does not answer|closed the connection"):
        manager.answer(release, timeout_s=0.05)


def test_no_manager(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root talks to the system's manager")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    with pytest.raises(KernelError, match="no systemd manager to ask"):
        systemd_bus.connect()
