"""The text of hosts, resolv.conf and friends. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.model import ContainerConfig


APT_CONF = 'APT::Sandbox::User "root";\n'
"""What apt needs where only one id exists: it checks that dropping its privileges really worked."""


def hosts(config: ContainerConfig, address: str, host_address: str) -> str:
    """Return /etc/hosts: what was asked for, localhost, the container itself (`address`, if it has one)."""
    lines = [f"{_resolve(target, host_address)}\t{name}" for name, target in config.add_hosts]
    lines += ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost"]
    if host_address:
        lines.append(f"{host_address}\thost.containers.internal host.docker.internal")
    own = address or ("127.0.1.1" if config.network != "host" else "")
    if own:
        lines.append(f"{own}\t{' '.join(dict.fromkeys((config.hostname, config.name)))}")
    return "\n".join(lines) + "\n"


def _resolve(target: str, host_address: str) -> str:
    return (host_address or "127.0.0.1") if target == "host-gateway" else target


def resolv_conf(config: ContainerConfig, host_text: str, *, forwarder: str) -> str:
    """Return /etc/resolv.conf.

    `host_text` is the host's file; its loopback servers are out of reach from another network namespace, there
    `forwarder` (slirp4netns) asks them. An empty `forwarder` leaves the servers as they are.
    """
    search, options, servers = [], [], []
    for line in host_text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0].startswith(("#", ";")):
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = words[1:]
        elif words[0] == "options":
            options += words[1:]
    if config.dns:
        servers = list(config.dns)
    elif forwarder:
        servers = [forwarder, *(server for server in servers if not _is_loopback(server))]
    search = list(config.dns_search) if config.dns_search else search
    options = list(config.dns_options) if config.dns_options else options
    lines = [f"search {' '.join(search)}"] if search and search != ["."] else []
    lines += [f"nameserver {server}" for server in dict.fromkeys(servers)]
    lines += [f"options {' '.join(options)}"] if options else []
    return "".join(f"{line}\n" for line in lines)


def _is_loopback(server: str) -> bool:
    return server.startswith("127.") or server == "::1"


def containerenv(config: ContainerConfig, version: str) -> str:
    """Return /run/.containerenv, by which programs find out that they run in a container."""
    return (
        f'engine="pyman-{version}"\nname="{config.name}"\nid="{config.id}"\nimage="{config.image_name}"\n'
        f'imageid="{config.image_id}"\nrootless=1\n'
    )
