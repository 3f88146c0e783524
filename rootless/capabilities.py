"""Capabilities: names and bits, which ones a container gets, and how a process takes on its sets.

A set is a bit mask (bit n is capability number n, as in /proc/PID/status). Deciding is pure; `drop_bounding` and
`take_on` change the calling thread.
"""

from __future__ import annotations

from rootless import syscalls
from rootless.constants import (
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAP_AMBIENT_RAISE,
    PR_CAPBSET_DROP,
)
from rootless.errors import KernelError
from rootless.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# capability.h: the index is the number.
NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
EVERY = (1 << len(NAMES)) - 1

# Podman's default set (containers-common since 0.44): Docker's 14 without AUDIT_WRITE, MKNOD and NET_RAW.
DEFAULT = sum(
    1 << NAMES.index(f"CAP_{name}")
    for name in (
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    )
)


class CapabilitySets(Record):
    """The five sets of a process, as in the runtime spec's `process.capabilities`."""

    bounding: int
    effective: int
    permitted: int
    inheritable: int = 0
    ambient: int = 0


def normalize(name: str) -> str:
    """Return `name` in full and in capitals. Raises KernelError for a name that does not exist."""
    full = name.upper()
    if not full.startswith("CAP_"):
        full = f"CAP_{full}"
    if full not in NAMES:
        raise KernelError(
            f'"{full}": unknown capability', hint="capabilities(7) lists the names; ALL means all of them"
        )
    return full


def mask(names: Iterable[str]) -> int:
    """Return the bit mask of capability names, with or without CAP_, in any case."""
    bits = 0
    for name in names:
        bits |= 1 << NAMES.index(normalize(name))
    return bits


def names(bits: int) -> list[str]:
    """Return the names in a bit mask, sorted by name as Podman and Docker print them."""
    return sorted(name for number, name in enumerate(NAMES) if bits >> number & 1)


def resolve(add: Iterable[str], drop: Iterable[str], *, privileged: bool = False) -> int:
    """Return the set that --cap-add and --cap-drop ask for, by Podman's rules.

    ALL may be given on either side, not on both; the same name on both sides is an error, too. Raises KernelError.
    """
    add_all, added = _parse(add)
    drop_all, dropped = _parse(drop)
    if add_all and drop_all:
        raise KernelError("adding all caps and removing all caps not allowed")
    if added & dropped and not drop_all:
        name = names(added & dropped)[0]
        raise KernelError(f'capability "{name}" cannot be dropped and added')
    if drop_all:
        return added
    base = EVERY if add_all or privileged else DEFAULT
    return (base | added) & ~dropped


def _parse(given: Iterable[str]) -> tuple[bool, int]:
    """Split the names into (whether ALL is among them, mask of the others)."""
    listed = list(given)
    return any(name.upper() == "ALL" for name in listed), mask(name for name in listed if name.upper() != "ALL")


def sets_for(bounding: int, *, root: bool, added: int = 0) -> CapabilitySets:
    """Return the sets of a container's process.

    Root gets the bounding set. Another user gets nothing (a setuid program inside still can), except for what was
    added by name (`added`): that reaches it through the ambient set, as in Podman.
    """
    if root:
        return CapabilitySets(bounding, bounding, bounding)
    kept = added & bounding
    return CapabilitySets(bounding, kept, kept, kept, kept)


def limit_to_kernel(bits: int) -> int:
    """Return `bits` without the capabilities that the running kernel does not know."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        return bits & ((1 << int(file.read()) + 1) - 1)


def drop_bounding(bounding: int) -> None:
    """Remove everything outside `bounding` from the thread's bounding set, the numbers that only the kernel knows too.

    A new user namespace starts with a full set, whatever its creator had. Needs an effective CAP_SETPCAP, hence before
    the user changes: leaving uid 0 clears the effective set.
    """
    number = 0
    while True:
        if not bounding >> number & 1:
            try:
                syscalls.prctl(PR_CAPBSET_DROP, number)
            except OSError as error:
                if number and error.errno == 22:  # EINVAL: above cap_last_cap
                    return
                raise
        elif number >= len(NAMES):
            return
        number += 1


def take_on(sets: CapabilitySets) -> None:
    """Set permitted, effective and inheritable, then the ambient set.

    The order around it, which the caller keeps: `drop_bounding`; PR_SET_KEEPCAPS if the new user is not root and
    `sets.permitted` is not empty; groups, gid, uid; this; then no_new_privs, seccomp, execve. Ambient comes last
    because a capability can only be raised there while it is permitted and inheritable (capabilities(7), Linux 4.3),
    and because a change of uid clears it.
    """
    syscalls.capset(sets.effective, sets.permitted, sets.inheritable)
    syscalls.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(len(NAMES)):
        if sets.ambient >> number & 1:
            syscalls.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)


def apply(sets: CapabilitySets) -> None:
    """Do both for a process that keeps its user: bounding set first, while CAP_SETPCAP is still effective."""
    drop_bounding(sets.bounding)
    take_on(sets)
