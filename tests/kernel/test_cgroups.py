"""Real cgroups, where version 2 is delegated: a systemd user session, or a container that may write its own."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from rootless import cgroups
from rootless.cgroups import Cgroup, Created
from rootless.errors import KernelError
from rootless.limits import Limits

needs_version_2 = pytest.mark.skipif(
    cgroups.own_path() is None, reason="no unified cgroup hierarchy: version 1 and hybrid cannot be delegated"
)
MIB = 1 << 20


def _start(function: Callable[[], object]) -> int:
    """Fork a child that runs `function` once it may; the caller writes to `go` below."""
    pid = os.fork()
    if pid == 0:
        try:
            signal.raise_signal(signal.SIGSTOP)
            function()
        finally:
            os._exit(0)
    os.waitpid(pid, os.WUNTRACED)
    return pid


def _sleep() -> None:
    while True:
        time.sleep(10)


Make = Callable[..., tuple[int, Created]]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[tuple[int, Created]] = []

    def run(limits: Limits, function: Callable[[], object] = _sleep) -> tuple[int, Created]:
        pid = _start(function)
        container_id = f"test{os.getpid()}x{len(made)}{time.monotonic_ns()}"
        created = cgroups.create(container_id, pid, limits)
        made.append((pid, created))
        os.kill(pid, signal.SIGCONT)
        return pid, created

    yield run
    for pid, created in made:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        if created.cgroup:
            cgroups.kill(created.cgroup)
            deadline = time.monotonic() + 20
            while os.path.exists(created.cgroup.directory) and time.monotonic() < deadline:
                try:
                    cgroups.remove(created.cgroup)
                except KernelError:
                    pass
                time.sleep(0.05)
            assert not os.path.exists(created.cgroup.directory)


def _cgroup(created: Created) -> Cgroup:
    if created.cgroup is None:
        pytest.skip(f"no cgroup here: {created.reason}")
    return created.cgroup


def _needs(cgroup: Cgroup, *controllers: str) -> None:
    with open(f"{cgroup.directory}/cgroup.controllers") as file:
        missing = set(controllers) - set(file.read().split())
    if missing:
        pytest.skip(f"not delegated: {', '.join(sorted(missing))}")


@pytest.mark.skipif(cgroups.own_path() is not None, reason="this machine has the unified hierarchy")
def test_version_1_is_refused_at_no_cost() -> None:
    created = cgroups.create("x", os.getpid(), Limits(memory=MIB * 100, cpus=0.5))
    assert created.cgroup is None
    assert "version 1" in created.reason
    assert [refused.option for refused in created.refused] == ["--memory", "--cpus"]
    durations = []
    for _ in range(20):
        before = time.perf_counter()
        assert cgroups.create("x", os.getpid(), Limits()).cgroup is None
        durations.append(time.perf_counter() - before)
    assert min(durations) < 0.0005


@needs_version_2
def test_the_process_is_in_a_cgroup_of_its_own(make: Make) -> None:
    pid, created = make(Limits())
    cgroup = _cgroup(created)
    with open(f"/proc/{pid}/cgroup") as file:
        assert file.read() == f"0::{cgroup.path}\n"
    assert cgroups.processes(cgroup) == [pid]
    assert cgroups.own_path() != cgroup.path
    assert created.refused == () and cgroup.in_force == ()


@needs_version_2
def test_limits_are_in_force(make: Make) -> None:
    limits = Limits(
        memory=64 * MIB, memory_swap=96 * MIB, memory_reservation=32 * MIB, cpus=0.5, cpu_shares=512, pids_limit=20
    )
    _, created = make(limits)
    cgroup = _cgroup(created)
    _needs(cgroup, "cpu", "memory", "pids")
    assert created.refused == ()
    expected = {
        "memory.max": str(64 * MIB),
        "memory.swap.max": str(32 * MIB),
        "memory.low": str(32 * MIB),
        "cpu.max": "50000 100000",
        "cpu.weight": "20",
        "pids.max": "20",
    }
    assert dict(cgroup.in_force) == expected
    for name, value in expected.items():
        with open(f"{cgroup.directory}/{name}") as file:
            assert file.read().strip() == value


@needs_version_2
def test_what_is_not_delegated_is_named_with_the_way_out(make: Make) -> None:
    _, created = make(Limits(cpuset_cpus="0"))
    cgroup = _cgroup(created)
    with open(f"{cgroup.directory}/cgroup.controllers") as file:
        delegated = "cpuset" in file.read().split()
    if delegated:
        assert dict(cgroup.in_force) == {"cpuset.cpus": "0"} and created.refused == ()
        return
    (refused,) = created.refused
    assert refused.option == "--cpuset-cpus"
    assert refused.reason == "the cgroup controller cpuset is not delegated to this user"
    assert cgroups.DELEGATE_DROP_IN in refused.hint and "Delegate=" in refused.hint


@needs_version_2
def test_limits_can_be_changed(make: Make) -> None:
    _, created = make(Limits(memory=64 * MIB, pids_limit=20))
    cgroup = _cgroup(created)
    _needs(cgroup, "memory", "pids")
    changed = cgroups.apply(cgroup, Limits(pids_limit=-1, memory=80 * MIB))
    assert changed.cgroup is not None
    assert dict(changed.cgroup.in_force) == {
        "memory.max": str(80 * MIB),
        "memory.swap.max": str(80 * MIB),
        "pids.max": "max",
    }


@needs_version_2
def test_a_fork_bomb_is_stopped_and_killed(make: Make) -> None:
    def bomb() -> None:
        while True:
            try:
                if os.fork() == 0:
                    continue
            except OSError:
                time.sleep(0.01)

    pid, created = make(Limits(pids_limit=15), bomb)
    cgroup = _cgroup(created)
    _needs(cgroup, "pids")
    deadline = time.monotonic() + 60
    while (cgroups.statistics(cgroup).pids or 0) < 15 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert cgroups.statistics(cgroup).pids == 15
    cgroups.kill(cgroup)
    os.waitpid(pid, 0)
    deadline = time.monotonic() + 20
    while cgroups.processes(cgroup) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert cgroups.processes(cgroup) == []


@needs_version_2
def test_freeze_and_thaw(make: Make) -> None:
    def count() -> None:
        while True:
            os.getppid()

    _, created = make(Limits(), count)
    cgroup = _cgroup(created)
    cgroups.freeze(cgroup)
    assert cgroups.is_frozen(cgroup)
    before = cgroups.statistics(cgroup).cpu_ns
    time.sleep(0.5)
    assert cgroups.statistics(cgroup).cpu_ns - before < 50_000_000
    cgroups.thaw(cgroup)
    assert not cgroups.is_frozen(cgroup)
    before = cgroups.statistics(cgroup).cpu_ns
    deadline = time.monotonic() + 20
    while cgroups.statistics(cgroup).cpu_ns == before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert cgroups.statistics(cgroup).cpu_ns > before


@needs_version_2
def test_out_of_memory_is_seen(make: Make) -> None:
    # Blocked here, in the parent of the child: else it could arrive before the child waits for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])

    def eat() -> None:
        signal.sigwait([signal.SIGUSR1])
        data = []
        while True:
            data.append(bytearray(MIB))

    pid, created = make(Limits(memory=32 * MIB, memory_swap=32 * MIB), eat)
    cgroup = _cgroup(created)
    _needs(cgroup, "memory")
    assert not cgroups.oom_killed(cgroup)
    events_fd = cgroups.open_events(cgroup)
    assert events_fd is not None
    poll = select.poll()
    poll.register(events_fd, select.POLLPRI)
    cgroups.oom_kills(events_fd)
    poll.poll(0)
    os.kill(pid, signal.SIGUSR1)
    kills = 0
    deadline = time.monotonic() + 60
    while not kills and time.monotonic() < deadline:
        poll.poll(1000)
        answer = cgroups.oom_kills(events_fd)
        if answer is None:
            break
        kills = answer
    os.close(events_fd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert kills >= 1


@needs_version_2
def test_statistics(make: Make) -> None:
    _, created = make(Limits(memory=64 * MIB))
    cgroup = _cgroup(created)
    _needs(cgroup, "memory", "pids")
    usage = cgroups.statistics(cgroup)
    assert usage.memory_limit_bytes == 64 * MIB
    assert usage.memory_bytes is not None and usage.memory_bytes < 64 * MIB
    assert usage.pids == 1


@needs_version_2
def test_another_process_is_attached(make: Make) -> None:
    _, created = make(Limits())
    cgroup = _cgroup(created)
    pid = _start(_sleep)
    try:
        cgroups.attach(cgroup, pid)
        assert pid in cgroups.processes(cgroup)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@needs_version_2
def test_a_name_that_is_in_use_is_refused_and_one_that_was_is_not() -> None:
    pid = _start(_sleep)
    name = f"twice{os.getpid()}"
    try:
        first = cgroups.create(name, pid, Limits())
        if first.cgroup is None:
            pytest.skip(f"no cgroup here: {first.reason}")
        assert first.cgroup.path.endswith(f"/pyman-{name}.scope")
        second = cgroups.create(name, pid, Limits(pids_limit=5))
        assert second.cgroup is None
        assert name in second.reason or "exists" in second.reason
        assert [refused.option for refused in second.refused] == ["--pids-limit"]
        assert cgroups.processes(first.cgroup) == [pid]
        # Started again at once: the old scope may still be there, but nothing lives in it.
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        pid = _start(_sleep)
        third = cgroups.create(name, pid, Limits())
        assert third.cgroup is not None, third.reason
        assert cgroups.processes(third.cgroup) == [pid]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_cgroup_that_has_gone() -> None:
    gone = Cgroup("/no/such/cgroup")
    assert cgroups.processes(gone) == []
    assert not cgroups.is_frozen(gone)
    assert not cgroups.oom_killed(gone)
    cgroups.kill(gone)
    cgroups.remove(gone)
    with pytest.raises(KernelError, match="has gone"):
        cgroups.freeze(gone)
    with pytest.raises(KernelError, match="has gone"):
        cgroups.attach(gone, os.getpid())
    with pytest.raises(FileNotFoundError):
        cgroups.statistics(gone)
