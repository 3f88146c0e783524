"""One wrapper per system call that Python 3.11 lacks; each raises OSError with call and path, none returns -1."""

from __future__ import annotations

import ctypes
import os
from ctypes import c_int, c_ulong

from rootless.constants import CLONE_PIDFD, MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH, SIGCHLD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

libc = ctypes.CDLL(None, use_errno=True)
# Holds the GIL during the call: after clone(2) the child goes on as the one thread that holds it.
_libc_with_gil = ctypes.PyDLL(None, use_errno=True)

# Numbers that differ between machines; everything from Linux 5.1 on has one number everywhere.
_NUMBERS = {
    "x86_64": {"clone": 56, "pivot_root": 155, "keyctl": 250, "capset": 126},
    "aarch64": {"clone": 220, "pivot_root": 41, "keyctl": 219, "capset": 91},
    "riscv64": {"clone": 220, "pivot_root": 41, "keyctl": 219, "capset": 91},
}
_MACHINE = _NUMBERS.get(os.uname().machine, {})
_SYS_open_tree = 428
_SYS_move_mount = 429
_SYS_fsopen = 430
_SYS_fsconfig = 431
_SYS_fsmount = 432
_SYS_close_range = 436
_SYS_openat2 = 437
_SYS_mount_setattr = 442


def raise_errno(call: str, path: str | None = None) -> NoReturn:
    """Raise OSError for the last failed call."""
    number = ctypes.get_errno()
    raise OSError(number, f"{call}: {os.strerror(number)}", path)


def _encoded(path: str | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


def _number(name: str) -> int:
    try:
        return _MACHINE[name]
    except KeyError:
        raise OSError(f"{name}: system call number unknown on {os.uname().machine}") from None


def unshare(flags: int) -> None:
    if libc.unshare(c_int(flags)) < 0:
        raise_errno("unshare")


def setns(fd: int, flags: int = 0) -> None:
    if libc.setns(c_int(fd), c_int(flags)) < 0:
        raise_errno("setns")


def clone(flags: int) -> tuple[int, int]:
    """Fork into new namespaces: (pid, pidfd) for the parent, (0, -1) in the child (clone(2), CLONE_PIDFD Linux 5.2).

    The caller must be single-threaded, and the child leave by execve or os._exit: the interpreter is copied as it is.
    """
    pidfd = c_int(-1)
    pid = _libc_with_gil.syscall(
        c_ulong(_number("clone")), c_ulong(flags | CLONE_PIDFD | SIGCHLD), None, ctypes.byref(pidfd), None, None
    )
    if pid < 0:
        raise_errno("clone")
    if pid == 0:
        return 0, -1
    return pid, pidfd.value


def mount(source: str | None, target: str, kind: str | None, flags: int = 0, data: str | None = None) -> None:
    if libc.mount(_encoded(source), _encoded(target), _encoded(kind), c_ulong(flags), _encoded(data)) < 0:
        raise_errno(f"mount {kind}" if kind else "mount", target)


def umount(target: str, flags: int = 0) -> None:
    if libc.umount2(_encoded(target), c_int(flags)) < 0:
        raise_errno("umount", target)


def pivot_root(new_root: str, put_old: str) -> None:
    if libc.syscall(c_ulong(_number("pivot_root")), _encoded(new_root), _encoded(put_old)) < 0:
        raise_errno("pivot_root", new_root)


def sethostname(name: str) -> None:
    data = os.fsencode(name)
    if libc.sethostname(data, c_ulong(len(data))) < 0:
        raise_errno("sethostname")


def setdomainname(name: str) -> None:
    data = os.fsencode(name)
    if libc.setdomainname(data, c_ulong(len(data))) < 0:
        raise_errno("setdomainname")


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    result: int = libc.prctl(c_int(option), c_ulong(arg2), c_ulong(arg3), c_ulong(arg4), c_ulong(arg5))
    if result < 0:
        raise_errno("prctl")
    return result


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(dir_fd: int, path: str, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """Open relative to a directory under the rules of `resolve` (openat2(2), Linux 5.6). Returns the descriptor."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    fd: int = libc.syscall(
        c_ulong(_SYS_openat2), c_int(dir_fd), _encoded(path), ctypes.byref(how), c_ulong(ctypes.sizeof(how))
    )
    if fd < 0:
        raise_errno("openat2", path)
    return fd


def open_tree(dir_fd: int, path: str, flags: int) -> int:
    fd: int = libc.syscall(c_ulong(_SYS_open_tree), c_int(dir_fd), _encoded(path), c_ulong(flags))
    if fd < 0:
        raise_errno("open_tree", path)
    return fd


def move_mount(from_fd: int, to_fd: int) -> None:
    """Attach the mount `from_fd` on the file or directory that `to_fd` has open."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    if libc.syscall(c_ulong(_SYS_move_mount), c_int(from_fd), b"", c_int(to_fd), b"", c_ulong(flags)) < 0:
        raise_errno("move_mount")


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mount_setattr(dir_fd: int, path: str, flags: int, *, set_: int = 0, clear: int = 0, propagation: int = 0) -> None:
    """Change attributes of a mount, with AT_RECURSIVE of the whole tree (mount_setattr(2), Linux 5.12)."""
    attr = _MountAttr(set_, clear, propagation, 0)
    size = c_ulong(ctypes.sizeof(attr))
    if (
        libc.syscall(
            c_ulong(_SYS_mount_setattr), c_int(dir_fd), _encoded(path), c_ulong(flags), ctypes.byref(attr), size
        )
        < 0
    ):
        raise_errno("mount_setattr", path)


FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 0, 1, 6


def fsopen(kind: str) -> int:
    fd: int = libc.syscall(c_ulong(_SYS_fsopen), _encoded(kind), c_ulong(1))
    if fd < 0:
        raise_errno("fsopen", kind)
    return fd


def fsconfig(fd: int, command: int, key: str | None = None, value: str | None = None) -> None:
    if (
        libc.syscall(c_ulong(_SYS_fsconfig), c_int(fd), c_ulong(command), _encoded(key), _encoded(value), c_ulong(0))
        < 0
    ):
        raise_errno("fsconfig", key)


def fsmount(fd: int, attributes: int = 0) -> int:
    mount_fd: int = libc.syscall(c_ulong(_SYS_fsmount), c_int(fd), c_ulong(1), c_ulong(attributes))
    if mount_fd < 0:
        raise_errno("fsmount")
    return mount_fd


def close_range_cloexec(first: int) -> None:
    """Mark every descriptor from `first` on close-on-exec (close_range(2), CLOSE_RANGE_CLOEXEC Linux 5.11)."""
    if libc.syscall(c_ulong(_SYS_close_range), c_ulong(first), c_ulong(0xFFFFFFFF), c_ulong(4)) < 0:
        raise_errno("close_range")


def join_session_keyring() -> None:
    """Start a new, empty session keyring (keyctl(2), KEYCTL_JOIN_SESSION_KEYRING)."""
    if libc.syscall(c_ulong(_number("keyctl")), c_ulong(1), None, c_ulong(0), c_ulong(0), c_ulong(0)) < 0:
        raise_errno("keyctl")


def syncfs(fd: int) -> None:
    """Put everything written to the file system of `fd` on disk."""
    if libc.syncfs(c_int(fd)) < 0:
        raise_errno("syncfs")


def madvise(address: int, length: int, advice: int) -> None:
    if libc.madvise(ctypes.c_void_p(address), c_ulong(length), c_int(advice)) < 0:
        raise_errno("madvise")


def malloc_trim() -> None:
    """Give free memory of the C library's heap back to the kernel (malloc_trim(3))."""
    libc.malloc_trim(ctypes.c_size_t(0))


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set this thread's capability sets, given as bit masks (capget(2), _LINUX_CAPABILITY_VERSION_3)."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    low, high = 0xFFFFFFFF, 32
    data = (ctypes.c_uint32 * 6)(
        effective & low, permitted & low, inheritable & low, effective >> high, permitted >> high, inheritable >> high
    )
    if libc.syscall(c_ulong(_number("capset")), ctypes.byref(header), ctypes.byref(data)) < 0:
        raise_errno("capset")
