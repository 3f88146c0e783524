"""What can go wrong between us and the kernel. Imports nothing of ours."""

from __future__ import annotations


class KernelError(Exception):
    """A system call or helper program failed.

    `errno` is the kernel's number or 0; `hint` tells the way out, or is empty.
    """

    def __init__(self, message: str, *, errno: int = 0, hint: str = "") -> None:
        super().__init__(message)
        self.errno = errno
        self.hint = hint


class IdMapError(KernelError):
    """Subordinate ids are missing, malformed or refused."""


class StepFailed(KernelError):
    """Init could not finish a step between fork and execve.

    `not_found` and `not_executable` tell whether it was the user's command itself (exit statuses 127 and 126),
    `overlay` that the kernel could not mount the layers: another driver may.
    """

    def __init__(
        self,
        message: str,
        *,
        errno: int = 0,
        hint: str = "",
        not_found: bool = False,
        not_executable: bool = False,
        overlay: bool = False,
    ) -> None:
        super().__init__(message, errno=errno, hint=hint)
        self.overlay = overlay
        self.not_found = not_found
        self.not_executable = not_executable
