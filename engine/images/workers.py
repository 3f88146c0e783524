"""Work on layers in forked processes that are root of a user namespace; their errors come back as what they were."""

from __future__ import annotations

import os

from engine import errors as engine_errors
from engine.errors import PymanError
from rootless import jsontext, userns
from rootless.errors import KernelError
from storage import errors as storage_errors
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rootless.idmap import Maps


class Worker:
    """A started process; `wait` returns what its function returned, or raises what it raised."""

    def __init__(self, mapped: userns.Mapped) -> None:
        self._mapped = mapped
        self.pid_fd = os.pidfd_open(mapped.pid)
        self.pid = mapped.pid

    def wait(self) -> Any:
        try:
            answer = jsontext.loads(self._mapped.wait())
        finally:
            os.close(self.pid_fd)
        if "result" in answer:
            return answer["result"]
        raise _error(answer)

    def kill(self) -> None:
        """End the process; nothing that it has not finished becomes visible."""
        import signal

        signal.pidfd_send_signal(self.pid_fd, signal.SIGKILL)
        try:
            self._mapped.wait()
        except KernelError:
            pass  # killed, as asked
        finally:
            os.close(self.pid_fd)


def start(maps: Maps, function: Callable[[], Any]) -> Worker:
    """Start a process that is root of a user namespace with `maps`; `function` returns what JSON can hold."""
    return Worker(userns.start_mapped(lambda: _answer(function), maps))


def run(maps: Maps, function: Callable[[], Any]) -> Any:
    """Run `function` as root of a user namespace with `maps`."""
    return start(maps, function).wait()


def _answer(function: Callable[[], Any]) -> bytes:
    try:
        return jsontext.dumps({"result": function()}).encode()
    except (StorageError, PymanError, KernelError) as error:
        return jsontext.dumps({"error": type(error).__name__, "message": str(error), "hint": error.hint}).encode()
    except OSError as error:
        return jsontext.dumps({"error": "StorageError", "message": str(error), "hint": ""}).encode()
    except KeyboardInterrupt:
        return jsontext.dumps({"error": "PymanError", "message": "interrupted", "hint": ""}).encode()


def _error(answer: dict[str, str]) -> Exception:
    for module in (storage_errors, engine_errors):
        kind = getattr(module, answer["error"], None)
        if isinstance(kind, type) and issubclass(kind, (StorageError, PymanError)):
            return kind(answer["message"], hint=answer["hint"])
    return PymanError(answer["message"], hint=answer["hint"])
