"""The options of `create` and `run`: every one that Podman documents is either carried out or refused by name."""

from __future__ import annotations

from engine.cli.parse import Options, argument, decimal, flag, number, refused, rest, size, text, texts

NOT_YET = "not available yet"
_CGROUP_V1 = "cgroup v2 has no such control"
_IO_LIMITS = "the I/O controller is not delegated to users"


class ContainerOptions(Options):
    """What `create` and `run` share."""

    # Name and records
    name: str | None = text("--name", metavar="NAME", help="name of the container (default: two random words)")
    replace: bool = flag("--replace", help="first remove the container that has the name, if there is one")
    label: list[str] = texts("--label", "-l", metavar="KEY[=VALUE]", help="set a label on the container")
    label_file: list[str] = texts("--label-file", metavar="FILE", help="read labels from a file", complete="files")
    annotation: list[str] = texts("--annotation", metavar="KEY=VALUE", help="set an annotation in the runtime spec")
    cidfile: str | None = text("--cidfile", metavar="FILE", help="write the container's ID to a file", complete="files")
    pidfile: str | None = text(
        *("--pidfile", "--conmon-pidfile"),
        metavar="FILE",
        help="write the process ID of the container's first process to a file",
        complete="files",
    )
    rm: bool = flag("--rm", help="remove the container, and its anonymous volumes, when it ends")

    # The image
    pull: str = text(
        "--pull",
        metavar="POLICY",
        default="missing",
        choices=("always", "missing", "never", "newer"),
        help="when to pull the image: always, missing, never, newer",
    )
    quiet: bool = flag("--quiet", "-q", help="show no progress while pulling")
    tls_verify: bool | None = flag(
        "--tls-verify", default=None, help="require HTTPS with a valid certificate (default)"
    )
    authfile: str | None = text("--authfile", metavar="FILE", help="file with registry credentials", complete="files")
    creds: str | None = text("--creds", metavar="USER[:PASSWORD]", help="credentials for the registry")
    platform: str | None = text("--platform", metavar="OS/ARCH[/VARIANT]", help="platform of the image to choose")
    arch: str | None = text("--arch", metavar="ARCH", help="architecture of the image to choose")
    os: str | None = text("--os", metavar="OS", help="operating system of the image to choose")
    variant: str | None = text("--variant", metavar="VARIANT", help="architecture variant of the image to choose")
    rootfs: bool = flag(
        "--rootfs", help="the first argument is a root file system directory; DIR:O leaves it unchanged"
    )

    # The process
    entrypoint: str | None = text(
        "--entrypoint", metavar="COMMAND", help='instead of the image\'s entry point: a command or ["json", "array"]'
    )
    env: list[str] = texts("--env", "-e", metavar="NAME[=VALUE]", help="set an environment variable, or pass yours")
    env_file: list[str] = texts("--env-file", metavar="FILE", help="read environment variables", complete="files")
    env_host: bool = flag("--env-host", help="pass the whole environment of the caller")
    http_proxy: bool = flag("--http-proxy", default=True, help="pass the proxy variables of the caller (default)")
    unsetenv: list[str] = texts("--unsetenv", metavar="NAME", help="drop a variable that the image or pyman sets")
    unsetenv_all: bool = flag("--unsetenv-all", help="drop all variables that the image or pyman sets")
    workdir: str | None = text("--workdir", "-w", metavar="DIR", help="working directory in the container")
    user: str | None = text("--user", "-u", metavar="USER[:GROUP]", help="user and group, as names or numbers")
    group_add: list[str] = texts("--group-add", metavar="GROUP", help="additional groups of the process", split=True)
    interactive: bool = flag("--interactive", "-i", help="keep standard input open")
    tty: bool = flag("--tty", "-t", help="give the container a terminal")
    attach: list[str] = texts(
        "--attach", "-a", metavar="STREAM", help="attach to stdin, stdout or stderr only", split=True
    )
    init: bool = flag("--init", help="run an init process that reaps zombies and forwards signals")
    stop_signal: str | None = text("--stop-signal", metavar="SIGNAL", help="signal that asks the container to end")
    stop_timeout: int | None = number(
        "--stop-timeout", metavar="SECONDS", minimum=-1, help="seconds between the stop signal and SIGKILL (default 10)"
    )
    umask: str | None = text("--umask", metavar="OCTAL", help="file mode creation mask (default 0022)")
    tz: str | None = text("--tz", metavar="ZONE", help="time zone, for example Europe/Berlin; local is the host's")

    # File systems
    volume: list[str] = texts(
        *("--volume", "-v"),
        metavar="[SOURCE:]DIR[:OPTIONS]",
        help="mount a directory of the host, or a volume, in the container",
        complete="sources",
    )
    mount: list[str] = texts(
        "--mount", metavar="type=TYPE,...", help="mount a bind, volume, tmpfs or other file system"
    )
    tmpfs: list[str] = texts("--tmpfs", metavar="DIR[:OPTIONS]", help="mount an empty file system in memory")
    read_only: bool = flag("--read-only", help="make the root file system read-only")
    read_only_tmpfs: bool = flag(
        "--read-only-tmpfs", default=True, help="with --read-only: writable /run, /tmp, /var/tmp in memory (default)"
    )
    device: list[str] = texts("--device", metavar="HOST[:CONTAINER[:RWM]]", help="make a device of the host available")
    shm_size: int | None = size("--shm-size", help="size of /dev/shm (default 64000k)")

    # Namespaces and network
    hostname: str | None = text("--hostname", "-h", metavar="NAME", help="host name in the container")
    network: list[str] = texts(
        "--network", "--net", metavar="MODE", help="none, host, slirp4netns[:OPTIONS], container:NAME"
    )
    publish: list[str] = texts(
        "--publish", "-p", metavar="[[IP:]HOST:]PORT[/PROTO]", help="forward a port, or range, of the host"
    )
    publish_all: bool = flag("--publish-all", "-P", help="forward a free port of the host to each exposed port")
    expose: list[str] = texts("--expose", metavar="PORT[/PROTO]", help="mark a port as offered", split=True)
    add_host: list[str] = texts(
        "--add-host", metavar="NAME:IP", help="add a line to /etc/hosts; IP may be host-gateway"
    )
    no_hosts: bool = flag("--no-hosts", help="keep the image's /etc/hosts")
    dns: list[str] = texts("--dns", metavar="IP", help="name servers instead of the host's", split=True)
    dns_search: list[str] = texts("--dns-search", metavar="DOMAIN", help="domains to search names in", split=True)
    dns_option: list[str] = texts(
        "--dns-option", "--dns-opt", metavar="OPTION", help="options of the resolver", split=True
    )
    userns: str | None = text(
        "--userns", metavar="MODE", help="host, keep-id[:uid=N,gid=N], nomap; default: you are root"
    )
    pid: str | None = text("--pid", metavar="MODE", help="private, host, container:NAME")
    ipc: str | None = text("--ipc", metavar="MODE", help="private, host, container:NAME")
    uts: str | None = text("--uts", metavar="MODE", help="private, host, container:NAME")
    cgroupns: str | None = text("--cgroupns", metavar="MODE", help="private, host")

    # Permissions
    privileged: bool = flag("--privileged", help="all capabilities in the container's own namespaces, nothing masked")
    cap_add: list[str] = texts("--cap-add", metavar="CAPABILITY", help="add a capability, or all", split=True)
    cap_drop: list[str] = texts("--cap-drop", metavar="CAPABILITY", help="drop a capability, or all", split=True)
    security_opt: list[str] = texts(
        "--security-opt", metavar="OPTION", help="seccomp=FILE|unconfined, no-new-privileges, mask=, unmask="
    )
    sysctl: list[str] = texts(
        "--sysctl", metavar="NAME=VALUE", help="set a kernel parameter of the container", split=True
    )

    # Limits
    memory: int | None = size("--memory", "-m", help="limit of memory")
    memory_reservation: int | None = size("--memory-reservation", help="memory that is kept under pressure")
    memory_swap: int | None = size("--memory-swap", help="limit of memory and swap together; -1 is unlimited")
    cpus: float | None = decimal("--cpus", help="limit of processors, for example 1.5")
    cpu_shares: int | None = number("--cpu-shares", "-c", minimum=0, help="weight among others (default 1024)")
    cpuset_cpus: str | None = text("--cpuset-cpus", metavar="CPUS", help="processors to use, for example 0-3,6")
    pids_limit: int | None = number("--pids-limit", minimum=-1, help="limit of processes; -1 is unlimited")
    ulimit: list[str] = texts("--ulimit", metavar="NAME=SOFT[:HARD]", help="resource limit of each process; or host")
    oom_score_adj: int | None = number(
        "--oom-score-adj", minimum=-1000, help="who is killed first when memory runs out (-1000 to 1000)"
    )

    # Logs
    log_driver: str | None = text(
        "--log-driver",
        metavar="DRIVER",
        choices=("k8s-file", "json-file", "none"),
        help="how output is kept: k8s-file (default), json-file, none",
    )
    log_opt: list[str] = texts("--log-opt", metavar="KEY=VALUE", help="options of the log driver: path, max-size")

    # Refused, with the reason
    health = refused(
        *("--health-cmd", "--health-interval", "--health-log-destination", "--health-max-log-count"),
        *("--health-max-log-size", "--health-on-failure", "--health-retries", "--health-start-period"),
        *("--health-startup-cmd", "--health-startup-interval", "--health-startup-retries"),
        *("--health-startup-success", "--health-startup-timeout", "--health-timeout", "--no-healthcheck"),
        reason=f"health checks are {NOT_YET}",
    )
    own_networks = refused(
        *("--ip", "--ip6", "--mac-address", "--network-alias", "--link", "--link-local-ip"),
        reason=f"networks of your own are {NOT_YET}",
    )
    pods = refused("--pod", "--pod-id-file", reason=f"pods are {NOT_YET}")
    later = refused(
        *("--cert-dir", "--cgroup-conf", "--cgroup-parent", "--cgroups", "--chrootdirs", "--env-merge", "--gidmap"),
        *("--gpus", "--group-entry", "--hosts-file", "--hostuser", "--image-volume", "--init-path", "--no-hostname"),
        *("--passwd-entry", "--personality", "--requires", "--restart", "--retry", "--retry-delay", "--sdnotify"),
        *("--seccomp-policy", "--secret", "--shm-size-systemd", "--subgidname", "--subuidname", "--systemd"),
        *("--timeout", "--uidmap", "--volumes-from", "--cpuset-mems", "--cpu-period", "--cpu-quota", "--domainname"),
        reason=NOT_YET,
    )
    io_limits = refused(
        *("--blkio-weight", "--blkio-weight-device", "--device-read-bps", "--device-read-iops"),
        *("--device-write-bps", "--device-write-iops"),
        reason=_IO_LIMITS,
    )
    old_cgroups = refused(
        *("--cpu-rt-period", "--cpu-rt-runtime", "--memory-swappiness", "--oom-kill-disable", "--kernel-memory"),
        reason=_CGROUP_V1,
    )
    needs_root = refused("--device-cgroup-rule", "--rdt-class", reason="only root can do that")
    decryption_key = refused("--decryption-key", reason="encrypted images are not supported")
    docker_only = refused(
        *("--disable-content-trust", "--isolation", "--storage-opt", "--use-api-socket", "--volume-driver"),
        reason="it belongs to Docker's daemon",
    )

    image: str = argument("IMAGE", help="name or ID of the image, or a directory with --rootfs", complete="images")
    command: list[str] = rest("COMMAND", help="what to run instead of the image's command, with its arguments")


class RunOptions(ContainerOptions):
    detach: bool = flag("--detach", "-d", help="run in the background and print the container's ID")
    detach_keys: str = text(
        "--detach-keys", metavar="KEYS", default="ctrl-p,ctrl-q", help="keys that detach the terminal; empty for none"
    )
    sig_proxy: bool = flag("--sig-proxy", default=True, help="pass signals on to the container (default)")
    run_later = refused("--passwd", "--preserve-fd", "--preserve-fds", "--rmi", reason=NOT_YET)


class CreateOptions(ContainerOptions):
    init_containers = refused("--init-ctr", reason=f"pods are {NOT_YET}")
