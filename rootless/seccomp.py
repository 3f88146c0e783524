"""Seccomp filters on the start path: fetch a compiled program from the cache, install it.

A profile is text in the form of Docker's and Podman's profiles, or the `linux.seccomp` object of the runtime spec;
a program is an array of `struct sock_filter`. Compiling one takes 10 ms and loads libseccomp, so it happens once per
profile and capability set, in `rootless.seccomp_profile`.
"""

from __future__ import annotations

import ctypes
import os
import struct
from binascii import crc32

from rootless import syscalls
from rootless.errors import KernelError

DEFAULT_PROFILE = f"{os.path.dirname(os.path.abspath(__file__))}/seccomp_profile.json"
# For a container with one mapped id: calls that change owners and users answer success without doing anything.
SINGLE_ID_PROFILE = f"{os.path.dirname(os.path.abspath(__file__))}/seccomp_profile_single_id.json"

# seccomp.h
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_LOG = 2
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2

_FORMAT = 1  # of the compiler's output: raise it when the same profile must be compiled anew
_MAGIC = b"pymanBPF"
_HEADER = struct.Struct("=8sIII")  # magic, length of the library's stamp, length of the program, crc32 of both
_INSTRUCTION_BYTES = 8
_MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_MAX_PROFILE_BYTES = 4 << 20
_NUMBERS = {"x86_64": 317, "aarch64": 277, "riscv64": 277, "ppc64le": 358, "s390x": 348}


def load_profile(path: str | None = None) -> bytes:
    """Return the text of the profile in a file, by default of ours. Raises KernelError."""
    try:
        fd = os.open(path or DEFAULT_PROFILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            chunks = []
            while chunk := os.read(fd, 1 << 20):
                chunks.append(chunk)
                if sum(map(len, chunks)) > _MAX_PROFILE_BYTES:
                    raise KernelError(f"seccomp profile {path}: larger than {_MAX_PROFILE_BYTES >> 20} MiB")
        finally:
            os.close(fd)
    except OSError as error:
        raise KernelError(
            f"cannot read the seccomp profile {path or DEFAULT_PROFILE}: {os.strerror(error.errno or 0)}",
            errno=error.errno or 0,
        ) from error
    return b"".join(chunks)


def cached_program(cache_dir: str, profile: bytes, capabilities: int, *, architecture: str = "") -> bytes:
    """Return the program for a profile's text and a bounding set, compiling it if the cache has none.

    `architecture` is the container's, in the words of images (amd64, arm64, 386); empty is this machine's. Files in
    `cache_dir` (made, private to us) are replaced atomically and checked; what is damaged, another user's, or from
    another libseccomp is compiled anew.
    """
    path = f"{cache_dir}/{_key(profile, capabilities, architecture)}.bpf"
    program = _load(path)
    if program is None:
        from rootless import seccomp_profile

        parsed = seccomp_profile.parse(profile)
        program = seccomp_profile.compile(parsed, capabilities, architecture=architecture)
        _store(path, program, seccomp_profile.library_stamp())
    return program


def fake_root_program(cache_dir: str | None = None) -> bytes:
    """Return the filter for a container with one mapped id, to be installed besides the profile's.

    Calls that change owners, users and groups, and mknod(2) of devices, answer success and do nothing: that is what
    dpkg, tar and useradd need to go on. Programs that look whether their user did change (apt's sandbox) still see it.
    """
    profile = load_profile(SINGLE_ID_PROFILE)
    if cache_dir is None:
        from rootless import seccomp_profile

        return seccomp_profile.compile(seccomp_profile.parse(profile), 0)
    return cached_program(cache_dir, profile, 0)


def _key(profile: bytes, capabilities: int, architecture: str) -> str:
    uname = os.uname()
    prefix = f"{_FORMAT} {uname.machine} {uname.release} {architecture} {capabilities:x}\n".encode()
    try:
        from _blake2 import blake2b  # hashlib would load OpenSSL: 3 ms and megabytes
    except ImportError:  # pragma: no cover -- an interpreter without the C module
        from hashlib import blake2b
    return blake2b(prefix + profile, digest_size=16).hexdigest()


def _load(path: str) -> bytes | None:
    """Return the program of a cache file, or None if there is no usable one."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        data = os.read(fd, status.st_size + 1)
    finally:
        os.close(fd)
    # A file that others may write could hold a filter that allows everything.
    if status.st_uid != os.geteuid() or status.st_mode & 0o022 or len(data) < _HEADER.size:
        return None
    magic, stamp_bytes, program_bytes, checksum = _HEADER.unpack_from(data)
    body = data[_HEADER.size :]
    if magic != _MAGIC or len(body) != stamp_bytes + program_bytes or crc32(body) != checksum:
        return None
    stamp, program = body[:stamp_bytes], body[stamp_bytes:]
    return program if is_program(program) and _is_current(stamp.decode()) else None


def stamp_of(library: str) -> str:
    """Return what identifies a version of a library file: links followed, so that an upgrade is seen."""
    status = os.stat(library)
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {library}"


def _is_current(stamp: str) -> bool:
    """Tell whether the libseccomp that compiled it is still the one on this machine (another knows other calls)."""
    try:
        return stamp_of(stamp.split(" ", 3)[3]) == stamp
    except FileNotFoundError:
        return True  # libseccomp was removed: what it compiled is still right
    except (OSError, IndexError):
        return False


def _store(path: str, program: bytes, stamp: str) -> None:
    """Write a cache file. Failing to is no error: the next start compiles again."""
    body = stamp.encode() + program
    data = _HEADER.pack(_MAGIC, len(stamp.encode()), len(program), crc32(body)) + body
    temporary = f"{path}~{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            written = os.write(fd, data)
        finally:
            os.close(fd)
        if written == len(data):
            os.rename(temporary, path)
        else:
            os.unlink(temporary)
    except OSError:
        return


def is_program(program: bytes) -> bool:
    """Tell whether the kernel could take it for one: whole instructions, not too many."""
    return len(program) % _INSTRUCTION_BYTES == 0 and 0 < len(program) // _INSTRUCTION_BYTES <= _MAX_INSTRUCTIONS


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install(program: bytes, *, flags: int = SECCOMP_FILTER_FLAG_SPEC_ALLOW) -> None:
    """Put the filter on this thread and everything that it will execute; it cannot be taken off again.

    Needs no_new_privs, or CAP_SYS_ADMIN in the thread's user namespace: without no_new_privs this is therefore called
    while the capability is still there, before `capabilities.take_on`, and the filter must allow what comes after it.
    With several filters the strictest answer counts, and ERRNO is stricter than ALLOW (seccomp(2)). SPEC_ALLOW is
    runc's default: kernels before 5.16 would otherwise slow the whole container down.
    """
    if not is_program(program):
        raise KernelError("not a seccomp program")
    argument = _Program(len(program) // _INSTRUCTION_BYTES, program)
    number = _NUMBERS.get(os.uname().machine)
    if number is None:  # no number known for seccomp(2): prctl(2) can do the same without flags
        syscalls.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(argument))
        return
    result = syscalls.libc.syscall(
        ctypes.c_ulong(number),
        ctypes.c_ulong(SECCOMP_SET_MODE_FILTER),
        ctypes.c_ulong(flags),
        ctypes.byref(argument),
    )
    if result < 0:
        syscalls.raise_errno("seccomp")
