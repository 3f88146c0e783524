"""Container and network: the namespace's user-mode stack, its addresses, its published ports."""

from __future__ import annotations

from engine.containers import cleanup
from engine.errors import UsageError
from rootless import usernet
from rootless.record import Record
from rootless.usernet import SlirpOptions, UserNetwork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.containers.lookup import Container
    from engine.context import Context
    from engine.model import ContainerConfig, PortMapping


class Addresses(Record):
    """What goes into hosts and resolv.conf; empty where there is none."""

    own: str = ""
    host: str = ""
    dns: str = ""


class Connection(Record):
    network: UserNetwork


def slirp_options(network: str) -> SlirpOptions:
    """Parse slirp4netns[:option=value,...]. Raises UsageError for what slirp4netns cannot do."""
    options = SlirpOptions()
    _, _, text = network.partition(":")
    for option in text.split(",") if text else []:
        name, _, value = option.partition("=")
        if name in ("allow_host_loopback", "enable_ipv6"):
            if value not in ("true", "false"):
                raise UsageError(f"slirp4netns option {name} must be true or false, not {value!r}")
            options = options.replace(**{name: value == "true"})
        elif name == "mtu" and value.isdecimal():
            options = options.replace(mtu=int(value))
        elif name in ("cidr", "outbound_addr", "outbound_addr6") and value:
            options = options.replace(**{name: value})
        elif name == "port_handler" and value == "rootlesskit":
            raise UsageError("port_handler=rootlesskit is not available", hint="slirp4netns keeps the client's address")
        elif name != "port_handler" or value != "slirp4netns":
            raise UsageError(f"unknown slirp4netns option {option!r}")
    return options


def _uses_slirp(config: ContainerConfig) -> bool:
    return config.network.partition(":")[0] == "slirp4netns"


def addresses(config: ContainerConfig) -> Addresses:
    """Return the container's view of the network."""
    if not _uses_slirp(config):
        return Addresses()
    cidr = slirp_options(config.network).cidr
    base = cidr.partition("/")[0].rpartition(".")[0]
    return Addresses(f"{base}.100", f"{base}.2", f"{base}.3")


def connect(context: Context, container: Container, init_pid: int) -> Connection | None:
    """Start what the network needs; it boots while init mounts. None if nothing does."""
    config = container.config
    if not _uses_slirp(config):
        return None
    for port in each_port(config):
        usernet.check_port_free(port.protocol, port.host_ip, port.host_port)
    api_path = cleanup.slirp_path(context, container.id) if config.ports else ""
    return Connection(usernet.start(init_pid, slirp_options(config.network), api_path))


def finish(connection: Connection, config: ContainerConfig) -> None:
    """Wait for the network and publish the ports."""
    usernet.wait_ready(connection.network)
    for port in each_port(config):
        usernet.publish(connection.network, port.protocol, port.host_ip, port.host_port, port.container_port)


def each_port(config: ContainerConfig) -> list[PortMapping]:
    """Return the published ports one by one."""
    return [
        port.replace(host_port=port.host_port + offset, container_port=port.container_port + offset, count=1)
        for port in config.ports
        for offset in range(port.count)
    ]


def disconnect(connection: Connection) -> None:
    usernet.stop(connection.network)
    if connection.network.api_path:
        from storage.records import remove_file

        remove_file(connection.network.api_path)
