"""Stop, kill, remove: by the process itself, never by a bare number."""

from __future__ import annotations

import os
import time

from engine.containers import cleanup, lookup
from engine.errors import PymanError, WrongState
from rootless import process
from storage import locks, records
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.containers.lookup import Container
    from engine.context import Context

_MONITOR_PATIENCE_S = 20.0


def stop(container: Container, timeout_s: float | None) -> bool:
    """Stop a container: its stop signal, then SIGKILL after `timeout_s` (None: its own timeout, negative: never).

    Returns False if it did not run.
    """
    with locks.Locked(container.lock_path):
        return _stop(container, timeout_s)


def _stop(container: Container, timeout_s: float | None) -> bool:
    state = container.refresh()
    if not container.is_running:
        return False
    if timeout_s is None:
        timeout_s = container.config.stop_timeout_s
    pidfd = process.open_pidfd(state.init_pid, state.init_start_time)
    if pidfd is not None:
        try:
            ended = False
            if timeout_s != 0:
                process.send_signal(pidfd, process.signal_number(container.config.stop_signal))
                ended = process.wait_pidfd(pidfd, None if timeout_s < 0 else timeout_s)
            if not ended:
                process.send_signal(pidfd, 9)
                if not process.wait_pidfd(pidfd, _MONITOR_PATIENCE_S):
                    raise PymanError(f"container {container.name} does not end even by SIGKILL: the kernel holds it")
        finally:
            os.close(pidfd)
    _wait_monitor(container)
    return True


def _wait_monitor(container: Container) -> None:
    """Wait until the monitor has cleaned up. One that hangs is killed: what it leaves, the next look puts right."""
    state = container.state
    pidfd = process.open_pidfd(state.monitor_pid, state.monitor_start_time)
    if pidfd is None:
        return
    try:
        if not process.wait_pidfd(pidfd, _MONITOR_PATIENCE_S):
            process.send_signal(pidfd, 9)
            process.wait_pidfd(pidfd, 1)
    finally:
        os.close(pidfd)


def kill(container: Container, number: int) -> None:
    """Send a signal to the container's first process. Raises WrongState if it does not run."""
    state = container.refresh()
    pidfd = process.open_pidfd(state.init_pid, state.init_start_time) if container.is_running else None
    if pidfd is None:
        raise WrongState(f'cannot kill container "{container.name}": it is not running')
    try:
        process.send_signal(pidfd, number)
        if number == 9:
            process.wait_pidfd(pidfd, _MONITOR_PATIENCE_S)
            _wait_monitor(container)
    finally:
        os.close(pidfd)


def remove(
    context: Context, container: Container, *, force: bool, volumes: bool = False, timeout_s: float | None = None
) -> None:
    """Remove a container. One that runs is refused, or with `force` stopped first."""
    try:
        with locks.Locked(container.lock_path):
            container.refresh()
            if container.is_running:
                if not force:
                    raise WrongState(
                        f"cannot remove container {container.name}: it is running",
                        hint="stop it first, or use --force",
                        exit_status=2,
                    )
                _stop(container, timeout_s)
            elif container.state.error == lookup.STATE_LOST:
                _end_unrecorded(context, container.id)
            cleanup.remove_container(context, container, volumes=volumes or container.config.remove)
    except StorageError:
        if not os.path.isdir(container.dir):
            return  # its own monitor (--rm) or another command was faster, and the wish is fulfilled
        if not force or os.path.exists(container.lock_path):
            raise
        os.close(os.open(container.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        remove(context, container, force=True, volumes=volumes, timeout_s=timeout_s)


def _end_unrecorded(context: Context, container_id: str) -> None:
    """End the monitor of a container whose record is damaged, and the container with it: its socket knows who it is."""
    import _socket
    import select

    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(cleanup.socket_path(context, container_id))
        pid = int.from_bytes(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)[:4], "little")
        pidfd = os.pidfd_open(pid)
    except OSError:
        sock.close()
        return
    hung_up = select.poll()
    hung_up.register(sock.fileno(), select.POLLIN)
    if not hung_up.poll(0):  # still connected, so the number is still the monitor's
        process.send_signal(pidfd, 9)
        process.wait_pidfd(pidfd, _MONITOR_PATIENCE_S)
    os.close(pidfd)
    sock.close()


def wait_stopped(container: Container, *, interval_s: float = 0.25) -> int:
    """Wait until the container does not run; returns its exit code."""
    while container.refresh().status in ("running", "paused", "stopping"):
        state = container.state
        pidfd = process.open_pidfd(state.monitor_pid, state.monitor_start_time)
        if pidfd is None:
            time.sleep(interval_s)
            continue
        process.wait_pidfd(pidfd, None)
        os.close(pidfd)
    return container.state.exit_code


def remove_damaged(context: Context, container_id: str) -> None:
    """Remove a container whose record cannot be read."""
    store = context.store
    if container_id not in lookup.damaged_ids(store):
        return
    _end_unrecorded(context, container_id)
    records.remove_file(cleanup.socket_path(context, container_id))
    trash = f"{store.trash_dir}/{container_id}~{os.getpid()}"
    os.rename(f"{store.containers_dir}/{container_id}", trash)
    cleanup.remove_tree(context, trash)


def wait_condition(container: Container, conditions: list[str], *, interval_s: float) -> None:
    """Wait until the container is in one of the states; "stopped" is Podman's other word for "exited"."""
    wanted = {"exited" if condition == "stopped" else condition for condition in conditions}
    while True:
        if not os.path.isdir(container.dir):
            if wanted & {"removing", "exited"}:
                return
            raise WrongState(f"container {container.name} was removed meanwhile")
        if container.refresh().status in wanted:
            return
        time.sleep(interval_s)


def exit_code_of(container: Container) -> int:
    """Return the last exit code; -1 if it never ran, as in Podman."""
    state = container.state
    return state.exit_code if state.status != "created" or state.error else 0
