"""logs: what containers have written, from their log files."""

from __future__ import annotations

import os
import select
import sys

from engine.cli import selection
from engine.cli.options_lifecycle import LogsOptions
from engine.cli.parse import verb
from engine.containers import logs as log_files
from engine.errors import PymanError, UsageError
from rootless import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.containers.logs import Entry
    from engine.containers.lookup import Container
    from engine.context import Context


@verb(
    LogsOptions,
    examples=(
        ("the last ten lines, and what follows", "pyman logs --tail 10 --follow web"),
        ("the last hour", "pyman logs --since 1h web"),
    ),
)
def logs(options: LogsOptions, context: Context) -> int:
    containers, errors = selection.select(context.store, options.containers, latest=options.latest)
    if errors:
        raise errors[0]
    readers = [_Reader(container, options, named=options.names) for container in containers]
    for reader in readers:
        reader.show_new()
    if options.follow:
        _follow(readers)
    return 0


def _follow(readers: list[_Reader]) -> None:
    """Show what is appended until every container has ended. inotify(7) would miss nothing either, but needs ctypes."""
    poll = select.poll()
    living = {}
    for reader in readers:
        pidfd = reader.open_monitor()
        if pidfd is not None:
            poll.register(pidfd, select.POLLIN)
            living[pidfd] = reader
    while living:
        ended = poll.poll(100)
        for reader in readers:
            reader.show_new()
        for pidfd, _ in ended:
            poll.unregister(pidfd)
            os.close(pidfd)
            reader = living.pop(pidfd)
            reader.show_new()


class _Reader:
    """One container's log, read up to where its writer is."""

    def __init__(self, container: Container, options: LogsOptions, *, named: bool) -> None:
        config = container.config
        if config.log_driver == "none":
            raise PymanError(f"container {container.name} has no log: it was created with --log-driver=none")
        self._container = container
        self._driver = config.log_driver
        self._options = options
        self._prefix = f"{container.name} ".encode() if named else b""
        self._since = _bound("--since", options.since)
        self._until = _bound("--until", options.until)
        self._partial = {"stdout": False, "stderr": False}
        path = dict(config.log_options).get("path") or f"{container.dir}/ctr.log"
        self._paths = [path]
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._fd = -1  # it has never been started
            return
        if options.tail >= 0:
            os.lseek(self._fd, log_files.last_lines_offset(self._fd, options.tail, self._driver), os.SEEK_SET)
        elif os.path.exists(f"{path}.1"):
            self._show_rotated(f"{path}.1")

    def _show_rotated(self, path: str) -> None:
        current, self._fd = self._fd, os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.show_new()
        os.close(self._fd)
        self._fd = current

    def open_monitor(self) -> int | None:
        state = self._container.state
        return process.open_pidfd(state.monitor_pid, state.monitor_start_time)

    def show_new(self) -> None:
        """Print the entries that were added since the last call."""
        if self._fd < 0:
            return
        out = {"stdout": bytearray(), "stderr": bytearray()}
        for line in log_files.read_entries(self._fd):
            entry = log_files.parse_line(line, self._driver)
            if entry is not None and self._wanted(entry):
                out[entry.stream] += self._rendered(entry)
                if len(out[entry.stream]) > 1 << 16:
                    _write(entry.stream, out[entry.stream])
        for stream, data in out.items():
            _write(stream, data)
        self._reopen_if_rotated()

    def _reopen_if_rotated(self) -> None:
        try:
            current = os.stat(self._paths[0])
        except FileNotFoundError:
            return
        if current.st_ino != os.fstat(self._fd).st_ino:
            os.close(self._fd)
            self._fd = os.open(self._paths[0], os.O_RDONLY | os.O_CLOEXEC)

    def _wanted(self, entry: Entry) -> bool:
        if not self._since and not self._until:
            return True
        from engine.cli.times import parse_time

        moment = parse_time(entry.time)
        return (not self._since or moment >= self._since) and (not self._until or moment <= self._until)

    def _rendered(self, entry: Entry) -> bytes:
        text = entry.text if entry.partial else entry.text + b"\n"
        if not self._partial[entry.stream]:  # at the beginning of a line
            stamp = f"{entry.time} ".encode() if self._options.timestamps else b""
            text = self._prefix + stamp + text
        self._partial[entry.stream] = entry.partial
        return text


def _bound(option: str, text: str | None) -> int:
    if text is None:
        return 0
    from engine.cli.times import parse_time

    try:
        return parse_time(text)
    except UsageError as error:
        raise UsageError(f"{option}: {error}", hint=error.hint) from None


def _write(stream: str, data: bytearray) -> None:
    """Write to our stdout or stderr, whichever the container wrote to, and empty `data`."""
    fd = 1 if stream == "stdout" else 2
    sys.stdout.flush()
    while data:
        del data[: os.write(fd, data)]
