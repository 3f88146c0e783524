"""The named messages between the monitor and init."""

from __future__ import annotations

import os

from rootless import messages
from rootless.errors import KernelError, StepFailed


def test_messages() -> None:
    ours, theirs = messages.pair()
    read_fd, write_fd = os.pipe()
    messages.send(ours, messages.START)
    messages.send(ours, messages.MOUNTS_READY, {"uid": 5}, fd=write_fd)
    assert messages.receive(theirs) == (messages.START, {}, None)
    name, fields, fd = messages.receive(theirs)
    assert (name, fields) == (messages.MOUNTS_READY, {"uid": 5})
    assert fd is not None and not os.get_inheritable(fd)
    os.write(fd, b"x")
    assert os.read(read_fd, 1) == b"x"
    ours.close()
    assert messages.receive(theirs) == ("", {}, None)
    theirs.close()
    for one in (read_fd, write_fd, fd):
        os.close(one)


def failure(error: BaseException) -> StepFailed:
    ours, theirs = messages.pair()
    messages.send_failure(theirs, error)
    name, fields, _ = messages.receive(ours)
    ours.close()
    theirs.close()
    assert name == messages.FAILED
    made = messages.failure(fields)
    assert isinstance(made, StepFailed)
    return made


def test_failures() -> None:
    """An error comes out as it went in."""
    made = failure(StepFailed("text", errno=2, hint="hint", not_found=True))
    assert (str(made), made.errno, made.hint, made.not_found, made.not_executable) == ("text", 2, "hint", True, False)
    made = failure(PermissionError(13, "Permission denied", "/x"))
    assert (str(made), made.errno) == ("Permission denied /x", 13)
    assert str(failure(KernelError("k", hint="h"))) == "k"
    assert str(failure(ZeroDivisionError())) == "ZeroDivisionError"
    assert len(str(failure(ValueError("x" * 100_000)))) <= 8000
    assert str(failure(ValueError("\ud800 \0 \u00e4"))).endswith("\u00e4")
