"""The three standard streams, made safe to print to whatever they are: closed, of few letters, or with nobody reading.

A search goes on for a night; what is printed is a convenience, and the study is the record.
"""

from __future__ import annotations

import io
import os
import sys


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
