from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless import capabilities
from rootless.capabilities import DEFAULT, EVERY, NAMES, CapabilitySets
from rootless.errors import KernelError


def test_numbers_are_those_of_the_kernel_header() -> None:
    header = Path("/usr/include/linux/capability.h")
    if not header.exists():
        pytest.skip("linux/capability.h is not installed (linux-libc-dev)")
    numbers = {
        name: int(n) for name, n in re.findall(r"#define (CAP_[A-Z_]+)\s+(\d+)$", header.read_text(), re.MULTILINE)
    }
    assert {name: number for number, name in enumerate(NAMES)} == numbers


def test_default_is_the_mask_that_podman_shows_in_proc_status() -> None:
    assert DEFAULT == 0x800405FB


@pytest.mark.parametrize("spelling", ["NET_RAW", "net_raw", "CAP_NET_RAW", "cap_Net_Raw"])
def test_spellings(spelling: str) -> None:
    assert capabilities.mask([spelling]) == 1 << 13
    assert capabilities.resolve([spelling], []) == DEFAULT | 1 << 13


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ([], [], DEFAULT),
        ([], ["chown"], DEFAULT & ~1),
        ([], ["ALL"], 0),
        (["ALL"], [], EVERY),
        (["all"], ["sys_admin"], EVERY & ~(1 << 21)),
        (["chown", "NET_ADMIN"], ["all"], 1 | 1 << 12),
        (["chown"], ["all", "chown"], 1),
        ([], ["SYS_ADMIN"], DEFAULT),
    ],
)
def test_resolve(add: list[str], drop: list[str], expected: int) -> None:
    assert capabilities.resolve(add, drop) == expected


def test_privileged_starts_from_all() -> None:
    assert capabilities.resolve([], [], privileged=True) == EVERY
    assert capabilities.resolve([], ["mknod"], privileged=True) == EVERY & ~(1 << 27)


@pytest.mark.parametrize(
    ("add", "drop", "text"),
    [
        (["foo"], [], '"CAP_FOO": unknown capability'),
        ([], ["CAP_"], '"CAP_": unknown capability'),
        ([""], [], '"CAP_": unknown capability'),
        (["ALL"], ["all"], "adding all caps and removing all caps not allowed"),
        (["net_raw"], ["CAP_NET_RAW"], 'capability "CAP_NET_RAW" cannot be dropped and added'),
    ],
)
def test_resolve_errors(add: list[str], drop: list[str], text: str) -> None:
    with pytest.raises(KernelError) as caught:
        capabilities.resolve(add, drop)
    assert str(caught.value) == text


@given(st.integers(0, EVERY))
def test_names_and_mask_are_inverse(bits: int) -> None:
    listed = capabilities.names(bits)
    assert listed == sorted(listed)
    assert capabilities.mask(listed) == bits


@given(st.lists(st.sampled_from(NAMES)), st.lists(st.sampled_from(NAMES)))
def test_nothing_dropped_is_left_and_nothing_added_is_missing(add: list[str], drop: list[str]) -> None:
    if set(add) & set(drop):
        with pytest.raises(KernelError):
            capabilities.resolve(add, drop)
        return
    result = capabilities.resolve(add, drop)
    assert result & capabilities.mask(drop) == 0
    assert result & capabilities.mask(add) == capabilities.mask(add)
    assert result & ~(DEFAULT | capabilities.mask(add)) == 0


def test_root_has_the_bounding_set_and_nothing_inheritable() -> None:
    assert capabilities.sets_for(DEFAULT, root=True, added=DEFAULT) == CapabilitySets(DEFAULT, DEFAULT, DEFAULT, 0, 0)


def test_another_user_has_only_what_was_added_and_is_in_the_bounding_set() -> None:
    assert capabilities.sets_for(DEFAULT, root=False) == CapabilitySets(DEFAULT, 0, 0, 0, 0)
    sets = capabilities.sets_for(DEFAULT | 1 << 13, root=False, added=1 << 13 | 1 << 21)
    assert sets == CapabilitySets(DEFAULT | 1 << 13, 1 << 13, 1 << 13, 1 << 13, 1 << 13)
