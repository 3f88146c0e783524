"""Filters on real processes: each test forks a child, which puts a filter on itself and reports."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from rootless import bpf, capabilities, seccomp, userns
from rootless.bpf import Outcome, Table
from rootless.constants import PR_SET_NO_NEW_PRIVS
from rootless.syscalls import libc, prctl

TIOCSTI = 0x5412
X86_64 = os.uname().machine == "x86_64"


def _answers(program: bytes, probes: list[Callable[[], object]]) -> list[int]:
    """Return the errno of each probe (0: success) in a child with the filter."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            prctl(PR_SET_NO_NEW_PRIVS, 1)
            seccomp.install(program)
            results = []
            for probe in probes:
                try:
                    probe()
                    results.append(0)
                except OSError as error:
                    results.append(error.errno or -1)
            os.write(write, struct.pack(f"{len(results)}i", *results))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    return list(struct.unpack(f"{len(probes)}i", data))


def _syscall(number: int, *arguments: int) -> Callable[[], object]:
    def call() -> None:
        if libc.syscall(ctypes.c_ulong(number), *(ctypes.c_ulong(argument) for argument in arguments)) < 0:
            raise OSError(ctypes.get_errno(), "")

    return call


def _ioctl(request: int) -> Callable[[], object]:
    master, _slave = os.openpty()
    return lambda: fcntl.ioctl(master, request, b"x")


def _open_socket(family: int) -> Callable[[], object]:
    return lambda: socket.socket(family, socket.SOCK_RAW if family == socket.AF_NETLINK else socket.SOCK_STREAM).close()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("cache")
    return seccomp.cached_program(str(directory), seccomp.load_profile(), capabilities.DEFAULT)


def test_sockets(program: bytes) -> None:
    families = [socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, 38, 40]
    results = _answers(program, [_open_socket(family) for family in families])
    assert results == [0, 0, 0, 0, errno.EAFNOSUPPORT, errno.EAFNOSUPPORT]


@pytest.mark.skipif(not X86_64, reason="system call numbers of x86_64")
def test_the_upper_half_of_a_family_does_not_hide_it(program: bytes) -> None:
    high = 1 << 32
    without = _answers(bpf.program([], 0x7FFF0000), [_syscall(41, high + socket.AF_UNIX, 1, 0)])
    assert without == [0], "the kernel looks at 32 bits of the family"
    assert _answers(program, [_syscall(41, high + 38, 5, 0)]) == [errno.EAFNOSUPPORT]


def test_terminal_injection(program: bytes) -> None:
    assert _answers(program, [_ioctl(TIOCSTI), _ioctl(0x541C)]) == [errno.EPERM, errno.EPERM]


@pytest.mark.skipif(not X86_64, reason="system call numbers of x86_64")
def test_calls_that_are_closed(program: bytes) -> None:
    probes = {
        425: errno.ENOSYS,  # io_uring_setup
        321: errno.EPERM,  # bpf
        323: errno.EPERM,  # userfaultfd
        298: errno.EPERM,  # perf_event_open
        246: errno.EPERM,  # kexec_load
        304: errno.EPERM,  # open_by_handle_at
        248: errno.ENOSYS,  # add_key
        0x40000000 + 39: errno.ENOSYS,  # getpid by x32
        39: 0,  # getpid
    }
    assert _answers(program, [_syscall(number) for number in probes]) == list(probes.values())


def test_an_ordinary_program_runs(program: bytes) -> None:
    def run() -> None:
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", "ls / | sort | head -n 1 >/dev/null && date >/dev/null"], {})
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            raise OSError(1, "")

    assert _answers(program, [run]) == [0]


def test_it_needs_no_new_privs_or_a_capability() -> None:
    program = bpf.program([], 0x7FFF0000)
    if os.geteuid() == 0:
        pytest.skip("root has CAP_SYS_ADMIN")
    pid = os.fork()
    if pid == 0:
        try:
            seccomp.install(program)
        except OSError as error:
            os._exit(error.errno or 255)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == errno.EACCES

    def as_root_of_a_namespace() -> bytes:
        seccomp.install(program)
        with open("/proc/self/status", "rb") as file:
            return b"".join(line for line in file if line.startswith((b"Seccomp:", b"NoNewPrivs:")))

    status = userns.run_mapped(as_root_of_a_namespace, userns.default_maps())
    assert status.split() == [b"NoNewPrivs:", b"0", b"Seccomp:", b"2"]


def test_the_stricter_of_two_filters_counts(program: bytes) -> None:
    arch, number = (0xC000003E, 39) if X86_64 else (0xC00000B7, 172)
    allow, pretend = 0x7FFF0000, 0x50000
    first = bpf.program([Table(arch, {number: Outcome(pretend)}, allow)], allow)

    def install_second() -> None:
        seccomp.install(bpf.program([], allow))
        if os.getpid() != 0:
            raise OSError(1, "")

    assert _answers(first, [install_second]) == [0]


def test_single_id_pretends(tmp_path: Path) -> None:
    program = seccomp.fake_root_program(str(tmp_path / "cache"))
    file = tmp_path / "file"
    file.write_text("")
    probes: list[Callable[[], object]] = [
        lambda: os.chown(file, 12, 34),
        lambda: os.lchown(file, 12, 34),
        lambda: os.setgroups([1, 2, 3]),
        lambda: os.setresgid(5, 5, 5),
        lambda: os.setresuid(5, 5, 5),
        lambda: os.setuid(5),
        lambda: os.mknod(tmp_path / "null", 0o20666, os.makedev(1, 3)),
        lambda: os.mkfifo(tmp_path / "fifo"),
        lambda: os.chmod(file, 0o640),
    ]
    assert _answers(program, probes) == [0] * len(probes)
    assert file.stat().st_uid == os.geteuid()
    assert not (tmp_path / "null").exists()
    assert (tmp_path / "fifo").exists()


def test_what_is_no_program_is_refused() -> None:
    for data in (b"", b"\0" * 7, b"\0" * 8 * 4097):
        with pytest.raises(Exception, match="not a seccomp program"):
            seccomp.install(data)
