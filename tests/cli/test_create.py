"""create, and what an image's configuration means for a container."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.fixtures.command import Pyman

RUN = ("run", "--rm", "--network=none")


@pytest.fixture
def configured(pyman: Pyman, busybox_tar: Path) -> str:
    """An image that says everything an image can say."""
    changes = (
        "ENV COLOR=blue",
        "ENV PATH=/bin:/usr/bin",
        'ENTRYPOINT ["sh", "-c"]',
        'CMD ["id -un; pwd; echo $COLOR; ls -d /data"]',
        "USER user",
        "WORKDIR /home/user/new",
        "VOLUME /data",
        "STOPSIGNAL SIGINT",
        "EXPOSE 8080/tcp 53/udp",
        "LABEL from=image",
    )
    pyman("import", *(f"--change={change}" for change in changes), busybox_tar, "configured:latest")
    return "configured"


def test_image_configuration(pyman: Pyman, configured: str) -> None:
    assert pyman.text(*RUN, configured).splitlines() == ["user", "/home/user/new", "blue", "/data"]
    said = pyman.text(*RUN, "-u", "0", "-w", "/", "-e", "COLOR=red", configured)
    assert said.splitlines() == ["root", "/", "red", "/data"]
    assert pyman.text(*RUN, configured, "echo other") == "other"
    # An entry point of one's own forgets the image's command, as in Podman and Docker.
    assert pyman.text(*RUN, "--entrypoint=echo", configured) == ""
    assert pyman.text(*RUN, "--entrypoint=", configured, "echo", "x") == "x"
    assert "COLOR" not in pyman.text(*RUN, "--unsetenv=COLOR", configured, "env")
    assert pyman.text(*RUN, "-u", "user", configured, "touch x; stat -c %U .") == "user"


def test_inspection(pyman: Pyman, configured: str) -> None:
    pyman("create", "--name=c", "--label=own=x", "-P", configured)
    (c,) = json.loads(pyman.text("inspect", "c"))
    config = c["Config"]
    assert config["Labels"] == {"from": "image", "own": "x"}
    assert (config["User"], config["WorkingDir"], config["Entrypoint"]) in (
        ("user", "/home/user/new", "sh -c"),
        ("user", "/home/user/new", ["sh", "-c"]),
    )
    assert "COLOR=blue" in config["Env"] and "PATH=/bin:/usr/bin" in config["Env"]
    (mount,) = c["Mounts"]
    assert (mount["Type"], mount["Destination"], len(mount["Name"])) == ("volume", "/data", 64)
    ports = pyman.text("port", "c").splitlines()
    assert {re.sub(" -> 0.0.0.0:[0-9]+", "", port) for port in ports} == {"8080/tcp", "53/udp"}
    pyman("rm", "-v", "c")


def test_stop_signal_of_the_image(pyman: Pyman, configured: str) -> None:
    script = "trap 'exit 3' INT; trap 'exit 4' TERM; echo up; while :; do sleep 0.02; done"
    pyman("run", "-d", "--name=image", "--network=none", configured, script)
    pyman("run", "-d", "--name=own", "--stop-signal=TERM", "--network=none", configured, script)
    for name in ("image", "own"):
        while pyman.text("logs", name) != "up":
            pass
    pyman("stop", "image", "own")
    assert pyman.text("wait", "image", "own").split() == ["3", "4"]


def test_volume_of_the_image_can_be_mounted_over(pyman: Pyman, configured: str, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    assert pyman.text(*RUN, "-v", f"{tmp_path}:/data", "-u", "0", configured, "ls /data") == "mine"


def test_create_starts_nothing(pyman: Pyman, busybox_image: str) -> None:
    container_id = pyman.text("create", "--name=c", "--network=none", busybox_image, "sh", "-c", "echo ran; exit 3")
    assert re.fullmatch("[0-9a-f]{64}", container_id)
    assert pyman.text("ps", "-a", "--format", "{{.State}}") == "created"
    assert pyman.text("logs", "c") == ""
    assert pyman.text("wait", "--condition=created", "c") == "0"
    result = pyman("start", "--attach", container_id[:10], check=False)
    assert (result.returncode, result.stdout) == (3, "ran\n")
    assert pyman("create", "--name=c", busybox_image, "true", check=False).returncode == 125


def test_created_with_rm(pyman: Pyman, busybox_image: str) -> None:
    pyman("create", "--rm", "--name=c", "--network=none", busybox_image, "true")
    pyman("start", "-a", "c")
    assert pyman.container_ids() == []


def test_an_image_environment_never_takes_the_callers(pyman: Pyman, busybox_tar: Path) -> None:
    """Entries without "=" must not become the host's value (CVE-2026-57231)."""
    pyman("import", "--change=ENV A=1", busybox_tar, "leaky:latest")
    image = (
        pyman.root
        / "images"
        / f"{pyman.text('image', 'inspect', '-f', '{{.Id}}', 'leaky').removeprefix('sha256:')}.json"
    )
    record = json.loads(image.read_text())
    record["config"]["Env"] += ["AWS_SECRET_ACCESS_KEY", "*", "LD_*", "=x"]
    image.write_text(json.dumps(record))
    said = pyman(*RUN, "leaky", "env", env={"AWS_SECRET_ACCESS_KEY": "secret", "LD_X": "secret"}).stdout
    assert "secret" not in said and "A=1" in said
    pyman("rmi", "leaky")
