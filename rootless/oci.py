"""Types of the OCI runtime specification 1.2 (github.com/opencontainers/runtime-spec), as far as we read them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NotRequired, TypedDict

    class User(TypedDict):
        uid: int
        gid: int
        additionalGids: NotRequired[list[int]]
        umask: NotRequired[int]

    class Rlimit(TypedDict):
        type: str  # RLIMIT_NOFILE
        soft: int
        hard: int

    class Capabilities(TypedDict, total=False):
        bounding: list[str]
        effective: list[str]
        permitted: list[str]
        inheritable: list[str]
        ambient: list[str]

    class Process(TypedDict):
        args: list[str]
        cwd: str
        user: User
        env: NotRequired[list[str]]
        terminal: NotRequired[bool]
        capabilities: NotRequired[Capabilities]
        rlimits: NotRequired[list[Rlimit]]
        noNewPrivileges: NotRequired[bool]
        oomScoreAdj: NotRequired[int]

    class RootFs(TypedDict):
        path: str
        readonly: NotRequired[bool]

    class MountEntry(TypedDict):
        destination: str
        type: NotRequired[str]
        source: NotRequired[str]
        options: NotRequired[list[str]]

    class Namespace(TypedDict):
        type: str  # pid, network, mount, ipc, uts, user, cgroup, time
        path: NotRequired[str]

    class Device(TypedDict):
        path: str
        type: str
        major: NotRequired[int]
        minor: NotRequired[int]

    class IdMapping(TypedDict):
        containerID: int
        hostID: int
        size: int

    class LinuxSection(TypedDict, total=False):
        namespaces: list[Namespace]
        uidMappings: list[IdMapping]
        gidMappings: list[IdMapping]
        devices: list[Device]
        sysctl: dict[str, str]
        maskedPaths: list[str]
        readonlyPaths: list[str]
        rootfsPropagation: str

    class Spec(TypedDict):
        ociVersion: str
        root: RootFs
        process: Process
        hostname: NotRequired[str]
        domainname: NotRequired[str]
        mounts: NotRequired[list[MountEntry]]
        annotations: NotRequired[dict[str, str]]
        linux: LinuxSection
