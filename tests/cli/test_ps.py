"""ps, port, exists and inspect on real containers."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from tests.fixtures.command import Pyman

pytestmark = pytest.mark.anyone


@pytest.fixture
def containers(pyman: Pyman, busybox_image: str, tmp_path: Path) -> dict[str, str]:
    """One that runs, one that ended with 3, one that never started: name -> ID."""
    run = ("run", "-d", "--network=none", "--label", "app=shop")
    ids = {
        "web": pyman.text(
            *run, "--name=web", "-v", f"{tmp_path}:/srv:ro", "-v", "/anon", busybox_image, "sleep", "1000"
        ),
        "job": pyman.text(*run, "--name=job", busybox_image, "sh", "-c", "exit 3"),
        "new": pyman.text("create", "--name=new", busybox_image, "true"),
    }
    pyman("wait", "job")
    return ids


def cells(text: str) -> list[list[str]]:
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines()]


def test_ps(pyman: Pyman, containers: dict[str, str]) -> None:
    heading, row = cells(pyman.text("ps"))
    assert heading == ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    assert row[:3] == [containers["web"][:12], "localhost/bb:latest", "sleep 1000"]
    assert row[4].startswith("Up ")
    assert row[-1] == "web"


def test_ps_all(pyman: Pyman, containers: dict[str, str]) -> None:
    states = pyman.text("ps", "-a", "--format", "{{.Names}} {{.State}} {{.ExitCode}}").splitlines()
    assert states == ["web running 0", "job exited 3", "new created 0"]
    assert re.search(r"Exited \(3\) .* ago", pyman.text("ps", "-a", "--filter", "name=job"))
    assert pyman.text("ps", "-aq", "--no-trunc").splitlines() == list(containers.values())
    assert pyman.text("container", "ls", "-q") == containers["web"][:12]


def test_ps_follows_the_truth(pyman: Pyman, containers: dict[str, str]) -> None:
    pid = int(pyman.text("inspect", "-f", "{{.State.Pid}}", "web"))
    assert Path(f"/proc/{pid}").exists()
    pyman("kill", "web")
    deadline = time.monotonic() + 10
    while pyman.text("ps", "-q"):
        assert time.monotonic() < deadline
    assert pyman.text("ps", "-a", "--format", "{{.State}} {{.ExitCode}}", "-f", "name=web") == "exited 137"


def test_ps_size(pyman: Pyman, containers: dict[str, str]) -> None:
    pyman("exec", "web", "sh", "-c", "head -c 100000 /dev/zero >/file; mkdir -m 0 /closed; chown 5 /closed || true")
    web = json.loads(pyman.text("ps", "--size", "--format", "json"))[0]
    assert 100_000 <= web["Size"]["rwSize"] < 110_000
    assert web["Size"]["rootFsSize"] > 1_000_000
    assert "100kB (virtual " in pyman.text("ps", "-s")
    (object_,) = json.loads(pyman.text("inspect", "--size", "web"))
    assert object_["SizeRw"] == web["Size"]["rwSize"]


def test_ps_namespaces(pyman: Pyman, containers: dict[str, str]) -> None:
    heading, row = cells(pyman.text("ps", "--ns"))
    assert heading == ["CONTAINER ID", "NAMES", "PID", "CGROUPNS", "IPC", "MNT", "NET", "PIDNS", "USERNS", "UTS"]
    assert all(value.isdecimal() for value in row[2:])


def test_exists(pyman: Pyman, containers: dict[str, str]) -> None:
    assert pyman("container", "exists", "web").returncode == 0
    assert pyman("container", "exists", containers["job"][:10]).returncode == 0
    result = pyman("container", "exists", "nobody", check=False)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "")


def test_inspect(pyman: Pyman, containers: dict[str, str], tmp_path: Path) -> None:
    web, job = json.loads(pyman.text("inspect", "web", containers["job"][:12]))
    assert (web["Id"], web["Name"], web["State"]["Running"], web["Config"]["Cmd"]) == (
        *(containers["web"], "web", True),
        ["sleep", "1000"],
    )
    assert (job["State"]["Status"], job["State"]["ExitCode"]) == ("exited", 3)
    bind, anonymous = sorted(web["Mounts"], key=lambda mount: str(mount["Type"]))
    assert (bind["Source"], bind["Destination"], bind["RW"]) == (str(tmp_path), "/srv", False)
    assert Path(anonymous["Source"]).is_dir()
    assert web["ImageName"] == "localhost/bb:latest"
    assert Path(f"/proc/{web['State']['Pid']}").exists()


def test_inspect_finds_whatever_has_the_name(pyman: Pyman, containers: dict[str, str], busybox_image: str) -> None:
    assert pyman.text("inspect", "-f", "{{.Id}}", "-t", "image", busybox_image) == pyman.text(
        "image", "inspect", "-f", "{{.Id}}", busybox_image
    )
    pyman("volume", "create", "thing")
    try:
        assert pyman.text("inspect", "-f", "{{.Name}} {{.Driver}}", "thing") == "thing local"
        container, volume = json.loads(pyman.text("inspect", "web", "thing"))
        assert (container["Name"], volume["Name"]) == ("web", "thing")
    finally:
        pyman("volume", "rm", "thing")
    assert pyman.text("inspect", "-l", "-f", "{{.Name}}") == "new"


def test_inspect_goes_on_after_an_error(pyman: Pyman, containers: dict[str, str]) -> None:
    result = pyman("inspect", "-f", "{{.Name}}", "nobody", "web", check=False)
    assert (result.returncode, result.stdout) == (125, "web\n")
    assert result.stderr == 'Error: no such object: "nobody"\n'
    result = pyman("inspect", "nobody", check=False)
    assert (result.returncode, result.stdout) == (125, "[]\n")


def test_inspect_unknown_field(pyman: Pyman, containers: dict[str, str]) -> None:
    result = pyman("inspect", "-f", "{{.State.Stat}}", "web", check=False)
    assert (result.returncode, result.stderr) == (
        125,
        "Error: cannot apply --format: there is no field Stat, did you mean Status?\n",
    )


def test_port(pyman: Pyman, busybox_image: str) -> None:
    pyman("create", "--name=open", "-p", "127.0.0.1:18123:80", "-p", "18124:53/udp", busybox_image, "true")
    assert sorted(pyman.text("port", "open").splitlines()) == ["53/udp -> 0.0.0.0:18124", "80/tcp -> 127.0.0.1:18123"]
    assert pyman.text("port", "open", "80") == "127.0.0.1:18123"
    result = pyman("port", "open", "81", check=False)
    assert (result.returncode, result.stderr) == (125, 'Error: no public port "81" is published for open\n')
