"""Every option of `podman run` and `create` is known: carried out, or refused by name."""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path

import pytest

from engine.cli import parse, table
from engine.cli.main import CommandLine, GlobalOptions
from engine.cli.options import CreateOptions, RunOptions
from engine.cli.parse import Option, Options
from engine.errors import NotSupported

ROOT = Path(__file__).parents[3]

# `podman run --help` and `podman create --help` of Podman 5.8.
BOTH = (
    "--add-host --annotation --arch --attach -a --authfile --blkio-weight --blkio-weight-device --cap-add "
    "--cap-drop --cert-dir --cgroup-conf --cgroup-parent --cgroupns --cgroups --chrootdirs --cidfile "
    "--conmon-pidfile --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares -c --cpus "
    "--cpuset-cpus --cpuset-mems --creds --decryption-key --device --device-cgroup-rule --device-read-bps "
    "--device-read-iops --device-write-bps --device-write-iops --disable-content-trust --dns --dns-option "
    "--dns-search --entrypoint --env -e --env-file --env-host --env-merge --expose --gidmap --gpus "
    "--group-add --group-entry --health-cmd --health-interval --health-log-destination --health-max-log-count "
    "--health-max-log-size --health-on-failure --health-retries --health-start-period --health-startup-cmd "
    "--health-startup-interval --health-startup-retries --health-startup-success --health-startup-timeout "
    "--health-timeout --hostname -h --hosts-file --hostuser --http-proxy --image-volume --init --init-path "
    "--interactive -i --ip --ip6 --ipc --label -l --label-file --log-driver --log-opt --mac-address --memory "
    "-m --memory-reservation --memory-swap --memory-swappiness --mount --name --network --net --network-alias "
    "--no-healthcheck --no-hostname --no-hosts --oom-kill-disable --oom-score-adj --os --passwd-entry "
    "--personality --pid --pidfile --pids-limit --platform --pod --pod-id-file --privileged --publish -p "
    "--publish-all -P --pull --quiet -q --rdt-class --read-only --read-only-tmpfs --replace --requires "
    "--restart --retry --retry-delay --rm --rootfs --sdnotify --seccomp-policy --secret --security-opt "
    "--shm-size --shm-size-systemd --stop-signal --stop-timeout --subgidname --subuidname --sysctl --systemd "
    "--timeout --tls-verify --tmpfs --tty -t --tz --uidmap --ulimit --umask --unsetenv --unsetenv-all --user "
    "-u --userns --uts --variant --volume -v --volumes-from --workdir -w"
)
RUN_ONLY = ["--detach", "-d", "--detach-keys", "--passwd", "--preserve-fd", "--preserve-fds", "--rmi", "--sig-proxy"]
CREATE_ONLY = ["--init-ctr"]

CLASSES: list[type[Options]] = [GlobalOptions, CommandLine]
for _name, (_module, _function, _) in table.VERBS.items():
    __import__(_module)
    CLASSES.append(getattr(sys.modules[_module], _function).options)


def names(options: type[Options]) -> set[str]:
    return {name for option in parse.declared(options) for name in option.names}


@pytest.mark.parametrize(("options", "own"), [(RunOptions, RUN_ONLY), (CreateOptions, CREATE_ONLY)])
def test_every_option_of_podman_is_known(options: type[Options], own: list[str]) -> None:
    assert not {*BOTH.split(" "), *own} - names(options)


def test_what_is_for_run_only_is_unknown_to_create() -> None:
    assert not names(CreateOptions) & set(RUN_ONLY)


@pytest.mark.parametrize("options", CLASSES, ids=lambda options: f"{options.__module__}.{options.__name__}")
class TestDeclarations:
    def test_names_are_unique_and_well_formed(self, options: type[Options]) -> None:
        seen: set[str] = set()
        for option in parse.declared(options):
            for name in option.names:
                assert name not in seen
                seen.add(name)
                assert (len(name) == 2 and name[0] == "-") or (len(name) > 3 and name[:2] == "--")
        assert "--help" not in seen

    def test_annotations_say_what_the_parser_returns(self, options: type[Options]) -> None:
        for base in options.__mro__:
            annotations = inspect.get_annotations(base)
            for name, option in vars(base).items():
                if isinstance(option, Option):
                    assert annotations.get(name) == _annotation(option), f"{base.__name__}.{name}"

    def test_positionals_can_be_told_apart(self, options: type[Options]) -> None:
        positionals = [option for option in parse.declared(options) if not option.names]
        for option in positionals[:-1]:
            assert option.kind == parse.ARGUMENT, "only the last one may take several words"

    def test_everything_is_explained(self, options: type[Options]) -> None:
        for option in parse.declared(options):
            if option.kind == parse.REFUSED:
                assert option.reason
            elif option.names:
                assert option.help, option.names


def _annotation(option: Option) -> str | None:
    if option.kind == parse.REFUSED:
        return None
    if option.kind in (parse.TEXTS, parse.ARGUMENTS, parse.REST):
        return "list[str]"
    kind = {parse.FLAG: "bool", parse.NUMBER: "int", parse.SIZE: "int", parse.DECIMAL: "float"}.get(option.kind, "str")
    if option.kind == parse.ARGUMENT:
        return kind if option.minimum else f"{kind} | None"
    return kind if option.default is not None else f"{kind} | None"


def test_no_option_is_ignored() -> None:
    """Every attribute is read somewhere."""
    read: set[str] = set()
    for path in (ROOT / "engine").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                read.add(node.attr)
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and len(node.args) > 1:
                read.add(ast.literal_eval(node.args[1]) if isinstance(node.args[1], ast.Constant) else "")
    ignored = {
        f"{options.__name__}.{option.attribute}"
        for options in CLASSES
        for option in parse.declared(options)
        if option.kind != parse.REFUSED and option.attribute not in read and len(option.choices) != 1
    }
    assert ignored <= {"RmiOptions.no_prune"}, "accepted and ignored"  # nothing but the named images is removed anyway


def test_refused_options_say_why() -> None:
    with pytest.raises(NotSupported, match="--device-cgroup-rule is not supported: only root can do that"):
        parse.parse(RunOptions, ["--device-cgroup-rule", "c 1:3 rwm", "image"])
