"""The options of the verbs that act on existing containers."""

from __future__ import annotations

from engine.cli.parse import Options, argument, arguments, flag, number, refused, rest, text, texts

_DETACH_KEYS = "ctrl-p,ctrl-q"
_NOT_YET = "not available yet"


class StartOptions(Options):
    all: bool = flag("--all", help="start all containers that do not run")
    attach: bool = flag("--attach", "-a", help="attach to the output of the container")
    detach_keys: str = text(
        "--detach-keys", metavar="KEYS", default=_DETACH_KEYS, help="keys that detach the terminal; empty for none"
    )
    filter: list[str] = texts("--filter", "-f", metavar="KEY=VALUE", help="start the containers that match")
    interactive: bool = flag("--interactive", "-i", help="attach to standard input too")
    latest: bool = flag("--latest", "-l", help="start the container that was created last")
    sig_proxy: bool | None = flag("--sig-proxy", default=None, help="pass signals on (default with --attach)")
    containers: list[str] = arguments("CONTAINER", minimum=0, complete="containers")


class StopOptions(Options):
    all: bool = flag("--all", "-a", help="stop all running containers")
    cidfile: list[str] = texts(
        "--cidfile", metavar="FILE", help="read the container's ID from a file", complete="files"
    )
    filter: list[str] = texts("--filter", "-f", metavar="KEY=VALUE", help="stop the containers that match")
    ignore: bool = flag("--ignore", "-i", help="no error for containers that do not exist")
    latest: bool = flag("--latest", "-l", help="stop the container that was created last")
    time: int | None = number(
        *("--time", "--timeout", "-t"),
        metavar="SECONDS",
        minimum=-1,
        help="seconds between the stop signal and SIGKILL; -1 waits forever",
    )
    containers: list[str] = arguments("CONTAINER", minimum=0, complete="running")


class RestartOptions(Options):
    all: bool = flag("--all", "-a", help="restart all containers")
    cidfile: list[str] = texts(
        "--cidfile", metavar="FILE", help="read the container's ID from a file", complete="files"
    )
    filter: list[str] = texts("--filter", "-f", metavar="KEY=VALUE", help="restart the containers that match")
    latest: bool = flag("--latest", "-l", help="restart the container that was created last")
    running: bool = flag("--running", help="restart all running containers")
    time: int | None = number(
        *("--time", "--timeout", "-t"),
        metavar="SECONDS",
        minimum=-1,
        help="seconds between the stop signal and SIGKILL; -1 waits forever",
    )
    containers: list[str] = arguments("CONTAINER", minimum=0, complete="containers")


class KillOptions(Options):
    all: bool = flag("--all", "-a", help="signal all running containers")
    cidfile: list[str] = texts(
        "--cidfile", metavar="FILE", help="read the container's ID from a file", complete="files"
    )
    latest: bool = flag("--latest", "-l", help="signal the container that was created last")
    signal: str = text("--signal", "-s", metavar="SIGNAL", default="KILL", help="name or number of the signal")
    containers: list[str] = arguments("CONTAINER", minimum=0, complete="running")


class RmOptions(Options):
    all: bool = flag("--all", "-a", help="remove all containers that do not run; with --force all")
    cidfile: list[str] = texts(
        "--cidfile", metavar="FILE", help="read the container's ID from a file", complete="files"
    )
    filter: list[str] = texts("--filter", metavar="KEY=VALUE", help="remove the containers that match")
    force: bool = flag("--force", "-f", help="stop running containers first; no error for those that do not exist")
    ignore: bool = flag("--ignore", "-i", help="no error for containers that do not exist")
    latest: bool = flag("--latest", "-l", help="remove the container that was created last")
    time: int | None = number(
        "--time",
        "--timeout",
        "-t",
        metavar="SECONDS",
        minimum=-1,
        help="with --force: seconds until SIGKILL (default 10)",
    )
    volumes: bool = flag("--volumes", "-v", help="remove the anonymous volumes of the container too")
    depend = refused("--depend", reason=f"dependencies between containers are {_NOT_YET}")
    containers: list[str] = arguments("CONTAINER", minimum=0, complete="containers")


class ExecOptions(Options):
    detach: bool = flag("--detach", "-d", help="run in the background")
    detach_keys = refused("--detach-keys", reason="a command in the foreground ends with its exec; use --detach")
    env: list[str] = texts("--env", "-e", metavar="NAME[=VALUE]", help="set an environment variable, or pass yours")
    env_file: list[str] = texts("--env-file", metavar="FILE", help="read environment variables", complete="files")
    interactive: bool = flag("--interactive", "-i", help="keep standard input open")
    privileged: bool = flag("--privileged", help="give the command all capabilities in the container's namespaces")
    tty: bool = flag("--tty", "-t", help="give the command a terminal")
    user: str | None = text("--user", "-u", metavar="USER[:GROUP]", help="user and group, as names or numbers")
    workdir: str | None = text("--workdir", "-w", metavar="DIR", help="working directory in the container")
    later = refused("--cidfile", "--latest", "-l", "--preserve-fd", "--preserve-fds", reason=_NOT_YET)
    no_session = refused("--no-session", reason="an attached exec never has a session here")
    container: str = argument("CONTAINER", complete="running")
    command: list[str] = rest("COMMAND", minimum=1, help="the command and its arguments")


class AttachOptions(Options):
    detach_keys: str = text(
        "--detach-keys", metavar="KEYS", default=_DETACH_KEYS, help="keys that detach the terminal; empty for none"
    )
    latest: bool = flag("--latest", "-l", help="attach to the container that was created last")
    no_stdin: bool = flag("--no-stdin", help="do not attach to standard input")
    sig_proxy: bool = flag("--sig-proxy", default=True, help="pass signals on to the container (default)")
    container: str | None = argument("CONTAINER", optional=True, complete="running")


class WaitOptions(Options):
    condition: list[str] = texts(
        "--condition",
        metavar="STATUS",
        choices=("created", "exited", "paused", "running", "stopped", "removing"),
        split=True,
        help="wait for another status than exited or stopped",
    )
    ignore: bool = flag("--ignore", help="print -1 for containers that do not exist")
    interval: str = text(
        "--interval", "-i", metavar="TIME", default="250ms", help="time between two looks at a condition"
    )
    latest: bool = flag("--latest", "-l", help="wait for the container that was created last")
    return_on_first = refused("--return-on-first", reason=_NOT_YET)
    containers: list[str] = arguments("CONTAINER", minimum=0, complete="containers")


class LogsOptions(Options):
    follow: bool = flag("--follow", "-f", help="go on until the container ends")
    latest: bool = flag("--latest", "-l", help="show the container that was created last")
    names: bool = flag("--names", "-n", help="show the container's name before each line")
    since: str | None = text(
        "--since", metavar="TIME", help="show lines from this time on: RFC 3339, Unix time, or 10m"
    )
    tail: int = number("--tail", default=-1, minimum=-1, help="show the last N lines only")
    timestamps: bool = flag("--timestamps", "-t", help="show when each line was written")
    until: str | None = text("--until", metavar="TIME", help="show lines before this time")
    color = refused("--color", reason=_NOT_YET)
    containers: list[str] = arguments("CONTAINER", minimum=0, complete="containers")


class UnshareOptions(Options):
    rootless_netns = refused("--rootless-netns", reason=f"networks of your own are {_NOT_YET}")
    command: list[str] = rest("COMMAND", help="the command and its arguments (default: your shell)")
