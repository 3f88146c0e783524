"""run: exit statuses, the process that is started, names and files that a run leaves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.fixtures.command import Pyman

RUN = ("run", "--rm", "--network=none")


def lines(text: str) -> list[str]:
    return text.splitlines()


# --- exit statuses ---


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "exit 255"), 255),
        (("sh", "-c", "sleep 9 & kill -9 $!; wait $!"), 137),
        (("/missing",), 127),
        (("missing",), 127),
        (("/etc/passwd/below",), 127),
        (("/etc/passwd",), 126),
        (("/etc",), 126),
    ],
)
def test_exit_status(pyman: Pyman, busybox_image: str, command: tuple[str, ...], status: int) -> None:
    result = pyman(*RUN, busybox_image, *command, check=False)
    assert result.returncode == status
    assert pyman.container_ids() == []
    if command[0] != "sh" and status in (126, 127):
        (line,) = lines(result.stderr)
        assert line.startswith("Error: ") and command[0] in line


def test_a_failed_start_leaves_a_container_without_rm(pyman: Pyman, busybox_image: str) -> None:
    """It is there, created, and can be removed or started again."""
    assert pyman("run", "--name=bad", "--network=none", busybox_image, "/missing", check=False).returncode == 127
    assert pyman.text("ps", "-a", "--format", "{{.Names}} {{.State}}") == "bad created"
    assert pyman("start", "bad", check=False).returncode == 127
    assert pyman("start", "-a", "bad", check=False).returncode == 127
    pyman("rm", "bad")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--bogus",), "unknown option --bogus"),
        (("-v", "/nonexistent:/x"), "/nonexistent: no such file or directory"),
        (("-v", "/tmp:/x:bogus"), "unknown option 'bogus'"),
        (("-v", "/tmp:x"), "absolute path, not 'x'"),
        (("-v", "/tmp:/"), "nothing can be mounted on /"),
        (("-v", "/tmp:/x", "--tmpfs", "/x"), "duplicate mount destination"),
        (("--mount", "type=bind,src=/tmp"), "needs a destination"),
        (("--mount", "type=bogus,dst=/x"), "type bogus is not available"),
        (("--tmpfs", "/x:bogus"), "unknown option 'bogus'"),
        (("--name", "a/b"), "invalid container name 'a/b'"),
        (("--network", "bogus"), 'no network with the name "bogus"'),
        (("--network", "none", "--network", "host"), "only one --network"),
        (("--env-file", "/nonexistent"), "/nonexistent: No such file"),
        (("-e", "=x"), "must be NAME=VALUE"),
        (("--label-file", "/nonexistent"), "/nonexistent: No such file"),
        (("--cap-add", "BOGUS"), '"CAP_BOGUS": unknown capability'),
        (("--ulimit", "nofile=10:5"), "above the hard one"),
        (("--ulimit", "bogus=1"), "--ulimit 'bogus=1'"),
        (("--sysctl", "vm.swappiness=1"), "vm.swappiness"),
        (("--network=host", "--sysctl", "net.ipv4.ip_forward=1"), "would change the host"),
        (("--ipc=host", "--sysctl", "kernel.shmmax=1"), "would change the host"),
        (("--stop-signal", "BOGUS"), "no such signal: BOGUS"),
        (("--umask", "9"), "--umask '9'"),
        (("--hostname", "a_b c"), "--hostname"),
        (("--uts=host", "--hostname", "x"), "--uts=host"),
        (("--add-host", "c:bogus"), "'bogus' is not an IP address"),
        (("--add-host", "c"), "must be NAME:IP"),
        (("--security-opt", "bogus"), "--security-opt 'bogus'"),
        (("--security-opt", "seccomp=/nonexistent"), "no such file"),
        (("--userns", "bogus"), "--userns=bogus"),
        (("--userns", "keep-id:size=1"), "uid=N and gid=N"),
        (("--pid", "bogus"), "--pid=bogus"),
        (("-p", "x"), "is not a port number"),
        (("-p", "80:70000"), "ports go from 1 to 65535"),
        (("-p", "1000-1002:1000-1001"), "differ in length"),
        (("-p", "80:80/sctp"), "protocol must be tcp or udp"),
        (("-a", "bogus"), "must be stdin, stdout or stderr"),
        (("-d", "-a", "stdout"), "exclude each other"),
        (("--detach-keys", "ctrl-"), "--detach-keys"),
        (("--log-driver", "bogus"), "--log-driver"),
        (("--log-opt", "bogus=1"), "--log-opt bogus"),
        (("--log-opt", "max-size=x"), "max-size"),
        (("--device", "/dev/nonexistent"), "no such device"),
        (("--tz", "../etc"), "--tz"),
        (("--entrypoint", "[1]"), "not a JSON array"),
        (("--pull", "bogus"), "--pull"),
        (("--shm-size", "x"), "--shm-size"),
        (("--restart", "always"), "--restart"),
        (("--ip", "1.2.3.4"), "--ip"),
        (("--slow",), "unknown option"),
    ],
)
def test_bad_options(pyman: Pyman, busybox_image: str, options: tuple[str, ...], said: str) -> None:
    """One line, status 125, nothing left."""
    result = pyman("run", "--rm", *options, busybox_image, "true", check=False)
    assert (result.returncode, result.stdout) == (125, "")
    (line,) = lines(result.stderr)
    assert line.startswith("Error: ") and said in line
    assert pyman.container_ids() == []


def test_missing_words(pyman: Pyman, busybox_image: str) -> None:
    assert "IMAGE" in pyman("run", check=False).stderr
    result = pyman(*RUN, busybox_image, check=False)
    assert result.returncode == 125 and "no command given" in result.stderr
    result = pyman(*RUN, "--pull=never", "nosuchimage", "true", check=False)
    assert result.returncode == 125 and "image not known" in result.stderr


@pytest.mark.parametrize(
    "options", [("-u", "nosuchuser"), ("-u", "0:nosuchgroup"), ("-w", "/etc/passwd"), ("--group-add", "nosuchgroup")]
)
def test_what_the_image_lacks(pyman: Pyman, busybox_image: str, options: tuple[str, ...]) -> None:
    """A user, group or directory that the image does not have: 126, as in Podman, and one line."""
    result = pyman(*RUN, *options, busybox_image, "true", check=False)
    assert result.returncode == 126
    (line,) = lines(result.stderr)
    assert options[1].rpartition(":")[2] in line


# --- the process ---


def test_environment(pyman: Pyman, busybox_image: str, tmp_path: Path) -> None:
    (tmp_path / "first").write_text("A=1\n# comment\n\nB= x y \nFROM_CALLER\nNOT_SET\nC=file\nEMPTY=\n")
    (tmp_path / "second").write_text("D=4\r\nE=a=b")
    said = pyman(
        *(*RUN, "-e", "C=option", "-e", "QUOTE='x'", "-e", "CALLER2", "-e", "UNSET2", "-e", "WILD_*"),
        *("--env-file", tmp_path / "first", "--env-file", tmp_path / "second", busybox_image, "env", "-0"),
        env={"FROM_CALLER": "yes", "CALLER2": "two\nlines", "WILD_A": "a", "WILD_B": "b", "http_proxy": "http://proxy"},
    ).stdout
    env = dict(entry.split("=", 1) for entry in said.split("\0") if entry)
    assert re.fullmatch("[0-9a-f]{12}", env.pop("HOSTNAME"))
    assert env == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "container": "pyman",
        "A": "1",
        "B": " x y ",
        "FROM_CALLER": "yes",
        "C": "option",
        "EMPTY": "",
        "D": "4",
        "E": "a=b",
        "QUOTE": "'x'",
        "CALLER2": "two\nlines",
        "WILD_A": "a",
        "WILD_B": "b",
        "http_proxy": "http://proxy",
    }


def test_environment_of_the_caller(pyman: Pyman, busybox_image: str) -> None:
    mine = {"MINE": "x", "https_proxy": "http://proxy"}
    assert "MINE" not in pyman(*RUN, busybox_image, "env", env=mine).stdout
    assert "MINE=x" in lines(pyman(*RUN, "--env-host", busybox_image, "env", env=mine).stdout)
    assert "proxy" not in pyman(*RUN, "--http-proxy=false", busybox_image, "env", env=mine).stdout
    said = pyman(*RUN, "--unsetenv=container", busybox_image, "env").stdout
    assert "container=" not in said and "PATH=" in said
    said = pyman(*RUN, "--unsetenv-all", "-e", "A=1", busybox_image, "/usr/bin/env").stdout
    assert "A=1" in said and "container=" not in said


def test_user(pyman: Pyman, busybox_image: str) -> None:
    script = "id -u; id -g; id -G; pwd; echo $HOME; umask; touch /tmp/f && stat -c '%u %g %a' /tmp/f"
    expected = ["1000", "1000", "1000 2000", "/home/user", "/home/user", "0027", "1000 1000 640"]
    said = pyman.text(*RUN, "-u", "user", "-w", "/home/user", "--umask=027", busybox_image, "sh", "-c", script)
    assert lines(said) == expected
    said = pyman.text(*RUN, "-u", "user", "--group-add", "daemon,77", busybox_image, "id", "-G")
    assert sorted(map(int, said.split())) == [1, 77, 1000, 2000]
    said = pyman.text(*RUN, "-u", "4321:99", busybox_image, "sh", "-c", "id -u; id -g; id -G; echo $HOME")
    assert lines(said) == ["4321", "99", "99", "/"]


def test_unknown_number_gets_a_name(pyman: Pyman, busybox_image: str) -> None:
    """Programs that ask who they are get an answer, as in Podman; the image's file stays as it is."""
    assert pyman.text(*RUN, "-u", "4321:99", busybox_image, "id", "-un") == "4321"
    assert pyman.text(*RUN, "-u", "user", busybox_image, "grep", "-c", "", "/etc/passwd") == "3"


def test_workdir(pyman: Pyman, busybox_image: str) -> None:
    assert pyman.text(*RUN, "-w", "/usr/bin", busybox_image, "pwd") == "/usr/bin"
    assert pyman.text(*RUN, "-w", "/usr//bin/../sbin/", busybox_image, "pwd") == "/usr/sbin"
    assert pyman.text(*RUN, "-u", "user", "-w", "/made/here", busybox_image, "sh", "-c", "pwd; touch x") == "/made/here"


def test_entrypoint(pyman: Pyman, busybox_image: str) -> None:
    assert pyman.text(*RUN, "--entrypoint", "echo", busybox_image, "a", "b") == "a b"
    assert pyman.text(*RUN, "--entrypoint", '["echo","c d"]', busybox_image, "a") == "c d a"
    assert pyman.text(*RUN, "--entrypoint", "", busybox_image, "echo", "x") == "x"
    # Nothing after the image is an option of ours.
    assert pyman.text(*RUN, busybox_image, "echo", "--rm", "-x", "--", "y") == "--rm -x -- y"
    assert pyman.text(*RUN, "--", busybox_image, "echo", "z") == "z"


def test_arguments_are_passed_as_they_are(pyman: Pyman, busybox_image: str) -> None:
    words = ["", "two words", "new\nline", "back\\slash", "quote'\"", "$HOME", "*", "\u00fc\u2603"]
    said = pyman(*RUN, busybox_image, "printf", "[%s]", *words).stdout
    assert said == "".join(f"[{word}]" for word in words)


def test_limits(pyman: Pyman, busybox_image: str) -> None:
    script = "ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj; df -k /dev/shm | tail -1"
    options = ("--ulimit", "nofile=64:128", "--ulimit", "core=0", "--oom-score-adj=500", "--shm-size=1m")
    said = lines(pyman.text(*RUN, *options, busybox_image, "sh", "-c", script))
    assert said[:4] == ["64", "128", "0", "500"]
    assert said[4].split()[1] == "1024"
    result = pyman(*RUN, "--ulimit", "fsize=1000", busybox_image, "sh", "-c", "head -c 5000 /dev/zero >/f", check=False)
    assert result.returncode in (1, 128 + 25)


def test_init(pyman: Pyman, busybox_image: str) -> None:
    """--init reaps what is orphaned, forwards signals, and passes the exit status on."""
    said = pyman.text(*RUN, "--init", busybox_image, "sh", "-c", "cat /proc/1/comm; echo $$")
    name, pid = lines(said)
    assert name == "pyman-init" and pid != "1"
    assert pyman(*RUN, "--init", busybox_image, "sh", "-c", "exit 9", check=False).returncode == 9
    pyman("run", "-d", "--init", "--name=i", "--network=none", busybox_image, "sleep", "1000")
    pyman("exec", "i", "sh", "-c", "(sleep 0.01 &)")
    time.sleep(0.2)
    assert "[sleep]" not in pyman.text("exec", "i", "ps")
    before = time.monotonic()
    pyman("stop", "i")
    assert time.monotonic() - before < 5
    assert pyman.text("wait", "i") == "143"


def test_names_of_the_machine(pyman: Pyman, busybox_image: str) -> None:
    script = "hostname; cat /etc/hostname; echo $HOSTNAME"
    assert lines(pyman.text(*RUN, "--hostname=foo.bar", busybox_image, "sh", "-c", script)) == ["foo.bar"] * 3
    assert pyman.text(*RUN, "--uts=host", busybox_image, "hostname") == os.uname().nodename
    hostname, container_id = (
        lines(pyman.text("run", "-d", "--network=none", busybox_image, "hostname")),
        pyman.text("ps", "-alq", "--no-trunc"),
    )
    assert hostname == [container_id]
    assert pyman.text("logs", container_id) == container_id[:12]


def test_timezone(pyman: Pyman, busybox_image: str) -> None:
    result = pyman(*RUN, "--tz=No/Where", busybox_image, "true", check=False)
    assert result.returncode == 126 and "no such time zone" in result.stderr
    if not Path("/usr/share/zoneinfo/Asia/Tokyo").exists():
        pytest.skip("needs tzdata")
    assert pyman.text(*RUN, "--tz=Asia/Tokyo", busybox_image, "date", "+%z") == "+0900"


def test_namespaces(pyman: Pyman, busybox_image: str) -> None:
    script = "for n in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$n; done"
    host = [os.readlink(f"/proc/self/ns/{name}") for name in ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")]
    private = lines(pyman.text(*RUN, busybox_image, "sh", "-c", script))
    assert not set(private) & set(host)
    shared = lines(
        pyman.text(
            *("run", "--rm", "--network=host", "--pid=host", "--ipc=host", "--uts=host", "--cgroupns=host"),
            *(busybox_image, "sh", "-c", script),
        )
    )
    assert [a == b for a, b in zip(shared, host, strict=True)] == [True, True, False, True, True, False, True]


def test_host_pid_shows_the_host(pyman: Pyman, busybox_image: str) -> None:
    assert pyman.text(*RUN, "--pid=host", busybox_image, "test", "-d", f"/proc/{os.getpid()}") == ""


def test_sysctl(pyman: Pyman, busybox_image: str) -> None:
    said = pyman.text(
        *(*RUN, "--sysctl", "kernel.shmmax=1000,net.ipv4.ip_forward=1", "--sysctl", "fs.mqueue.msg_max=5"),
        *(
            busybox_image,
            "cat",
            "/proc/sys/kernel/shmmax",
            "/proc/sys/net/ipv4/ip_forward",
            "/proc/sys/fs/mqueue/msg_max",
        ),
    )
    assert lines(said) == ["1000", "1", "5"]


# --- names, files, records ---


def test_name(pyman: Pyman, busybox_image: str) -> None:
    pyman("run", "--name=one", "--network=none", busybox_image, "true")
    result = pyman("run", "--name=one", "--network=none", busybox_image, "true", check=False)
    assert result.returncode == 125
    assert re.fullmatch(r'Error: .*"one" is already in use by [0-9a-f]{12}.*--replace.*\n', result.stderr)
    first = pyman.container_ids()
    pyman("run", "--name=one", "--replace", "--network=none", busybox_image, "true")
    assert len(pyman.container_ids()) == 1 and pyman.container_ids() != first
    pyman("run", "-d", "--name=two", "--stop-timeout=0", "--network=none", busybox_image, "sleep", "1000")
    pyman("run", "-d", "--name=two", "--replace", "--stop-timeout=0", "--network=none", busybox_image, "sleep", "1000")
    assert pyman.text("ps", "--format", "{{.Names}}") == "two"
    pyman("run", "--network=none", busybox_image, "true")
    assert re.fullmatch("[a-z]+_[a-z]+", pyman.text("ps", "-l", "-a", "--format", "{{.Names}}"))


def test_cidfile_and_pidfile(pyman: Pyman, busybox_image: str, tmp_path: Path) -> None:
    cid, pid = tmp_path / "cid", tmp_path / "pid"
    said = pyman.text(
        "run", "-d", "--name=f", f"--cidfile={cid}", f"--pidfile={pid}", "--network=none", busybox_image, "sleep", "99"
    )
    assert cid.read_text() == said == pyman.container_ids()[0]
    assert pid.read_text() == pyman.text("inspect", "-f", "{{.State.Pid}}", "f")
    result = pyman(*RUN, f"--cidfile={cid}", busybox_image, "true", check=False)
    assert (result.returncode, "ID file exists" in result.stderr) == (125, True)
    pyman("rm", "-f", "-t0", f"--cidfile={cid}")
    result = pyman(*RUN, f"--cidfile={tmp_path}/no/cid", busybox_image, "true", check=False)
    assert (result.returncode, pyman.container_ids()) == (125, [])
    result = pyman(*RUN, f"--pidfile={tmp_path}/no/pid", busybox_image, "sleep", "1000", check=False)
    assert (result.returncode, pyman.container_ids()) == (125, [])


def test_labels_and_annotations(pyman: Pyman, busybox_image: str, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("# no\na=file\nb=file\n")
    pyman(
        *("create", "--name=l", f"--label-file={tmp_path}/labels", "-l", "a=option", "--label", "bare"),
        *("--annotation", "x.y=z", busybox_image, "true"),
    )
    (web,) = json.loads(pyman.text("inspect", "l"))
    assert web["Config"]["Labels"] == {"a": "option", "b": "file", "bare": ""}
    assert web["Config"]["Annotations"]["x.y"] == "z"


def test_rm_removes_everything(pyman: Pyman, busybox_image: str) -> None:
    before = sorted(os.listdir(pyman.root / "volumes"))
    pyman(*RUN, "-v", "/anonymous", busybox_image, "touch", "/anonymous/x", "/x")
    assert pyman.container_ids() == [] and sorted(os.listdir(pyman.root / "volumes")) == before
    assert os.listdir(pyman.root / "trash") == []


def test_rm_in_the_background(pyman: Pyman, busybox_image: str) -> None:
    said = pyman.text("run", "-d", "--rm", "--network=none", busybox_image, "sleep", "0.3")
    assert pyman.container_ids() == [said]
    deadline = time.monotonic() + 10
    while pyman.container_ids():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_stdin(pyman: Pyman, busybox_image: str) -> None:
    """Without -i stdin is empty; with it bytes pass as they are, and their end, too."""
    assert pyman(*RUN, busybox_image, "cat", input="text").stdout == ""
    assert pyman(*RUN, "-i", busybox_image, "cat", input="text\nmore").stdout == "text\nmore"
    assert pyman(*RUN, "-i", busybox_image, "wc", "-c", input="").stdout == "0\n"
    # A command that does not read gets rid of the rest.
    assert pyman(*RUN, "-i", busybox_image, "head", "-c", "3", input="x" * 2_000_000).stdout == "xxx"
    assert pyman(*RUN, "-i", "-a", "stderr", busybox_image, "sh", "-c", "echo o; echo e >&2").stdout == ""


def test_streams_are_apart(pyman: Pyman, busybox_image: str) -> None:
    result = pyman(*RUN, busybox_image, "sh", "-c", "echo out; echo err >&2; printf end")
    assert (result.stdout, result.stderr) == ("out\nend", "err\n")


def test_binary_100_mb(pyman: Pyman, busybox_image: str) -> None:
    """Through stdin and stdout of `run -i`, unchanged; the log takes no part."""
    block = os.urandom(1 << 20) + bytes(range(256)) * 4
    command = pyman.argv(*RUN, "-i", "--log-driver=none", busybox_image, "cat")
    sender = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert sender.stdin is not None and sender.stdout is not None
    count = 100
    child = os.fork()
    if child == 0:
        try:
            os.close(sender.stdout.fileno())
            for _ in range(count):
                view = memoryview(block)
                while view:
                    view = view[os.write(sender.stdin.fileno(), view) :]
        finally:
            os._exit(0)
    sender.stdin.close()
    for _ in range(count):
        assert sender.stdout.read(len(block)) == block
    assert sender.stdout.read() == b""
    sender.stdout.close()
    assert sender.wait() == 0
    os.waitpid(child, 0)


def test_output_after_a_reader_left(pyman: Pyman, busybox_image: str) -> None:
    """`pyman run ... | head`: we end by SIGPIPE or an error, the container does not stay."""
    command = pyman.start(*RUN, busybox_image, "sh", "-c", "while echo line; do :; done")
    assert command.stdout is not None and command.stdin is not None
    assert command.stdout.readline() == "line\n"
    command.stdout.close()
    assert command.wait(timeout=20) != 0
    command.communicate()


def test_large_output_at_the_end(pyman: Pyman, busybox_image: str) -> None:
    said = pyman(*RUN, busybox_image, "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo end >&2")
    assert (len(said.stdout), said.stderr) == (3_000_000, "end\n")


def test_descriptors_of_the_caller_stay_outside(pyman: Pyman, busybox_image: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    fd = os.open(secret, os.O_RDONLY)
    os.set_inheritable(fd, True)
    try:
        said = subprocess.run(
            pyman.argv(*RUN, busybox_image, "ls", "/proc/self/fd"), capture_output=True, text=True, pass_fds=(fd,)
        )
    finally:
        os.close(fd)
    assert sorted(said.stdout.split()) == ["0", "1", "2", "3"]  # 3 is the directory that ls reads


def test_closed_standard_streams(pyman: Pyman, busybox_image: str) -> None:
    """A caller without 0, 1, 2 (some cron jobs) gets its container all the same."""
    command = " ".join(pyman.argv("run", "-d", "--name=closed", "--network=none", busybox_image, "sleep", "1000"))
    subprocess.run(["sh", "-c", f"{command} <&- >&- 2>&-"], timeout=30)
    assert pyman.text("ps", "--format", "{{.Names}}") == "closed"


def test_run_in_a_directory_that_is_gone(pyman: Pyman, busybox_image: str, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = " ".join(pyman.argv(*RUN, busybox_image, "pwd"))
    result = subprocess.run(["sh", "-c", f"rmdir {gone}; {command}"], cwd=gone, capture_output=True, text=True)
    assert (result.stdout, result.returncode) == ("/\n", 0)
