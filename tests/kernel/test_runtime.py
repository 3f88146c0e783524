"""The conversation between runtime and init: failures at each step are told, and nothing is left running."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from rootless import runtime, userns
from rootless.errors import KernelError
from rootless.init import Launch

if TYPE_CHECKING:
    from rootless.oci import Spec
from rootless.root import Root
from tests.fixtures.busybox import find_busybox

pytestmark = pytest.mark.anyone
ALL = frozenset(("pid", "network", "ipc", "uts"))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A root file system of one program, and an empty directory for init's mounts."""
    root = tmp_path / "root"
    for name in ("bin", "proc", "etc"):
        (root / name).mkdir(parents=True)
    (root / "bin" / "busybox").write_bytes(Path(find_busybox()).read_bytes())
    (root / "bin" / "busybox").chmod(0o755)
    (tmp_path / "mnt").mkdir()
    return tmp_path


def launch(
    bundle: Path, *args: str, cwd: str = "/", user: str = "", groups: tuple[str, ...] = ()
) -> Callable[[], Launch]:
    spec: Spec = {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs", "readonly": False},
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/busybox", *args],
            "env": ["PATH=/bin"],
            "cwd": cwd,
        },
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]}],
        "hostname": "test",
        "linux": {"namespaces": []},
    }
    single = userns.default_maps().single
    root = Root("directory", path=str(bundle / "root"))
    return lambda: Launch(
        spec=spec, root=root, scratch_dir=str(bundle / "mnt"), single_id=single, user=user, groups=groups
    )


def start(build: Callable[[], Launch], **hooks: Callable[[int], None]) -> tuple[int, str]:
    """Start, wait for the end; returns the exit code and what was written to stdout."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    null_fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    try:
        init = runtime.start(build, userns.default_maps(), ALL, (null_fd, write_fd, 2), **hooks)
    except BaseException:
        os.close(read_fd)
        raise
    finally:
        os.close(write_fd)
        os.close(null_fd)
    with os.fdopen(read_fd) as file:
        said = file.read()
    _, status = os.waitpid(init.pid, 0)
    for fd in (init.pidfd, *init.namespace_fds):
        os.close(fd)
    return os.waitstatus_to_exitcode(status), said


def test_start(bundle: Path) -> None:
    script = "busybox hostname; echo $$; busybox id -u; busybox ls /proc/self/fd; exit 7"
    code, said = start(launch(bundle, "sh", "-c", script))
    assert (code, said.split()) == (7, ["test", "1", "0", "0", "1", "2", "3"])


def test_death_by_a_signal(bundle: Path) -> None:
    assert start(launch(bundle, "sh", "-c", "busybox sh -c 'kill -TERM $$'; exit $?"))[0] == 143


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def test_failures_of_init(bundle: Path) -> None:
    before = children()
    for build, error in (
        (launch(bundle, "true", cwd="/bin/busybox"), "not a directory"),
        (launch(bundle, "true", user="nobody"), "unable to find user nobody"),
        (launch(bundle, "true", groups=("nogroup",)), "unable to find group nogroup"),
    ):
        with pytest.raises(KernelError, match=error):
            start(build)
    assert children() == before


def test_what_cannot_be_executed(bundle: Path) -> None:
    def other(path: str) -> Callable[[], Launch]:
        made = launch(bundle)()
        made.spec["process"]["args"] = [path]
        return lambda: made

    (bundle / "root" / "etc" / "text").write_text("x")
    for path, found in (("/missing", False), ("missing", False), ("/etc/text", True), ("/etc", True)):
        with pytest.raises(KernelError) as caught:
            start(other(path))
        assert getattr(caught.value, "not_found", None) is (not found), path
        assert getattr(caught.value, "not_executable", None) is found, path


def test_failures_of_the_caller(bundle: Path) -> None:
    """An early failure of init is what is told; one of ours ends init."""
    before = children()

    def build() -> NoReturn:
        raise KernelError("cannot build", hint="a hint")

    for _ in range(5):
        with pytest.raises(KernelError, match="cannot build") as caught:
            start(build)
        assert caught.value.hint == "a hint"

    def refuse(pid: int) -> None:
        raise ValueError("no")

    for hook in ("namespaces_ready", "before_start"):
        with pytest.raises(ValueError, match="no"):
            start(launch(bundle, "true"), **{hook: refuse})
    assert children() == before


def kill_and_wait(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def test_init_is_killed_while_it_starts(bundle: Path) -> None:
    before = children()
    for hook in ("namespaces_ready", "before_start"):
        with pytest.raises((KernelError, OSError)):
            start(launch(bundle, "true"), **{hook: kill_and_wait})
    assert children() == before


def test_descriptors_do_not_leak(bundle: Path) -> None:
    before = os.listdir("/proc/self/fd")
    start(launch(bundle, "true"))
    with pytest.raises(KernelError):
        start(launch(bundle, "true", user="nobody"))
    assert len(os.listdir("/proc/self/fd")) == len(before)
