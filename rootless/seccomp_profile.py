"""From a seccomp profile to a BPF program. Not on the start path: see `seccomp`.

Names are resolved by the system's libseccomp; the code comes from `bpf`. libseccomp's own compiler lets any rule on
socket(2) open or close 32-bit socketcall(2) as a whole, drops a rule on every architecture if it clashes on one, and
takes 50 ms.


Accepted are profiles as Docker and Podman ship them (`archMap`, `includes`, `excludes`) and the `linux.seccomp` object
of the runtime spec (`architectures`).
"""

from __future__ import annotations

import ctypes
import os
from ctypes import c_char_p, c_uint32

from rootless import bpf, jsontext
from rootless import capabilities as capabilities_module
from rootless.bpf import Comparison, Outcome, Table
from rootless.errors import KernelError
from rootless.seccomp import is_program, stamp_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NotRequired, TypedDict

    class Argument(TypedDict):
        index: int
        value: int
        valueTwo: NotRequired[int]
        op: str

    class Conditions(TypedDict, total=False):
        caps: list[str]
        arches: list[str]
        minKernel: str

    class Rule(TypedDict):
        names: list[str]
        action: str
        errnoRet: NotRequired[int]
        args: NotRequired[list[Argument]]
        includes: NotRequired[Conditions]
        excludes: NotRequired[Conditions]

    class ArchitectureMap(TypedDict):
        architecture: str
        subArchitectures: NotRequired[list[str]]

    class Profile(TypedDict):
        defaultAction: str
        defaultErrnoRet: NotRequired[int]
        architectures: NotRequired[list[str]]
        archMap: NotRequired[list[ArchitectureMap]]
        syscalls: NotRequired[list[Rule]]
        flags: NotRequired[list[str]]


# seccomp.h: what a filter returns
_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_ALLOW = _ACTIONS["SCMP_ACT_ALLOW"]
_WITH_NUMBER = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")  # the lower 16 bits of these say which errno or event
_OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
_MAX_ERRNO = 4095
_EPERM = 1
_ENOSYS = 38

# libseccomp resolves a name to a number, to one of these pseudo numbers, or to -1.
_PSEUDO_SOCKETCALL = range(-120, -100)  # -100 - n: socketcall(n, ...)
_PSEUDO_IPC = range(-224, -200)  # -200 - n: ipc(n, ...)

# Names of architectures: of images (and Go), by uname(2) machine; of libseccomp, by image.
_IMAGE_NAMES = {
    "x86_64": "amd64",
    "i686": "386",
    "i386": "386",
    "aarch64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
}
_TOKEN_X86_64 = 0xC000003E
_64BIT = 0x80000000
_LIBRARY_NAMES = {"amd64": "x86_64", "386": "x86", "arm64": "aarch64"}
_CONDITION_NAMES = {"386": "x86"}  # profiles say x86


# Architectures with socketcall(2) and ipc(2) have numbers of their own for most of their calls since Linux 4.3 and 5.1;
# libseccomp gives only the old way in.
_SOCKET_CALLS = (
    *("socket", "socketpair", "bind", "connect", "listen", "accept4", "getsockopt", "setsockopt", "getsockname"),
    *("getpeername", "sendto", "sendmsg", "recvfrom", "recvmsg", "shutdown"),
)
_SOCKET_CALLS_ON_POWER = (
    *("socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername", "socketpair", "send", "sendto"),
    *("recv", "recvfrom", "shutdown", "setsockopt", "getsockopt", "sendmsg", "recvmsg", "recvmmsg", "accept4"),
)
_IPC_CALLS = (*("semget", "semctl", "shmget", "shmctl", "shmat", "shmdt", "msgget", "msgsnd", "msgrcv", "msgctl"),)
_DIRECT_IPC = {name: number for number, name in enumerate(_IPC_CALLS, 393)}
_DIRECT = {**_DIRECT_IPC, **{name: number for number, name in enumerate(_SOCKET_CALLS, 359)}}
_DIRECT_ON_POWER = {
    **_DIRECT_IPC,
    **{name: number for number, name in enumerate(_SOCKET_CALLS_ON_POWER, 326)},
    "sendmmsg": 349,
}


def parse(text: bytes) -> Profile:
    """Return the profile in a JSON text. Raises KernelError for what is not one."""
    value: Any
    try:
        value = jsontext.loads(text)
    except (ValueError, RecursionError) as error:
        raise KernelError(f"seccomp profile: not JSON: {error}") from error
    if not isinstance(value, dict) or not isinstance(value.get("defaultAction"), str):
        raise KernelError("seccomp profile: no defaultAction", hint="see seccomp.json(5) for the format")
    if value.get("listenerPath") or value.get("listenerMetadata"):
        raise KernelError("seccomp profile: listenerPath is not supported")
    _check_rules(value)
    profile: Profile = value  # type: ignore[assignment]  # checked by hand
    return profile


def _check_rules(value: dict[str, Any]) -> None:
    value["syscalls"] = value.get("syscalls") or []
    for number, rule in enumerate(value["syscalls"]):
        if not isinstance(rule, dict):
            raise KernelError(f"seccomp profile: syscalls[{number}] is not an object")
        if "names" not in rule and isinstance(rule.get("name"), str):
            rule["names"] = [rule["name"]]  # Docker's format before 1.12
        if not isinstance(rule.get("names"), list) or not isinstance(rule.get("action"), str):
            raise KernelError(f"seccomp profile: syscalls[{number}] needs names and an action")


def image_architecture() -> str:
    """Return this machine's architecture in the words of images."""
    machine = os.uname().machine
    return _IMAGE_NAMES.get(machine, machine)


def applicable(profile: Profile, capabilities: int, *, architecture: str = "") -> list[Rule]:
    """Return the rules whose conditions hold for a bounding set and an architecture."""
    held = set(capabilities_module.names(capabilities))
    arch = architecture or image_architecture()
    here = {arch, _CONDITION_NAMES.get(arch, arch)}
    rules = []
    for rule in profile.get("syscalls", []):
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        if not set(includes.get("caps") or ()) <= held or set(excludes.get("caps") or ()) & held:
            continue
        if (includes.get("arches") and not here & set(includes["arches"])) or here & set(excludes.get("arches") or ()):
            continue
        if not _kernel_is_at_least(includes.get("minKernel") or ""):
            continue
        if excludes.get("minKernel") and _kernel_is_at_least(excludes["minKernel"]):
            continue
        rules.append(rule)
    return rules


def _kernel_is_at_least(version: str) -> bool:
    release = os.uname().release.split("-")[0].split(".")
    wanted = [int(part) for part in version.split(".") if part.isdecimal()]
    return [int(part) for part in release[: len(wanted)] if part.isdecimal()] >= wanted


def architectures(profile: Profile, architecture: str = "") -> list[str]:
    """Return the architectures to allow in libseccomp's names, the container's own first."""
    architecture = architecture or image_architecture()
    own = _LIBRARY_NAMES.get(architecture, architecture)
    listed = [name.removeprefix("SCMP_ARCH_").lower() for name in profile.get("architectures") or []]
    for entry in profile.get("archMap") or []:
        if entry["architecture"].removeprefix("SCMP_ARCH_").lower() == own:
            listed += [name.removeprefix("SCMP_ARCH_").lower() for name in entry.get("subArchitectures") or []]
    return [own, *(name for name in dict.fromkeys(listed) if name not in (own, "native"))]


def compile(profile: Profile, capabilities: int, *, architecture: str = "") -> bytes:
    """Return the BPF program. Names of calls that libseccomp does not know are skipped. Raises KernelError."""
    library = _library()
    default = _action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    rules = [
        (rule["names"], _action(rule["action"], rule.get("errnoRet")), _alternatives(rule))
        for rule in applicable(profile, capabilities, architecture=architecture)
    ]
    tables: dict[int, Table] = {}
    for name in architectures(profile, architecture):
        token = library.seccomp_arch_resolve_name(name.encode())
        if not token and not tables:
            raise KernelError(f"libseccomp does not know the architecture {name}")
        if not token:
            continue
        outcomes = _outcomes(library, name, token, rules, default)
        # x32 calls come under the architecture of x86_64, with numbers of their own.
        arch = _TOKEN_X86_64 if name == "x32" else token
        if arch in tables:
            outcomes = {**tables[arch].outcomes, **outcomes}
        tables[arch] = Table(arch, outcomes, default, not arch & _64BIT)
    # An entry that has no table is answered as by a kernel without it.
    result = bpf.program(list(tables.values()), _ACTIONS["SCMP_ACT_ERRNO"] | _ENOSYS)
    if not is_program(result):
        raise KernelError("seccomp profile: too many rules for the kernel (4096 instructions)")
    return result


def _action(name: str, number: int | None) -> int:
    if name == "SCMP_ACT_NOTIFY":
        raise KernelError(
            "seccomp profile: SCMP_ACT_NOTIFY is not supported", hint="nobody would answer the notification"
        )
    if name not in _ACTIONS:
        raise KernelError(f"seccomp profile: unknown action {name!r}"[:200])
    if name not in _WITH_NUMBER:
        return _ACTIONS[name]
    number = _EPERM if number is None else number
    if not isinstance(number, int) or not 0 <= number <= _MAX_ERRNO:
        raise KernelError(f"seccomp profile: errnoRet {number!r} is not an errno"[:200])
    return _ACTIONS[name] | number


def _alternatives(rule: Rule) -> list[tuple[Comparison, ...]]:
    """Return the conditions of which one must hold, each a list that must hold as a whole; one empty one if none."""
    comparisons = [_comparison(argument) for argument in rule.get("args") or []]
    # Several conditions on one argument mean "any of them" to runc and crun, because libseccomp takes one per argument.
    if len({comparison.index for comparison in comparisons}) < len(comparisons):
        return [(comparison,) for comparison in comparisons]
    return [tuple(comparisons)]


def _comparison(argument: Argument) -> Comparison:
    index, operator = argument.get("index"), str(argument.get("op")).removeprefix("SCMP_CMP_")
    value, second = argument.get("value", 0), argument.get("valueTwo", 0)
    valid = isinstance(index, int) and 0 <= index <= 5 and operator in _OPERATORS
    if not valid or not all(isinstance(number, int) and 0 <= number < 1 << 64 for number in (value, second)):
        raise KernelError(f"seccomp profile: bad argument condition {argument!r}"[:200])
    return Comparison(index, operator, value, second)


def _outcomes(
    library: ctypes.CDLL,
    architecture: str,
    token: int,
    rules: list[tuple[list[str], int, list[tuple[Comparison, ...]]]],
    default: int,
) -> dict[int, Outcome]:
    """Return what the rules mean for each system call number of one architecture."""
    conditional: dict[int, list[tuple[tuple[Comparison, ...], int]]] = {}
    unconditional: dict[int, int] = {}
    named = {name for names, _, _ in rules for name in names}

    def add(number: int, comparisons: tuple[Comparison, ...], action: int) -> None:
        if comparisons:
            conditional.setdefault(number, []).append((comparisons, action))
        else:
            unconditional.setdefault(number, action)

    for names, action, alternatives in rules:
        for name in names:
            number = library.seccomp_syscall_resolve_name_arch(token, str(name).encode())
            for comparisons in alternatives:
                if number >= 0:
                    add(number, comparisons, action)
                    continue
                direct = _direct_number(architecture, str(name))
                if direct is not None:
                    add(direct, comparisons, action)
                # A filter cannot see the arguments behind socketcall and ipc. Unless the profile speaks of them itself,
                # they follow rules without conditions, and those that deny; what a condition allows stays closed.
                name_of_old, old, subcall = _multiplexer(library, token, number)
                if old >= 0 and name_of_old not in named and (not comparisons or action != _ALLOW):
                    add(old, (Comparison(0, "EQ", subcall),), action)
    return {
        number: Outcome(unconditional.get(number, default), tuple(conditional.get(number, ())))
        for number in {*conditional, *unconditional}
    }


def _direct_number(architecture: str, name: str) -> int | None:
    if architecture.startswith("ppc"):
        return _DIRECT_ON_POWER.get(name)
    return _DIRECT.get(name) if architecture in ("x86", "s390", "s390x") else None


def _multiplexer(library: ctypes.CDLL, token: int, pseudo_number: int) -> tuple[str, int, int]:
    """Return (name, number, subcall) of the old way to a call that has a pseudo number; a negative number if none."""
    for name, pseudo_numbers, base in (("socketcall", _PSEUDO_SOCKETCALL, -100), ("ipc", _PSEUDO_IPC, -200)):
        if pseudo_number in pseudo_numbers:
            return name, library.seccomp_syscall_resolve_name_arch(token, name.encode()), base - pseudo_number
    return "", -1, 0


def _library() -> ctypes.CDLL:
    """Load libseccomp, which knows every call's number on every architecture.

    Called before any container's files are in sight, like everything in this module.
    """
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise KernelError(
            "libseccomp is not installed: cannot compile the seccomp profile",
            hint="install libseccomp2 (Debian, Ubuntu) or libseccomp (Fedora, Alpine, Arch), or go without the filter: "
            "--security-opt seccomp=unconfined",
        ) from error
    library.seccomp_arch_resolve_name.argtypes = [c_char_p]
    library.seccomp_arch_resolve_name.restype = c_uint32
    library.seccomp_syscall_resolve_name_arch.argtypes = [c_uint32, c_char_p]
    return library


def library_stamp() -> str:
    """Return the stamp of the libseccomp that is loaded, by the name under which the linker looks for it."""
    with open("/proc/self/maps") as file:
        for line in file:
            path = line[line.find("/") :].rstrip("\n")
            if "/libseccomp.so" in path and not path.endswith(" (deleted)"):
                link = f"{os.path.dirname(path)}/libseccomp.so.2"
                return stamp_of(link if os.path.exists(link) else path)
    raise KernelError("libseccomp is loaded but not in /proc/self/maps")
