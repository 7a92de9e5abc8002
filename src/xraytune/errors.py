"""The two kinds of error: those that stop a search and those that fail one trial.

Every message is written for the person who typed the command: what is wrong, where, and what to do about it. The
command line prints a `FatalError` as it is, without a traceback, and exits with its `exit_code`.
"""

from __future__ import annotations

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
