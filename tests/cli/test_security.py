"""What a container or an image may not do: each test is an attack, and what must come of it."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.command import Pyman
from tests.fixtures.terminal import Terminal

RUN = ("run", "--rm", "--network=none")
Build = Callable[..., str]


@pytest.fixture
def hostile(pyman: Pyman, busybox_tar: Path, tmp_path: Path) -> Iterator[Build]:
    """hostile(("dev", SYMTYPE, "/target"), changes=["WORKDIR /x"]): busybox with some entries replaced."""
    made: list[str] = []

    def build(*entries: tuple[str, bytes, str], changes: tuple[str, ...] = ()) -> str:
        replaced = {name for name, _, _ in entries}
        target = tmp_path / f"hostile{len(made)}.tar"
        with tarfile.open(busybox_tar) as source, tarfile.open(target, "w") as tar:
            for member in source:
                if member.name not in replaced and not any(member.name.startswith(f"{name}/") for name in replaced):
                    tar.addfile(member, source.extractfile(member) if member.isfile() else None)
            for name, kind, text in entries:
                member = tarfile.TarInfo(name)
                member.type, member.mode = kind, 0o755
                if kind == tarfile.REGTYPE:
                    member.size = len(text)
                    tar.addfile(member, io.BytesIO(text.encode()))
                else:
                    member.linkname = text
                    tar.addfile(member)
        made.append(f"hostile{len(made)}")
        pyman("import", *(f"--change={change}" for change in changes), target, f"{made[-1]}:latest")
        return made[-1]

    yield build
    pyman("rm", "-fa", "-t0")
    for name in made:
        pyman("rmi", "-f", name)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host in which nothing may appear and nothing may change."""
    directory = tmp_path / "canary"
    directory.mkdir()
    (directory / "secret").write_text("the secret of the host\n")
    before = _snapshot(directory)
    yield directory
    assert _snapshot(directory) == before


def _snapshot(directory: Path) -> list[tuple[str, int, int, int, bytes]]:
    found = []
    for path in sorted([directory, *directory.rglob("*")]):
        status = path.lstat()
        found.append(
            (str(path), status.st_mode, status.st_uid, status.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        )
    return found


# --- links where mounts go ---


@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
@pytest.mark.parametrize("relative", [False, True])
def test_links_instead_of_standard_directories(
    pyman: Pyman, hostile: Build, canary: Path, name: str, relative: bool
) -> None:
    """Refused, or mounted inside the root: never on the host (CVE-2019-19921, CVE-2026-41579)."""
    target = f"{'../' * 10 if relative else '/'}{str(canary).lstrip('/')}"
    image = hostile((name, tarfile.SYMTYPE, target))
    result = pyman(*RUN, image, "sh", "-c", f"ls -ld /{name}; cat /{name}/secret", check=False)
    assert "the secret" not in result.stdout
    assert "internal error" not in result.stderr


@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
def test_files_instead_of_standard_directories(pyman: Pyman, hostile: Build, name: str) -> None:
    result = pyman(*RUN, hostile((name, tarfile.REGTYPE, "x")), "true", check=False)
    assert result.returncode in (125, 126) and len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["dev/null", "dev/pts", "dev/pts/0", "dev/console", "dev/shm", "dev/ptmx"])
def test_links_instead_of_devices(pyman: Pyman, hostile: Build, canary: Path, name: str) -> None:
    """/dev is ours: what the image has there is hidden (CVE-2025-31133, CVE-2025-52565)."""
    image = hostile((name, tarfile.SYMTYPE, "/proc/sys/kernel/core_pattern"))
    script = "test -c /dev/null && echo x >/dev/null && ls /dev/pts >/dev/null && test ! -L /dev/console && echo fine"
    assert pyman.text(*RUN, image, "sh", "-c", script) == "fine"


@pytest.mark.parametrize("name", ["etc/hosts", "etc/resolv.conf", "etc/hostname", "run"])
def test_links_where_our_files_go(pyman: Pyman, hostile: Build, canary: Path, name: str) -> None:
    image = hostile((name, tarfile.SYMTYPE, str(canary / "secret")))
    result = pyman(*RUN, image, "sh", "-c", "cat /etc/hosts; echo started", check=False)
    assert "the secret" not in result.stdout


def test_links_where_the_users_mounts_go(pyman: Pyman, hostile: Build, canary: Path, tmp_path: Path) -> None:
    """A mount point that is a link is followed inside the root."""
    (tmp_path / "data").mkdir()
    image = hostile(("mnt", tarfile.SYMTYPE, str(canary)), ("up", tarfile.SYMTYPE, "../../../../../../../tmp"))
    for option in (("-v", f"{tmp_path}/data:/mnt/new"), ("-v", f"{tmp_path}/data:/mnt"), ("--tmpfs", "/mnt/deep/er")):
        result = pyman(*RUN, *option, image, "sh", "-c", "ls /mnt; touch /mnt/made", check=False)
        assert "secret" not in result.stdout
    assert (
        pyman.text(*RUN, "-v", f"{tmp_path}/data:/up/new", image, "sh", "-c", "touch /tmp/new/x; ls /tmp/new/x")
        == "/tmp/new/x"
    )
    assert not os.path.exists("/tmp/new")


# --- the working directory ---


@pytest.mark.parametrize("number", range(3, 21))
def test_workdir_in_a_descriptor(pyman: Pyman, busybox_image: str, number: int) -> None:
    """A descriptor of the host must not become the working directory (CVE-2024-21626)."""
    result = pyman(*RUN, "-w", f"/proc/self/fd/{number}", busybox_image, "pwd", check=False)
    assert result.returncode in (125, 126, 127) and result.stdout == ""


@pytest.mark.parametrize("number", range(3, 13))
def test_exec_workdir_in_a_descriptor(pyman: Pyman, busybox_image: str, number: int) -> None:
    pyman("run", "-d", "--name=c", "--network=none", busybox_image, "sleep", "1000")
    result = pyman("exec", "-w", f"/proc/self/fd/{number}", "c", "pwd", check=False)
    # What is open there may be the container's own root, seen from its own namespace: that is no way out.
    assert (result.returncode, result.stdout) in ((126, ""), (0, "/\n"))


def test_workdir_through_a_link(pyman: Pyman, hostile: Build, canary: Path) -> None:
    """What is missing is made inside the root, whatever links lead there (CVE-2026-55686)."""
    image = hostile(("a", tarfile.SYMTYPE, str(canary)), changes=("WORKDIR /a/b/c",))
    result = pyman(*RUN, image, "pwd", check=False)
    assert result.returncode == 0 or len(result.stderr.splitlines()) == 1
    image = hostile(("a", tarfile.SYMTYPE, "/proc/self/root/../../.."), changes=("WORKDIR /a/b/c",))
    pyman(*RUN, image, "pwd", check=False)
    assert not os.path.exists("/b")


# --- accounts of the image ---


@pytest.mark.parametrize("name", ["etc/passwd", "etc/group"])
@pytest.mark.parametrize("what", ["host", "fifo", "zero", "huge"])
def test_account_files(pyman: Pyman, hostile: Build, tmp_path: Path, name: str, what: str) -> None:
    """Links to the host's, pipes, endless and huge ones: no hanging, nothing of the host, one line (CVE-2024-9676)."""
    entry = {
        "host": (name, tarfile.SYMTYPE, f"{'../' * 12}{name}"),
        "fifo": (name, tarfile.FIFOTYPE, ""),
        "zero": (name, tarfile.SYMTYPE, "/dev/zero"),
        "huge": (name, tarfile.REGTYPE, "x:x:1:1:x:/:/x\n" * 200_000),
    }[what]
    image = hostile(entry)
    user = "eve-does-not-exist:nogroup"
    for options in ((), ("-u", "user"), ("-u", user), ("-u", "1234")):
        before = time.monotonic()
        result = pyman(*RUN, *options, image, "true", check=False, timeout=10)
        assert time.monotonic() - before < 3
        assert result.returncode in (0, 125, 126) and len(result.stderr.splitlines()) <= 1
        assert "internal error" not in result.stderr


USERS: list[tuple[str, str | None]] = [
    ("", "0 0"),
    ("0", "0 0"),
    ("1", "1 1"),
    ("1:2", "1 2"),
    ("user", "1000 1000"),
    ("user:daemon", "1000 1"),
    ("user:2000", "1000 2000"),
    (":5", "0 5"),
    ("1000:", "1000 1000"),
    ("65535", "65535 0"),
    ("-1", None),
    ("1abc", None),
    ("1:abc", None),
    ("4294967295", None),
    ("4294967296", None),
    ("99999999999999999999", None),
    ("0:4294967295", None),
    ("+1", None),
    ("1.0", None),
    (" 1", None),
    ("root ", None),
    ("0x0", None),
    ("1\n", None),
]


@pytest.mark.usefixtures("needs_subids")
@pytest.mark.parametrize(("user", "ids"), USERS, ids=lambda value: ascii(value))
def test_user_table(pyman: Pyman, busybox_image: str, user: str, ids: str | None) -> None:
    """A user is who was meant, or nobody, and never root by accident (CVE-2026-30892)."""
    script = "echo $(id -u) $(id -g)"
    result = pyman(*RUN, f"--user={user}", busybox_image, "sh", "-c", script, check=False)
    if ids is None:
        assert result.returncode in (125, 126) and result.stdout == "" and len(result.stderr.splitlines()) == 1
    else:
        assert result.stdout == f"{ids}\n"
    if "c" not in pyman.text("ps", "--format", "{{.Names}}").split():
        pyman("run", "-d", "--name=c", "--network=none", busybox_image, "sleep", "1000")
    assert pyman("exec", f"--user={user}", "c", "sh", "-c", script, check=False).stdout == result.stdout


def test_user_beyond_the_map(pyman: Pyman, busybox_image: str) -> None:
    result = pyman(*RUN, "-u", "2000000000", busybox_image, "id", check=False)
    assert result.returncode in (125, 126) and len(result.stderr.splitlines()) == 1


@pytest.mark.usefixtures("needs_subids")
def test_groups(pyman: Pyman, busybox_image: str) -> None:
    """The supplementary groups are exact, and the caller's own are gone."""
    assert pyman.text(*RUN, busybox_image, "id", "-G") == "0"
    assert pyman.text(*RUN, "-u", "user", busybox_image, "id", "-G") == "1000 2000"
    script = "grep Groups /proc/self/status; cat /proc/self/setgroups"
    assert pyman.text(*RUN, "-u", "5:6", busybox_image, "sh", "-c", script).split() == ["Groups:", "6", "allow"]
    # A denial by group holds for root of the container, too, and cannot be left by a change of the group.
    script = "mkdir /d; echo x >/d/f; chown 0:2000 /d/f; chmod 0604 /d/f; exec su user -c 'cat /d/f'"
    assert pyman(*RUN, "--cap-drop=dac_override", busybox_image, "sh", "-c", script, check=False).stdout == ""


# --- rights ---


def status(pyman: Pyman, *args: str) -> dict[str, str]:
    said = pyman.text(*args, "cat", "/proc/self/status")
    return {line.split(":", 1)[0]: line.split(":", 1)[1].strip() for line in said.splitlines()}


DEFAULT = "00000000800405fb"
NONE = "0" * 16


def test_capabilities(pyman: Pyman, busybox_image: str) -> None:
    """Podman's set, nothing inheritable or ambient (CVE-2022-27649); other users have none."""
    root = status(pyman, *RUN, busybox_image)
    assert [root[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")] == [
        NONE,
        DEFAULT,
        DEFAULT,
        DEFAULT,
        NONE,
    ]
    user = status(pyman, *RUN, "-u", "1", busybox_image)
    assert [user[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")] == [NONE, NONE, NONE, DEFAULT, NONE]
    dropped = status(pyman, *RUN, "--cap-drop=all", "--cap-add=chown,CAP_KILL", busybox_image)
    assert int(dropped["CapEff"], 16) == (1 << 0) | (1 << 5) == int(dropped["CapBnd"], 16)
    less = status(pyman, *RUN, "--cap-drop=CHOWN", busybox_image)
    assert int(less["CapEff"], 16) == int(DEFAULT, 16) & ~1
    assert root["Seccomp"] == "2" and root["NoNewPrivs"] == "0"
    privileged = status(pyman, *RUN, "--privileged", busybox_image)
    assert privileged["Seccomp"] == "0" and int(privileged["CapEff"], 16) & int(DEFAULT, 16) == int(DEFAULT, 16)


def test_no_new_privileges(pyman: Pyman, busybox_image: str) -> None:
    assert status(pyman, *RUN, "--security-opt=no-new-privileges", busybox_image)["NoNewPrivs"] == "1"
    script = "mkdir /s; cp /bin/busybox /s/grep; chmod 4755 /s/grep; exec su user -c '/s/grep ^Uid /proc/self/status'"
    assert pyman.text(*RUN, busybox_image, "sh", "-c", script).split()[1] == "1000"
    said = pyman.text(*RUN, "--security-opt=no-new-privileges", busybox_image, "sh", "-c", script)
    assert set(said.split()[1:]) == {"1000"}


def test_seccomp(pyman: Pyman, busybox_image: str, tmp_path: Path) -> None:
    """A profile of one's own denies what it denies; without one, and unconfined, that call works."""
    profile = tmp_path / "profile.json"
    deny = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [deny]}))
    command = (busybox_image, "mkdir", "/made")
    result = pyman(*RUN, f"--security-opt=seccomp={profile}", *command, check=False)
    assert result.returncode == 1 and "Function not implemented" in result.stderr
    pyman(*RUN, *command)
    pyman(*RUN, "--security-opt=seccomp=unconfined", *command)
    assert status(pyman, *RUN, "--security-opt=seccomp=unconfined", busybox_image)["Seccomp"] == "0"
    # exec is held to the same profile
    pyman(
        "run", "-d", "--name=c", "--network=none", f"--security-opt=seccomp={profile}", busybox_image, "sleep", "1000"
    )
    assert pyman("exec", "c", "mkdir", "/made", check=False).returncode == 1
    for text in ("", "{", "[]", '{"defaultAction": "BOGUS"}'):
        profile.write_text(text)
        result = pyman(*RUN, f"--security-opt=seccomp={profile}", busybox_image, "true", check=False)
        assert result.returncode in (125, 126) and len(result.stderr.splitlines()) == 1, text
        assert "internal error" not in result.stderr, text


@pytest.mark.parametrize("command", ["unshare -m true", "unshare -n true", "mount -t tmpfs x /tmp", "umount /proc"])
def test_namespaces_and_mounts_are_denied(pyman: Pyman, busybox_image: str, command: str) -> None:
    result = pyman(*RUN, busybox_image, *command.split(), check=False)
    assert result.returncode == 1 and re.search("(permitted|permission denied)", result.stderr)


def test_masked_paths(pyman: Pyman, busybox_image: str) -> None:
    script = """
    for path in /proc/kcore /proc/keys /proc/timer_list /proc/sched_debug /proc/interrupts; do
        test ! -e $path || test -z "$(head -c 10 $path)" || echo readable $path
    done
    for path in /proc/acpi /proc/scsi /sys/firmware /sys/devices/virtual/powercap /sys/dev/block; do
        test ! -e $path || test -z "$(ls $path)" || echo full $path
    done
    for path in /proc/sys/kernel/domainname /proc/sysrq-trigger /sys/kernel/mm/ksm/run; do
        test -e $path && { echo x >$path; } 2>/dev/null && echo writable $path
    done
    echo end
    """
    assert pyman.text(*RUN, busybox_image, "sh", "-c", script) == "end"
    said = pyman.text(
        *RUN, "--security-opt=mask=/etc/passwd:/home", busybox_image, "sh", "-c", "cat /etc/passwd; ls /home"
    )
    assert said == ""
    targets = "cut -d' ' -f5 /proc/self/mountinfo | sort"
    masked, unmasked = (
        set(pyman.text(*RUN, *options, busybox_image, "sh", "-c", targets).splitlines())
        for options in ((), ("--security-opt=unmask=ALL",))
    )
    assert {
        path for path in ("/proc/sys", "/proc/kcore", "/proc/keys", "/sys/firmware") if os.path.exists(path)
    } <= masked
    assert not any(path.startswith("/proc/") for path in unmasked) and "/sys/firmware" not in unmasked


def test_cgroups_of_the_host(pyman: Pyman, busybox_image: str) -> None:
    """Not even with the host's cgroup namespace or /sys can it write there (CVE-2023-25809)."""
    find = "find /sys/fs/cgroup /host -name cgroup.procs 2>/dev/null"
    script = f"{find} | while read f; do {{ echo 1 >$f; }} 2>/dev/null && echo $f; done; true"
    for options in (("--cgroupns=host",), ("-v", "/sys:/host"), ("--cgroupns=host", "-v", "/sys/fs/cgroup:/host")):
        assert pyman.text(*RUN, *options, busybox_image, "sh", "-c", script) == "", options


# --- what leaks in ---


def test_descriptors(pyman: Pyman, busybox_image: str) -> None:
    """0, 1, 2, and what ls opens; with a terminal, too."""
    assert pyman.text(*RUN, busybox_image, "ls", "/proc/self/fd").split() == ["0", "1", "2", "3"]
    assert pyman.text(*RUN, "-t", busybox_image, "ls", "-C", "/proc/self/fd").split() == ["0", "1", "2", "3"]
    assert pyman.text(*RUN, "-i", busybox_image, "ls", "/proc/1/fd").split()[:3] == ["0", "1", "2"]


def test_descriptors_of_the_monitor(pyman: Pyman, busybox_image: str) -> None:
    """All are close-on-exec, but for the standard streams."""
    pyman("run", "-d", "--network=none", busybox_image, "sleep", "1000")
    state = json.loads((pyman.root / "containers" / pyman.container_ids()[0] / "state.json").read_text())
    directory = Path(f"/proc/{state['monitor_pid']}/fdinfo")
    for entry in directory.iterdir():
        flags = int(re.search(r"flags:\s*(\d+)", entry.read_text()).group(1), 8)  # type: ignore[union-attr]
        assert flags & os.O_CLOEXEC or int(entry.name) < 3, entry.name


def test_keyring(pyman: Pyman, busybox_image: str) -> None:
    """The session keyring is its own, and seccomp keeps keyctl(2) away in any case."""
    said = pyman.text(*RUN, busybox_image, "sh", "-c", "cat /proc/keys; cat /proc/key-users 2>/dev/null | head -0")
    assert said == ""


def test_terminal_injection(pyman: Pyman, busybox_image: str) -> None:
    """A container that has our terminal as a stream cannot type on it: another session, no TIOCSTI (CVE-2017-5226)."""
    terminal = Terminal(
        pyman.argv(*RUN, "-i", busybox_image, "sh", "-c", "tty; cat /proc/self/stat | cut -d' ' -f7; echo end")
    )
    try:
        said = terminal.wait_for("end")
        assert "not a tty" in said and "\r\n0\r\n" in said
    finally:
        terminal.close()


def test_environment_of_the_caller(pyman: Pyman, busybox_image: str) -> None:
    said = pyman(
        *RUN, busybox_image, "sh", "-c", "env; cat /proc/1/environ", env={"SECRET_TOKEN": "canary-value"}
    ).stdout
    assert "canary-value" not in said


def test_modules_of_the_working_directory(pyman: Pyman, busybox_image: str, tmp_path: Path) -> None:
    """A directory full of modules named like ours, and a hostile Python environment, change nothing."""
    fired = tmp_path / "fired"
    code = f"open({str(fired)!r}, 'w').write('x')\n"
    for name in (
        "os",
        "json",
        "engine",
        "rootless",
        "storage",
        "sitecustomize",
        "usercustomize",
        "site",
        "encodings",
        "typing",
    ):
        (tmp_path / f"{name}.py").write_text(code)
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": str(tmp_path / "os.py"), "PYTHONHOME": str(tmp_path)}
    for args in ((*RUN, busybox_image, "true"), ("ps", "-a"), ("images",), ("info",)):
        pyman(*args, cwd=tmp_path, env=environment)
    assert not fired.exists()


def test_host_programs_of_the_image(pyman: Pyman, hostile: Build) -> None:
    """Nothing of ours is loaded from the image after its root is entered (CVE-2019-14271)."""
    evil = "#!/bin/sh\necho fired >/fired\n"
    names = (
        "etc/ld.so.preload",
        "lib/python3.11/encodings/__init__.py",
        "usr/lib/python3.11/site.py",
        "usr/bin/newuidmap",
    )
    image = hostile(*((name, tarfile.REGTYPE, evil) for name in names))
    pyman("run", "-d", "--name=c", "--network=none", image, "sleep", "1000")
    pyman("exec", "c", "true")
    pyman("logs", "c")
    assert pyman("exec", "c", "cat", "/fired", check=False).returncode == 1


def test_our_executable_through_proc(pyman: Pyman, hostile: Build) -> None:
    """/proc/self/exe as the entry point must not be our interpreter (CVE-2019-5736)."""
    image = hostile(changes=('ENTRYPOINT ["/proc/self/exe"]',))
    result = pyman(*RUN, image, "-c", "print('python')", check=False)
    assert "python" not in result.stdout
    interpreter = os.path.realpath("/proc/self/exe")
    before = os.stat(interpreter).st_mtime_ns
    attack = "for e in /proc/[0-9]*/exe; do { : >>$e; } 2>/dev/null && readlink $e; done"
    script = f"for i in $(seq 200); do {attack}; done | sort -u"
    said = subprocess.Popen(
        pyman.argv(*RUN, "--name=w", "--entrypoint=sh", image, "-c", script), stdout=subprocess.PIPE, text=True
    )
    for _ in range(5):
        pyman("exec", "w", "/bin/true", check=False)
    assert "python" not in said.communicate(timeout=60)[0]
    assert os.stat(interpreter).st_mtime_ns == before
