"""Options of a retraining, with their checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from search.cli import options
from search.cli.options import BUDGET, DATA, HARDWARE, MODEL, OUTPUT, SPACE, STORAGE, option
from search.cli.shared import Caches, Place
from search.tracking.options import Tracking
from xraytune.errors import InputError
from xraytune.evaluation import thresholds
from xraytune.evaluation.referral.selection import Aims
from xraytune.inference.test_time_augmentation import KINDS as KINDS_OF_TTA

KINDS = ("auto", "refit", "folds", "ensemble")
"""auto: ensemble where it is significantly better in cross-validation, else refit; refit: the winner's network on
training and validation images; folds: the mean of its folds' networks; ensemble: several finalists' refits."""


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
    space: str | None = option(
        None, "The study's own space, if another person searched it; file.py:name runs as a program", SPACE,
        metavar="NAME", shown="the study's", stored=False,
    )  # fmt: skip
    time: float | None = option(
        None,
        "Time budget, like 20m",
        BUDGET,
        metavar="DURATION",
        parse=options.duration,
        shown="the time of the search",
    )
    finalists: int = option(5, "Trials that are compared by cross-validation", BUDGET, metavar="NUMBER", least=1)
    folds: int = option(
        5, "Folds, grouped by patient; with --validate-on site one per site", BUDGET, metavar="NUMBER", least=3
    )
    site_decides: str = option(
        "mean", "With --validate-on site: compare finalists by the mean over the sites or by the worst site", MODEL,
        metavar="NAME", choices=("mean", "worst"),
    )  # fmt: skip
    seeds: int = option(2, "Seeds per finalist", BUDGET, metavar="NUMBER", least=1)
    refits: int = option(3, "Networks of a refit; their mean is the prediction", BUDGET, metavar="NUMBER", least=1)
    final: str = option(
        "auto", "The final model: the winner retrained (refit), its folds' networks, or an ensemble of finalists; "
        "auto takes the ensemble if it is significantly better in cross-validation, else refit",
        MODEL, metavar="NAME", choices=KINDS,
    )  # fmt: skip
    backbone: Mapping[str, str] = option(
        {}, "Where the file of a backbone is now, like dino=dino.onnx", STORAGE, metavar="NAME=FILE",
        parse=options.named_files, repeatable=True, shown="where the search read it",
    )  # fmt: skip
    threshold: str = option(
        thresholds.AUTOMATIC,
        "Threshold: auto, a number, f-beta, sensitivity:0.95, youden, shared, plateau, plateau_middle",
        MODEL, metavar="POLICY",
    )  # fmt: skip
    refer: bool = option(
        False, "Refer images between two thresholds to a radiologist, with a guarantee for the answered images", MODEL
    )
    refer_sensitivity: float = option(
        0.95, "Least sensitivity among answered images", MODEL, metavar="SHARE", above=0.0, most=0.999
    )
    refer_specificity: float = option(
        0.90, "Least specificity among answered images", MODEL, metavar="SHARE", above=0.0, most=0.999
    )
    refer_risk: float = option(
        0.05, "Probability that the guarantee of --refer fails", MODEL, metavar="SHARE", above=0.0, most=0.5
    )
    tta: str = option(
        "", "Test-time augmentation: the mean over small shifts or crops of each image; without KIND: shifts", MODEL,
        metavar="[KIND]", parse=_tta, shown="none",
    )  # fmt: skip
    with_names: bool = option(
        False, "Name test images and patients in report and predictions; do not share these", OUTPUT
    )
    compare_recipes: bool = option(
        False, "Retrain the study's published configurations too and evaluate all on the test set", MODEL
    )
    workers: int = option(
        0, "Number of parallel trainings", HARDWARE, metavar="NUMBER", shown="one per core or GPU, at most 8", least=0
    )


def referral_asked(asked: RetrainingOptions) -> Aims | None:
    """What is asked of a referral; None where none is."""
    return Aims(asked.refer_sensitivity, asked.refer_specificity, asked.refer_risk) if asked.refer else None


def check(asked: RetrainingOptions) -> None:
    """Refuse what can be refused before anything slow is imported.

    Raises:
        InputError: with what to change.
    """
    asked.check_tracking()
    thresholds.check(asked.threshold)
    changed = [name for name in asked.changed(RetrainingOptions) if name.startswith("refer_")]
    if changed and not asked.refer:
        raise InputError(f"--{changed[0].replace('_', '-')} has no effect without --refer: give both or neither.")
