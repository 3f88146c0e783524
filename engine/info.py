"""What pyman found on this machine, with the field names of Podman's `info`, and what follows from it."""

from __future__ import annotations

import os
import platform
import subprocess
from typing import TYPE_CHECKING, Any

from engine.containers import lookup, spec
from engine.images import local
from engine.version import VERSION
from rootless import capabilities, syscalls, userns
from storage import trees

if TYPE_CHECKING:
    from engine.context import Context
    from rootless.idmap import IdRange

_GO_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "386",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
    "loongarch64": "loong64",
}
_CGROUP_ROOT = "/sys/fs/cgroup"
# statfs(2) has no names; statvfs no types. The mount table has both.
_FILE_SYSTEM_NAMES = {"ext2": "extfs", "ext3": "extfs", "ext4": "extfs"}


def collect(context: Context) -> dict[str, Any]:
    """Return everything, by sections: host, store, version."""
    return {"host": _host(context), "plugins": _plugins(), "store": _store(context), "version": version()}


def version() -> dict[str, Any]:
    """Return the version, with Podman's field names where they fit."""
    return {
        "APIVersion": VERSION,
        "Version": VERSION,
        "PythonVersion": platform.python_version(),
        "Built": 0,
        "BuiltTime": "",
        "GitCommit": "",
        "OsArch": f"linux/{go_architecture()}",
        "Os": "linux",
    }


def go_architecture() -> str:
    """Return the machine's architecture as images name it."""
    machine = os.uname().machine
    return _GO_ARCHITECTURES.get(machine, machine)


def _host(context: Context) -> dict[str, Any]:
    uname = os.uname()
    memory = _memory()
    maps = context.maps
    return {
        "arch": go_architecture(),
        "cgroupControllers": _controllers(),
        "cgroupManager": "cgroupfs",
        "cgroupVersion": "v2" if os.path.exists(f"{_CGROUP_ROOT}/cgroup.controllers") else "v1",
        "cpus": len(os.sched_getaffinity(0)),
        "distribution": _distribution(),
        "eventLogger": "none",
        "fuseOverlayfs": _program("fuse-overlayfs"),
        "hostname": uname.nodename,
        "idMappings": {"gidmap": _ranges(maps.gids), "uidmap": _ranges(maps.uids), "singleId": maps.single},
        "kernel": uname.release,
        "logDriver": "k8s-file",
        "memFree": memory.get("MemFree", 0),
        "memTotal": memory.get("MemTotal", 0),
        "networkBackend": "slirp4netns",
        "ociRuntime": {
            "name": "pyman",
            "package": "",
            "path": "built in",
            "version": f"pyman version {VERSION}, spec: {spec.OCI_VERSION}",
        },
        "os": "linux",
        "pasta": _program("pasta"),
        "pythonVersion": platform.python_version(),
        "security": _security(),
        "serviceIsRemote": False,
        "slirp4netns": _program("slirp4netns"),
        "swapFree": memory.get("SwapFree", 0),
        "swapTotal": memory.get("SwapTotal", 0),
        "uptime": _uptime(),
        "variant": "",
    }


def _plugins() -> dict[str, Any]:
    return {
        "authorization": None,
        "log": ["k8s-file", "json-file", "none"],
        "network": ["slirp4netns"],
        "volume": ["local"],
    }


def _store(context: Context) -> dict[str, Any]:
    store = context.store
    statuses = [container.state.status for container in lookup.all_containers(store)]
    disk = os.statvfs(store.root)
    driver, reason = storage_driver(context)
    return {
        "configFile": "",
        "containerStore": {
            "number": len(statuses),
            "paused": statuses.count("paused"),
            "running": sum(status in ("running", "stopping") for status in statuses),
            "stopped": sum(status in ("created", "exited") for status in statuses),
        },
        "graphDriverName": driver,
        "graphDriverReason": reason,
        "graphOptions": {},
        "graphRoot": store.root,
        "graphRootAllocated": disk.f_blocks * disk.f_frsize,
        "graphRootUsed": (disk.f_blocks - disk.f_bfree) * disk.f_frsize,
        "graphStatus": {"Backing Filesystem": file_system(store.root)},
        "imageCopyTmpDir": f"{store.root}/staging",
        "imageStore": {"number": len(local.all_ids(store))},
        "runRoot": context.run_dir,
        "volumePath": store.volumes_dir,
    }


def storage_driver(context: Context) -> tuple[str, str]:
    """Return which driver works on the store's file system, found by trying, and why."""
    failure = _try_overlay(context)
    if not failure:
        return "overlay", "the kernel's overlay works in a user namespace"
    if userns.find_helper("fuse-overlayfs") and os.path.exists("/dev/fuse"):
        return "fuse-overlayfs", failure
    return "copy", f"{failure}; fuse-overlayfs or /dev/fuse is missing"


def _try_overlay(context: Context) -> str:
    """Mount an overlay of empty directories in a namespace that ends right after; returns what went wrong."""
    probe = f"{context.store.trash_dir}/probe~{os.getpid()}"

    def attempt() -> bytes:
        for name in ("lower", "upper", "work", "merged"):
            os.makedirs(f"{probe}/{name}")
        options = f"lowerdir={probe}/lower,upperdir={probe}/upper,workdir={probe}/work,userxattr"
        try:
            syscalls.mount("overlay", f"{probe}/merged", "overlay", 0, options)
            os.mkdir(f"{probe}/merged/new")
            syscalls.umount(f"{probe}/merged")
        except OSError as error:
            return f"the kernel's overlay: {os.strerror(error.errno or 0)}".encode()
        finally:
            trees.remove_tree(probe)
        return b"\n"

    try:
        return userns.run_mapped(attempt, context.maps).decode().strip()
    except Exception as error:
        return f"user namespace: {error}"


def _ranges(ranges: tuple[IdRange, ...]) -> list[dict[str, int]]:
    return [{"container_id": r.inside, "host_id": r.outside, "size": r.count} for r in ranges]


def _security() -> dict[str, Any]:
    return {
        "apparmorEnabled": _read("/sys/module/apparmor/parameters/enabled") == "Y",
        "capabilities": ",".join(capabilities.names(capabilities.DEFAULT)),
        "rootless": os.geteuid() != 0,
        "seccompEnabled": os.path.exists("/proc/sys/kernel/seccomp"),
        "seccompProfilePath": "built in",
        "selinuxEnabled": os.path.exists("/sys/fs/selinux/enforce"),
    }


def _program(name: str) -> dict[str, str]:
    """Return where a helper program is and what it says about its version; empty texts if it is missing."""
    path = userns.find_helper(name)
    if path is None:
        return {"executable": "", "package": "", "version": ""}
    try:
        answer = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=5, stdin=subprocess.DEVNULL
        )
        text = answer.stdout.strip() or answer.stderr.strip()
    except (OSError, subprocess.SubprocessError):
        text = "unknown"
    return {"executable": path, "package": "", "version": text}


def _controllers() -> list[str]:
    """Return the cgroup controllers that are delegated to the caller's own cgroup."""
    for line in _read("/proc/self/cgroup").splitlines():
        if line.startswith("0::"):
            directory = _CGROUP_ROOT + line[3:]
            if os.access(f"{directory}/cgroup.procs", os.W_OK):
                return _read(f"{directory}/cgroup.controllers").split()
    return []


def _distribution() -> dict[str, str]:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return {"distribution": "unknown", "version": "unknown"}
    codename = release.get("VERSION_CODENAME", "")
    found = {"distribution": release.get("ID", "unknown"), "version": release.get("VERSION_ID", "unknown")}
    return {"codename": codename, **found} if codename else found


def _memory() -> dict[str, int]:
    lines = (line.split() for line in _read("/proc/meminfo").splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) >= 2 and words[1].isdecimal()}


def _uptime() -> str:
    seconds = float(_read("/proc/uptime").split()[0] or 0)
    return f"{int(seconds // 3600)}h {int(seconds % 3600 // 60)}m {seconds % 60:.2f}s"


def file_system(path: str) -> str:
    """Return the type of the file system that holds a directory, as Podman names it."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in _read("/proc/self/mountinfo").splitlines():
        words = line.split()
        if words[2] == number:
            kind = words[words.index("-") + 1]
            return _FILE_SYSTEM_NAMES.get(kind, kind)
    return "unknown"


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""
