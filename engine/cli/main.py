"""argv -> verb -> module. The only place that prints errors and exits."""

from __future__ import annotations

import os
import sys

from engine.cli import parse, table
from engine.errors import EXIT_FAILED, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, PymanError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from engine.context import Context

EXIT_INTERRUPTED = 130  # 128 + SIGINT
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE
_NOT_HERE = "pyman keeps its own state and needs no such setting"


class ReaderGone(Exception):
    """Nobody reads our output any more: no error of ours, but an end."""


class GlobalOptions(parse.Options):
    root: str | None = parse.text(
        "--root", metavar="DIR", help="directory of images, containers and volumes", complete="directories"
    )
    log_level: str = parse.text(
        "--log-level",
        metavar="LEVEL",
        default="warn",
        choices=("trace", "debug", "info", "warn", "warning", "error", "fatal", "panic"),
        help="debug shows where an error comes from",
    )
    runtime = parse.refused("--runtime", reason="other runtimes than the built-in one are not available yet")
    storage_driver: str | None = parse.text(
        "--storage-driver",
        metavar="NAME",
        choices=("overlay", "fuse-overlayfs", "copy"),
        help="how layers become a root file system (default: the best that works)",
    )
    other_engine = parse.refused(
        *("--cdi-spec-dir", "--cgroup-manager", "--config", "--conmon", "--default-mounts-file", "--events-backend"),
        *("--hooks-dir", "--imagestore", "--module", "--namespace", "--network-cmd-path", "--network-config-dir"),
        *("--noout", "--out", "--pull-option", "--runroot", "--runtime-flag", "--storage-opt"),
        *("--syslog", "--tmpdir", "--transient-store", "--trace", "--volumepath"),
        reason=_NOT_HERE,
    )
    remote = parse.refused(
        *("--connection", "--identity", "--remote", "--ssh", "--url", "--host", "--context"),
        reason="pyman works on this machine only",
    )


class CommandLine(parse.Options):
    """What may stand before the verb, beside the global options."""

    version: bool = parse.flag("--version", "-v", help="show the version")
    words: list[str] = parse.rest("COMMAND")


def main(argv: list[str] | None = None) -> NoReturn:
    """Carry out one command line and leave the process with its exit status."""
    while (fd := os.open("/dev/null", os.O_RDWR)) <= 2:
        pass  # the caller has closed standard streams: nothing that we open may come to stand in for one
    os.close(fd)
    globals_ = GlobalOptions()
    try:
        status = dispatch(sys.argv[1:] if argv is None else argv, globals_)
        _flush()
    except BaseException as error:
        status = report(error, debug=globals_.log_level in ("debug", "trace"))
    # Tearing the interpreter down costs 2 ms and does nothing that the kernel does not do.
    os._exit(status & 0xFF)


def dispatch(argv: list[str], globals_: GlobalOptions) -> int:
    """Find the verb, parse its options and carry it out; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            # Names come from file systems and registries: none may break the output, whatever the locale.
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        line = parse.parse(CommandLine, argv, globals_)
    except parse.HelpWanted:
        return show_help("")
    if line.version:
        return _print_version()
    if not line.words:
        show_help("", to_stderr=True)
        return EXIT_FAILED
    name, rest = find_verb(line.words)
    if name in table.GROUPS:
        return show_help(name)
    monitor = None
    if name in table.STARTING:
        from engine.containers import spawn

        monitor = spawn.spawn(debug=globals_.log_level in ("debug", "trace"))
    module, function, _ = table.VERBS[name]
    verb: parse.Verb = getattr(_import(module), function)
    try:
        options = parse.parse(verb.options, rest, globals_)
    except parse.HelpWanted:
        return show_help(name)
    except UsageError as error:
        see = f"see 'pyman {name} --help'"
        error.hint = f"{error.hint} Otherwise {see}" if error.hint else see
        raise
    context = open_context(globals_)
    context.monitor = monitor
    return verb(options, context)


def open_context(globals_: GlobalOptions) -> Context:
    """Return the context; it opens nothing yet."""
    from engine.context import Context

    root = os.path.abspath(globals_.root) if globals_.root else None
    return Context(
        root=root,
        debug=globals_.log_level in ("debug", "trace"),
        storage_driver=globals_.storage_driver or "",
    )


def find_verb(words: list[str]) -> tuple[str, list[str]]:
    """Return the verb, or the group whose help is wanted, and the words after it."""
    first = words[0]
    if first in table.GROUPS:
        if len(words) == 1 or words[1] in ("--help", "-h"):
            return first, []
        name = f"{first} {words[1]}"
        name = table.ALIASES.get(name, name)
        if name in table.VERBS:
            return name, words[2:]
        raise _unknown_verb(f"{first} {words[1]}")
    name = table.ALIASES.get(first, first)
    if name in table.VERBS:
        return name, words[1:]
    raise _unknown_verb(first)


def show_help(name: str, *, to_stderr: bool = False) -> int:
    """Show the help of a verb, a group, or (empty name) of everything."""
    from engine.cli import help  # imports typer and rich

    return help.show(name, to_stderr=to_stderr)


def report(error: BaseException, *, debug: bool) -> int:
    """Print one line for an error that reached the top; returns the exit status."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else EXIT_FAILED
    if debug:
        import traceback

        traceback.print_exception(error)
    try:
        _flush()
        if isinstance(error, KeyboardInterrupt):
            return EXIT_INTERRUPTED
        if isinstance(error, ReaderGone) or (isinstance(error, BrokenPipeError) and _reader_is_gone()):
            return EXIT_BROKEN_PIPE
        message, hint, status = _explain(error)
        print_error(message, hint)
    except BrokenPipeError:
        return EXIT_BROKEN_PIPE
    except OSError:  # nowhere to print to
        return EXIT_FAILED
    return status


def print_error(message: str, hint: str = "") -> None:
    """Print one `Error: message (hint)` line to stderr. For verbs that go on with the next object after an error."""
    from engine.cli import output

    text = f"Error: {message} ({hint})" if hint else f"Error: {message}"
    if sys.stderr is not None:
        sys.stderr.write(output.printable(text) + "\n")
        sys.stderr.flush()


def failed(error: Exception) -> int:
    """Print the error of one object of several and return its exit status. Raises what is not an expected error."""
    message, hint, status = _explain(error)
    if message.startswith("internal error"):
        raise error
    print_error(message, hint)
    return status


def _explain(error: BaseException) -> tuple[str, str, int]:
    """Return message, hint and exit status."""
    # Imported here: commands that succeed need neither.
    from rootless.errors import KernelError, StepFailed
    from storage.errors import StorageError

    if isinstance(error, PymanError):
        return str(error), error.hint, error.exit_status
    if isinstance(error, StepFailed):
        status = EXIT_NOT_FOUND if error.not_found else EXIT_NOT_EXECUTABLE if error.not_executable else EXIT_FAILED
        return str(error), error.hint, status
    if isinstance(error, (KernelError, StorageError)):
        return str(error), error.hint, EXIT_FAILED
    detail = str(error) or "no message"
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        name = error.filename if isinstance(error.filename, str) else os.fsdecode(error.filename)
        return f"{name}: {error.strerror}", "", EXIT_FAILED
    hint = "please report it with the output of the same command after 'pyman --log-level=debug'"
    return f"internal error: {type(error).__name__}: {detail}", hint, EXIT_FAILED


def _unknown_verb(name: str) -> UsageError:
    reason = table.REFUSED.get(name.partition(" ")[0])
    if reason:
        return UsageError(f'there is no command "{name}": {reason}')
    import difflib  # only to answer a mistake

    known = [word for word in (*table.VERBS, *table.ALIASES, *table.GROUPS) if not word.startswith("_")]
    close = difflib.get_close_matches(name, known, 1, 0.6)
    hint = f"did you mean '{close[0]}'? See 'pyman --help'" if close else "see 'pyman --help'"
    return UsageError(f'there is no command "{name}"', hint=hint)


def _print_version() -> int:
    from engine.version import VERSION

    print(f"pyman version {VERSION}")
    return 0


def _import(name: str) -> object:
    __import__(name)
    return sys.modules[name]


def _reader_is_gone() -> bool:
    """Tell whether stdout or stderr is a pipe that nobody reads: `pyman ps | head -1` is no error of ours."""
    import select

    poll = select.poll()
    for fd in (1, 2):
        poll.register(fd, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except ValueError:  # closed by the verb
                pass
