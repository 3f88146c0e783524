"""What the kernel reports after `capabilities.apply`, in a user namespace of our own."""

from __future__ import annotations

import os

import pytest

from rootless import capabilities, userns
from rootless.capabilities import DEFAULT, EVERY
from rootless.constants import PR_SET_KEEPCAPS
from rootless.syscalls import prctl


def _status() -> dict[str, int]:
    with open("/proc/self/status") as file:
        return {line[:6]: int(line[7:], 16) for line in file if line.startswith("Cap")}


def _in_namespace(function: object) -> dict[str, int]:
    """Run `function` as root of a new user namespace, and return the sets after it."""

    def run() -> bytes:
        function()  # type: ignore[operator]
        return repr(_status()).encode()

    result: dict[str, int] = eval(userns.run_mapped(run, userns.default_maps()))
    return result


def test_root_keeps_the_bounding_set_and_no_more() -> None:
    sets = capabilities.sets_for(DEFAULT, root=True)
    status = _in_namespace(lambda: capabilities.apply(sets))
    assert status == {"CapInh": 0, "CapPrm": DEFAULT, "CapEff": DEFAULT, "CapBnd": DEFAULT, "CapAmb": 0}


def test_nothing_is_left_without_any() -> None:
    status = _in_namespace(lambda: capabilities.apply(capabilities.sets_for(0, root=True)))
    assert set(status.values()) == {0}


def test_all_is_what_the_kernel_knows() -> None:
    every = capabilities.limit_to_kernel(EVERY)
    status = _in_namespace(lambda: capabilities.apply(capabilities.sets_for(every, root=True)))
    assert status["CapBnd"] == status["CapEff"] == every


def test_execve_does_not_bring_back_what_the_bounding_set_lacks() -> None:
    def run() -> bytes:
        capabilities.apply(capabilities.sets_for(1, root=True))
        read, write = os.pipe()
        pid = os.posix_spawn(
            "/usr/bin/grep", ["grep", "CapEff", "/proc/self/status"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)]
        )
        os.close(write)
        output = os.read(read, 1000)
        os.waitpid(pid, 0)
        return output

    assert userns.run_mapped(run, userns.default_maps()).split() == [b"CapEff:", b"0000000000000001"]


@pytest.mark.parametrize("added", [0, 1 << 10, 1 << 10 | 1 << 18])
def test_another_user_has_only_what_was_added(added: int) -> None:
    if userns.default_maps().single:
        pytest.skip("no subordinate ids: there is no other user to become")
    sets = capabilities.sets_for(DEFAULT | added, root=False, added=added)

    def become() -> None:
        capabilities.drop_bounding(sets.bounding)
        prctl(PR_SET_KEEPCAPS, 1)
        os.setgroups([])
        os.setresgid(5, 5, 5)
        os.setresuid(5, 5, 5)
        capabilities.take_on(sets)

    status = _in_namespace(become)
    assert status == {"CapInh": added, "CapPrm": added, "CapEff": added, "CapBnd": DEFAULT | added, "CapAmb": added}
