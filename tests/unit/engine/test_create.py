"""Request + image -> configuration."""

from __future__ import annotations

from typing import Any

import pytest

from engine.containers import create
from engine.containers.create import Request
from engine.errors import UsageError
from engine.images.local import Image
from engine.model import ContainerConfig, Mount

ID = "a" * 64


def image(**config: Any) -> Image:
    return Image(
        id="b" * 64,
        layers=("c" * 64,),
        config=config,
        created="2026-01-01T00:00:00Z",
        architecture="amd64",
        os="linux",
        size=1,
    )


def merged(of: Image | None = None, config: dict[str, Any] | None = None, **fields: Any) -> ContainerConfig:
    request = Request(config=ContainerConfig(id="", name="", created_ns=0, **(config or {})), **fields)
    return create.merged(request, of, ID, "name", "localhost/image:latest")


@pytest.mark.parametrize(
    ("of_image", "command", "entrypoint", "argv"),
    [
        ((None, ["sh"]), (), None, ("sh",)),
        ((None, ["sh"]), ("ls",), None, ("ls",)),
        ((["e"], ["c"]), (), None, ("e", "c")),
        ((["e"], ["c"]), ("x", "y"), None, ("e", "x", "y")),
        ((["e"], ["c"]), (), ("o",), ("o",)),
        ((["e"], ["c"]), ("x",), ("o",), ("o", "x")),
        ((["e"], ["c"]), (), (), ()),
        ((["e"], ["c"]), ("x",), (), ("x",)),
        ((None, None), (), None, ()),
    ],
)
def test_argv(
    of_image: tuple[list[str] | None, list[str] | None],
    command: tuple[str, ...],
    entrypoint: tuple[str, ...] | None,
    argv: tuple[str, ...],
) -> None:
    """As in Podman and Docker: an entry point of one's own drops the image's command."""
    made = merged(image(Entrypoint=of_image[0], Cmd=of_image[1]), {"command": command}, entrypoint=entrypoint)
    assert made.argv == argv


def test_environment() -> None:
    """The user's over the image's over ours; what an image names without a value is nothing."""
    of = image(Env=["A=image", "B=image", "PATH=/image", "AWS_SECRET", "*", "=x", "E="])
    made = merged(of, {"env": ("B=user", "C=user"), "hostname": "h"})
    assert dict(entry.split("=", 1) for entry in made.env) == {
        "PATH": "/image",
        "container": "pyman",
        "A": "image",
        "B": "user",
        "C": "user",
        "E": "",
        "HOSTNAME": "h",
    }
    made = merged(of, {"env": ("B=user",)}, unset_env=("A", "container"))
    assert {entry.split("=")[0] for entry in made.env} == {"PATH", "B", "E", "HOSTNAME"}
    assert {entry.split("=")[0] for entry in merged(of, unset_env_all=True).env} == {"HOSTNAME"}


def test_what_the_image_says() -> None:
    of = image(
        User="u:g",
        WorkingDir="/w",
        StopSignal="SIGQUIT",
        Labels={"a": "1", "b": "2"},
        Volumes={"/v": {}, "/taken": {}},
        ExposedPorts={"80/tcp": {}},
    )
    made = merged(
        of, {"labels": (("b", "3"),), "mounts": (Mount("bind", "/taken", "/x"),), "expose": ("80/tcp", "9/udp")}
    )
    assert (made.user, made.workdir, made.stop_signal) == ("u:g", "/w", "SIGQUIT")
    assert dict(made.labels) == {"a": "1", "b": "3"}
    assert [(mount.destination, mount.anonymous) for mount in made.mounts] == [("/taken", False), ("/v", True)]
    assert made.expose == ("80/tcp", "9/udp")
    assert (made.id, made.name, made.hostname, made.layers) == (ID, "name", "a" * 12, ("c" * 64,))
    asked = merged(of, user="0", workdir="x/../y", stop_signal="INT")
    assert (asked.user, asked.workdir, asked.stop_signal) == ("0", "/y", "INT")


def test_without_an_image() -> None:
    made = merged(None, {"command": ("ls",)})
    assert (made.argv, made.workdir, made.stop_signal, made.image_id) == (("ls",), "/", "SIGTERM", "")


@pytest.mark.parametrize("name", ["a", "A.b_c-1", "0", "x" * 200])
def test_good_names(name: str) -> None:
    create.check_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "-a", "_a", "a b", "a/b", "a\n", "a\0", "\u00e4", "x" * 201, "a:b", "~"]
)
def test_bad_names(name: str) -> None:
    with pytest.raises(UsageError, match="invalid container name"):
        create.check_name(name)
