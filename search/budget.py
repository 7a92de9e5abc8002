"""TRIALS and TIME where the user did not say."""

from __future__ import annotations

DEMONSTRATION_TRIALS, DEMONSTRATION_SECONDS = 24, 240.0
"""The demonstration's budget: over within five minutes on two cores."""

DEFAULT_SECONDS = 1800.0
"""TIME where the user gave data but no budget."""


def budget(trials: int | None, seconds: float | None, *, demonstration: bool) -> tuple[int | None, float | None]:
    """TRIALS and TIME, with the defaults where neither was given."""
    if trials is not None or seconds is not None:
        return trials, seconds
    return (DEMONSTRATION_TRIALS, DEMONSTRATION_SECONDS) if demonstration else (None, DEFAULT_SECONDS)


def reckoned(seconds: float | None, *, demonstration: bool) -> tuple[float, tuple[str, ...]]:
    """What the space and the recipes are measured by, and a line where it is not TIME.

    TRIALS alone bound no trial: one whose network takes hours to train would be as welcome as any.
    """
    if seconds is not None:
        return seconds, ()
    usual = DEMONSTRATION_SECONDS if demonstration else DEFAULT_SECONDS
    line = f"TRIALS without TIME: networks and recipes are chosen as for a search of {usual / 60:.0f} minutes."
    return usual, (line,)
