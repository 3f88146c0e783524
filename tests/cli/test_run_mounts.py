"""Volumes, binds, tmpfs, read-only roots, devices: what a container sees of them, and what stays on the host."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.command import Pyman, remove_tree

RUN = ("run", "--rm", "--network=none")


@pytest.fixture
def here() -> Iterator[Path]:
    """A directory of the host with a file and a directory; what subordinate ids own in it goes, too."""
    outer = Path(tempfile.mkdtemp(prefix="pyman-test-", dir="/var/tmp"))
    directory = outer / "here"
    (directory / "sub").mkdir(parents=True)
    (directory / "file").write_text("from the host\n")
    (directory / "sub" / "inner").write_text("inner\n")
    yield directory
    remove_tree(outer)


def test_binds(pyman: Pyman, busybox_image: str, here: Path) -> None:
    script = "cat /d/file /ro/sub/inner /f; echo new >/d/made; touch /ro/x; echo $?; echo y >/f; echo $?"
    said = pyman(
        *(*RUN, "-v", f"{here}:/d", "-v", f"{here}:/ro:ro", "-v", f"{here}/file:/f:ro"),
        *(busybox_image, "sh", "-c", script),
    )
    assert said.stdout.splitlines() == ["from the host", "inner", "from the host", "1", "1"]
    assert said.stderr.count("Read-only file system") == 2
    made = here / "made"
    assert made.read_text() == "new\n" and made.stat().st_uid == os.getuid()
    assert sorted(os.listdir(here)) == ["file", "made", "sub"]


def test_mount_option(pyman: Pyman, busybox_image: str, here: Path) -> None:
    script = "cat /a/file; touch /a/x; touch /b/x; cat /b/sub/inner; stat -c %a /t; df -k /t | tail -1"
    said = pyman(
        *(*RUN, f"--mount=type=bind,src={here},dst=/a,ro", f"--mount=type=bind,source={here},target=/b"),
        *("--mount=type=tmpfs,destination=/t,tmpfs-size=1m,tmpfs-mode=700", busybox_image, "sh", "-c", script),
    )
    assert said.stdout.splitlines()[:3] == ["from the host", "inner", "700"]
    assert said.stdout.splitlines()[3].split()[1] == "1024"
    assert (here / "x").exists()


def test_paths_of_the_host(pyman: Pyman, busybox_image: str, here: Path) -> None:
    """Relative, through a link, and with all the characters that mount options and -v are afraid of."""
    odd = here / "a,b c=d\\e"
    odd.mkdir()
    (odd / "f").write_text("odd\n")
    (here / "link").symlink_to(odd)
    assert pyman(*RUN, "-v", "./sub:/d", busybox_image, "cat", "/d/inner", cwd=here).stdout == "inner\n"
    assert pyman(*RUN, "-v", f"{odd}:/d", busybox_image, "cat", "/d/f").stdout == "odd\n"
    assert pyman(*RUN, "-v", f"{here}/link:/d", busybox_image, "cat", "/d/f").stdout == "odd\n"
    colon = here / "c:d"
    colon.mkdir()
    assert pyman(*RUN, "-v", f"{here}/c\\:d:/d", busybox_image, "touch", "/d/x").stdout == ""
    assert (colon / "x").exists()


def test_nested_mounts(pyman: Pyman, busybox_image: str, here: Path) -> None:
    """Parents before what lies below them, in whatever order they are given."""
    script = "touch /d/deep/t /d/x; ls /d/sub; cut -d' ' -f5 /proc/self/mountinfo | grep -cE '^/d(/|$)'"
    said = pyman.text(
        *(*RUN, "--tmpfs", "/d/deep", "-v", f"{here}/sub:/d/sub", "-v", f"{here}:/d", busybox_image, "sh", "-c", script)
    )
    assert said.splitlines() == ["inner", "3"]
    assert (here / "x").exists() and os.listdir(here / "deep") == []


def test_mount_flags(pyman: Pyman, busybox_image: str, here: Path) -> None:
    """Binds and volumes are nosuid and nodev unless the user says otherwise."""
    script = "grep -E ' /(a|b|c|d|e) ' /proc/self/mountinfo | sort -k5 | cut -d' ' -f5,6"
    said = pyman.text(
        *(*RUN, "-v", f"{here}:/a", "-v", f"{here}:/b:ro,noexec", "-v", "/c", "--tmpfs", "/d", "-v", f"{here}:/e:suid"),
        *(busybox_image, "sh", "-c", script),
    )
    flags = {line.split()[0]: set(line.split()[1].split(",")) for line in said.splitlines()}
    assert {"rw", "nosuid", "nodev"} <= flags["/a"]
    assert {"ro", "nosuid", "nodev", "noexec"} <= flags["/b"]
    assert {"rw", "nosuid", "nodev"} <= flags["/c"]
    assert {"rw", "nosuid", "nodev"} <= flags["/d"]
    assert "nosuid" not in flags["/e"]


def test_nothing_is_mounted_on_the_host(pyman: Pyman, busybox_image: str, here: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    pyman("run", "-d", "--network=none", "-v", f"{here}:/d:shared", "--tmpfs", "/d/sub", busybox_image, "sleep", "1000")
    assert Path("/proc/self/mountinfo").read_text() == before
    assert os.listdir(here / "sub") == ["inner"]


def test_overlay_volume(pyman: Pyman, busybox_image: str, here: Path) -> None:
    """:O: changes stay in the container, from one start to the next, and the host's directory stays as it is."""
    script = "cat /d/file; echo changed >/d/file; rm -r /d/sub"
    pyman("run", "--name=o", "--network=none", "-v", f"{here}:/d:O", busybox_image, "sh", "-c", script)
    assert (here / "file").read_text() == "from the host\n" and (here / "sub").is_dir()
    pyman("rm", "o")
    result = pyman(*RUN, "-v", "vol:/d:O", busybox_image, "true", check=False)
    assert result.returncode == 125 and "not for volumes" in result.stderr


def test_named_volume(pyman: Pyman, busybox_image: str) -> None:
    """It is filled from the image once, outlives containers, and is shared by them."""
    try:
        script = "cat /etc/passwd | head -1; echo mine >/etc/made; stat -c '%u %a' /etc"
        assert pyman.text(*RUN, "-v", "vol:/etc", busybox_image, "sh", "-c", script).splitlines() == [
            "root:x:0:0:root:/root:/bin/sh",
            "0 755",
        ]
        assert pyman.text(*RUN, "-v", "vol:/x:ro", busybox_image, "sh", "-c", "cat /x/made; ls /x") != ""
        assert "vol" in pyman.text("volume", "ls", "-q").split()
        # What is in it stays, the image is not copied again.
        pyman(*RUN, "-v", "vol:/x", busybox_image, "rm", "/x/group")
        result = pyman(*RUN, "-v", "vol:/etc", busybox_image, "ls", "/etc")
        assert "group" not in result.stdout.split() and "made" in result.stdout.split()
        # nocopy
        assert pyman.text(*RUN, "-v", "other:/bin2", "-v", "empty:/home:nocopy", busybox_image, "ls", "/home") == ""
        assert pyman.text(*RUN, "-v", "full:/home", busybox_image, "stat", "-c", "%u", "/home/user") == "1000"
    finally:
        pyman("volume", "rm", "--all", "--force")


def test_anonymous_volumes(pyman: Pyman, busybox_image: str) -> None:
    try:
        pyman("run", "--name=a", "--network=none", "-v", "/data", busybox_image, "touch", "/data/x")
        (name,) = pyman.text("volume", "ls", "-q").splitlines()
        assert len(name) == 64
        pyman("start", "-a", "a")
        pyman("rm", "a")
        assert pyman.text("volume", "ls", "-q") == name  # as in Podman: -v removes it
        pyman("run", "--name=b", "--network=none", "-v", "/data", busybox_image, "true")
        pyman("rm", "-v", "b")
        assert pyman.text("volume", "ls", "-q") == name
    finally:
        pyman("rm", "-fa", "-t0")
        pyman("volume", "rm", "--all", "--force")


@pytest.mark.usefixtures("needs_subids")
def test_take_over(pyman: Pyman, busybox_image: str, here: Path) -> None:
    """:U gives the tree to the container's user; links in it are not followed."""
    outside = here.parent / "outside"
    outside.mkdir()
    (here / "escape").symlink_to(outside)
    pyman(*RUN, "-u", "user", "-v", f"{here}:/d:U", busybox_image, "sh", "-c", "echo x >>/d/file; touch /d/sub/y")
    owners = {path.name: path.lstat().st_uid for path in (here, here / "file", here / "sub", here / "sub" / "inner")}
    assert len(set(owners.values())) == 1 and os.getuid() not in owners.values()
    assert outside.stat().st_uid == os.getuid()
    pyman(*RUN, "-v", f"{here}:/d:U", busybox_image, "true")
    assert (here / "sub" / "inner").stat().st_uid == os.getuid()


def test_tmpfs(pyman: Pyman, busybox_image: str) -> None:
    script = "stat -c %a /t /u; df -k /u | tail -1; ls /t; touch /t/x; cat /etc/passwd | head -c 4"
    said = pyman.text(*RUN, "--tmpfs", "/t", "--tmpfs", "/u:size=1m,mode=750", busybox_image, "sh", "-c", script)
    first, second, df, rest = said.splitlines()
    assert (first, second, df.split()[1], rest) == ("1777", "750", "1024", "root")
    # What the image has there is copied up, as in Podman.
    assert "passwd" in pyman.text(*RUN, "--tmpfs", "/etc", busybox_image, "ls", "/etc").split()
    assert "passwd" not in pyman.text(*RUN, "--tmpfs", "/etc:notmpcopyup", busybox_image, "ls", "/etc").split()
    result = pyman(*RUN, "--tmpfs", "/t:size=1m", busybox_image, "sh", "-c", "head -c 2m /dev/zero >/t/x", check=False)
    assert result.returncode != 0


def test_read_only(pyman: Pyman, busybox_image: str) -> None:
    script = "touch /x; for d in /tmp /run /var/tmp /dev/shm /v; do touch $d/x && echo $d; done"
    said = pyman(*RUN, "--read-only", "-v", "/v", busybox_image, "sh", "-c", script)
    assert said.stdout.split() == ["/tmp", "/run", "/var/tmp", "/dev/shm", "/v"]
    assert said.stderr.splitlines() == ["touch: /x: Read-only file system"]
    said = pyman(*RUN, "--read-only", "--read-only-tmpfs=false", busybox_image, "touch", "/tmp/x", check=False)
    assert "Read-only" in said.stderr


def test_devices(pyman: Pyman, busybox_image: str) -> None:
    said = pyman.text(
        *RUN, busybox_image, "sh", "-c", "ls /dev; readlink /dev/fd; readlink /dev/stdin; stat -c %F /dev/null"
    )
    words = said.split()
    assert set(words) >= {"null", "zero", "full", "random", "urandom", "tty", "pts", "shm", "ptmx", "stdout"}
    assert not {"kmsg", "mem", "sda", "vda", "loop0", "kvm"} & set(words)
    assert said.endswith("/proc/self/fd\n/proc/self/fd/0\ncharacter special file")
    assert (
        pyman.text(*RUN, "--device", "/dev/zero:/dev/mine", busybox_image, "head", "-c", "3", "/dev/mine") == "\0" * 3
    )
    script = "echo x >/dev/null; head -c 2 /dev/urandom | wc -c; echo x >/dev/full"
    said = pyman(*RUN, busybox_image, "sh", "-c", script, check=False).stderr
    assert "No space left" in said


def test_rootfs(pyman: Pyman, busybox_image: str, busybox_tar: Path, tmp_path: Path) -> None:
    """A directory as the root: changed in place, or with :O left alone."""
    root = tmp_path / "root"
    root.mkdir()
    subprocess.run(["tar", "-xf", busybox_tar, "-C", root, "--no-same-owner"], check=True)
    run = ("run", "--rm", "--network=none", "--rootfs")
    assert pyman.text(*run, f"{root}:O", "sh", "-c", "echo x >/made; cat /made") == "x"
    assert not (root / "made").exists()
    assert pyman.text(*run, root, "sh", "-c", "echo x >/made; cat /made") == "x"
    assert (root / "made").read_text() == "x\n"
    result = pyman(*run, tmp_path / "none", "true", check=False)
    assert (result.returncode, "no such directory" in result.stderr) == (125, True)


def test_the_machine_as_root_file_system(pyman: Pyman) -> None:
    """/:O: the host's own programs and files, changes thrown away."""
    run = ("run", "--rm", "--network=none", "--rootfs")
    script = "id -u; touch /usr/made /etc/made && ls /usr/made; test -e /etc/passwd && echo passwd; echo $$; hostname"
    said = pyman.text(*run, "/:O", "sh", "-c", script).splitlines()
    assert said[:4] == ["0", "/usr/made", "passwd", "1"]
    assert not os.path.exists("/usr/made") and not os.path.exists("/etc/made")
    result = pyman(*run, "/", "true", check=False)
    assert (result.returncode, "--rootfs /:O" in result.stderr) == (125, True)


def test_suid_files_of_the_host_stay_harmless(pyman: Pyman, busybox_image: str, here: Path) -> None:
    (here / "busybox").write_bytes(b"")
    pyman(*RUN, "-v", f"{here}:/d", busybox_image, "sh", "-c", "cp /bin/busybox /d/busybox; chmod 4755 /d/busybox")
    assert stat.S_ISUID & (here / "busybox").stat().st_mode
    said = pyman.text(
        *RUN, "-u", "user", "-v", f"{here}:/d", busybox_image, "/d/busybox", "grep", "Uid", "/proc/self/status"
    )
    assert set(said.split()[1:]) == {"1000"}
