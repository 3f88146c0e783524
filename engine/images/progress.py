"""What a pull shows: bars on a terminal, plain lines elsewhere, nothing when it is to be quiet. All on stderr."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    class Progress(Protocol):
        def start(self, what: str) -> None:
            """Say what is pulled."""

        def blobs(self, digests: Sequence[str], sizes: Sequence[int]) -> None:
            """Say what is fetched."""

        def update(self, received: Sequence[int]) -> None:
            """Say how many bytes of each have come."""

        def finish(self, *, complete: bool) -> None:
            """Leave the terminal in order."""


def choose(*, quiet: bool) -> Progress:
    if quiet:
        return Quiet()
    return Bars() if os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb" else Lines()


class Quiet:
    def start(self, what: str) -> None: ...

    def blobs(self, digests: Sequence[str], sizes: Sequence[int]) -> None: ...

    def update(self, received: Sequence[int]) -> None: ...

    def finish(self, *, complete: bool) -> None: ...


class Lines:
    """One line when something begins, one when a layer has come."""

    def __init__(self) -> None:
        self._digests: Sequence[str] = ()
        self._sizes: Sequence[int] = ()
        self._done: set[int] = set()

    def start(self, what: str) -> None:
        _say(f"Trying to pull {what}...")

    def blobs(self, digests: Sequence[str], sizes: Sequence[int]) -> None:
        self._digests, self._sizes = digests, sizes

    def update(self, received: Sequence[int]) -> None:
        for index, count in enumerate(received):
            if count >= self._sizes[index] and index not in self._done:
                self._done.add(index)
                _say(f"Copying blob sha256:{self._digests[index]} done")

    def finish(self, *, complete: bool) -> None:
        if complete:
            self.update(self._sizes)


class Bars:
    """A bar per layer. Without a thread of its own: workers are forked while it is there."""

    def __init__(self) -> None:
        self._shown: object | None = None

    def start(self, what: str) -> None:
        _say(f"Trying to pull {what}...")

    def blobs(self, digests: Sequence[str], sizes: Sequence[int]) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            auto_refresh=False,
        )
        self._tasks = [
            self._bars.add_task(f"Copying blob {digest[:12]}", total=size)
            for digest, size in zip(digests, sizes, strict=True)
        ]
        self._bars.start()
        self._shown = self._bars

    def update(self, received: Sequence[int]) -> None:
        if self._shown is not None:
            for task, count in zip(self._tasks, received, strict=True):
                self._bars.update(task, completed=count)
            self._bars.refresh()

    def finish(self, *, complete: bool) -> None:
        if self._shown is not None:
            self._shown = None
            self._bars.stop()


def _say(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
