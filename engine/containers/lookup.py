"""Find containers, and tell the truth about them: what a record says is checked against the kernel."""

from __future__ import annotations

import os

from engine.errors import NotFound, PymanError
from engine.model import ContainerConfig, ContainerState
from rootless import process
from storage import locks, names, records
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.store import Store

EXIT_REBOOTED = 255
EXIT_KILLED = 137
STATE_LOST = "its state record was lost"


class Container:
    """One container as it is now. `state` is read and checked when first asked for; `refresh` asks again."""

    def __init__(self, container_dir: str, config: ContainerConfig) -> None:
        self.dir = container_dir
        self.config = config
        self._state: ContainerState | None = None

    @property
    def id(self) -> str:
        return self.config.id

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def lock_path(self) -> str:
        return f"{self.dir}/lock"

    @property
    def state(self) -> ContainerState:
        if self._state is None:
            self._state = true_state(self.dir)
        return self._state

    def refresh(self) -> ContainerState:
        self._state = None
        return self.state

    @property
    def is_running(self) -> bool:
        return self.state.status in ("running", "paused", "stopping")


def load(container_dir: str) -> Container:
    """Read one container. Raises FileNotFoundError if it is gone, StorageError if its record is damaged."""
    value = records.read(f"{container_dir}/config.json")
    try:
        container = Container(container_dir, ContainerConfig.from_json(value))
    except (TypeError, KeyError, AttributeError) as error:
        raise StorageError(f"damaged record {container_dir}/config.json: {error}") from None
    if container.id != os.path.basename(container_dir):
        raise StorageError(f"damaged record {container_dir}/config.json: it belongs to another container")
    return container


def find(store: Store, name: str) -> Container:
    """Find by name, ID, or a prefix of the ID that no other one has. Raises NotFound."""
    container_id = find_id(store, name)
    try:
        return load(f"{store.containers_dir}/{container_id}")
    except FileNotFoundError:
        raise _no_such(name) from None


def find_id(store: Store, name: str) -> str:
    """Return the full ID. Raises NotFound, or PymanError if the prefix is ambiguous."""
    if not name or "/" in name or name.startswith("."):
        raise _no_such(name)
    target = names.lookup(store.container_names_dir, name)
    if target is not None:
        return target
    if len(name) == 64 and os.path.isdir(f"{store.containers_dir}/{name}"):
        return name
    matches = [entry for entry in os.listdir(store.containers_dir) if entry.startswith(name) and "~" not in entry]
    if len(matches) > 1:
        raise PymanError(f'more than one container has an ID that starts with "{name}"', hint="give more of the ID")
    if not matches:
        raise _no_such(name)
    return matches[0]


def _no_such(name: str) -> NotFound:
    return NotFound(f'no container with name or ID "{name}" found: no such container')


def all_containers(store: Store) -> list[Container]:
    """Return all containers, oldest first; those that vanish meanwhile are left out, damaged ones too."""
    found = []
    for entry in os.listdir(store.containers_dir):
        if "~" in entry:
            continue
        try:
            found.append(load(f"{store.containers_dir}/{entry}"))
        except (FileNotFoundError, NotADirectoryError, StorageError):
            continue
    found.sort(key=lambda container: container.config.created_ns)
    return found


def damaged_ids(store: Store) -> list[str]:
    """Return the IDs of containers whose record cannot be read; `rm` can remove them."""
    damaged = []
    for entry in os.listdir(store.containers_dir):
        if "~" not in entry:
            try:
                load(f"{store.containers_dir}/{entry}")
            except NotADirectoryError:
                continue  # none of ours
            except (FileNotFoundError, StorageError):
                damaged.append(entry)
    return damaged


def true_state(container_dir: str) -> ContainerState:
    """Return the recorded state if its monitor lives; otherwise what must have happened since.

    A living init beside a dead monitor is ended here: nobody would see to it any more.
    """
    state = _read_state(container_dir)
    if state.status not in ("running", "paused", "stopping") or locks.held(f"{container_dir}/lock", locks.LIFE):
        return state
    state = _read_state(container_dir)  # it may have ended in good order between the two looks
    if state.status not in ("running", "paused", "stopping"):
        return state
    if state.boot_id != process.boot_id():
        return ended(state, EXIT_REBOOTED, "the machine was rebooted")
    pidfd = process.open_pidfd(state.init_pid, state.init_start_time)
    if pidfd is not None:
        process.send_signal(pidfd, 9)
        process.wait_pidfd(pidfd, 5)
        os.close(pidfd)
    return ended(state, EXIT_KILLED, "its monitor was killed")


def _read_state(container_dir: str) -> ContainerState:
    try:
        return ContainerState.from_json(records.read(f"{container_dir}/state.json"))
    except (FileNotFoundError, StorageError, TypeError, KeyError, AttributeError):
        return ContainerState(status="exited", error=STATE_LOST)


def ended(state: ContainerState, exit_code: int, error: str) -> ContainerState:
    return state.replace(
        status="exited",
        exit_code=exit_code,
        error=error,
        finished_ns=state.finished_ns or state.started_ns,
        init_pid=0,
        monitor_pid=0,
    )
