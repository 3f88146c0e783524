"""The errors that a user can meet, and their exit statuses. Imports nothing of ours."""

from __future__ import annotations

EXIT_FAILED = 125  # pyman itself failed
EXIT_NOT_EXECUTABLE = 126  # the command of the container exists but cannot be executed
EXIT_NOT_FOUND = 127  # the command of the container does not exist


class PymanError(Exception):
    """One clear line: what, which object; `hint` tells what to do, or is empty."""

    exit_status = EXIT_FAILED

    def __init__(self, message: str, *, hint: str = "", exit_status: int | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if exit_status is not None:
            self.exit_status = exit_status


class UsageError(PymanError):
    """The command line makes no sense."""


class NotFound(PymanError):
    """No object has this name or id. `rm` and `rmi` answer 1, as Podman's do."""


class WrongState(PymanError):
    """The object exists but its state does not allow this."""


class InUse(PymanError):
    """The object is needed by another one (Podman: exit status 2 for images and containers)."""

    exit_status = 2


class NotSupported(PymanError):
    """An option or feature that is refused by name, with the reason."""
