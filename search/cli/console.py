# ruff: noqa: E402 (the environment must be set before the imports)
"""What every command of this package shares: options by typer, output by rich, errors for people, silence.

A command module holds one function whose signature is its options and whose docstring is its help, and ends with

    if __name__ == "__main__":
        console.run(main, examples="python -m search.NAME --option value")

Importing this module sets the environment variables that quiet TensorFlow, absl and Ray; so it comes before them.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from search.cli.screen import styled

QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "ABSL_MIN_LOG_LEVEL": "3",
    "GRPC_VERBOSITY": "NONE",
    "GLOG_minloglevel": "3",
    "PYTHONWARNINGS": "ignore",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}
"""Environment variables that quiet TensorFlow, absl and Ray."""

# A user's own setting wins: whoever debugs TensorFlow wants to hear it.
for _name, _value in QUIET.items():
    os.environ.setdefault(_name, _value)

import typer
from rich.markup import escape

from search.cli import options, streams
from search.cli.screen import Screen
from xraytune.errors import FatalError, InputError, TrialError, system_message

HELP_NAMES = {"help_option_names": ["-h", "--help"]}

INTERRUPTED = 128 + signal.SIGINT
"""What a command interrupted by Ctrl-C ends with (the shell's convention: 128 + signal)."""

TERMINATED = 128 + signal.SIGTERM
"""What a command ends with that was asked to end by SIGTERM (`kill`, a batch system, a container that is stopped)."""


class TerminatedError(KeyboardInterrupt):
    """SIGTERM came: a command ends as by Ctrl-C, so that it removes what it would otherwise leave."""


class InterruptedCommandError(Exception):
    """A command was interrupted; carries its exit code past typer, which would end with 130 for any, and no word."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


streams.settle()
out = Screen(width=None if sys.stdout.isatty() else 160)
"""Results: what a pipe should get."""
err = Screen(stderr=True)
"""Progress and errors."""


def run(
    command: Callable[..., Any],
    *,
    examples: str = "",
    removed: Mapping[str, str] | None = None,
    alone: Mapping[str, Sequence[str]] | None = None,
) -> NoReturn:
    """Run one command function as the program and exit.

    Args:
        command: a function whose parameters are dataclasses of options (`search.cli.options`) or
            `Annotated[…, typer.Option(…)]`; its docstring's first part is the help.
        examples: command lines, one a line, shown under the help.
        removed: what replaces each option, or option and value, that no longer exists: `{"--old": "Use --new."}`.
        alone: the values of each option that may stand without one, which then has its first.

    A `FatalError` becomes its message on standard error and its exit code, a wrong option exit code 2, Ctrl-C 130,
    SIGTERM 143; none shows a traceback, nor does what the system refuses (unless `XRAYTUNE_DEBUG` is set). Anything
    else is our mistake and shows one.
    """
    app = application(command, examples=examples)
    module = sys.modules["__main__"].__spec__
    name = f"python -m {module.name}" if module else None

    def program() -> Any:
        refuse_removed(sys.argv[1:], removed or {})
        return app(with_values(sys.argv[1:], alone or {}), standalone_mode=False, prog_name=name)

    run_program(program)


def application(command: Callable[..., Any], *, examples: str = "") -> typer.Typer:
    """The typer application of one command, as `run` runs it."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    shown = "\n".join(f"  {escape(line.strip())}" for line in examples.strip().splitlines())
    app.command(
        epilog=f"Examples:\n{shown}" if shown else None,
        help=_help(command),
        context_settings=HELP_NAMES,
    )(interruptible(options.spread(command)))
    return app


def run_program(program: Callable[[], Any]) -> NoReturn:
    """Run what reads the command line and exit, with the environment, the streams and the errors of every command."""
    signal.signal(signal.SIGTERM, _terminate)
    streams.with_utf8_names()
    streams.silence_native_code()
    warnings.simplefilter("ignore")
    logging.getLogger("absl").setLevel(logging.ERROR)
    code = exit_code(program)
    if code > 128:  # everything is recorded and ended; native threads cut off in mid-work may abort a slow farewell
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def _terminate(number: int, frame: object) -> None:
    """End as by Ctrl-C; a second SIGTERM, where something hangs, ends the process at once."""
    signal.signal(number, signal.SIG_DFL)
    raise TerminatedError


def _code_of(error: BaseException) -> int:
    return TERMINATED if isinstance(error, TerminatedError) else INTERRUPTED


def interruptible(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with Ctrl-C and SIGTERM as an `InterruptedCommandError`."""

    @functools.wraps(command)
    def carried(*arguments: Any, **given: Any) -> Any:
        try:
            return command(*arguments, **given)
        except KeyboardInterrupt as error:
            raise InterruptedCommandError(_code_of(error)) from error

    return carried


def exit_code(program: Callable[[], Any]) -> int:
    """Run `program`; print what went wrong in one message; return the exit code."""
    code: object = 0
    try:
        code = program()
    except FatalError as error:
        fail(str(error))
        code = error.exit_code
    except TrialError as error:
        fail(f"{error.cause}: {error.message}")
        code = 1
    except typer.Exit as stop:
        code = stop.exit_code
    except typer.TyperException as error:  # an unknown option, a value of the wrong type
        _usage(error)
        code = 2
    except (InterruptedCommandError, KeyboardInterrupt, typer.Abort) as error:
        err.say("Interrupted.", style="yellow")
        code = error.code if isinstance(error, InterruptedCommandError) else _code_of(error)
    except BrokenPipeError:  # `… | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if os.environ.get("XRAYTUNE_DEBUG"):
            raise
        fail(system_message(error))
        code = 1
    return code if isinstance(code, int) else 0


def with_values(arguments: Sequence[str], alone: Mapping[str, Sequence[str]]) -> list[str]:
    """The command line with a value for each option that stands without one.

    Args:
        arguments: of the command line.
        alone: the values of each option that may stand without one, which then has its first.
    """
    out: list[str] = []
    for word, after in itertools.zip_longest(arguments, arguments[1:]):
        out.append(word)
        if word in alone and after not in alone[word]:
            out.append(alone[word][0])
    return out


def refuse_removed(arguments: Sequence[str], removed: Mapping[str, str]) -> None:
    """Refuse what no longer exists, with what replaces it.

    Args:
        arguments: of the command line.
        removed: what replaces each option, or option and value.

    Raises:
        InputError: one of them stands in `arguments`, as `--option`, `--option value` or `--option=value`.
    """
    words = [
        word for argument in arguments for word in (argument.split("=", 1) if argument.startswith("--") else [argument])
    ]
    pairs = (" ".join(pair) for pair in itertools.pairwise(words))
    for given in (*words, *pairs):
        if given in removed:
            raise InputError(f"{given} was removed. {removed[given]}")


def _usage(error: Any) -> None:
    context = getattr(error, "ctx", None)
    hint = f"\nSee: {context.command_path} --help" if context is not None else ""
    fail(error.format_message() + hint)


def _help(command: Callable[..., Any]) -> str:
    """The docstring up to its `Args:` or `Raises:`, which are for readers of the code; a paragraph is one line."""
    text = re.split(r"\n\s*(?:Args|Raises|Returns):", command.__doc__ or "")[0]
    return escape(re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(text)))


def fail(message: str) -> None:
    """One error message on standard error."""
    err.print(styled(("error: ", "bold red"), message), soft_wrap=True)


BANNER = "DEMONSTRATION, NOT X-RAYS"
NOTICE = "Not a medical device. For research only; do not use it for diagnosis."
