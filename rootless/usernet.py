"""slirp4netns: a network for a namespace, without privilege (slirp4netns(1))."""

from __future__ import annotations

import _socket
import fcntl
import os
import select

from rootless import jsontext, process, syscalls, userns
from rootless.constants import CLONE_NEWUSER
from rootless.errors import KernelError
from rootless.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_READY_TIMEOUT_S = 30.0
_READY_FD, _EXIT_FD, _NET_FD = 3, 4, 5


class SlirpOptions(Record):
    """Options of --network slirp4netns:..., by their names in Podman's documentation."""

    mtu: int = 65520
    cidr: str = "10.0.2.0/24"
    allow_host_loopback: bool = False
    enable_ipv6: bool = True
    outbound_addr: str = ""
    outbound_addr6: str = ""


class UserNetwork(Record):
    """A running slirp4netns. It ends by itself when every copy of `exit_fd` is closed."""

    pid: int
    exit_fd: int
    ready_fd: int
    output_fd: int
    api_path: str


def start(init_pid: int, options: SlirpOptions, api_path: str) -> UserNetwork:
    """Start slirp4netns for the network namespace of a process; it configures tap0 while we go on.

    `api_path` is where its control socket shall be, or empty if no port is published.
    """
    helper = userns.find_helper("slirp4netns")
    if helper is None:
        raise KernelError("slirp4netns is not installed", hint="install it, or choose --network none or --network host")
    argv = [helper, "--configure", f"--mtu={options.mtu}", f"--cidr={options.cidr}"]
    argv += [] if options.allow_host_loopback else ["--disable-host-loopback"]
    argv += ["--enable-ipv6"] if options.enable_ipv6 else []
    argv += [f"--outbound-addr={options.outbound_addr}"] if options.outbound_addr else []
    argv += [f"--outbound-addr6={options.outbound_addr6}"] if options.outbound_addr6 else []
    argv += ["--enable-sandbox", "--enable-seccomp", f"--ready-fd={_READY_FD}", f"--exit-fd={_EXIT_FD}"]
    argv += [f"--api-socket={api_path}"] if api_path else []
    argv += ["--netns-type=path", f"/proc/self/fd/{_NET_FD}", "tap0"]
    # Opened by us, and now: init soon makes itself undumpable, and then its /proc/PID/ns is closed to others.
    user_fd = os.open(f"/proc/{init_pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    net_fd = os.open(f"/proc/{init_pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    ready_fd, their_ready = os.pipe2(os.O_CLOEXEC)
    their_exit, exit_fd = os.pipe2(os.O_CLOEXEC)
    output_fd, their_output = os.pipe2(os.O_CLOEXEC)
    theirs = {_READY_FD: their_ready, _EXIT_FD: their_exit, _NET_FD: net_fd, 1: their_output, 2: their_output}
    pid = os.fork()
    if pid == 0:
        _execute(helper, argv, theirs, user_fd)
    for fd in {*theirs.values(), user_fd}:
        os.close(fd)
    os.set_blocking(output_fd, False)
    return UserNetwork(pid, exit_fd, ready_fd, output_fd, api_path)


def _execute(helper: str, argv: list[str], descriptors: dict[int, int], user_fd: int) -> NoReturn:
    """Become slirp4netns: it builds its sandbox (a mount namespace) with the rights of root of the user namespace."""
    try:
        syscalls.setns(user_fd, CLONE_NEWUSER)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        # The low numbers may be in use by the very pipes that go there: move those out of the way first.
        high = {number: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for number, fd in descriptors.items()}
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        for number, fd in high.items():
            os.dup2(fd, number)
        os.execve(helper, argv, {"PATH": "/usr/bin:/bin", "LC_ALL": "C"})
    finally:
        os._exit(127)


def wait_ready(network: UserNetwork) -> None:
    """Wait until tap0 is configured. Raises KernelError with what slirp4netns said."""
    poll = select.poll()
    poll.register(network.ready_fd, select.POLLIN)
    ready = poll.poll(int(_READY_TIMEOUT_S * 1000))
    if ready and os.read(network.ready_fd, 1) == b"1":
        os.close(network.ready_fd)
        return
    # It has ended, or hangs: what it wrote tells why.
    try:
        said = os.read(network.output_fd, 4096).decode(errors="replace").strip().replace("\n", "; ")
    except BlockingIOError:
        said = f"no answer within {_READY_TIMEOUT_S:.0f} s"
    raise KernelError(f"slirp4netns failed: {said}", hint="is /dev/net/tun readable and writable for you?")


def publish(network: UserNetwork, protocol: str, host_ip: str, host_port: int, guest_port: int) -> None:
    """Have slirp4netns listen on a port of the host. Raises KernelError."""
    arguments: dict[str, Any] = {"proto": protocol, "host_addr": host_ip or "0.0.0.0", "host_port": host_port}
    arguments["guest_port"] = guest_port
    reply = _call(network.api_path, {"execute": "add_hostfwd", "arguments": arguments})
    if "error" in reply:
        raise KernelError(f"cannot publish port {host_port}/{protocol}: {reply['error'].get('desc', 'unknown')}")


def _call(api_path: str, request: dict[str, Any]) -> dict[str, Any]:
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(10)
        sock.connect(api_path)
        sock.sendall(jsontext.dumps(request).encode())
        sock.shutdown(_socket.SHUT_WR)
        chunks = []
        while chunk := sock.recv(4096):
            chunks.append(chunk)
    except OSError as error:
        raise KernelError(f"slirp4netns does not answer: {error.strerror or error}") from error
    finally:
        sock.close()
    try:
        reply: dict[str, Any] = jsontext.loads(b"".join(chunks))
    except ValueError as error:
        raise KernelError("slirp4netns gave no valid answer") from error
    return reply


def stop(network: UserNetwork) -> None:
    """End slirp4netns and reap it; it may be gone already."""
    os.close(network.exit_fd)
    os.close(network.output_fd)
    pidfd = os.pidfd_open(network.pid)
    try:
        if not process.wait_pidfd(pidfd, 2):
            process.send_signal(pidfd, 9)
    finally:
        os.close(pidfd)
        os.waitpid(network.pid, 0)


def check_port_free(protocol: str, host_ip: str, port: int) -> None:
    """Raise KernelError with the reason if we could not listen on this port of the host."""
    family = _socket.AF_INET6 if ":" in host_ip else _socket.AF_INET
    kind = _socket.SOCK_STREAM if protocol == "tcp" else _socket.SOCK_DGRAM
    sock = _socket.socket(family, kind | _socket.SOCK_CLOEXEC)
    where = f"{host_ip}:{port}" if host_ip else str(port)
    try:
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        sock.bind((host_ip, port))
        if protocol == "tcp":
            sock.listen(1)
    except PermissionError:
        raise KernelError(
            f"cannot publish port {where}: it is below net.ipv4.ip_unprivileged_port_start ({_lowest_port()})",
            hint=f"publish {port + 8000 if port + 8000 < 65536 else 8080} instead, or ask root to lower that sysctl",
        ) from None
    except OSError as error:
        reason = "it is already in use" if error.errno == 98 else os.strerror(error.errno or 0)
        raise KernelError(
            f"cannot publish port {where}/{protocol}: {reason}", errno=error.errno or 0, hint="choose another host port"
        ) from None
    finally:
        sock.close()


def free_port(protocol: str, host_ip: str) -> int:
    """Return a port of the host that is free now."""
    kind = _socket.SOCK_STREAM if protocol == "tcp" else _socket.SOCK_DGRAM
    sock = _socket.socket(_socket.AF_INET6 if ":" in host_ip else _socket.AF_INET, kind | _socket.SOCK_CLOEXEC)
    try:
        sock.bind((host_ip, 0))
        port: int = sock.getsockname()[1]
        return port
    finally:
        sock.close()


def _lowest_port() -> str:
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        return file.read().strip()
