"""What the tests have in common: the command, a store, images, registries.

`pyman` runs the installed command as whoever runs pytest. Root's `make test` runs pytest three times: the tests marked
`anyone` as root and as a user without subordinate ids, then all as a user with them.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.fixtures import busybox, debian
from tests.fixtures.command import COMMAND, Pyman, remove_tree
from tests.fixtures.registry import Registry

# Time is measured by `make bench`; a busy machine must not fail an example.
settings.register_profile("pyman", deadline=None)
settings.load_profile("pyman")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the virtual machine out, unless `-m` asks for it."""
    if "vm" not in (config.option.markexpr or ""):
        for item in [item for item in items if item.get_closest_marker("vm")]:
            item.add_marker(pytest.mark.skip(reason="drives a virtual machine: make test-vm"))


# --- the command and its stores ---


def _new_store() -> Path:
    # Not in pytest's own temporary directory: what subordinate ids own there, pytest could not remove.
    return Path(tempfile.mkdtemp(prefix="pyman-test-", dir=os.environ.get("PYMAN_TEST_STORES", "/var/tmp")))


def _have_command() -> None:
    if not os.path.exists(COMMAND):
        pytest.fail(f"{COMMAND} is not there: run `make test`, or install pyman beside this Python", pytrace=False)


@pytest.fixture(scope="session")
def shared_pyman() -> Iterator[Pyman]:
    """One store for the session, so that images are imported once. Tests take `pyman` instead."""
    _have_command()
    directory = _new_store()
    yield Pyman(directory / "store")
    remove_tree(directory)


@pytest.fixture
def pyman(shared_pyman: Pyman) -> Iterator[Pyman]:
    """The command with the session's store; containers that the test left are removed after it."""
    yield shared_pyman
    _remove_containers(shared_pyman)


@pytest.fixture
def fresh_pyman() -> Iterator[Pyman]:
    """The command with an empty store of the test's own."""
    _have_command()
    directory = _new_store()
    command = Pyman(directory / "store")
    yield command
    _remove_containers(command)
    remove_tree(directory)


def _remove_containers(command: Pyman) -> None:
    if command.container_ids():
        command("rm", "--all", "--force", "--time", "0")


# --- images ---


@pytest.fixture(scope="session")
def busybox_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system of 2 MB: busybox, its applets, passwd with root, daemon and user (1000)."""
    target = tmp_path_factory.mktemp("busybox") / "busybox.tar"
    busybox.write_busybox_tar(target)
    return target


@pytest.fixture(scope="session")
def debian_tar() -> Path:
    """A Debian root file system with apt and Python, of 200 MB; made once per machine."""
    reason = debian.missing()
    if reason:
        pytest.skip(reason)
    try:
        return debian.make()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"needs a Debian image, and mmdebstrap failed: {error.stderr.strip()[-200:]}")


@pytest.fixture(scope="session")
def _busybox_imported(shared_pyman: Pyman, busybox_tar: Path) -> str:
    shared_pyman("import", busybox_tar, "bb:latest")
    return "bb"


@pytest.fixture(scope="session")
def _debian_imported(shared_pyman: Pyman, debian_tar: Path) -> str:
    shared_pyman("import", debian_tar, "debian:latest", timeout=200)
    return "debian"


@pytest.fixture
def busybox_image(pyman: Pyman, _busybox_imported: str) -> str:
    """The name of the busybox image in the session's store."""
    return _busybox_imported


@pytest.fixture
def debian_image(pyman: Pyman, _debian_imported: str) -> str:
    """The name of the Debian image in the session's store."""
    return _debian_imported


# --- registries ---


@pytest.fixture(scope="session")
def new_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Registry]]:
    """Starts a registry: new_registry(password=True, tls=True)."""
    started: list[Registry] = []

    def start(*, password: bool = False, tls: bool = False) -> Registry:
        started.append(Registry(tmp_path_factory.mktemp("registry"), password=password, tls=tls))
        return started[-1]

    yield start
    for registry in started:
        registry.stop()


@pytest.fixture(scope="session")
def registry(new_registry: Callable[..., Registry]) -> Registry:
    """Plain HTTP, no password."""
    return new_registry()


@pytest.fixture(scope="session")
def password_registry(new_registry: Callable[..., Registry]) -> Registry:
    """Plain HTTP; tests.fixtures.registry.USER and PASSWORD."""
    return new_registry(password=True)


@pytest.fixture(scope="session")
def tls_registry(new_registry: Callable[..., Registry]) -> Registry:
    """HTTPS with a self-signed certificate (.certificate), no password."""
    return new_registry(tls=True)


# --- the caller ---


@pytest.fixture(scope="session")
def has_subids() -> bool:
    """Whether the caller has subordinate ids, or is root, who needs none."""
    user = pwd.getpwuid(os.getuid())
    if user.pw_uid == 0:
        return True
    try:
        lines = Path("/etc/subuid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return any(line.partition(":")[0] in (user.pw_name, str(user.pw_uid)) for line in lines)


@pytest.fixture
def needs_subids(has_subids: bool) -> None:
    """Skips the test when the caller has no subordinate ids."""
    if not has_subids:
        pytest.skip("needs subordinate ids")
