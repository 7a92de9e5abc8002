"""Whatever a backend raises, as a `TrialError` with a named cause, so that a trial fails and its worker lives."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from xraytune.errors import FatalError, TrialError
from xraytune.records import FailureCause

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What the system says where a disk is full, or what a user may take of it."""


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
        raise TrialError(_cause(error), _first_line(error)) from error


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
                f"{place} can't be written on {socket.gethostname()}: {said}. What is finished is recorded; make room "
                "or choose another place with --cache, and go on (a search with --resume)."
            )
        cause = cause.__cause__ or cause.__context__
    return None


def _cause(error: Exception) -> FailureCause:
    """Backends have no common exceptions; their names and words tell memory from shapes."""
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error) or "ResourceExhausted" in repr(type(error)):
        return FailureCause.OOM
    if isinstance(error, ValueError) or "InvalidArgument" in repr(type(error)):
        return FailureCause.BAD_CONFIG
    return FailureCause.ERROR


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:300]
