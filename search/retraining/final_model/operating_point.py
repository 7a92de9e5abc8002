"""Calibration and threshold, fitted on cross-validated (out-of-fold) predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.retraining.records import Choice, OperatingPoint
from xraytune.evaluation import (
    calibration,
    metrics,
    prevalences,
    thresholds,
)
from xraytune.evaluation.calibration import Calibration, Folds
from xraytune.evaluation.evaluate import Crossed
from xraytune.evaluation.predictions import Predictions
from xraytune.evaluation.referral import selection
from xraytune.evaluation.thresholds import Policy
from xraytune.records import Objective


def fit(
    choice: Choice,
    raw: Predictions,
    folds: Folds,
    *,
    policy: str,
    objective: str = Objective.CLEAN,
    refer: selection.Aims | None = None,
) -> OperatingPoint:
    """Calibration and operating threshold, fitted on out-of-fold predictions alone, at equal prevalence.

    Args:
        choice: the final model's finalists.
        raw: their out-of-fold predictions of train and validation images, `choice.out_of_fold()`.
        folds: patient-grouped (train, validation) indices.
        policy: a checked threshold policy.
        objective: under `robust` the calibration is fitted and chosen over all views, as the finalists were.
        refer: what is asked of a referral; None: there is none. It needs a positive class.
    """
    labels, positive, p = raw.labels, raw.positive, raw.probabilities
    indices, views = choice.views()
    if len(views) < 2 or "clean" not in views:
        indices, views = np.arange(len(labels)), {"clean": p.astype(np.float32)}
    where = {int(image): row for row, image in enumerate(indices)}
    viewed = _Viewed(indices, views, [(rows_of(train, where), rows_of(held, where)) for train, held in folds])
    prevalence = prevalences.equal(labels, len(raw.classes), positive)
    shifted = objective == Objective.ROBUST and len(views) > 1
    if shifted:
        sample = calibration.over_views(labels[indices], views, viewed.folds, prevalence)
    else:
        sample = calibration.over_views(labels, {"clean": p}, folds, prevalence)
    scale, losses, without = calibration.choose(sample)
    calibrated = scale.apply(p)
    crossed = calibrated.copy()
    for other, (_, held) in zip(without, folds, strict=True):
        crossed[held] = other.apply(p[held])
    areas = tuple(float(metrics.figures(labels[i], p[i], positive, brief=True)["auc"][0]) for _, i in folds)
    if positive is None:
        own = Crossed(crossed, metrics.decide(crossed, None))
        return OperatingPoint(scale, losses, shifted, (), None, calibrated, own, areas, ())
    policies, used = _policy(raw, calibrated, viewed, folds, scale, policy)
    decided = metrics.decide(crossed, positive, used.threshold)
    for other, fold, rows in zip(without, folds, viewed.folds, strict=True):
        threshold = _threshold(used.name, other, raw, viewed, fold[0], rows[0])
        decided[fold[1]] = metrics.decide(crossed[fold[1]], positive, threshold)
    kept = referred = None
    if refer is not None:
        clean = _Viewed(np.arange(len(p)), {"clean": p}, folds)
        kept = _unseen(raw, viewed if shifted else clean, without)
        referred = selection.choose(kept, refer)
    return OperatingPoint(
        scale, losses, shifted, policies, used, calibrated, Crossed(crossed, decided), areas, tuple(views), referred,
        kept,
    )  # fmt: skip


@dataclass(frozen=True)
class _Viewed:
    """The images that all members have shifted views of."""

    images: NDArray[np.int64]
    """Which of all images, `(m,)`."""
    views: Mapping[str, NDArray[np.float32]]
    """Out-of-fold probabilities `(m, k)` by view."""
    folds: Folds
    """The folds of all images as rows of these."""


def _policy(
    raw: Predictions, calibrated: NDArray[np.float64], viewed: _Viewed, folds: Folds, scale: Calibration, asked: str
) -> tuple[tuple[Policy, ...], Policy]:
    """Every policy that is compared, and the one that is used."""
    positive = raw.positive
    assert positive is not None
    event = raw.labels == positive
    column = {name: scale.apply(p)[:, positive] for name, p in viewed.views.items()}
    names = [n for n in dict.fromkeys([*thresholds.COMPARED, asked]) if n != thresholds.AUTOMATIC]
    everything = thresholds.Everything(event, calibrated[:, positive], folds)
    policies = thresholds.compare(
        names, event[viewed.images], column, viewed.folds, raw.beta, everything, raw.patients[viewed.images]
    )
    if asked == thresholds.AUTOMATIC:
        return policies, thresholds.automatic([p for p in policies if p.name in thresholds.CANDIDATES], raw.beta)
    return policies, next(p for p in policies if p.name == asked)


def _unseen(raw: Predictions, viewed: _Viewed, without: Sequence[Calibration]) -> selection.Sample:
    """What a referral is fitted on: of each image one view, drawn, each fold's calibrated on the other folds."""
    assert raw.positive is not None
    rng = np.random.default_rng(0)
    views = np.stack([np.asarray(view, dtype=np.float64) for view in viewed.views.values()])
    n = len(viewed.images)
    drawn = views[rng.integers(len(views), size=n), np.arange(n)]
    score = np.zeros(n)
    for scale, (_, held) in zip(without, viewed.folds, strict=True):
        score[held] = scale.apply(drawn[held])[:, raw.positive]
    event = raw.labels[viewed.images] == raw.positive
    return selection.Sample(event, score, raw.patients[viewed.images])


def _threshold(
    policy: str,
    scale: Calibration,
    raw: Predictions,
    viewed: _Viewed,
    train: NDArray[np.integer],
    rows: NDArray[np.integer],
) -> float:
    """A policy's threshold fitted on some images alone, as its calibration was: `train`, or the `rows` of `viewed`."""
    images, views = (
        (viewed.images[rows], {name: p[rows] for name, p in viewed.views.items()})
        if policy in thresholds.OVER_VIEWS
        else (train, {"clean": raw.probabilities[train]})
    )
    scores = {name: scale.apply(p)[:, raw.positive] for name, p in views.items()}
    return thresholds.fit(policy, raw.labels[images] == raw.positive, scores, raw.beta, raw.patients[images])


def rows_of(images: NDArray[np.integer], where: Mapping[int, int]) -> NDArray[np.int64]:
    """Rows `where` says that those of the images are in which it knows."""
    return np.array([where[int(i)] for i in images if int(i) in where], dtype=np.int64)
