"""Whatever a backend raises, as a `TrialError` with a named cause, so that a trial fails and its worker lives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from xraytune.errors import FatalError, TrialError
from xraytune.records import FailureCause


@contextmanager
def named() -> Iterator[None]:
    """Turn every exception of the block that is none of ours into a `TrialError`.

    Raises:
        TrialError: with the cause and the first line of what was raised.
    """
    try:
        yield
    except (TrialError, FatalError):
        raise
    except Exception as error:
        raise TrialError(_cause(error), _first_line(error)) from error


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
