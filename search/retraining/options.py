"""Options of a retraining, with their checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xraytune.errors import InputError
from xraytune.evaluation import thresholds
from xraytune.inference import test_time_augmentation


@dataclass(frozen=True)
class RetrainingOptions:
    """What a retraining is asked for; `python -m search.retrain --help` explains each."""

    which: str = "best"
    study: str | None = None
    final: str = "refit"
    threshold: str = thresholds.AUTOMATIC
    finalists: int = 5
    folds: int = 5
    seeds: int = 2
    refits: int = 3
    """Networks of a refit that differ in their seeds alone, averaged."""
    time: float | None = None
    """Seconds; None: what the search itself took."""
    workers: int = 0
    """Trainings at once; 0: by the machine."""
    tta: str = ""
    """Test-time augmentation: shifts or crops; empty: none."""
    compare_recipes: bool = False
    """Retrain every recipe that the study tried, and judge them on the test set beside the winner."""
    data: str | None = None
    weights_dir: Path | None = None
    results: Path = Path("results")
    storage: str | None = None
    cache: Path | None = None
    cache_limit: int = 0
    """Bytes that kept prefixes may take on disk; 0 leaves it to the library."""
    with_names: bool = False
    """Name test images and patients in report and predictions, instead of numbering them."""


def check(options: RetrainingOptions) -> None:
    """Refuse what can be refused before anything slow is imported.

    Raises:
        InputError: with what to change.
    """
    from search.retraining.records import KINDS

    thresholds.check(options.threshold)
    if options.tta and options.tta not in test_time_augmentation.KINDS:
        raise InputError(f"--tta {options.tta!r} is none of {', '.join(test_time_augmentation.KINDS)}.")
    if options.final not in KINDS:
        raise InputError(f"--final {options.final!r} is none of {', '.join(KINDS)}.")
    for name, least in (("finalists", 1), ("folds", 3), ("seeds", 1), ("refits", 1), ("workers", 0)):
        if getattr(options, name) < least:
            raise InputError(f"--{name} must be {least} or more, not {getattr(options, name)}.")
