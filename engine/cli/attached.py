"""What `run`, `start` and `attach` share once a container runs: notices, and the attachment to its streams."""

from __future__ import annotations

import sys

from engine.containers import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.containers.attach import Streams
    from engine.containers.lookup import Container
    from engine.containers.start import Started


def print_notices(started: Started, *, quiet: bool) -> None:
    if not quiet:
        for notice in started.notices:
            sys.stderr.write(f"pyman: {notice}\n")


def attached(started: Started, streams: Streams, container: Container, *, detach_keys: bytes, sig_proxy: bool) -> int:
    sys.stdout.flush()
    attachment = attach.Attachment(
        started, streams, tty=container.config.tty, detach_keys=detach_keys, sig_proxy=sig_proxy
    )
    try:
        return attachment.run()
    except attach.Detached:
        return 0
