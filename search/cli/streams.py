"""The three standard streams, made safe to print to whatever they are: closed, of few letters, or with nobody reading.

A search goes on for a night; what is printed is a convenience, and the study is the record.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable


def settle() -> None:
    """See that all three streams are there, and that what they can't encode is replaced instead of ending the command.

    A closed descriptor is opened on nothing: the next file that is opened would take its number, and be printed into.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            os.set_inheritable(opened, True)
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115 - for the process's length
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def with_utf8_names() -> None:
    """Start the program again with names of files in UTF-8, where the locale would have them in ASCII or Latin-1.

    Python reads this once, at its start, and takes every other letter of a name for damage. What is printed stays in
    the terminal's encoding.
    """
    fixed = os.environ.get("PYTHONUTF8") == "1" or sys.flags.ignore_environment
    if sys.getfilesystemencoding().lower() in {"utf-8", "utf8"} or fixed:
        return
    printed = f"{sys.stdout.encoding or 'ascii'}:replace"
    os.execve(
        sys.executable,
        [sys.executable, *sys.orig_argv[1:]],
        os.environ | {"PYTHONUTF8": "1", "PYTHONIOENCODING": os.environ.get("PYTHONIOENCODING") or printed},
    )


def silence_native_code() -> Callable[[], None]:
    """Send what C++ writes to the error descriptor nowhere; Python's own error stream goes on to where it went.

    TensorFlow and absl write before any setting of theirs is read. `XRAYTUNE_DEBUG=1` leaves all of it on.

    Returns:
        What undoes it.
    """
    if os.environ.get("XRAYTUNE_DEBUG"):
        return lambda: None
    before, kept = sys.stderr, os.dup(2)
    before.flush()
    after = before
    if _descriptor(before) == 2:
        after = os.fdopen(os.dup(2), "w", buffering=1, encoding=before.encoding, errors="backslashreplace")
    _move_logs(before, after)
    sys.stderr = after
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)

    def undo() -> None:
        os.dup2(kept, 2)
        os.close(kept)
        if sys.stderr is after:
            sys.stderr = before
        _move_logs(after, before)
        if after is not before:
            after.close()

    return undo


def _descriptor(stream: object) -> int | None:
    """The descriptor that a stream writes to, None where it has none (a notebook's, a test's)."""
    try:
        return stream.fileno() if isinstance(stream, io.IOBase) else None
    except (OSError, ValueError):
        return None


def _move_logs(before: object, after: object) -> None:
    """Have the root logger's handlers that write to one stream write to another."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is before:
            handler.setStream(after)
