"""Options of `run` and `create` -> a request: texts become values, bad ones a UsageError that names the option."""

from __future__ import annotations

import os
import sys

from engine.cli import request_mounts
from engine.containers.create import Request
from engine.errors import NotFound, UsageError
from engine.model import ContainerConfig, PortMapping
from rootless import capabilities, process
from rootless.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.cli.options import ContainerOptions
    from engine.context import Context

DEFAULT_ULIMITS = (("nofile", -1, -1), ("nproc", -1, -1))  # as far as the caller's hard limits go
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")
_ULIMITS = frozenset(
    "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
_NETWORK_SYSCTLS = "net."
_IPC_SYSCTLS = (
    *("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax"),
    *("kernel.shmmni", "kernel.shm_rmid_forced", "fs.mqueue."),
)


def from_options(context: Context, options: ContainerOptions, *, detach: bool) -> Request:
    """Return the request. Files named by options are read here."""
    security = _security(options.security_opt)
    network = _network(context, options.network)
    ports = tuple(port for text in options.publish for port in parse_publish(text))
    if network.partition(":")[0] in ("none", "host") and (ports or options.publish_all):
        if network == "none":
            raise UsageError("--publish needs a network, and --network=none gives none")
        ports = ()  # with the host's network every port is the host's already, as in Podman
    config = ContainerConfig(
        id="",
        name="",
        created_ns=0,
        command=tuple(options.command),
        env=_environment(options),
        labels=_labels(options),
        annotations=tuple(_pair("--annotation", text) for text in options.annotation),
        groups=tuple(options.group_add),
        hostname=_hostname(options),
        tty=options.tty,
        interactive=options.interactive,
        detach=detach,
        init=options.init,
        remove=options.rm,
        read_only=options.read_only,
        read_only_tmpfs=options.read_only_tmpfs,
        privileged=options.privileged,
        no_new_privileges=security.no_new_privileges,
        cap_add=_capabilities(options),
        cap_drop=tuple(options.cap_drop),
        seccomp=security.seccomp,
        mask=security.mask,
        unmask=security.unmask,
        mounts=request_mounts.mounts(options),
        devices=tuple(_device(text) for text in options.device),
        shm_size=options.shm_size if options.shm_size is not None else ContainerConfig.shm_size,
        sysctls=tuple(_sysctl(text, network, options.ipc or "") for text in options.sysctl),
        ulimits=_ulimits(options.ulimit),
        umask=_umask(options.umask),
        userns=_userns(options.userns or ""),
        network=network,
        pid=_namespace("--pid", options.pid),
        ipc=_namespace("--ipc", options.ipc),
        uts=_namespace("--uts", options.uts),
        cgroupns=_namespace("--cgroupns", options.cgroupns),
        ports=ports,
        expose=tuple(_exposed(text) for text in options.expose),
        add_hosts=tuple(_add_host(text) for text in options.add_host),
        no_hosts=options.no_hosts,
        dns=tuple(options.dns),
        dns_search=tuple(options.dns_search),
        dns_options=tuple(options.dns_option),
        log_driver=options.log_driver or "k8s-file",
        log_options=tuple(_log_option(text) for text in options.log_opt),
        stop_timeout_s=options.stop_timeout if options.stop_timeout is not None else 10,
        memory=options.memory or 0,
        memory_swap=options.memory_swap or 0,
        memory_reservation=options.memory_reservation or 0,
        cpus=options.cpus or 0.0,
        cpu_shares=options.cpu_shares or 0,
        cpuset_cpus=options.cpuset_cpus or "",
        pids_limit=options.pids_limit or 0,
        cidfile=options.cidfile or "",
        pidfile=os.path.abspath(options.pidfile) if options.pidfile else "",
        timezone=_timezone(options.tz),
        oom_score_adj=options.oom_score_adj,
        create_command=tuple(sys.orig_argv[-len(sys.argv) :]),
    )
    config = _with_rootfs(config, options)
    if options.stop_signal:
        _signal(options.stop_signal)
    return Request(
        config=config,
        name=options.name,
        entrypoint=_entrypoint(options.entrypoint),
        user=options.user,
        workdir=options.workdir,
        stop_signal=options.stop_signal,
        unset_env=tuple(options.unsetenv),
        unset_env_all=options.unsetenv_all,
        publish_all=options.publish_all,
        replace_existing=options.replace,
    )


def _with_rootfs(config: ContainerConfig, options: ContainerOptions) -> ContainerConfig:
    if not options.rootfs:
        return config
    directory, overlay = options.image, False
    if directory.endswith(":O"):
        directory, overlay = directory[:-2], True
    directory = os.path.abspath(directory)
    if not os.path.isdir(directory):
        raise UsageError(f"--rootfs {directory}: no such directory")
    if os.path.samefile(directory, "/") and not overlay:
        raise UsageError(
            "--rootfs /: your own file system can only be used with a throw-away layer", hint="write --rootfs /:O"
        )
    return config.replace(rootfs=directory, rootfs_overlay=overlay)


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"{option} {text!r}: must be NAME=VALUE")
    return name, value


def _lines(option: str, path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read(1 << 20).split("\n")
    except OSError as error:
        raise UsageError(f"{option} {path}: {os.strerror(error.errno or 0)}") from None
    return [line.rstrip("\r") for line in lines if line.strip() and not line.lstrip().startswith("#")]


def environment_entries(env: list[str], env_file: list[str]) -> list[str]:
    """Return NAME=VALUE entries: of the files first, then of the options. NAME alone passes the caller's value."""
    entries = [line.lstrip() for path in env_file for line in _lines("--env-file", path)] + env
    resolved = []
    for entry in entries:
        name, equals, _ = entry.partition("=")
        if not name or "\0" in entry:
            raise UsageError(f"environment variable {entry[:60]!r}: must be NAME=VALUE or NAME")
        if equals:
            resolved.append(entry)
        elif name.endswith("*"):
            resolved += [f"{key}={value}" for key, value in os.environ.items() if key.startswith(name[:-1])]
        elif name in os.environ:
            resolved.append(f"{name}={os.environ[name]}")
    return resolved


def _environment(options: ContainerOptions) -> tuple[str, ...]:
    entries = []
    if options.http_proxy:
        for name in (spelling for lower in _PROXY_VARIABLES for spelling in (lower, lower.upper())):
            if name in os.environ:
                entries.append(f"{name}={os.environ[name]}")
    if options.env_host:
        entries += [f"{name}={value}" for name, value in os.environ.items()]
    entries += environment_entries(options.env, options.env_file)
    return tuple(entries)


def _labels(options: ContainerOptions) -> tuple[tuple[str, str], ...]:
    texts = [line for path in options.label_file for line in _lines("--label-file", path)] + options.label
    labels = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name:
            raise UsageError(f"--label {text!r}: a label needs a name")
        labels[name] = value
    return tuple(labels.items())


def _hostname(options: ContainerOptions) -> str:
    name = options.hostname or ""
    if name and options.uts == "host":
        raise UsageError("--hostname cannot be set together with --uts=host")
    if len(name) > 64 or any(not (c.isalnum() or c in "-.") for c in name):
        raise UsageError(f"--hostname {name[:70]!r}: letters, digits, '-' and '.', at most 64")
    return name


def _capabilities(options: ContainerOptions) -> tuple[str, ...]:
    try:
        capabilities.resolve(options.cap_add, options.cap_drop)
    except KernelError as error:
        raise UsageError(str(error), hint=error.hint) from None
    return tuple(options.cap_add)


class _Security:
    def __init__(self) -> None:
        self.seccomp = ""
        self.no_new_privileges = False
        self.mask: tuple[str, ...] = ()
        self.unmask: tuple[str, ...] = ()


def _security(texts: list[str]) -> _Security:
    security = _Security()
    for text in texts:
        name, _, value = text.replace(":", "=", 1).partition("=") if "=" not in text else text.partition("=")
        if name == "seccomp":
            if value != "unconfined":
                if not os.path.isfile(value):
                    raise UsageError(f"--security-opt seccomp={value}: no such file")
                value = os.path.abspath(value)
            security.seccomp = value
        elif name == "no-new-privileges" and value in ("", "true", "false"):
            security.no_new_privileges = value != "false"
        elif name == "mask":
            security.mask += tuple(value.split(":"))
        elif name == "unmask":
            security.unmask += ("ALL",) if value.upper() == "ALL" else tuple(value.split(":"))
        elif name == "systempaths" and value == "unconfined":
            security.unmask += ("ALL",)
        elif name == "label" and value == "disable":
            continue  # no SELinux labels are applied in any case
        elif (name, value) == ("apparmor", "unconfined"):
            continue  # nor is an AppArmor profile
        else:
            raise UsageError(
                f"--security-opt {text!r} is not available",
                hint="seccomp=FILE|unconfined, no-new-privileges, mask=, unmask=, systempaths=unconfined are",
            )
    return security


def _network(context: Context, texts: list[str]) -> str:
    if len(texts) > 1:
        raise UsageError("only one --network can be given: networks of your own are not available yet")
    text = texts[0] if texts else ""
    kind = text.partition(":")[0]
    if kind in ("", "private", "default"):
        return "slirp4netns"
    if kind in ("none", "host"):
        return kind
    if kind == "slirp4netns":
        from engine.containers import network

        network.slirp_options(text)
        return text
    if kind in ("container", "ns", "pasta", "bridge"):
        raise UsageError(f"--network={text} is not available yet", hint="none, host and slirp4netns are")
    raise NotFound(f'no network with the name "{text}" found', hint="none, host and slirp4netns exist", exit_status=125)


def _namespace(option: str, text: str | None) -> str:
    if text in (None, "", "private"):
        return ""
    if text == "host":
        return "host"
    if (option, text) == ("--ipc", "shareable"):
        return ""  # private, and others may join; nobody can yet
    raise UsageError(f"{option}={text} is not available", hint="private and host are")


def _userns(text: str) -> str:
    kind, _, options = text.partition(":")
    if kind in ("", "host", "nomap") and not options:
        return text
    if kind == "keep-id":
        for option in options.split(",") if options else []:
            name, _, value = option.partition("=")
            if name not in ("uid", "gid") or not value.isdecimal() or int(value) > 65535:
                raise UsageError(f"--userns={text}: options are uid=N and gid=N, with N up to 65535")
        return text
    raise UsageError(f"--userns={text} is not available", hint="host, keep-id[:uid=N,gid=N] and nomap are")


def parse_publish(text: str) -> list[PortMapping]:
    """Parse [[ip:][host]:]container[/protocol], with ranges; an empty host port is chosen later."""
    body, _, protocol = text.partition("/")
    protocol = protocol or "tcp"
    host_ip = ""
    if body.startswith("["):
        host_ip, bracket, body = body[1:].partition("]")
        body = body.removeprefix(":")
        if not bracket:
            raise UsageError(f"--publish {text!r}: the address is not closed by ']'")
        host, _, container = body.rpartition(":")
    else:
        left, _, container = body.rpartition(":")
        host_ip, colon, host = left.rpartition(":")
        if not colon:
            host_ip, host = "", left
    if protocol not in ("tcp", "udp"):
        raise UsageError(f"--publish {text!r}: protocol must be tcp or udp, not {protocol}")
    container_first, container_last = _port_range(text, container)
    host_first, host_last = _port_range(text, host) if host else (0, container_last - container_first)
    if host_last - host_first != container_last - container_first:
        raise UsageError(f"--publish {text!r}: the two ranges differ in length")
    if host and host_ip in ("0.0.0.0", "*"):
        host_ip = ""
    if host_ip:
        _check_address(f"--publish {text!r}", host_ip)
    count = container_last - container_first + 1
    if not host:
        return [PortMapping(0, container_first + n, protocol, host_ip) for n in range(count)]
    return [PortMapping(host_first, container_first, protocol, host_ip, count)]


def _port_range(text: str, ports: str) -> tuple[int, int]:
    first, dash, last = ports.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise UsageError(f"--publish {text!r}: {ports!r} is not a port number")
    numbers = int(first), int(last or first)
    if not 0 < numbers[0] <= numbers[1] < 65536:
        raise UsageError(f"--publish {text!r}: ports go from 1 to 65535")
    return numbers


def _exposed(text: str) -> str:
    port, _, protocol = text.partition("/")
    first, _, last = port.partition("-")
    if not first.isdecimal() or (last and not last.isdecimal()) or protocol not in ("", "tcp", "udp", "sctp"):
        raise UsageError(f"--expose {text!r}: must be PORT[/PROTOCOL]")
    return f"{port}/{protocol or 'tcp'}"


def _add_host(text: str) -> tuple[str, str]:
    name, colon, address = text.partition(":")
    if not colon:
        name, colon, address = text.partition("=")
    if not name or not address or any(c.isspace() for c in text):
        raise UsageError(f"--add-host {text!r}: must be NAME:IP")
    if address != "host-gateway":
        _check_address("--add-host", address)
    return name.replace(";", " "), address


def _check_address(option: str, address: str) -> None:
    import _socket

    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(family, address)
            return
        except OSError:
            continue
    raise UsageError(f"{option}: {address!r} is not an IP address")


def _sysctl(text: str, network: str, ipc: str) -> tuple[str, str]:
    name, value = _pair("--sysctl", text)
    if name.startswith(_NETWORK_SYSCTLS):
        if network == "host":
            raise UsageError(f"--sysctl {name} cannot be set with --network=host: it would change the host")
    elif name.startswith(_IPC_SYSCTLS):
        if ipc == "host":
            raise UsageError(f"--sysctl {name} cannot be set with --ipc=host: it would change the host")
    elif name not in ("kernel.domainname",):
        raise UsageError(
            f"--sysctl {name} belongs to no namespace: it can only be changed for the whole machine, by root"
        )
    return name, value


def _ulimits(texts: list[str]) -> tuple[tuple[str, int, int], ...]:
    limits = {name: (name, soft, hard) for name, soft, hard in DEFAULT_ULIMITS}
    for text in texts:
        if text == "host":
            limits.clear()
            continue
        name, equals, value = text.partition("=")
        name = name.lower().removeprefix("rlimit_")
        soft_text, _, hard_text = value.partition(":")
        numbers = [_limit_number(text, part) for part in (soft_text, hard_text or soft_text)]
        if not equals or name not in _ULIMITS:
            raise UsageError(f"--ulimit {text!r}: must be NAME=SOFT[:HARD] with a name of getrlimit(2), or host")
        if numbers[1] != -1 and (numbers[0] == -1 or numbers[0] > numbers[1]):
            raise UsageError(f"--ulimit {text!r}: the soft limit is above the hard one")
        limits[name] = (name, numbers[0], numbers[1])
    return tuple(limits.values())


def _limit_number(text: str, number: str) -> int:
    if number in ("-1", "unlimited"):
        return -1
    if not number.isdecimal():
        raise UsageError(f"--ulimit {text!r}: {number!r} is not a number")
    return int(number)


def _umask(text: str | None) -> int:
    if text is None:
        return 0o022
    if not text or not set(text) <= set("01234567") or int(text, 8) > 0o777:
        raise UsageError(f"--umask {text!r}: must be an octal number up to 0777")
    return int(text, 8)


def _timezone(text: str | None) -> str:
    if text and (text.startswith("/") or ".." in text):
        raise UsageError(f"--tz {text!r}: must be the name of a zone, such as Europe/Berlin, or local")
    return text or ""


def _log_option(text: str) -> tuple[str, str]:
    name, value = _pair("--log-opt", text)
    if name == "max-size":
        from engine.cli.parse import size_bytes

        return name, str(size_bytes("--log-opt max-size", value))
    if name == "path":
        return name, os.path.abspath(value)
    raise UsageError(f"--log-opt {name} is not available", hint="path and max-size are")


def _device(text: str) -> str:
    host, _, rest = text.partition(":")
    permissions = rest.rpartition(":")[2] if ":" in rest else ""
    if permissions and not set(permissions) <= set("rwm"):
        raise UsageError(f"--device {text!r}: permissions are letters of rwm")
    if not os.path.exists(host):
        raise UsageError(f"--device {host}: no such device")
    return text


def _entrypoint(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    if text.startswith("["):
        from rootless import jsontext

        try:
            value = jsontext.loads(text)
        except ValueError:
            value = None
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise UsageError(f"--entrypoint {text!r}: not a JSON array of strings")
        return tuple(value)
    return (text,) if text else ()


def _signal(name: str) -> None:
    try:
        process.signal_number(name)
    except ValueError as error:
        raise UsageError(str(error)) from None
