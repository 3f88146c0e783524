"""Request + image -> frozen configuration, writable layer, record."""

from __future__ import annotations

import os
import time

from engine.containers import lookup
from engine.containers import names as random_names
from engine.containers.lookup import Container
from engine.errors import InUse, PymanError, UsageError
from engine.model import ContainerConfig, ContainerState, Mount
from rootless.record import Record
from storage import names
from storage.errors import NameTaken
from storage.records import disk_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.context import Context
    from engine.images.local import Image

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Request(Record):
    """What the command line asks for. `config` holds what needs no image; None elsewhere means: as the image says."""

    config: ContainerConfig
    name: str | None = None
    entrypoint: tuple[str, ...] | None = None
    user: str | None = None
    workdir: str | None = None
    stop_signal: str | None = None
    unset_env: tuple[str, ...] = ()
    unset_env_all: bool = False
    publish_all: bool = False
    replace_existing: bool = False


def create(context: Context, request: Request, image: Image | None, image_name: str) -> Container:
    """Make the container's record and directories. It is complete when it becomes visible, or it is not there."""
    container_id = os.urandom(32).hex()
    name = request.name or _free_name(context)
    check_name(name)
    config = merged(request, image, container_id, name, image_name)
    if not config.argv:
        raise PymanError("no command given, and the image has none", hint="name one after the image")
    config = _with_volumes(context, config)
    store = context.store
    new_dir = f"{store.containers_dir}/{container_id}~{os.getpid()}"
    final_dir = f"{store.containers_dir}/{container_id}"
    try:
        os.mkdir(new_dir, 0o700)
        for directory in ("upper", "work"):
            os.mkdir(f"{new_dir}/{directory}", 0o755)
        _make_overlay_directories(config, new_dir)
        os.close(os.open(f"{new_dir}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        _write_new(f"{new_dir}/config.json", config.to_json())
        _write_new(f"{new_dir}/state.json", ContainerState().to_json())
        os.rename(new_dir, final_dir)
    except OSError as error:
        from engine.containers import cleanup

        cleanup.remove_tree(context, new_dir)
        raise disk_error(error, new_dir) from error
    container = Container(final_dir, config)
    try:
        _claim_name(context, name, container_id, replace=request.replace_existing)
        if image is not None:
            _check_image_still_here(context, image)
    except BaseException:
        from engine.containers import cleanup

        cleanup.remove_container(context, container)
        raise
    return container


def _write_new(path: str, value: object) -> None:
    """Write a file of a directory that nobody sees yet: no rename is needed."""
    from rootless import jsontext

    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        data = jsontext.dumps(value).encode()
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)


def check_name(name: str) -> None:
    """Raise UsageError for a name that Podman would refuse, too."""
    if not names.is_valid(name):
        raise UsageError(f"invalid container name {name[:60]!r}", hint=names.RULE)


def _free_name(context: Context) -> str:
    for _ in range(100):
        name = random_names.random_name()
        if names.lookup(context.store.container_names_dir, name) is None:
            return name
    return f"{random_names.random_name()}_{os.urandom(4).hex()}"


def _claim_name(context: Context, name: str, container_id: str, *, replace: bool) -> None:
    store = context.store
    for _ in range(10):
        try:
            names.claim(store.container_names_dir, name, container_id)
            return
        except NameTaken as error:
            if not os.path.isdir(f"{store.containers_dir}/{error.holder}"):
                names.release(store.container_names_dir, name, error.holder)  # its removal was cut short
            elif replace:
                from engine.containers import stop

                stop.remove(context, lookup.load(f"{store.containers_dir}/{error.holder}"), force=True)
            else:
                raise InUse(
                    f'the container name "{name}" is already in use by {error.holder[:12]}',
                    hint="remove that container, choose another name, or use --replace",
                    exit_status=125,
                ) from None
    raise PymanError(f'cannot take the name "{name}": others claim it all the time')


def _check_image_still_here(context: Context, image: Image) -> None:
    """From now on `rmi` sees that we use the image; make sure that it did not go just before."""
    if not os.path.exists(f"{context.store.images_dir}/{image.id}.json"):
        raise PymanError(f"image {image.id[:12]} was removed meanwhile")


def merged(request: Request, image: Image | None, container_id: str, name: str, image_name: str) -> ContainerConfig:
    """Return the configuration of the container: what was asked for, over what the image says. Pure."""
    config = request.config
    from_image = image.config if image is not None else {}
    image_entrypoint = tuple(from_image.get("Entrypoint") or ())
    image_command = tuple(from_image.get("Cmd") or ())
    if request.entrypoint is not None:
        entrypoint, default_command = request.entrypoint, ()
    else:
        entrypoint, default_command = image_entrypoint, image_command
    command = config.command or default_command
    labels = {**(from_image.get("Labels") or {}), **dict(config.labels)}
    exposed = tuple(dict.fromkeys([*(from_image.get("ExposedPorts") or {}), *config.expose]))
    hostname = config.hostname or _default_hostname(config, container_id)
    merged_config = config.replace(
        id=container_id,
        name=name,
        created_ns=time.time_ns(),
        image_id=image.id if image is not None else "",
        architecture=image.architecture if image is not None else "",
        image_name=image_name,
        layers=tuple(image.layers) if image is not None else (),
        entrypoint=entrypoint,
        command=command,
        argv=entrypoint + command,
        env=_environment(request, from_image, hostname),
        workdir=_absolute(request.workdir or from_image.get("WorkingDir") or "/"),
        user=request.user if request.user is not None else from_image.get("User") or _default_user(config),
        hostname=hostname,
        labels=tuple(labels.items()),
        expose=exposed,
        stop_signal=request.stop_signal or from_image.get("StopSignal") or "SIGTERM",
        mounts=config.mounts + _image_volumes(config, from_image),
    )
    return _with_published(merged_config, publish_all=request.publish_all)


def _default_user(config: ContainerConfig) -> str:
    """With keep-id the command runs as the caller, as in Podman."""
    kind, _, options = config.userns.partition(":")
    if kind != "keep-id":
        return ""
    wanted = dict(option.partition("=")[::2] for option in options.split(",") if option)
    return f"{wanted.get('uid', os.getuid())}:{wanted.get('gid', os.getgid())}"


def _default_hostname(config: ContainerConfig, container_id: str) -> str:
    return os.uname().nodename if config.uts == "host" else container_id[:12]


def _environment(request: Request, from_image: dict[str, list[str] | None], hostname: str) -> tuple[str, ...]:
    """Merge the environment: defaults, the image's, the user's; entries without "=" of an image are dropped.

    (An entry without "=" must not become the host's value of that name: CVE-2026-57231.)
    """
    config = request.config
    env = {"PATH": DEFAULT_PATH, "container": "pyman"}
    if config.tty:
        env["TERM"] = "xterm"
    for entry in from_image.get("Env") or ():
        name, equals, value = entry.partition("=")
        if equals and name:
            env[name] = value
    for name in list(env) if request.unset_env_all else request.unset_env:
        env.pop(name, None)
    for entry in config.env:
        name, _, value = entry.partition("=")
        env[name] = value
    env.setdefault("HOSTNAME", hostname)
    return tuple(f"{name}={value}" for name, value in env.items())


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        path = f"/{path}"
    return os.path.normpath(path)


def _image_volumes(config: ContainerConfig, from_image: dict[str, dict[str, object] | None]) -> tuple[Mount, ...]:
    """Return an anonymous volume for each VOLUME of the image that nothing else is mounted on."""
    taken = {mount.destination for mount in config.mounts}
    paths = [_absolute(path) for path in from_image.get("Volumes") or {}]
    return tuple(Mount("volume", path, anonymous=True) for path in paths if path not in taken)


def _with_volumes(context: Context, config: ContainerConfig) -> ContainerConfig:
    """Make the volumes that the mounts name, and names for the anonymous ones."""
    if not any(mount.type == "volume" for mount in config.mounts):
        return config
    from engine import volumes

    mounts = []
    for mount in config.mounts:
        if mount.type == "volume":
            name = mount.source or os.urandom(32).hex()
            mount = mount.replace(source=name, anonymous=not mount.source)
            volumes.ensure(context.store, name, anonymous=mount.anonymous)
        mounts.append(mount)
    return config.replace(mounts=tuple(mounts))


def _make_overlay_directories(config: ContainerConfig, container_dir: str) -> None:
    for index, mount in enumerate(config.mounts):
        if mount.type == "overlay":
            os.makedirs(f"{container_dir}/volumes/{index}/upper")
            os.mkdir(f"{container_dir}/volumes/{index}/work")


def _with_published(config: ContainerConfig, *, publish_all: bool) -> ContainerConfig:
    """Choose host ports where none was given: at creation, so that `inspect` and `port` tell them."""
    from engine.model import PortMapping

    ports = list(config.ports)
    if publish_all:
        taken = {(port.container_port, port.protocol) for port in ports}
        for exposed in config.expose:
            number, _, protocol = exposed.partition("/")
            if number.isdecimal() and (int(number), protocol or "tcp") not in taken:
                ports.append(PortMapping(0, int(number), protocol or "tcp"))
    if not any(port.host_port == 0 for port in ports):
        return config.replace(ports=tuple(ports))
    from rootless import usernet

    chosen = [
        port.replace(host_port=usernet.free_port(port.protocol, port.host_ip)) if port.host_port == 0 else port
        for port in ports
    ]
    return config.replace(ports=tuple(chosen))
