"""Processes that stay themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from rootless import process

pytestmark = pytest.mark.anyone


def test_a_process_is_known_by_its_start_time() -> None:
    child = subprocess.Popen(["sleep", "1000"])
    try:
        started = process.start_time(child.pid)
        assert started > 0 and process.is_alive(child.pid, started)
        assert not process.is_alive(child.pid, started + 1)
        assert process.open_pidfd(child.pid, started + 1) is None
        pidfd = process.open_pidfd(child.pid, started)
        assert pidfd is not None
        assert not process.wait_pidfd(pidfd, 0.05)
        assert process.send_signal(pidfd, signal.SIGKILL)
        assert process.wait_pidfd(pidfd, 5)
        # A zombie is not alive, and signals to it do nothing.
        assert process.start_time(child.pid) == 0
        assert process.open_pidfd(child.pid, started) is None
        child.wait()
        assert not process.send_signal(pidfd, signal.SIGTERM)
        os.close(pidfd)
    finally:
        child.kill()
        child.wait()


def test_no_process() -> None:
    assert process.start_time(2**22 + 1) == 0
    assert process.open_pidfd(0, 1) is None
    assert process.open_pidfd(-1, 1) is None
    assert process.open_pidfd(2**22 + 1, 1) is None
    assert not process.is_alive(0, 0)


def test_hostile_names_in_stat() -> None:
    """The name of a process may look like the rest of the line."""
    script = "import ctypes, time; ctypes.CDLL(None).prctl(15, b') R 1 2 (3 4)'); print(flush=True); time.sleep(1000)"
    child = subprocess.Popen(["/usr/bin/env", "python3", "-c", script], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None and child.stdout.readline()
        ticks = os.sysconf("SC_CLK_TCK")
        with open("/proc/uptime") as file:
            uptime = float(file.read().split()[0])
        assert abs(uptime - process.start_time(child.pid) / ticks) < 30
    finally:
        child.kill()
        child.communicate()


def test_boot_id() -> None:
    assert len(process.boot_id()) == 36 and process.boot_id() == process.boot_id()
    before = time.monotonic()
    assert process.wait_pidfd(os.pidfd_open(os.getpid()), 0) is False
    assert time.monotonic() - before < 1
