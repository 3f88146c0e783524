"""Configuration -> OCI runtime spec."""

from __future__ import annotations

import pytest

from engine.containers import spec, spec_mounts
from engine.containers.spec import HostFacts
from engine.model import ContainerConfig, Mount

FACTS = HostFacts(container_dir="/store/c", volumes_dir="/store/volumes", unified_cgroup=True)


def config(**fields: object) -> ContainerConfig:
    return ContainerConfig(id="a" * 64, name="n", created_ns=0, argv=("sh",), hostname="h").replace(**fields)


def targets(**fields: object) -> dict[str, tuple[str, list[str]]]:
    entries = spec_mounts.mounts(config(**fields), FACTS)
    return {entry["destination"]: (entry.get("type", ""), entry.get("options", [])) for entry in entries}


def test_standard_mounts() -> None:
    found = targets()
    assert {"/proc", "/dev", "/sys", "/dev/pts", "/dev/mqueue", "/dev/shm", "/sys/fs/cgroup"} <= set(found)
    assert {"/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/run/.containerenv"} <= set(found)
    for target in ("/proc", "/sys", "/dev/shm", "/sys/fs/cgroup"):
        assert {"nosuid", "nodev", "noexec"} <= set(found[target][1]), target
    assert "ro" in found["/sys"][1] and "ro" in found["/sys/fs/cgroup"][1]
    assert "/etc/hosts" not in targets(no_hosts=True)


def test_namespaces_of_the_host() -> None:
    assert spec.private_namespaces(config()) == {"pid", "network", "ipc", "uts"}
    shared = config(pid="host", network="host", ipc="host", uts="host", cgroupns="host")
    assert spec.private_namespaces(shared) == set()
    built = spec.build(shared, FACTS)
    assert [entry["type"] for entry in built["linux"]["namespaces"]] == ["user", "mount"]
    assert "hostname" not in built
    found = targets(pid="host", network="host")
    assert found["/proc"][0] == "bind" and found["/sys"][0] == "bind" and "rro" in found["/sys"][1]


def test_order_of_mounts() -> None:
    """Parents first, whatever the order of the options; what the user mounts replaces ours."""
    order = [
        entry["destination"]
        for entry in spec_mounts.mounts(
            config(mounts=(Mount("tmpfs", "/a/b/c"), Mount("bind", "/a", "/x"), Mount("bind", "/etc/hosts", "/h"))),
            FACTS,
        )
    ]
    assert order.index("/a") < order.index("/a/b/c")
    assert order.count("/etc/hosts") == 1
    assert order.index("/proc") < order.index("/a")


@pytest.mark.parametrize(
    ("options", "present", "absent"),
    [
        ((), {"rbind", "nosuid", "nodev"}, {"ro", "bind"}),
        (("ro",), {"ro", "nosuid", "nodev"}, set()),
        (("suid", "dev"), {"suid", "dev"}, {"nosuid", "nodev"}),
        (("bind", "noexec"), {"bind", "noexec"}, {"rbind"}),
        (("U", "z", "Z", "nocopy"), set(), {"U", "z", "Z", "nocopy"}),
    ],
)
def test_options_of_binds(options: tuple[str, ...], present: set[str], absent: set[str]) -> None:
    kind, found = targets(mounts=(Mount("bind", "/d", "/x", options),))["/d"]
    assert kind == "bind" and present <= set(found) and not absent & set(found)


def test_read_only() -> None:
    found = targets(read_only=True)
    assert {"/run", "/tmp", "/var/tmp"} <= set(found)
    assert "/tmp" not in targets(read_only=True, read_only_tmpfs=False)
    assert targets(read_only=True, mounts=(Mount("bind", "/tmp", "/x"),))["/tmp"][0] == "bind"


def test_masks() -> None:
    linux = spec.build(config(), FACTS)["linux"]
    assert "/proc/kcore" in linux["maskedPaths"] and "/proc/sys" in linux["readonlyPaths"]
    linux = spec.build(config(unmask=("/proc/kcore",), mask=("/x",)), FACTS)["linux"]
    assert "/proc/kcore" not in linux["maskedPaths"] and linux["maskedPaths"][-1] == "/x"
    for fields in ({"unmask": ("ALL",)}, {"privileged": True}):
        linux = spec.build(config(**fields), FACTS)["linux"]
        assert linux["maskedPaths"] == linux["readonlyPaths"] == []


def test_capabilities() -> None:
    default = spec.capability_names(config())
    assert len(default) == 11 and "CAP_SYS_ADMIN" not in default
    assert spec.capability_names(config(cap_drop=("ALL",))) == []
    assert spec.capability_names(config(cap_drop=("ALL",), cap_add=("CHOWN",))) == ["CAP_CHOWN"]
    assert "CAP_SYS_ADMIN" in spec.capability_names(config(privileged=True))
    process = spec.build(config(), FACTS)["process"]
    assert "inheritable" not in process["capabilities"] and "ambient" not in process["capabilities"]


def test_process() -> None:
    process = spec.build(
        config(init=True, tty=True, no_new_privileges=True, umask=0o77, ulimits=(("nofile", 1, 2),), env=("A=1",)),
        HostFacts(container_dir="/c", volumes_dir="/v", init_path="/usr/bin/catatonit"),
    )["process"]
    assert process["args"] == ["/run/pyman-init", "--", "sh"]
    assert process["terminal"] and process["noNewPrivileges"] and process["user"]["umask"] == 0o77
    assert process["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}]
