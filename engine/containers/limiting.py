"""The container's cgroup during its life: asked for at the start, watched for lack of memory, removed at the end."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.model import ContainerConfig
    from rootless.cgroups import Cgroup, Request


def begin(config: ContainerConfig, pid: int) -> Limiting | None:
    """Ask for a cgroup for the container's first process; None where nothing is asked and nothing can be had."""
    if not _wants_limits(config) and not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        return None
    from rootless import cgroups, limits

    wanted = limits.Limits(
        memory=config.memory,
        memory_swap=config.memory_swap,
        memory_reservation=config.memory_reservation,
        cpus=config.cpus,
        cpu_shares=config.cpu_shares,
        cpuset_cpus=config.cpuset_cpus,
        pids_limit=config.pids_limit,
    )
    return Limiting(cgroups.request(config.id, pid, wanted))


def _wants_limits(config: ContainerConfig) -> bool:
    asked = (config.memory, config.memory_swap, config.memory_reservation, config.cpus, config.cpu_shares)
    return any((*asked, config.cpuset_cpus, config.pids_limit))


class Limiting:
    """A cgroup that was asked for, then there (`finish`), then gone (`remove`)."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._cgroup: Cgroup | None = None
        self._events_fd: int | None = None

    @property
    def path(self) -> str:
        return self._cgroup.path if self._cgroup is not None else ""

    @property
    def unit(self) -> str:
        return self._cgroup.unit if self._cgroup is not None else ""

    @property
    def in_force(self) -> tuple[tuple[str, str], ...]:
        return self._cgroup.in_force if self._cgroup is not None else ()

    def finish(self) -> tuple[str, ...]:
        """Wait for the cgroup; returns notices. Raises KernelError for a limit that this machine withholds.

        Where there is no cgroup at all (version 1, no systemd) limits are left out with a notice, as Podman does;
        where there is one that lacks a controller the user can have it delegated, so that is an error.
        """
        from rootless import cgroups
        from rootless.errors import KernelError

        created = self._request.finish()
        self._cgroup = created.cgroup
        if created.cgroup is None:
            asked = ", ".join(refused.option for refused in created.refused)
            return (f"{asked} not in force: {created.reason}",) if asked else ()
        if created.refused:
            first = created.refused[0]
            raise KernelError(f"{first.option}: {first.reason}", hint=first.hint)
        self._events_fd = cgroups.open_events(created.cgroup)
        return ()

    def was_out_of_memory(self) -> bool:
        """Tell whether the kernel killed a process for lack of memory; best asked before systemd has tidied up."""
        if self._events_fd is None:
            return False
        from rootless import cgroups

        return bool(cgroups.oom_kills(self._events_fd))

    def remove(self) -> None:
        if self._cgroup is None:
            return
        from rootless import cgroups
        from rootless.errors import KernelError

        try:
            cgroups.remove(self._cgroup)
        except KernelError:
            pass  # a process is still dying: the next start, or systemd, removes it
