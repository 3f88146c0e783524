"""Profiles, compiled and then interpreted: what the filter answers is decided by the program alone."""

from __future__ import annotations

import ctypes
import json
import os
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootless import bpf, capabilities, seccomp, seccomp_oci, seccomp_profile
from rootless.bpf import Comparison, Outcome, Table
from rootless.capabilities import DEFAULT, EVERY
from rootless.errors import KernelError

X86_64, X86, AARCH64, S390X = 0xC000003E, 0x40000003, 0xC00000B7, 0x80000016
ALLOW, KILL, EPERM, ENOSYS, EINVAL, EPROTONOSUPPORT, EAFNOSUPPORT = (
    *(0x7FFF0000, 0),
    *(0x50000 | number for number in (1, 38, 22, 93, 97)),
)
HIGH = 1 << 32  # what the kernel ignores in an int argument, and a filter must, too


def answer(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """Run the program as the kernel would (net/core/filter.c) and return its action."""
    data = struct.pack("=IIQ6Q", number, arch, 0, *[*arguments, 0, 0, 0, 0, 0, 0][:6])
    code = list(struct.iter_unpack("=HBBI", program))
    at = accumulator = 0
    while True:
        operation, if_true, if_false, k = code[at]
        at += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("=I", data, k)[0]
        elif operation == 0x54:
            accumulator &= k
        elif operation == 0x05:
            at += k
        elif operation == 0x06:
            return int(k)
        else:
            holds = {0x15: accumulator == k, 0x25: accumulator > k, 0x35: accumulator >= k}[operation]
            at += if_true if holds else if_false


def compiled(profile: dict[str, Any], bits: int = 0, architecture: str = "amd64") -> bytes:
    return seccomp_profile.compile(seccomp_profile.parse(json.dumps(profile).encode()), bits, architecture=architecture)


def default_program(bits: int = DEFAULT, architecture: str = "amd64") -> bytes:
    return seccomp_profile.compile(seccomp_profile.parse(seccomp.load_profile()), bits, architecture=architecture)


@pytest.fixture(scope="module")
def program() -> bytes:
    return default_program()


@pytest.mark.parametrize(
    ("arch", "number", "arguments", "expected"),
    [
        (X86_64, 41, (1,), ALLOW),  # socket(AF_UNIX)
        (X86_64, 41, (2,), ALLOW),
        (X86_64, 41, (10,), ALLOW),
        (X86_64, 41, (38,), EAFNOSUPPORT),  # AF_ALG
        (X86_64, 41, (38 + HIGH,), EAFNOSUPPORT),
        (X86_64, 41, (40,), EAFNOSUPPORT),  # AF_VSOCK
        (X86_64, 41, (40 + 7 * HIGH,), EAFNOSUPPORT),
        (X86_64, 41, (16, 3, 0), ALLOW),  # NETLINK_ROUTE
        (X86_64, 41, (16, 3, 9), EINVAL),  # NETLINK_AUDIT
        (X86_64, 41, (16 + HIGH, 3, 9 + HIGH), EINVAL),
        (X86_64, 41, (16, 3, 21), EPROTONOSUPPORT),  # NETLINK_CRYPTO
        (X86_64, 16, (0, 0x5401), ALLOW),  # ioctl(TCGETS)
        (X86_64, 16, (0, 0x5412), EPERM),  # TIOCSTI
        (X86_64, 16, (0, 0x5412 + HIGH), EPERM),
        (X86_64, 16, (0, 0x541C), EPERM),  # TIOCLINUX
        (X86, 54, (0, 0x5412), EPERM),
        (X86, 359, (38,), EAFNOSUPPORT),
        (X86, 359, (2,), ALLOW),
        (X86, 102, (1,), EPERM),  # socketcall(SYS_SOCKET)
        (X86, 102, (3,), ALLOW),  # socketcall(SYS_CONNECT)
        (X86_64, 425, (), ENOSYS),  # io_uring_setup
        (X86_64, 426, (), ENOSYS),
        (X86_64, 427, (), ENOSYS),
        (X86_64, 321, (), EPERM),  # bpf
        (X86_64, 323, (), EPERM),  # userfaultfd
        (X86_64, 298, (), EPERM),  # perf_event_open
        (X86_64, 246, (), EPERM),  # kexec_load
        (X86_64, 304, (), EPERM),  # open_by_handle_at
        (X86_64, 248, (), ENOSYS),  # add_key
        (X86_64, 249, (), ENOSYS),  # request_key
        (X86_64, 135, (0,), ALLOW),  # personality
        (X86_64, 135, (0xFFFFFFFF,), ALLOW),
        (X86_64, 135, (0x0040000,), ENOSYS),  # ADDR_NO_RANDOMIZE
        (X86_64, 161, (), ALLOW),  # chroot, with CAP_SYS_CHROOT
        (X86_64, 175, (), EPERM),  # init_module
        (X86_64, 0, (), ALLOW),  # read
        (X86_64, 59, (), ALLOW),  # execve
        (X86_64, 435, (), ALLOW),  # clone3
        (X86_64, 0x40000000, (), ENOSYS),  # x32 read
        (X86_64, 0xFFFFFFFF, (), ENOSYS),
        (X86_64, 5000, (), ENOSYS),
        (AARCH64, 63, (), ENOSYS),  # no such entry on this machine
    ],
)
def test_default_profile(program: bytes, arch: int, number: int, arguments: tuple[int, ...], expected: int) -> None:
    assert answer(program, arch, number, *arguments) == expected


@given(st.integers(0, (1 << 64) - 1))
def test_no_socket_family_but_the_listed_ones(program: bytes, family: int) -> None:
    allowed = family & 0xFFFFFFFF in (1, 2, 10, 16, 17, 27, 29, 31, 43, 44)
    assert answer(program, X86_64, 41, family) == (ALLOW if allowed else EAFNOSUPPORT)


@pytest.mark.parametrize(
    ("capability", "numbers"),
    [
        ("SYS_ADMIN", (321, 170, 298, 300)),
        ("SYS_MODULE", (175, 313)),
        ("SYS_TIME", (227,)),
        ("SYS_PTRACE", (312,)),
        ("DAC_READ_SEARCH", (304,)),
        ("SYS_CHROOT", (161,)),
        ("SYS_TTY_CONFIG", (153,)),
        ("SYS_RAWIO", (172, 173)),
        ("SYS_PACCT", (163,)),
    ],
)
def test_what_depends_on_a_capability(capability: str, numbers: tuple[int, ...]) -> None:
    with_it, without = default_program(capabilities.mask([capability])), default_program(0)
    assert {answer(with_it, X86_64, number) for number in numbers} == {ALLOW}
    assert {answer(without, X86_64, number) for number in numbers} == {EPERM}


def test_audit_needs_its_capability() -> None:
    assert answer(default_program(capabilities.mask(["AUDIT_WRITE"])), X86_64, 41, 16, 3, 9) == ALLOW


def test_a_32_bit_image_keeps_socketcall() -> None:
    program = default_program(architecture="386")
    assert answer(program, X86, 102, 1) == ALLOW
    assert answer(program, X86, 359, 38) == EAFNOSUPPORT
    assert answer(program, X86_64, 41, 38) == EAFNOSUPPORT


def test_other_machines_have_a_program_too() -> None:
    arm = default_program(architecture="arm64")
    assert answer(arm, AARCH64, 198, 2) == ALLOW
    assert answer(arm, AARCH64, 198, 38) == EAFNOSUPPORT
    assert answer(arm, X86_64, 0) == ENOSYS
    mainframe = default_program(architecture="s390x")
    assert answer(mainframe, S390X, 102, 1) == ALLOW


# Calls that are newer than Podman's profile on the machine where the test runs.
NEWER = (428, *range(449, 476))


@pytest.mark.parametrize("bits", [DEFAULT, 0, EVERY])
def test_at_least_as_strict_as_podman(bits: int) -> None:
    theirs_path = Path("/usr/share/containers/seccomp.json")
    if not theirs_path.exists():
        pytest.skip("Podman's profile is not installed (golang-github-containers-common)")
    theirs = seccomp_profile.compile(seccomp_profile.parse(theirs_path.read_bytes()), bits, architecture="amd64")
    ours = default_program(bits)
    for arch in (X86_64, X86):
        for number in range(600):
            if answer(ours, arch, number) == ALLOW and number not in NEWER:
                assert answer(theirs, arch, number) == ALLOW, (hex(arch), number)


def test_single_id_answers_success_to_changes_of_owner_and_user() -> None:
    program = seccomp_profile.compile(
        seccomp_profile.parse(seccomp.load_profile(seccomp.SINGLE_ID_PROFILE)), 0, architecture="amd64"
    )
    pretended = 0x50000
    for number in (92, 93, 94, 260, 105, 106, 113, 114, 117, 119, 116, 122, 123, 126):
        assert answer(program, X86_64, number, 0, 5, 5) == pretended
    for number in (182, 212, 198, 213, 206):
        assert answer(program, X86, number) == pretended
    assert answer(program, X86_64, 133, 0, 0o020666) == pretended  # mknod of a character device
    assert answer(program, X86_64, 259, 0, 0, 0o060666) == pretended  # mknodat of a block device
    assert answer(program, X86_64, 133, 0, 0o010666) == ALLOW  # of a FIFO
    assert answer(program, X86_64, 133, 0, 0o100666) == ALLOW  # of a file
    assert answer(program, X86_64, 90) == ALLOW  # chmod


OPERATORS = {
    "NE": lambda a, v, w: a != v,
    "LT": lambda a, v, w: a < v,
    "LE": lambda a, v, w: a <= v,
    "EQ": lambda a, v, w: a == v,
    "GE": lambda a, v, w: a >= v,
    "GT": lambda a, v, w: a > v,
    "MASKED_EQ": lambda a, v, w: a & v == w & v,
}
# Values around the borders of the halves, where mistakes are.
WORDS = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.builds(lambda high, low: high << 32 | low, st.integers(0, 2), st.integers(0, 2)),
    st.sampled_from([(1 << 64) - 1, (1 << 32) - 1, 1 << 32, 1 << 63]),
)
COMPARISONS = st.builds(Comparison, st.integers(0, 5), st.sampled_from(sorted(OPERATORS)), WORDS, WORDS)
RULES = st.lists(st.tuples(st.lists(COMPARISONS, max_size=3).map(tuple), st.integers(1, 5)), max_size=4).map(tuple)


@settings(max_examples=400)
@given(RULES, st.lists(WORDS, min_size=6, max_size=6))
def test_comparisons_of_64_bit_arguments(
    rules: tuple[tuple[tuple[Comparison, ...], int], ...], arguments: list[int]
) -> None:
    expected = 9
    for comparisons, action in rules:
        if all(OPERATORS[c.operator](arguments[c.index], c.value, c.second) for c in comparisons):
            expected = action
            break
    program = bpf.program([Table(X86_64, {7: Outcome(9, rules)}, 0)], 8)
    assert answer(program, X86_64, 7, *arguments) == expected
    assert answer(program, X86_64, 6, *arguments) == 0


@given(st.sampled_from(sorted(OPERATORS)), WORDS, WORDS, st.integers(0, 0xFFFFFFFF))
def test_comparisons_of_32_bit_arguments(operator: str, value: int, second: int, argument: int) -> None:
    holds = OPERATORS[operator](argument, value & 0xFFFFFFFF, second & 0xFFFFFFFF)
    outcome = Outcome(9, (((Comparison(2, operator, value, second),), 1),))
    program = bpf.program([Table(X86, {7: outcome}, 0, True)], 8)
    assert answer(program, X86, 7, 0, 0, argument) == (1 if holds else 9)


@given(st.dictionaries(st.integers(0, 500), st.integers(0, 3)), st.dictionaries(st.integers(0, 500), st.integers(0, 3)))
def test_search_finds_every_number(first: dict[int, int], second: dict[int, int]) -> None:
    tables = [
        Table(X86_64, {number: Outcome(action) for number, action in first.items()}, 7),
        Table(X86, {number: Outcome(action) for number, action in second.items()}, 6, True),
    ]
    program = bpf.program(tables, 5)
    for number in range(503):
        assert answer(program, X86_64, number) == first.get(number, 7)
        assert answer(program, X86, number) == second.get(number, 6)
        assert answer(program, AARCH64, number) == 5
    assert answer(program, X86_64, 0x40000000) == 5


def test_long_jumps() -> None:
    """A rule with hundreds of alternatives lies between a comparison and its other branch."""
    rules = tuple(((Comparison(0, "EQ", value),), value) for value in range(1, 300))
    program = bpf.program(
        [Table(X86_64, {5: Outcome(0, rules), 9: Outcome(999)}, 7), Table(X86, {1: Outcome(3)}, 4)], 8
    )
    assert [answer(program, X86_64, 5, value) for value in (0, 1, 150, 299, 300)] == [0, 1, 150, 299, 0]
    assert [answer(program, X86_64, number) for number in (4, 6, 9)] == [7, 7, 999]
    assert [answer(program, X86, number) for number in (1, 2)] == [3, 4]


def test_arguments_before_the_rule_without() -> None:
    rules = [
        {"names": ["ioctl"], "action": "SCMP_ACT_ALLOW"},
        {
            "names": ["ioctl"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 22,
            "args": [{"index": 1, "op": "SCMP_CMP_EQ", "value": 5}],
        },
    ]
    program = compiled({"defaultAction": "SCMP_ACT_KILL", "syscalls": rules})
    assert [answer(program, X86_64, 16, 0, value) for value in (4, 5)] == [ALLOW, EINVAL]
    assert answer(program, X86_64, 1) == KILL


def test_two_conditions_on_one_argument_are_alternatives() -> None:
    arguments = [{"index": 0, "op": "SCMP_CMP_EQ", "value": value} for value in (3, 4)]
    program = compiled(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": arguments}],
        }
    )
    assert [answer(program, X86_64, 135, value) for value in (2, 3, 4)] == [EPERM, ALLOW, ALLOW]


@pytest.mark.parametrize(
    ("rule", "socket_answer", "connect_answer"),
    [
        ({"names": ["socket"], "action": "SCMP_ACT_ERRNO"}, EPERM, ALLOW),
        (
            {
                "names": ["socket"],
                "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 38}],
            },
            EPERM,
            ALLOW,
        ),
        ({"names": ["connect"], "action": "SCMP_ACT_ERRNO"}, ALLOW, EPERM),
        ({"names": ["socket", "socketcall"], "action": "SCMP_ACT_ALLOW"}, ALLOW, ALLOW),
    ],
)
def test_a_denied_call_is_denied_by_way_of_socketcall(rule: object, socket_answer: int, connect_answer: int) -> None:
    program = compiled({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [rule]})
    assert answer(program, X86, 102, 1) == socket_answer
    assert answer(program, X86, 102, 3) == connect_answer


def test_what_a_condition_allows_stays_closed_by_way_of_socketcall() -> None:
    arguments = [{"index": 0, "op": "SCMP_CMP_EQ", "value": 2}]
    program = compiled(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": arguments}],
        }
    )
    assert answer(program, X86, 359, 2) == ALLOW
    assert answer(program, X86, 102, 1) == EPERM


def test_x32_is_open_only_if_listed() -> None:
    rules = [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}
    assert answer(compiled(profile), X86_64, 0x40000000) == ENOSYS
    profile["architectures"] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"]
    assert answer(compiled(profile), X86_64, 0x40000000) == ALLOW
    assert answer(compiled(profile), X86_64, 0) == ALLOW


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("SCMP_ACT_KILL", 0),
        ("SCMP_ACT_KILL_PROCESS", 0x80000000),
        ("SCMP_ACT_TRAP", 0x30000),
        ("SCMP_ACT_LOG", 0x7FFC0000),
        ("SCMP_ACT_TRACE", 0x7FF00001),
        ("SCMP_ACT_ERRNO", EPERM),
    ],
)
def test_actions(action: str, expected: int) -> None:
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read", "no_such_call"], "action": action}]}
    assert answer(compiled(profile), X86_64, 0) == expected


def test_conditions_of_a_profile() -> None:
    rules = [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["write"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "400.0"}},
        {"names": ["open"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}},
        {"names": ["close"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}},
        {"names": ["stat"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_CHOWN", "CAP_KILL"]}},
        {"names": ["fstat"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_CHOWN", "CAP_SYSLOG"]}},
    ]
    program = compiled({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}, DEFAULT)
    assert [answer(program, X86_64, number) for number in range(6)] == [ALLOW, EPERM, ALLOW, EPERM, ALLOW, EPERM]


def _by_libseccomp(profile: dict[str, Any]) -> bytes:
    """Compile an OCI profile as crun does."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    actions = {"SCMP_ACT_ALLOW": ALLOW, "SCMP_ACT_ERRNO": 0x50000}
    operators = ["", "NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]

    class Condition(ctypes.Structure):
        _fields_ = (
            ("arg", ctypes.c_uint),
            ("op", ctypes.c_int),
            ("datum_a", ctypes.c_uint64),
            ("datum_b", ctypes.c_uint64),
        )

    default = actions[profile["defaultAction"]] | profile["defaultErrnoRet"]
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(default)))
    for rule in profile["syscalls"]:
        action = actions[rule["action"]] | (0 if rule["action"] == "SCMP_ACT_ALLOW" else rule.get("errnoRet", 1))
        arguments = [
            Condition(a["index"], operators.index(a["op"][9:]), a["value"], a.get("valueTwo", 0))
            for a in rule.get("args", [])
        ]
        for name in rule["names"]:
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number != -1 and action != default:
                array = (Condition * len(arguments))(*arguments)
                result = library.seccomp_rule_add_array(context, ctypes.c_uint32(action), number, len(arguments), array)
                assert result == 0, (name, os.strerror(-result))
    fd = os.memfd_create("bpf")
    assert library.seccomp_export_bpf(context, fd) == 0
    library.seccomp_release(context)
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        return file.read()


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system call numbers of x86_64")
@pytest.mark.parametrize("bits", [DEFAULT, 0, EVERY])
def test_another_runtime_allows_the_same(bits: int) -> None:
    profile = seccomp_profile.parse(seccomp.load_profile())
    ours = seccomp_profile.compile(profile, bits, architecture="amd64")
    oci = seccomp_oci.to_oci(profile, bits, architecture="amd64")
    assert oci["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    rules: Any = oci["syscalls"]
    assert all(set(rule) <= {"names", "action", "errnoRet", "args"} for rule in rules)
    theirs = _by_libseccomp(oci)
    samples: list[tuple[int, tuple[int, ...]]] = [(number, ()) for number in range(460)]
    samples += [
        (41, (family + high, 3, protocol + high))
        for family in range(50)
        for protocol in range(25)
        for high in (0, HIGH)
    ]
    samples += [(16, (0, request + high)) for request in range(0x5400, 0x5430) for high in (0, HIGH)]
    samples += [(16, (0, 1 << bit)) for bit in range(64)]
    samples += [(135, (value,)) for value in (0, 8, 0x20000, 0x20008, 0x40000, 0xFFFFFFFF)]
    for number, arguments in samples:
        expected, answered = answer(ours, X86_64, number, *arguments), answer(theirs, X86_64, number, *arguments)
        assert (expected == ALLOW) == (answered == ALLOW), (number, arguments)


@given(st.lists(st.integers(0, 0xFFFFFFFF), min_size=1, max_size=4), st.integers(0, 0xFFFFFFFF))
def test_other_than(numbers: list[int], value: int) -> None:
    conditions = seccomp_oci.other_than(1, numbers)
    for number in {value, *numbers, *(number ^ 1 for number in numbers)}:
        holding = [c for c in conditions if number & c["value"] == c["valueTwo"]]
        assert len(holding) == (0 if number in numbers else 1)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"defaultAction": 5}',
        b'{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [1]}',
        b'{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"]}]}',
        b'{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}',
        b'{"defaultAction": "SCMP_ACT_MAYBE"}',
        b'{"defaultAction": "SCMP_ACT_NOTIFY"}',
        b'{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": -1}',
        b'{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": "EPERM"}',
        b'{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW",'
        b' "args": [{"index": 6, "op": "SCMP_CMP_EQ", "value": 0}]}]}',
        b'{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW",'
        b' "args": [{"index": 0, "op": "SCMP_CMP_LIKE", "value": 0}]}]}',
        b'{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW",'
        b' "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 18446744073709551616}]}]}',
        b"[" * 100000,
    ],
)
def test_bad_profiles_are_refused_in_one_line(text: bytes) -> None:
    with pytest.raises(KernelError, match=r"^seccomp profile: .{5,250}$"):
        seccomp_profile.compile(seccomp_profile.parse(text), 0)


def test_a_missing_profile_is_named(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match=f"cannot read the seccomp profile {tmp_path}/x: No such file"):
        seccomp.load_profile(f"{tmp_path}/x")


MINIMAL = b'{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}]}'


def _cache_files(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


def test_cache(tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    first = seccomp.cached_program(str(directory), MINIMAL, 0)
    (file,) = _cache_files(directory)
    assert file.stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700
    inode = file.stat().st_ino
    assert seccomp.cached_program(str(directory), MINIMAL, 0) == first
    assert file.stat().st_ino == inode  # read, not written again
    seccomp.cached_program(str(directory), MINIMAL, 1)
    seccomp.cached_program(str(directory), MINIMAL + b" ", 0)
    seccomp.cached_program(str(directory), MINIMAL, 0, architecture="386")
    assert len(_cache_files(directory)) == 4


@pytest.mark.parametrize("damage", ["empty", "short", "flipped", "long", "writable by others", "link"])
def test_a_damaged_cache_is_compiled_anew(tmp_path: Path, damage: str) -> None:
    good = seccomp.cached_program(str(tmp_path), MINIMAL, 0)
    (file,) = _cache_files(tmp_path)
    data = file.read_bytes()
    allow_all = bpf.program([], ALLOW)
    if damage == "empty":
        file.write_bytes(b"")
    elif damage == "short":
        file.write_bytes(data[:-8])
    elif damage == "flipped":
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "long":
        file.write_bytes(data + b"\0" * 8)
    else:
        seccomp._store(str(file), allow_all, seccomp_profile.library_stamp())
        assert seccomp.cached_program(str(tmp_path), MINIMAL, 0) == allow_all  # it is a valid file
        if damage == "link":
            file.rename(tmp_path / "elsewhere")
            file.symlink_to(tmp_path / "elsewhere")
        else:
            file.chmod(0o622)
    assert seccomp.cached_program(str(tmp_path), MINIMAL, 0) == good


def test_another_libseccomp_compiles_anew(tmp_path: Path) -> None:
    good = seccomp.cached_program(str(tmp_path), MINIMAL, 0)
    (file,) = _cache_files(tmp_path)
    library = tmp_path / "libseccomp.so.2"
    library.write_text("old")
    seccomp._store(str(file), bpf.program([], ALLOW), seccomp.stamp_of(str(library)))
    assert seccomp.cached_program(str(tmp_path), MINIMAL, 0) != good
    library.write_text("newer")
    assert seccomp.cached_program(str(tmp_path), MINIMAL, 0) == good


def test_without_a_place_for_the_cache_it_still_works(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert seccomp.cached_program(f"{tmp_path}/file/cache", MINIMAL, 0)


def test_a_cached_program_is_fetched_in_no_time(tmp_path: Path) -> None:
    seccomp.cached_program(str(tmp_path), seccomp.load_profile(), DEFAULT)
    durations = []
    for _ in range(50):
        before = time.perf_counter()
        seccomp.cached_program(str(tmp_path), seccomp.load_profile(), DEFAULT)
        durations.append(time.perf_counter() - before)
    assert min(durations) < 0.0003


def test_the_module_imports_nothing_heavy() -> None:
    code = "import sys; before = set(sys.modules); import rootless.seccomp, rootless.capabilities, rootless.paths, " + (
        "rootless.users; print(' '.join(sorted(set(sys.modules) - before)))"
    )
    read, write = os.pipe()
    pid = os.posix_spawn(
        os.path.realpath(os.sys.executable),  # type: ignore[attr-defined]
        ["python3", "-S", "-c", code],
        {"PYTHONPATH": os.getcwd()},
        file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)],
    )
    os.close(write)
    with os.fdopen(read) as file:
        loaded = set(file.read().split())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert "rootless.seccomp" in loaded
    heavy = {"hashlib", "json", "re", "typing", "enum", "signal", "socket", "contextlib", "collections", "functools"}
    assert not loaded & heavy
