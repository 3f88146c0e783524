"""Which containers a command line means, and what ps and inspect make of them; on records alone."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from engine.cli import output, selection
from engine.cli.container_rows import ports_text
from engine.cli.containers import COLUMNS, PortOptions, PsOptions, port, ps, published
from engine.cli.inspect_container import container_object
from engine.containers import lookup
from engine.context import Context
from engine.errors import NotFound, UsageError
from engine.model import ContainerConfig, ContainerState, Mount, PortMapping
from storage import names, records
from storage.store import Store

NOW = time.time_ns()


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ages in what is expected are those at import."""
    monkeypatch.setattr(time, "time_ns", lambda: NOW)
    monkeypatch.setattr(time, "time", lambda: NOW / 1e9)


MINUTE = 60 * 10**9
IDS = [f"{n}" * 64 for n in "abc"]


def add(store: Store, container_id: str, name: str, state: ContainerState, **config: Any) -> None:
    directory = f"{store.containers_dir}/{container_id}"
    Path(directory).mkdir()
    values = {"id": container_id, "name": name, "created_ns": NOW, "argv": ("sleep", "1000"), **config}
    records.write(f"{directory}/config.json", ContainerConfig(**values).to_json())
    records.write(f"{directory}/state.json", state.to_json())
    names.claim(store.container_names_dir, name, container_id)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A store with three containers: made, ended with 3, ended with 0."""
    context = Context(root=str(tmp_path / "store"))
    store = context.store
    add(store, IDS[0], "web", ContainerState(), created_ns=NOW - 9 * MINUTE, labels=(("app", "shop"), ("tier", "")))
    ended = ContainerState(status="exited", exit_code=3, started_ns=NOW - 4 * MINUTE, finished_ns=NOW - 3 * MINUTE)
    add(
        store,
        IDS[1],
        "web-db",
        ended,
        created_ns=NOW - 5 * MINUTE,
        labels=(("app", "shop"),),
        image_name="docker.io/library/db:1",
        mounts=(Mount("volume", "/data", "data"), Mount("bind", "/etc/x", "/srv/x", ("ro",))),
        ports=(PortMapping(8080, 80), PortMapping(90, 90, "udp", "127.0.0.1", 2)),
        expose=("80/tcp", "443/tcp"),
    )
    add(
        store,
        IDS[2],
        "job",
        ended.replace(exit_code=0),
        created_ns=NOW - MINUTE,
        network="none",
        argv=("sh", "-c", "x" * 30),
    )
    return context


def chosen(context: Context, *filters: str) -> list[str]:
    store = context.store
    return [c.name for c in selection.filtered(store, lookup.all_containers(store), filters)]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], ["web", "web-db", "job"]),
        (["name=web"], ["web", "web-db"]),
        (["name=^web$"], ["web"]),
        (["name=job", "name=db"], ["web-db", "job"]),
        (["id=b"], ["web-db"]),
        (["id=^c+$"], ["job"]),
        (["label=app"], ["web", "web-db"]),
        (["label=app=shop", "label=tier"], ["web"]),
        (["label=app=x"], []),
        (["label!=app"], ["job"]),
        (["status=created"], ["web"]),
        (["status=exited", "status=created"], ["web", "web-db", "job"]),
        (["status=exited", "name=web"], ["web-db"]),
        (["exited=3"], ["web-db"]),
        (["exited=0"], ["job"]),
        (["before=web-db"], ["web"]),
        (["since=web-db"], ["job"]),
        (["until=2m"], ["web", "web-db"]),
        (["volume=data"], ["web-db"]),
        (["volume=/etc/x"], ["web-db"]),
        (["ancestor=db"], ["web-db"]),
        (["network=none"], ["job"]),
        (["command=sleep"], ["web", "web-db"]),
    ],
)
def test_filters(context: Context, filters: list[str], expected: list[str]) -> None:
    assert chosen(context, *filters) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nmae=x", "nmae is an invalid filter"),
        ("name", '"name" is no filter'),
        ("exited=x", "not a whole number"),
        ("status=up", "choose from created"),
        ("name=[", "is no regular expression"),
        ("until=x", "is no time"),
    ],
)
def test_bad_filters(context: Context, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        chosen(context, text)


def test_filter_on_a_container_that_is_not_there(context: Context) -> None:
    with pytest.raises(NotFound):
        chosen(context, "before=nothing")


def test_select(context: Context, tmp_path: Path) -> None:
    store = context.store
    (tmp_path / "cid").write_text(f"{IDS[2]}\n")
    found, errors = selection.select(store, ["web", "gone", "a"], cidfiles=[str(tmp_path / "cid")])
    assert [c.name for c in found] == ["web", "job"]  # "a" is web again
    assert [str(error) for error in errors] == ['no container with name or ID "gone" found: no such container']
    assert selection.select(store, ["gone"], ignore=True) == ([], [])
    assert [c.name for c in selection.select(store, [], latest=True)[0]] == ["job"]
    assert len(selection.select(store, [], all=True)[0]) == 3
    assert [c.name for c in selection.select(store, [], filters=["name=db"])[0]] == ["web-db"]


def test_select_nothing(context: Context, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name at least one container"):
        selection.select(context.store, [])
    with pytest.raises(UsageError, match="give either containers"):
        selection.select(context.store, ["web"], all=True)
    with pytest.raises(NotFound, match="there is no container"):
        selection.latest_container(Context(root=str(tmp_path / "empty")).store)


def listed(context: Context, capsys: pytest.CaptureFixture[str], **options: Any) -> str:
    assert ps(PsOptions(**options), context) == 0
    return capsys.readouterr().out


def test_ps_shows_running_ones_only(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(context, capsys) == output.align([[heading for heading, _ in COLUMNS]])
    assert listed(context, capsys, quiet=True) == ""
    assert listed(context, capsys, quiet=True, filter=["status=created"]) == "aaaaaaaaaaaa\n"


def test_ps_all(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split("  ") for line in listed(context, capsys, all=True).splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells == [
        ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"],
        ["aaaaaaaaaaaa", "sleep 1000", "9 minutes ago", "Created", "web"],
        [
            *("bbbbbbbbbbbb", "docker.io/library/db:1", "sleep 1000", "5 minutes ago", "Exited (3) 3 minutes ago"),
            *("0.0.0.0:8080->80/tcp, 127.0.0.1:90-91->90-91/udp, 443/tcp", "web-db"),
        ],
        ["cccccccccccc", "sh -c xxxxxxxxxxx...", "About a minute ago", "Exited (0) 3 minutes ago", "job"],
    ]


def test_ps_chooses_and_sorts(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    def show(**options: Any) -> list[str]:
        return listed(context, capsys, format="{{.Names}}", **options).split()

    assert show(all=True) == ["web", "web-db", "job"]
    assert show(all=True, sort="names") == ["job", "web", "web-db"]
    assert show(all=True, sort="runningfor") == ["job", "web-db", "web"]
    assert show(latest=True) == ["job"]
    assert show(last=2) == ["web-db", "job"]
    assert show(last=0) == []
    assert show(last=9) == ["web", "web-db", "job"]
    assert listed(context, capsys, all=True, quiet=True, no_trunc=True).split() == IDS


def test_ps_as_json(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    web, db, _ = json.loads(listed(context, capsys, all=True, format="json"))
    assert web["Labels"] == {"app": "shop", "tier": ""}
    assert (db["Id"], db["Names"], db["State"], db["ExitCode"], db["Exited"]) == (IDS[1], ["web-db"], "exited", 3, True)
    outside = {"host_ip": "127.0.0.1", "host_port": 90}
    assert db["Ports"][1] == {**outside, "container_port": 90, "range": 2, "protocol": "udp"}
    assert db["Created"] == (NOW - 5 * MINUTE) // 10**9
    assert db["Command"] == ["sleep", "1000"]


def test_ps_excludes(context: Context) -> None:
    with pytest.raises(UsageError):
        ps(PsOptions(latest=True, last=3), context)
    with pytest.raises(UsageError):
        ps(PsOptions(quiet=True, size=True), context)


def test_ps_does_not_let_names_steer_the_terminal(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    add(context.store, "d" * 64, "evil", ContainerState(), argv=("\x1b]0;owned\x07",))
    assert "\x1b" not in listed(context, capsys, all=True) + listed(context, capsys, all=True, format="{{.Command}}")


def test_ports() -> None:
    ports = (PortMapping(8000, 80, count=2), PortMapping(53, 53, "udp", "::1"))
    assert ports_text(ports, ("80/tcp", "82/tcp")) == "0.0.0.0:8000-8001->80-81/tcp, [::1]:53->53/udp, 82/tcp"
    assert published(ports) == [("80/tcp", "0.0.0.0:8000"), ("81/tcp", "0.0.0.0:8001"), ("53/udp", "[::1]:53")]


def test_port(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    port(PortOptions(container="web-db"), context)
    assert capsys.readouterr().out == "80/tcp -> 0.0.0.0:8080\n90/udp -> 127.0.0.1:90\n91/udp -> 127.0.0.1:91\n"
    port(PortOptions(container="web-db", port="91/udp"), context)
    assert capsys.readouterr().out == "127.0.0.1:91\n"
    with pytest.raises(NotFound, match='no public port "91" is published for web-db'):
        port(PortOptions(container="web-db", port="91"), context)


def test_inspect(context: Context) -> None:
    container = lookup.find(context.store, "web-db")
    value = container_object(context.store, container)
    assert (value["Id"], value["Name"], value["Path"], value["Args"]) == (IDS[1], "web-db", "sleep", ["1000"])
    state = value["State"]
    assert (state["Status"], state["Running"], state["ExitCode"], state["Pid"]) == ("exited", False, 3, 0)
    volume, bind = value["Mounts"]
    assert (volume["Type"], volume["Name"], volume["RW"]) == ("volume", "data", True)
    assert volume["Source"] == f"{context.store.volumes_dir}/data/_data"
    assert (bind["Type"], bind["Source"], bind["Destination"], bind["RW"]) == ("bind", "/srv/x", "/etc/x", False)
    ports = value["NetworkSettings"]["Ports"]
    assert ports["80/tcp"] == [{"HostIp": "0.0.0.0", "HostPort": "8080"}]
    assert (ports["443/tcp"], ports["91/udp"]) == (None, [{"HostIp": "127.0.0.1", "HostPort": "91"}])
    assert "443/tcp" not in value["HostConfig"]["PortBindings"]
    assert value["HostConfig"]["Binds"] == ["data:/data:rw", "/srv/x:/etc/x:ro"]
    json.loads(output.json_text([value]))
