"""Options of a retraining, with their checks."""

from __future__ import annotations

from dataclasses import dataclass

from search.cli import options
from search.cli.options import BUDGET, DATA, HARDWARE, MODEL, OUTPUT, STORAGE, option
from search.cli.shared import Caches, Place
from search.tracking.options import Tracking
from xraytune.errors import InputError
from xraytune.evaluation import thresholds
from xraytune.inference.test_time_augmentation import KINDS as KINDS_OF_TTA

KINDS = ("refit", "folds", "ensemble")
"""refit: the winner's network on training and validation images; folds: the mean of its folds' networks; ensemble:
several finalists' refits."""


def _tta(value: str | bool, name: str) -> str:
    """A kind of test-time augmentation; `1`, as of make, is the first of them, and empty or `0` none.

    Raises:
        InputError: it is no kind.
    """
    kind = str(value).lower()
    if kind in {"1", "true", "yes"}:
        return KINDS_OF_TTA[0]
    if kind in {"", "0", "false", "no"}:
        return ""
    if kind not in KINDS_OF_TTA:
        raise InputError(f"{name} {value!r} is none of {', '.join(KINDS_OF_TTA)}.")
    return kind


@dataclass(frozen=True)
class RetrainingOptions(Caches, Tracking, Place):
    """What a retraining is asked for; the fields are options of `python -m search.retrain`."""

    which: str = option("best", "best, a trial's number, top:K, pareto:N, or a recipe's name", MODEL, argument=True)
    study: str | None = option(None, "Name of the study", STORAGE, metavar="NAME", shown="the latest")
    data: str | None = option(
        None, "Where the data are now, if they were moved", DATA, metavar="DATA", shown="where the search read them"
    )
    time: float | None = option(
        None, "Time budget, like 20m", BUDGET, metavar="DURATION", parse=options.duration, shown="as long as the search"
    )
    finalists: int = option(5, "Trials that are compared by cross-validation", BUDGET, metavar="NUMBER", least=1)
    folds: int = option(
        5, "Folds, grouped by patient; with --validate-on site it is one a site", BUDGET, metavar="NUMBER", least=3
    )
    site_decides: str = option(
        "mean", "In a study with --validate-on site: finalists are compared by this over the held-out sites", MODEL,
        metavar="NAME", choices=("mean", "worst"),
    )  # fmt: skip
    seeds: int = option(2, "Seeds per finalist", BUDGET, metavar="NUMBER", least=1)
    refits: int = option(
        3, "Networks of --final refit, whose mean is the prediction", BUDGET, metavar="NUMBER", least=1
    )
    final: str = option(
        "refit", "The final model: trained on training and validation images, the folds' networks, or an ensemble",
        MODEL, metavar="NAME", choices=KINDS,
    )  # fmt: skip
    threshold: str = option(
        thresholds.AUTOMATIC,
        "Threshold: auto, a number, f-beta, sensitivity:0.95, youden, shared, plateau, plateau_middle",
        MODEL, metavar="POLICY",
    )  # fmt: skip
    tta: str = option(
        "", "Test-time augmentation: the mean over small shifts or crops of each image; alone it means shifts", MODEL,
        metavar="[KIND]", parse=_tta, shown="none",
    )  # fmt: skip
    with_names: bool = option(
        False, "Name test images and patients in report and predictions; then they are not for sharing", OUTPUT
    )
    compare_recipes: bool = option(
        False, "Retrain the study's published configurations too and evaluate all on the test set", MODEL
    )
    workers: int = option(
        0, "Trainings at once", HARDWARE, metavar="NUMBER", shown="one per core or GPU, at most 8", least=0
    )


def check(asked: RetrainingOptions) -> None:
    """Refuse what can be refused before anything slow is imported.

    Raises:
        InputError: with what to change.
    """
    asked.check_values()
    asked.check_tracking()
    thresholds.check(asked.threshold)
