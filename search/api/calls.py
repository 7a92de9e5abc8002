"""What every call has in common: silence, errors as exceptions, and a process that is afterwards as it was before."""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from xraytune.errors import FatalError, InputError, system_message

_LOCK = threading.Lock()
_BUSY = threading.Lock()


class _Surroundings:
    """What calls change of their process, put back when the last call ends that runs at a time."""

    def __init__(self) -> None:
        self._calls = 0
        self._undone = ExitStack()

    def enter(self, *, verbose: bool) -> None:
        """One more call runs."""
        with _LOCK:
            self._calls += 1
            if self._calls == 1:
                self._undone = ExitStack()
                _prepare(self._undone.callback, verbose=verbose)

    def leave(self) -> None:
        """One call less."""
        with _LOCK:
            self._calls -= 1
            if self._calls == 0:
                self._undone.close()


_SURROUNDINGS = _Surroundings()


def _prepare(undone_by: Callable[..., object], *, verbose: bool) -> None:
    """Quiet the process; `undone_by` is told how each change is undone."""
    before = dict(os.environ)
    undone_by(_restore, before)
    from search.cli import console, streams
    from search.tuner import SETTINGS

    for name, value in {**console.QUIET, **SETTINGS}.items():
        os.environ.setdefault(name, value)
    for screen in (console.out, console.err):
        undone_by(setattr, screen, "quiet", screen.quiet)
        screen.quiet = not verbose
    undone_by(streams.silence_native_code())
    caught = warnings.catch_warnings()
    caught.__enter__()
    undone_by(caught.__exit__, None, None, None)
    warnings.simplefilter("ignore")
    absl = logging.getLogger("absl")
    undone_by(absl.setLevel, absl.level)
    absl.setLevel(logging.ERROR)


def _restore(before: dict[str, str]) -> None:
    """Set the environment to what it was."""
    for name in set(os.environ) - set(before):
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


@contextmanager
def call(*, verbose: bool = False) -> Iterator[None]:
    """One call of the façade.

    Args:
        verbose: print what the command prints.

    Raises:
        FatalError: also where the system refuses to read or write a file.
    """
    _SURROUNDINGS.enter(verbose=verbose)
    try:
        yield
    except OSError as error:
        raise FatalError(system_message(error)) from error
    finally:
        _SURROUNDINGS.leave()


@contextmanager
def training(*, verbose: bool) -> Iterator[None]:
    """A call that starts processes: one at a time in a process, and ended by Ctrl-C as Python ends what it does.

    Args:
        verbose: print what the command prints.

    Raises:
        InputError: another one runs in this process.
        KeyboardInterrupt: it was interrupted; the message says how to go on.
    """
    if not _BUSY.acquire(blocking=False):
        raise InputError("A search or a retraining already runs in this process. Wait for it, or use another process.")
    try:
        with call(verbose=verbose):
            try:
                yield
            except FatalError as ended:
                if ended.exit_code <= 128:
                    raise
                if ended.exit_code == 128 + signal.SIGTERM:  # as the process would have ended without us
                    signal.raise_signal(signal.SIGTERM)
                raise KeyboardInterrupt(str(ended)) from None
            except KeyboardInterrupt:  # before the study began, or where running trials did not end in time
                raise KeyboardInterrupt("interrupted. Finished work is kept: resume=True continues it.") from None
    finally:
        _BUSY.release()
