"""Measure pyman against Podman, pair by pair (A B, B A, ...): a ratio holds on a noisy machine where a time does not.

Both run as the user who calls this, each with a store of its own. `contrib/bench` prepares what is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

TIMEOUT_S = 300
IDLE_S = 5.0


@dataclass(frozen=True, slots=True)
class Engine:
    """One of the two commands, with the environment that gives it its own store."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]

    def run(self, *args: str, check: bool = True) -> tuple[float, str]:
        """Return the wall time in seconds and what was printed."""
        start = time.perf_counter()
        result = subprocess.run(
            [*self.command, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            env=self.environment,
        )
        elapsed = time.perf_counter() - start
        text = result.stdout.decode(errors="replace")
        if check and result.returncode != 0:
            raise BenchmarkError(f"{self.name} {' '.join(args)}: exit {result.returncode}: {text.strip()[-300:]}")
        return elapsed, text

    def seconds(self, *args: str) -> float:
        return self.run(*args)[0]


class BenchmarkError(Exception):
    """A command that should be measured failed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One scenario: what is run, how often, and what is asked of the result."""

    name: str
    what: str
    measure: Callable[[Engine], float]
    bar: float | None = None  # of the peer's median
    most: float | None = None  # in the row's unit, whatever the peer does
    runs: int | None = None
    warm: int = 1
    unit: str = "ms"
    before: Callable[[Engine], None] | None = None
    after: Callable[[Engine], None] | None = None


@dataclass(slots=True)
class Result:
    name: str
    ours: list[float] = field(default_factory=list)
    peers: list[float] = field(default_factory=list)
    error: str = ""

    @property
    def ratio(self) -> float:
        """The median of the ratios pair by pair."""
        return statistics.median(a / b for a, b in zip(self.ours, self.peers, strict=True))


# --- scenarios ---


def run_rm(*options: str) -> Callable[[Engine], float]:
    return lambda engine: engine.seconds("run", "--rm", *options, "bb", "true")


def run_detached(engine: Engine) -> float:
    elapsed = engine.seconds("run", "-d", "--name", "bench_d", "--network=none", "bb", "sleep", "1000")
    engine.run("rm", "-f", "-t", "0", "bench_d")
    return elapsed


def stop_and_start(engine: Engine) -> float:
    return engine.seconds("stop", "-t", "0", "bench_x") + engine.seconds("start", "bench_x")


def start_idle(engine: Engine) -> None:
    remove_idle(engine)
    engine.run("run", "-d", "--name", "bench_x", "--network=none", "bb", "sleep", "100000")


def remove_idle(engine: Engine) -> None:
    engine.run("rm", "-f", "-t", "0", "bench_x", check=False)


def in_running(name: str, what: str, *args: str, bar: float | None) -> Row:
    return Row(name, what, lambda engine: engine.seconds(*args), bar, before=start_idle, after=remove_idle)


def parallel_runs(count: int) -> Callable[[Engine], float]:
    def measure(engine: Engine) -> float:
        start = time.perf_counter()
        started = [
            subprocess.Popen(
                [*engine.command, "run", "--rm", "--network=none", "bb", "true"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=engine.environment,
            )
            for _ in range(count)
        ]
        said = [process.communicate(timeout=TIMEOUT_S)[1] for process in started]
        failed = [text for process, text in zip(started, said, strict=True) if process.returncode != 0]
        if failed:
            raise BenchmarkError(f"{engine.name}: {len(failed)} of {count} failed: {failed[0][-200:]!r}")
        return time.perf_counter() - start

    return measure


def pull(reference: str) -> Callable[[Engine], float]:
    def measure(engine: Engine) -> float:
        # No trace of the image may be left, or the next pull has nothing to do.
        engine.run("rmi", "-f", reference, check=False)
        engine.run("image", "prune", "-f", check=False)
        return engine.seconds("pull", "--quiet", "--tls-verify=false", reference)

    return measure


def import_archive(archive: str) -> Callable[[Engine], float]:
    def measure(engine: Engine) -> float:
        engine.run("rmi", "-f", "benchbig:latest", check=False)
        engine.run("image", "prune", "-f", check=False)
        return engine.seconds("import", archive, "benchbig:latest")

    return measure


def idle_memory(network: str) -> Callable[[Engine], float]:
    """Return the PSS in MB of all processes that stay beside one idle container and are not inside it."""

    def measure(engine: Engine) -> float:
        with idle_processes(engine, network) as pids:
            return sum(pss_kb(pid) for pid in pids) / 1024

    return measure


def idle_wakeups(engine: Engine) -> float:
    """Return how often in a second the processes beside one idle container are woken."""
    with idle_processes(engine, "none") as pids:
        time.sleep(1)
        before = sum(context_switches(pid) for pid in pids)
        time.sleep(IDLE_S)
        return (sum(context_switches(pid) for pid in pids) - before) / IDLE_S


@contextmanager
def idle_processes(engine: Engine, network: str) -> Iterator[list[int]]:
    before = set(own_processes())
    engine.run("run", "-d", "--name", "bench_i", f"--network={network}", "bb", "sleep", "100000")
    try:
        time.sleep(1)
        yield [pid for pid in own_processes() if pid not in before]
    finally:
        engine.run("rm", "-f", "-t", "0", "bench_i")


def own_processes() -> list[int]:
    """Return the caller's processes outside of any container: those in this process's own pid namespace."""
    ours = os.readlink("/proc/self/ns/pid")
    found = []
    for name in os.listdir("/proc"):
        try:
            mine = name.isdigit() and os.stat(f"/proc/{name}").st_uid == os.getuid()
            if mine and os.readlink(f"/proc/{name}/ns/pid") == ours:
                found.append(int(name))
        except OSError:  # ended meanwhile, or not ours to look into
            continue
    return found


def pss_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise BenchmarkError(f"no Pss in /proc/{pid}/smaps_rollup")


def context_switches(pid: int) -> int:
    return sum(
        int(line.split()[1])
        for task in Path(f"/proc/{pid}/task").iterdir()
        for line in (task / "status").read_text().splitlines()
        if "ctxt_switches" in line
    )


def rows(registry: str, archive: str | None) -> list[Row]:
    """Return all scenarios that can run; the bars are those that the project promises."""
    none = "--network=none"
    listed = [
        Row("version", "--version", lambda engine: engine.seconds("--version")),
        Row("run_none", "run --rm --network=none busybox true", run_rm(none), 0.30, most=50),
        Row("run_host", "run --rm --network=host busybox true", run_rm("--network=host")),
        Row("run_slirp", "run --rm --network=slirp4netns busybox true", run_rm("--network=slirp4netns"), 0.35),
        Row("run_default", "run --rm busybox true", run_rm(), 0.35),
        Row("run_detached", "run -d", run_detached, 0.35),
        in_running("exec", "exec in a running container", "exec", "bench_x", "true", bar=0.30),
        in_running("ps", "ps", "ps", bar=0.7),
        in_running("images", "images", "images", bar=0.7),
        in_running("inspect", "inspect", "inspect", "bench_x", bar=0.7),
        in_running("logs", "logs", "logs", "bench_x", bar=0.7),
        Row("stop_start", "stop -t 0 + start", stop_and_start, 0.45, runs=8, before=start_idle, after=remove_idle),
        Row("parallel_20", "20 parallel run --rm", parallel_runs(20), 0.35, runs=4),
        Row("idle_pss", "memory beside an idle container", idle_memory("none"), most=6, runs=3, warm=0, unit="MB"),
        Row("idle_pss_slirp", "the same with slirp4netns", idle_memory("slirp4netns"), runs=3, warm=0, unit="MB"),
        Row("idle_wakeups", "wake-ups beside it", idle_wakeups, most=0, runs=2, warm=0, unit="/s"),
    ]
    if archive:
        listed.append(Row("import", "import of a Debian root", import_archive(archive), runs=3, warm=0))
        reference = f"{registry}/bench:latest"
        listed.append(Row("pull", "pull of a Debian image", pull(reference), 0.30, runs=3, warm=1))
    return listed


# --- measuring and reporting ---


@contextmanager
def running_registry(address: str, directory: Path) -> Iterator[None]:
    """Serve images from the directory over plain HTTP."""
    directory.mkdir()
    config = directory / "config.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {directory}/data}}}}\nhttp: {{addr: '{address}'}}\n"
    )
    with open(directory / "log", "w") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def measure(row: Row, ours: Engine, peer: Engine, runs: int) -> Result:
    result = Result(row.name)
    try:
        for engine in (ours, peer):
            if row.before:
                row.before(engine)
        for number in range((row.runs or runs) + row.warm):
            for engine in (ours, peer) if number % 2 == 0 else (peer, ours):
                value = row.measure(engine) * (1000 if row.unit == "ms" else 1)
                if number >= row.warm:
                    (result.ours if engine is ours else result.peers).append(value)
    except (BenchmarkError, subprocess.TimeoutExpired, OSError) as error:
        result.error = str(error)
    finally:
        for engine in (ours, peer):
            if row.after:
                row.after(engine)
    return result


def verdict(row: Row, result: Result) -> str:
    """Return the bar and whether it holds."""
    ours = statistics.median(result.ours)
    bars = []
    if row.bar is not None:
        bars.append(f"<= {row.bar:.2f} x {'ok' if result.ratio <= row.bar else 'MISSED'}")
    if row.most is not None:
        bars.append(f"<= {row.most:g} {row.unit} {'ok' if ours <= row.most else 'MISSED'}")
    return ", ".join(bars)


def report(row: Row, result: Result) -> str:
    if result.error:
        return f"{row.what:42s} FAILED: {result.error}"
    ours, peers = statistics.median(result.ours), statistics.median(result.peers)
    ratio = f"{result.ratio:5.2f} x" if all(result.peers) else "      -"
    return f"{row.what:42s} {ours:9.1f} {peers:9.1f} {row.unit:3s} {ratio}   {verdict(row, result)}"


def engines(work: Path, pyman: str, podman: str) -> tuple[Engine, Engine]:
    """Return both, below one directory that is removed in the end: the caller's own stores stay as they are."""
    home = {**os.environ, "XDG_DATA_HOME": str(work / "data"), "XDG_CONFIG_HOME": str(work / "config")}
    containers = work / "config/containers"
    containers.mkdir(parents=True, exist_ok=True)
    (containers / "storage.conf").write_text('[storage]\ndriver = "overlay"\n')
    return Engine("pyman", tuple(pyman.split()), home), Engine("podman", tuple(podman.split()), home)


def describe(peer: Engine) -> str:
    driver = peer.run("info", "--format", "{{.Store.GraphDriverName}} {{.Host.OCIRuntime.Name}} {{.Version.Version}}")
    storage, runtime, version = driver[1].splitlines()[-1].split()  # warnings come first
    if storage != "overlay":
        raise BenchmarkError(f"podman uses {storage} here: only its overlay driver is a fair peer")
    load = os.getloadavg()[0]
    machine = f"{os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}"
    return f"podman {version}, {runtime}, {storage}; {machine}; load {load:.1f}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pyman", default="pyman", help="command line of pyman")
    parser.add_argument("--podman", default="podman", help="command line of the peer")
    parser.add_argument("--busybox-tar", required=True, help="root file system imported into both as bb")
    parser.add_argument("--debian-tar", help="a large root file system to import and to pull; needs docker-registry")
    parser.add_argument("--work", type=Path, required=True, help="a directory for both stores")
    parser.add_argument("--only", default="", help="names of scenarios, with commas")
    parser.add_argument("--json", help="write all figures to this file")
    parser.add_argument("-n", type=int, default=15, help="pairs for each scenario (default: %(default)s)")
    return parser.parse_args()


def push_debian(peer: Engine, archive: str, registry: str) -> None:
    """Have the peer make and push the image that both will pull."""
    reference = f"{registry}/bench:latest"
    peer.run("import", archive, reference)
    peer.run("push", "--tls-verify=false", reference)


def main() -> int:
    options = arguments()
    only = [name for name in options.only.split(",") if name]
    registry = free_address()
    selected = [row for row in rows(registry, options.debian_tar) if not only or row.name in only]
    if len(selected) < len(only):
        sys.exit(f"no such scenario: {', '.join(sorted(set(only) - {row.name for row in selected}))}")
    if shutil.which(options.podman.split()[0]) is None:
        sys.exit("there is no podman to compare with")
    ours, peer = engines(options.work, options.pyman, options.podman)
    print(describe(peer), flush=True)
    results = []
    with ExitStack() as undo:
        for engine in (ours, peer):
            engine.run("import", options.busybox_tar, "bb:latest")
        if any(row.name == "pull" for row in selected):
            undo.enter_context(running_registry(registry, options.work / "registry"))
            push_debian(peer, options.debian_tar, registry)
        print(f"{'median':42s} {'pyman':>9s} {'podman':>9s}     {'ratio':>7s}   bar")
        for row in selected:
            results.append(measure(row, ours, peer, options.n))
            print(report(row, results[-1]), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(result) for result in results], indent=1))
    return 1 if any(result.error for result in results) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchmarkError as error:
        sys.exit(f"bench: {error}")
