"""The command `openlineage-pod`."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from openlineage_pod.events.facets import __version__
from openlineage_pod.settings import ConfigurationError, Settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

__all__ = ["main"]

# The signals that stop the relay.
_RELAY_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process) and return its exit status."""
    try:
        return _main(arguments)
    except BrokenPipeError:
        return 0  # of --help or --version; argparse itself ignores it from Python 3.11 on
    finally:
        _end_stdout()


def _main(arguments: Sequence[str] | None) -> int:
    _ignore_warnings()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    own, separator, command = arguments, False, []
    if "--" in arguments:
        at = arguments.index("--")
        own, separator, command = arguments[:at], True, arguments[at + 1 :]
    if own == ["run"] and command:
        return _run(command, None)  # without argparse, whose import costs the command 6 ms
    if own[:1] == ["relay"]:
        # Blocked before any thread starts and before the slow imports: the kernel drops a signal for PID 1 that is
        # neither handled nor blocked.
        signal.pthread_sigmask(signal.SIG_BLOCK, _RELAY_STOP_SIGNALS)
    parser, commands = _parsers()
    options, unknown = parser.parse_known_args(own)
    parser = commands[options.command]  # its usage is the one that helps
    if options.command == "run" and not command and not (unknown and unknown[0].startswith("--")):
        parser.error("say what to run after --, as in: openlineage-pod run -- python job.py")
    if unknown:
        parser.error(_unrecognized(unknown, parser))
    if options.command == "run":
        return _run(command, options)
    if separator:
        parser.error(f"{options.command} takes no -- command")
    # Each command imports only what it needs: the imports take longer than everything else here.
    try:
        settings = _read_settings()
        if options.command == "relay":
            from openlineage_pod.recovery.relay import relay

            return relay(options.directory, settings, _RELAY_STOP_SIGNALS)
        from openlineage_pod.recovery.replay import replay

        return replay(options.paths, settings.environ, dry_run=options.dry_run)
    except (ConfigurationError, OSError) as error:
        print(f"openlineage-pod: {_masked(str(error))}", file=sys.stderr)
        return 2


def _ignore_warnings() -> None:
    """Ignore all warnings in this process: PYTHONWARNINGS and the like in an image are meant for the job in it."""
    if sys.warnoptions or sys.flags.warn_default_encoding:
        import warnings  # deferred: without such an option there is nothing to ignore

        warnings.simplefilter("ignore")


def _end_stdout() -> None:
    """Write what is left in the buffer, which nobody may read any more: behind `head`, for example.

    The interpreter does that at its end as well, and tells of any error.
    """
    if sys.stdout is None:  # it was closed
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError:
        pass  # the interpreter tells of it


def _run(command: list[str], options: argparse.Namespace | None) -> int:
    from openlineage_pod.wrapper.command import run_command
    from openlineage_pod.wrapper.plan import RunOptions

    given = {} if options is None else {field: getattr(options, field) for field in RunOptions._fields}
    try:
        code = run_command(command, RunOptions(**given))
    except ConfigurationError as error:  # in strict mode
        print(f"openlineage-pod: {_masked(str(error))}", file=sys.stderr)
        code = 2
    # Skip the interpreter's shutdown: nothing in it may change the exit code or wait for our daemon threads.
    os._exit(code)


def _read_settings() -> Settings:
    """Return the settings; log each problem as a warning, or raise the problems in strict mode."""
    from openlineage_pod._guard import logger

    settings = Settings.from_env()
    if settings.strict and settings.problems:
        from openlineage_pod.core.runtime import configuration_error

        raise configuration_error(settings, settings.problems)
    for problem in settings.problems:
        logger.warning("%s", problem)
    return settings


def _masked(message: str) -> str:
    """Return a message without credentials: it may quote arguments."""
    from openlineage_pod._redaction.forms import redact  # deferred: only a mistake pays for it

    return redact(message)


def seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1e6:  # noqa: PLR2004  false for nan, too
        raise ValueError(text)
    return value


def exit_code(text: str) -> int:
    code = int(text)
    if not 0 <= code <= 255:  # noqa: PLR2004
        raise ValueError(text)
    return code


def _unrecognized(arguments: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """Return the message for arguments that `parser` does not know, with the option that a misspelled one may mean."""
    from difflib import get_close_matches  # deferred: only a mistake pays for it

    known = [option for option in parser.format_help().replace(",", " ").split() if option.startswith("--")]
    name = arguments[0].partition("=")[0]
    similar = get_close_matches(name, known, 1) if name.startswith("-") else []
    hint = f"; did you mean {similar[0]}?" if similar else ""
    if name in similar:
        hint = f"; write {name} behind {parser.prog.split()[-1]}"
    return f"unrecognized arguments: {' '.join(arguments)}{hint}"


def _parsers() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """Return the parser of the command line, and the parsers of the commands by their names."""
    import argparse

    class Parser(argparse.ArgumentParser):
        def __init__(self, **options: Any) -> None:
            # Abbreviated, `--name` would set --namespace, and a new option could change what an old command line means.
            super().__init__(allow_abbrev=False, **options)

        def error(self, message: str) -> NoReturn:
            super().error(_masked(message))

    parser = Parser(prog="openlineage-pod", description="Lineage from inside containers.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        usage="openlineage-pod run [OPTION]… -- COMMAND [ARGUMENT]…",
        help="run any command and report its run",
        description="Run a command, as PID 1 of a container or anywhere, and report its run. Exit code, signals, "
        "stdin, stdout and stderr are the command's own.",
    )
    run.add_argument("--job-name", metavar="NAME", help="default: <parent job>.<command>")
    run.add_argument("--namespace", metavar="NAME", help="default: the parent's")
    run.add_argument("--input", action="append", default=[], dest="inputs", metavar="URI", help="a dataset it reads")
    run.add_argument("--output", action="append", default=[], dest="outputs", metavar="URI", help="one it writes")
    run.add_argument(
        "--abort-on",
        action="append",
        default=[],
        type=exit_code,
        metavar="CODE",
        help="report this exit code (0 to 255) as ABORT",
    )
    run.add_argument(
        "--complete-on",
        action="append",
        default=[],
        type=exit_code,
        metavar="CODE",
        help="report this exit code as COMPLETE",
    )
    run.add_argument("--signal-group", action="store_true", help="forward signals to the process group of the command")
    run.add_argument(
        "--kill-after",
        type=seconds,
        metavar="SECONDS",
        help="send SIGKILL so long after a stop signal; default: never",
    )

    run.add_argument("--summary", action="store_true", help="say on stderr at the end what was sent where")

    relay = commands.add_parser(
        "relay",
        help="deliver what appears in a spool, as a sidecar",
        description="Deliver what other processes put into a spool, and end the runs of those that vanish, until "
        "SIGTERM.",
    )
    relay.add_argument("directory", metavar="DIR", help="the spool directory; made where it is missing")

    replay = commands.add_parser(
        "replay",
        help="deliver events from spools, files of events and logs",
        description="Deliver the events that lie in spool directories, in files of events (one JSON document a line) "
        "or as OPENLINEAGE_POD_EVENT lines in any log. The transport is configured by the environment, as for a job.",
    )
    replay.add_argument("paths", nargs="+", metavar="PATH", help="a spool directory, a file, or - for standard input")
    replay.add_argument("--dry-run", action="store_true", help="list the events and deliver nothing")
    return parser, commands.choices
