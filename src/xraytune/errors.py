"""The two kinds of error: those that stop a search and those that fail one trial.

Every message is written for the person who typed the command: what is wrong, where, and what to do about it. The
command line prints a `FatalError` as it is, without a traceback, and exits with its `exit_code`.
"""

from __future__ import annotations

import csv
import errno
import lzma
import os
import re
import socket
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from xraytune.records import FailureCause


class FatalError(Exception):
    """Nothing more can be done: the search (or the command) stops.

    Attributes:
        exit_code: what the process ends with; 2 for input that can't be used, 1 for work that could not be finished.
    """

    exit_code = 1


class InputError(FatalError):
    """The user asked for something that can't be had; the message says what to change."""

    exit_code = 2


class DataError(InputError):
    """The data set can't be used as it is; the message names every problem that was found."""


class SourceError(DataError):
    """A source that is there and can't be read as one: damaged, refused, or not in the layout of its kind."""


class StudyError(InputError):
    """A study that is missing, already there, held by another process, or made with something else."""


class WeightsError(InputError):
    """Pretrained weights that are missing, damaged, of another network, or not those of the study."""


class ArtifactError(InputError):
    """A kept file that was changed, truncated or removed."""


class TrialError(Exception):
    """One trial failed; the search records why and goes on.

    Args:
        cause: which of the named causes it was.
        message: one line for the leaderboard.
    """

    def __init__(self, cause: FailureCause, message: str) -> None:
        super().__init__(message)
        self.cause = cause
        self.message = message

    def __reduce__(self) -> tuple[type[TrialError], tuple[FailureCause, str]]:
        """Pickle with both arguments, since Ray carries the error from worker to driver."""
        return type(self), (self.cause, self.message)


FOREIGN = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, RecursionError, TypeError, ValueError,
    csv.Error, lzma.LZMAError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What reading something that was damaged, or written by another program, may raise beside errors of the system.

Readers of kept files and databases turn these into one message that names what was read.
"""


FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What the system says where a disk is full, or what a user may take of it."""

_ADVICE = {
    "Free disk space or choose another place, and call the same command again.": {*FULL, errno.EFBIG, errno.EROFS},
    "Change its permissions or choose another place, and call the same command again.": {errno.EACCES, errno.EPERM},
    "Something else has that name, or part of the path: choose another place.": {
        errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG,
    },
    "It is not there, or was removed meanwhile.": {errno.ENOENT},
    "The disk or the network file system failed: call the same command again once it answers.": {
        errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.EREMOTEIO, errno.ETIMEDOUT, errno.EHOSTDOWN,
    },
    "Close other programs or raise the limit (ulimit -n, ulimit -u), and call the same command again.": {
        errno.EMFILE, errno.ENFILE, errno.EAGAIN,
    },
    "Close other programs, and call the same command again.": {errno.ENOMEM},
}  # fmt: skip
"""What to do about an error of the system, by its number."""


def system_message(error: OSError) -> str:
    """An error of the system as one message for people, with the file named where the error knows it."""
    names = (error.filename, error.filename2)
    where = " and ".join(os.fsdecode(name) for name in names if isinstance(name, str | bytes))
    said = error.strerror or str(error) or type(error).__name__
    advice = next((advice for advice, numbers in _ADVICE.items() if error.errno in numbers), "")
    what = f"{where} can't be read or written" if where else "The system refused to read, write or connect"
    return f"{what}: {said.rstrip('.')}. {advice}".rstrip()


@contextmanager
def file_named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Give errors of the system the file's name, which those that a read or a write ends with do not have."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


_OUT_OF_MEMORY = re.compile(
    r"out.?of.?memory|resource.?exhausted|bad_alloc|alloc_failed|\boom\b(?! killer)"
    r"|(failed to|unable to|can't|cannot) allocate",
    re.IGNORECASE,
)
"""What TensorFlow, JAX, CUDA and C++ write."""


@contextmanager
def named() -> Iterator[None]:
    """Turn every exception of the block that is none of ours into a `TrialError`.

    Raises:
        TrialError: with the cause and the first line of what was raised.
        FatalError: the disk is full.
    """
    try:
        yield
    except (TrialError, FatalError):
        raise
    except Exception as error:
        if full := full_disk(error):
            raise full from error
        cause, message = classify(error)
        if cause is FailureCause.ERROR and (isinstance(error, ValueError) or "InvalidArgument" in type(error).__name__):
            cause = FailureCause.BAD_CONFIG  # shapes that don't fit, values that a layer refuses
        raise TrialError(cause, message) from error


def full_disk(error: BaseException, where: str | os.PathLike[str] = "") -> FatalError | None:
    """What a full disk ends: the search, since every other trial would meet it too; None where `error` is another.

    Args:
        error: as it was caught; whoever writes through a library finds the system's error behind the library's.
        where: what was written to, for the message, where the error itself does not say.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in FULL:
            place = cause.filename or where or "the disk"
            said = os.strerror(cause.errno)
            return FatalError(
                f"{place} can't be written on {socket.gethostname()}: {said}. Finished work is recorded. Free disk "
                "space or choose another --cache, and call the command again (a search with --resume)."
            )
        cause = cause.__cause__ or cause.__context__
    return None


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the machine or of a GPU: frameworks share no exception, so their words tell too."""
    no_memory = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    return no_memory or _OUT_OF_MEMORY.search(f"{type(error).__name__}: {error}") is not None


def classify(error: BaseException) -> tuple[FailureCause, str]:
    """Cause and message, of one line, of an exception that is no `TrialError`: memory ran out, or another error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:300]
    if out_of_memory(error):
        return FailureCause.OOM, f"out of memory: {message}"
    return FailureCause.ERROR, message
