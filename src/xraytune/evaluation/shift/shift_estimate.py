"""Sensitivity and specificity on images without labels, from how confident a model is on them.

Class-specific average thresholded confidence. For each decision (positive, negative) a confidence is found above which
lie as many of the images with known labels as were decided right (Garg et al. 2022, "Leveraging unlabeled data to
predict out-of-distribution performance"), for each predicted class by itself (Li et al. 2022, "Estimating model
performance under domain shifts with class-specific confidence scores"). The share of new images above it estimates how
many of their decisions are right, and from these follow the confusion matrix, sensitivity and specificity.

The images with known labels are weighted so that positives are as frequent as they seem to be among the new images (by
the share that is called positive, Gart & Buck 1966, Lipton et al. 2018): another prevalence alone then changes nothing.

It holds where images look as those of training do and the model's errors show in its confidence. Where another hospital
differs it can be wrong by any amount: `separation` says when not to ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xraytune.evaluation import intervals
from xraytune.evaluation.intervals import Interval
from xraytune.evaluation.metrics import Floats

DRAWS = 1000
"""Bootstrap draws of patients, of the known and of the new images at once."""

LEAST_SHARE = 0.005
"""The share of positives among new images is taken to be between this and one less it."""

LEAST_YOUDEN = 0.1
"""Sensitivity + specificity - 1 on the known images below which the share of positives can't be told."""

_AT_ONCE = 200  # draws held in memory

FIGURES = ("sensitivity", "specificity", "prevalence")


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model answered on `n` images."""

    probability: Floats
    """Calibrated, of the positive class, `(n,)`."""
    positive: NDArray[np.bool_]
    """Whether each was classified as positive, `(n,)`."""
    patients: NDArray[np.generic]
    """Who each image shows, `(n,)`."""


def estimate(
    known: Answers, truth: ArrayLike, new: Answers, *, draws: int = DRAWS, seed: int = 0
) -> dict[str, Interval]:
    """`FIGURES` on new images, each with a 95 % interval from draws of patients of both sets.

    Args:
        known: out-of-fold answers on images with labels.
        truth: whether each of those is positive, `(n,)`.
        new: answers on the images without labels.
        draws: bootstrap draws.
        seed: of the draws.

    A figure that can't be told (the known images tell the classes hardly apart) is NaN.
    """
    event = np.asarray(truth, bool)
    rng = np.random.default_rng(seed)
    one = np.ones((1, len(event))), np.ones((1, len(new.probability)))
    sides = _sides(known, event, new)
    point = {name: float(values[0]) for name, values in _figures(known, event, new, sides, *one).items()}
    parts: dict[str, list[Floats]] = {name: [] for name in FIGURES}
    for start in range(0, draws, _AT_ONCE):
        count = min(_AT_ONCE, draws - start)
        weights = (intervals.patient_draws(answers.patients, count, rng) for answers in (known, new))
        for name, values in _figures(known, event, new, sides, *weights).items():
            parts[name].append(values)
    behind = _patients(known, event, new, point["prevalence"])
    return {name: _interval(point[name], np.concatenate(parts[name]), behind[name]) for name in FIGURES}


def _interval(value: float, drawn: Floats, patients: float) -> Interval:
    kept = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or kept.size < len(drawn) / 2:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(kept, [0.025, 0.975])
    wide = intervals.of_share(Interval(value, float(low), float(high), float(np.std(kept))), max(1, int(patients)))
    return Interval(value, min(float(low), wide.low), max(float(high), wide.high), wide.error)


def _patients(known: Answers, event: NDArray[np.bool_], new: Answers, share: float) -> dict[str, float]:
    """How many patients are behind each figure: of the known and of the new, whichever are fewer."""
    several = len(np.unique(new.patients))
    if not np.isfinite(share):
        return dict.fromkeys(FIGURES, 1.0)
    of = {True: len(np.unique(known.patients[event])), False: len(np.unique(known.patients[~event]))}
    return {
        "sensitivity": min(of[True], share * several),
        "specificity": min(of[False], (1 - share) * several),
        "prevalence": several,
    }


@dataclass(frozen=True, eq=False)
class _Side:
    """The images that were decided one way, by rising confidence."""

    known: NDArray[np.int64]
    right: NDArray[np.bool_]
    confidence: Floats
    new: NDArray[np.int64]
    new_confidence: Floats


def _sides(known: Answers, event: NDArray[np.bool_], new: Answers) -> Mapping[bool, _Side]:
    found = {}
    for side in (True, False):
        rows, others = (np.flatnonzero(answers.positive == side) for answers in (known, new))
        ours, theirs = (
            answers.probability[chosen] if side else 1 - answers.probability[chosen]
            for answers, chosen in ((known, rows), (new, others))
        )
        order, their_order = np.argsort(ours, kind="stable"), np.argsort(theirs, kind="stable")
        rows = rows[order]
        found[side] = _Side(rows, event[rows] == side, ours[order], others[their_order], theirs[their_order])
    return found


def _figures(
    known: Answers, event: NDArray[np.bool_], new: Answers, sides: Mapping[bool, _Side], ours: Floats, theirs: Floats
) -> dict[str, Floats]:
    """The figures for weights `(draws, n)` of the known images and `(draws, m)` of the new ones."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ours = ours * _mixed(known, event, new, ours, theirs)
        total = theirs.sum(axis=1)
        right, wrong = {}, {}
        for side, rows in sides.items():
            called = theirs[:, rows.new].sum(axis=1) / total
            precision = _precision(rows, ours[:, rows.known], theirs[:, rows.new])
            right[side], wrong[side] = called * precision, called * (1 - precision)
        sensitivity = right[True] / (right[True] + wrong[False])
        specificity = right[False] / (right[False] + wrong[True])
    return {"sensitivity": sensitivity, "specificity": specificity, "prevalence": right[True] + wrong[False]}


def _mixed(known: Answers, event: NDArray[np.bool_], new: Answers, ours: Floats, theirs: Floats) -> Floats:
    """Weights `(draws, n)` by which positives are as frequent among the known images as they seem to be in the new."""
    positive, called = event.astype(np.float64), known.positive.astype(np.float64)
    share = (ours @ positive) / ours.sum(axis=1)
    sensitivity = (ours @ (positive * called)) / (ours @ positive)
    false_alarms = (ours @ ((1 - positive) * called)) / (ours @ (1 - positive))
    seen = (theirs @ new.positive.astype(np.float64)) / theirs.sum(axis=1)
    youden = sensitivity - false_alarms
    there = np.clip((seen - false_alarms) / youden, LEAST_SHARE, 1 - LEAST_SHARE)
    there[~(youden >= LEAST_YOUDEN)] = np.nan
    return np.asarray(np.where(event, (there / share)[:, None], ((1 - there) / (1 - share))[:, None]))


def _precision(rows: _Side, ours: Floats, theirs: Floats) -> Floats:
    """The estimated share of right decisions among the new images that were decided one way, `(draws,)`.

    No image was decided so: 1, which then counts for nothing.
    """
    draws = len(ours)
    if not len(rows.new):
        return np.ones(draws)
    cumulative = np.cumsum(ours, axis=1)
    if not len(rows.known):
        return np.full(draws, np.nan)
    errors = (ours * ~rows.right).sum(axis=1)
    # as much weight lies below the threshold as was decided wrong
    below = (cumulative <= errors[:, None] * (1 + 1e-12)).sum(axis=1)
    threshold = np.append(rows.confidence, np.inf)[below]
    place = np.searchsorted(rows.new_confidence, threshold, side="left")
    sums = np.concatenate([np.zeros((draws, 1)), np.cumsum(theirs, axis=1)], axis=1)
    share = 1 - sums[np.arange(draws), place] / sums[:, -1]
    return np.asarray(np.where(np.isfinite(errors), share, np.nan))


def share_positive(known: Answers, truth: ArrayLike, new: Answers) -> float:
    """The share of positives among new images, as far as the share that is called positive tells; NaN where not."""
    event = np.asarray(truth, bool)
    weights = _mixed(known, event, new, np.ones((1, len(event))), np.ones((1, len(new.probability))))[0]
    return float(weights[event].sum() / weights.sum())
