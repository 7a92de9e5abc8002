"""A study's name and the lock on it: what is checked before anything slow is imported.

The second search of a study has to be told so within two seconds, and importing Optuna alone takes longer.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import itertools
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from xraytune.errors import FatalError, InputError, StudyError

RESERVED = ("studies.db",)
"""What `results/` itself holds; SQLite puts files of the same name and an ending beside its own."""

_ENDING = r"(\.tar)?\.(zip|gz|tgz|tar|npz|csv)$"
"""Of files that hold data: no part of a study's name."""


def check_name(name: str) -> str:
    """`name` if it may name a study (it becomes a folder, and an argument on printed command lines).

    Raises:
        InputError: it holds anything but letters, digits, `-`, `_` and `.`, starts with `-` or `.`, or is the name of
            what lies in the results folder.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
        raise InputError(
            f"--study {name!r} can't name a study: letters, digits, '-', '_' and '.' only, at most 100, no '-' or '.' "
            "first."
        )
    if name.lower().startswith(RESERVED):
        raise InputError(f"--study {name!r} can't name a study: {RESERVED[0]} is the database. Take another name.")
    return name


def default_names(data: str) -> Iterator[str]:
    """Names for a study that the user gave none: `chest_xray-2026-11-30`, then the same with `-2`, `-3`, ….

    Args:
        data: the data set's name, as the study records it; the last part of a path counts.
    """
    last = data.rstrip("/").rpartition("/")[2]
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", re.sub(_ENDING, "", last, flags=re.IGNORECASE)).strip("._-")[:60]
    dated = f"{plain or 'study'}-{datetime.date.today():%Y-%m-%d}"
    if dated.lower().startswith(RESERVED):
        dated = f"study-{dated}"
    return itertools.chain([dated], (f"{dated}-{number}" for number in itertools.count(2)))


class StudyLock:
    """The kernel's lock on one study, held by the process that searches it, released when that process ends, however.

    It lies beside the studies, not in the study's folder, so that deleting the folder does not release it.

    Args:
        results: the results folder.
        name: the study's.
        doing: `searched`, or `retrained`: a search and a retraining don't keep each other out.

    Raises:
        StudyError: another process holds it; its pid and machine are named.
        FatalError: the results folder can't be written.
    """

    def __init__(self, results: Path, name: str, doing: str = "searched") -> None:
        self._doing = doing
        self.name = name
        self.results = results
        self._path = results / ".locks" / (f"{name}.lock" if doing == "searched" else f"{name}.{doing}.lock")
        self._file = self._take(name)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def _take(self, name: str) -> int:
        while True:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError as error:
                raise FatalError(
                    f"{self.results} can't be written: {error.strerror}. Choose another with --results."
                ) from None
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(file, 200, 0).decode(errors="replace").strip() or "another process"
                os.close(file)
                raise StudyError(
                    f"Study {name!r} is being {self._doing} by {holder}. Wait for it, end it, or give another --study."
                ) from None
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(file).st_ino == self._path.stat().st_ino:
                    return file
            os.close(file)  # it was removed by its last holder between our opening and locking it

    def release(self, *, remove: bool = False) -> None:
        """Let the next search in; nothing, where that was done before.

        Args:
            remove: leave no trace either, for a search that came to nothing.
        """
        if self._file < 0:
            return
        if remove:
            with contextlib.suppress(OSError):
                self._path.unlink()
                self._path.parent.rmdir()
                self._path.parent.parent.rmdir()
        os.close(self._file)
        self._file = -1
