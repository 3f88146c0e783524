"""User namespaces with the caller's own subordinate ids, or without any."""

from __future__ import annotations

import os
import signal
import stat
import time
from pathlib import Path

import pytest

from rootless import idmap, userns
from rootless.errors import IdMapError, KernelError
from rootless.idmap import IdRange, Maps

SINGLE = Maps((IdRange(0, os.geteuid(), 1),), (IdRange(0, os.getegid(), 1),), single=True)


@pytest.fixture
def maps() -> Maps:
    found = userns.default_maps()
    if found.single:
        pytest.skip("the caller has no subordinate ids (/etc/subuid, /etc/subgid, newuidmap)")
    return found


def _maps_text() -> bytes:
    return (Path("/proc/self/uid_map").read_text() + "|" + Path("/proc/self/gid_map").read_text()).encode()


def test_default_maps(maps: Maps) -> None:
    uid_text, gid_text = userns.run_mapped(_maps_text, maps).decode().split("|")
    assert idmap.parse_proc_map(uid_text) == maps.uids
    assert idmap.parse_proc_map(gid_text) == maps.gids
    assert maps.uids[0] == IdRange(0, os.geteuid(), 1) or os.geteuid() == 0


@pytest.mark.anyone
def test_without_subordinate_ids() -> None:
    result = userns.run_mapped(lambda: repr((os.getresuid(), os.getresgid())).encode(), SINGLE)
    assert result == b"((0, 0, 0), (0, 0, 0))"
    assert userns.run_mapped(lambda: Path("/proc/self/setgroups").read_bytes(), SINGLE) == b"deny\n"


def test_files_of_mapped_owners(maps: Maps, tmp_path: Path) -> None:
    def make() -> bytes:
        (tmp_path / "file").touch()
        os.chown(tmp_path / "file", 33, 44)
        return b"done"

    assert userns.run_mapped(make, maps) == b"done"
    status = (tmp_path / "file").stat()
    assert status.st_uid == idmap.to_outside(maps.uids, 33)
    assert status.st_gid == idmap.to_outside(maps.gids, 44)
    userns.run_mapped(lambda: os.unlink(tmp_path / "file") or b"x", maps)  # type: ignore[func-returns-value]


@pytest.mark.anyone
def test_it_has_a_mount_namespace_of_its_own(tmp_path: Path) -> None:
    from rootless import syscalls

    def mount() -> bytes:
        syscalls.mount("tmpfs", str(tmp_path), "tmpfs")
        (tmp_path / "inside").touch()
        return os.readlink("/proc/self/ns/mnt").encode()

    assert userns.run_mapped(mount, userns.default_maps()).decode() != os.readlink("/proc/self/ns/mnt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.anyone
def test_large_and_empty_results() -> None:
    assert userns.run_mapped(lambda: b"x" * 3_000_000, SINGLE) == b"x" * 3_000_000
    assert userns.run_mapped(lambda: b"", SINGLE) == b""


@pytest.mark.anyone
def test_an_exception_is_reported() -> None:
    def fail() -> bytes:
        raise ValueError("what went wrong")

    with pytest.raises(KernelError, match="ValueError: what went wrong"):
        userns.run_mapped(fail, SINGLE)


@pytest.mark.anyone
def test_a_killed_helper_is_reported() -> None:
    with pytest.raises(KernelError, match="-9"):
        userns.run_mapped(lambda: os.kill(os.getpid(), 9) or b"", SINGLE)  # type: ignore[func-returns-value]


@pytest.mark.anyone
def test_the_helper_dies_with_its_caller() -> None:
    read, write = os.pipe()
    caller = os.fork()
    if caller == 0:

        def tell_and_sleep() -> bytes:
            os.write(write, b"1")
            time.sleep(60)
            return b""

        mapped = userns.start_mapped(tell_and_sleep, SINGLE)
        os.write(write, f" {mapped.pid}\n".encode())
        time.sleep(60)
        os._exit(0)
    os.close(write)
    text = b""
    while b"\n" not in text or b"1" not in text.split(b" ")[0] + text.split(b"\n")[-1]:
        text += os.read(read, 100)
    pid = int(text.split(b" ")[1].split(b"\n")[0])
    os.kill(caller, signal.SIGKILL)
    os.waitpid(caller, 0)
    while os.read(read, 100):  # ends when the last writer, the helper, is gone
        pass
    os.close(read)
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}/exe") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not os.path.exists(f"/proc/{pid}/exe")


def test_a_map_that_is_not_ours_is_refused() -> None:
    if os.geteuid() == 0:
        pytest.skip("root may map any id")
    foreign = Maps((IdRange(0, os.geteuid(), 1), IdRange(1, 1, 10)), (IdRange(0, os.getegid(), 1), IdRange(1, 1, 10)))
    if userns.find_helper("newuidmap") is None:
        with pytest.raises(IdMapError, match="newuidmap is not installed"):
            userns.run_mapped(lambda: b"x", foreign)
        return
    with pytest.raises(IdMapError) as caught:
        userns.run_mapped(lambda: b"x", foreign)
    assert "newuidmap refused the id map" in str(caught.value)
    assert "/etc/subuid" in caught.value.hint


@pytest.mark.anyone
def test_no_process_and_no_descriptor_is_left() -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        userns.run_mapped(lambda: b"x", userns.default_maps())
        with pytest.raises(KernelError):
            userns.run_mapped(lambda: os.readlink("/no/such/link").encode(), SINGLE)
    assert os.listdir("/proc/self/fd") == before
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    states = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in children]
    assert "Z" not in states


@pytest.mark.anyone
def test_helpers_are_found_by_absolute_path_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "newuidmap"
    fake.write_text("#!/bin/sh\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert userns.find_helper("newuidmap") != str(fake)
    assert userns.find_helper("no-such-helper") is None


@pytest.mark.anyone
def test_helpers_get_a_scrubbed_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD_CANARY", "x")
    status, output = userns.run_helper(["/usr/bin/env"])
    assert status == 0
    assert sorted(output.split()) == ["LC_ALL=C", "PATH=/usr/bin:/bin"]
    with pytest.raises(KernelError, match="cannot execute /no/such/program"):
        userns.run_helper(["/no/such/program"])
