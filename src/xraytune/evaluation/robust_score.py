"""The robust objective: F-beta over shifted views, built so that it can't be flattered and a collapse can't hide.

Three decisions make it differ from F-beta on the validation images:

- classes are weighted to equal prevalence, since F2 with 74 % positives forgives a network that calls everybody ill (of
  equally frequent classes the always-positive answer scores (1+β²)/(2+β²), 0.833 at β = 2);
- one threshold serves all views, as one threshold will serve all hospitals: a network whose scores drift when an image
  is darker can't buy itself a threshold per view;
- the mean over views and the worst view count half each: the mean tells good networks apart, and eleven good views
  don't hide one in which the network collapses (docs/evidence/robust-validation.md compares this with either alone).

`views` makes the images; `training` and `search.retrain` call `score`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xraytune.evaluation.intervals import Statistic
from xraytune.evaluation.metrics import Floats, f_beta_of_counts
from xraytune.records import Record

TAIL = 1 / 3
"""Share of the views, the worst ones, that `Aggregate.TAIL` averages (conditional value at risk, Rockafellar 2000)."""


class Aggregate(enum.StrEnum):
    """How the views' values become one."""

    MEAN = "mean"
    TAIL = "tail"
    WORST = "worst"
    MEAN_AND_WORST = "mean and worst"


@dataclass(frozen=True)
class RobustScore(Record):
    """What a network achieves over all views."""

    value: float
    """The aggregated F-beta at `threshold`."""

    threshold: float
    """The one threshold of all views; NaN where argmax decides (three or more classes)."""

    by_view: Mapping[str, float]
    """F-beta of each view at that threshold, classes weighted equally."""


AGGREGATE = Aggregate.MEAN_AND_WORST
"""The robust objective's own."""


def aggregated(values: NDArray[np.float64], how: Aggregate = AGGREGATE) -> NDArray[np.float64]:
    """The views' values as one: `(views, …)` to `(…)`."""
    if how is Aggregate.MEAN_AND_WORST:
        return np.asarray((values.mean(axis=0) + values.min(axis=0)) / 2)
    if how is Aggregate.MEAN:
        return np.asarray(values.mean(axis=0))
    if how is Aggregate.WORST:
        return np.asarray(values.min(axis=0))
    worst = max(1, round(TAIL * len(values)))
    return np.asarray(np.sort(values, axis=0)[:worst].mean(axis=0))


def curve(
    labels: NDArray[np.bool_], views: NDArray[np.float64], beta: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """F-beta of each view at every threshold that gives another answer, classes weighted equally.

    Args:
        labels: truth of the positive class `(n,)`; both classes must be present.
        views: its probability by view, `(views, n)`.
        beta: of F-beta.

    Returns:
        thresholds `(m,)` ascending, F-beta `(views, m)`.
    """
    distinct = np.unique(views)
    if len(distinct) > 1024:  # quantiles of the pooled scores: 1,024 steps resolve a thousandth of the images
        distinct = np.unique(np.quantile(views, np.linspace(0, 1, 1024)))
    # Between the scores, not on them: in a gap between the classes the middle is the safest place
    thresholds = np.concatenate([distinct[:1], (distinct[1:] + distinct[:-1]) / 2])
    values = np.empty((len(views), len(thresholds)))
    for i, scores in enumerate(views):
        positive, negative = np.sort(scores[labels]), np.sort(scores[~labels])
        sensitivity = 1 - np.searchsorted(positive, thresholds, side="left") / len(positive)
        false_positives = 1 - np.searchsorted(negative, thresholds, side="left") / len(negative)
        values[i] = f_beta_of_counts(sensitivity, false_positives, 1 - sensitivity, beta)
    return thresholds, values


def _binary(
    labels: NDArray[np.bool_], views: NDArray[np.float64], beta: float, how: Aggregate
) -> tuple[float, float, NDArray[np.float64]]:
    """Best shared threshold by sweeping all views' scores: (value, threshold, values by view)."""
    thresholds, values = curve(labels, views, beta)
    total = aggregated(values, how)
    best = float(total.max())
    # The middle of the plateau: its ends sit on single images
    plateau = np.flatnonzero(total >= best - 1e-9)
    chosen = int(plateau[len(plateau) // 2])
    return best, float(thresholds[chosen]), values[:, chosen]


def standard_error(
    labels: NDArray[np.bool_],
    views: NDArray[np.float64],
    threshold: float,
    beta: float,
    patients: NDArray[np.generic] | None = None,
) -> float:
    """Standard error of the aggregated F-beta (`AGGREGATE`) at one threshold, over draws of patients.

    By the delta method: each image's influence on the figure, summed over the images of a patient, as one patient's
    images, and one image's views, are no independent evidence.

    Args:
        labels: truth of the positive class `(n,)`; both classes must be present.
        views: its probability by view, `(views, n)`.
        threshold: classified as positive from it on.
        beta: of F-beta.
        patients: who each image shows, `(n,)`; None: each image another patient.
    """
    answers = (views >= threshold).astype(np.float64)
    hits, alarms = answers[:, labels].mean(axis=1, keepdims=True), answers[:, ~labels].mean(axis=1, keepdims=True)
    b2, below = beta * beta, hits + beta * beta + alarms  # F-beta is (1 + b²) hits / below
    by_hits, by_alarms = (1 + b2) * (b2 + alarms) / below**2, -(1 + b2) * hits / below**2
    share = np.full((len(views), 1), 0.5 / len(views))
    share[int(((1 + b2) * hits / below).argmin())] += 0.5
    influence = np.where(
        labels,
        share * by_hits * (answers - hits) / labels.sum(),
        share * by_alarms * (answers - alarms) / (~labels).sum(),
    ).sum(axis=0)
    if patients is not None:
        influence = np.bincount(np.unique(patients, return_inverse=True)[1], weights=influence)
    return float(np.sqrt((influence**2).sum()))


def statistic(
    labels: NDArray[np.int32],
    views: NDArray[np.floating],
    positive: int | None,
    threshold: float,
    beta: float = 2.0,
) -> Statistic:
    """The robust score at one threshold for weights of the images: what `intervals.bootstrap` draws patients for.

    Args:
        labels: `(n,)` class indices.
        views: probabilities by view, `(views, n, k)`.
        positive: index of the positive class; None: argmax and macro F-beta.
        threshold: of the positive class's probability; unused without one.
        beta: of F-beta.
    """
    classes = np.arange(views.shape[2]) if positive is None else np.array([positive])
    chosen = views.argmax(axis=2) if positive is None else np.where(views[..., positive] >= threshold, positive, -1)
    decided = (chosen[..., None] == classes).astype(np.float64)  # (views, n, classes)

    def robust(weights: Floats) -> dict[str, Floats]:
        found = []
        for c, one in enumerate(classes):
            rates = {}  # share of each class's images that are decided to be `one`, (draws, views)
            for label in np.unique(labels):
                own = weights * (labels == label)
                rates[label] = own @ decided[..., c].T / np.maximum(own.sum(axis=1, keepdims=True), 1e-12)
            hits = rates.pop(one)
            found.append(f_beta_of_counts(hits, np.sum(list(rates.values()), axis=0), 1 - hits, beta))
        return {"robust": aggregated(np.mean(found, axis=0).T)}

    return robust


def _argmax(labels: NDArray[np.int32], probabilities: NDArray[np.float64], beta: float) -> float:
    """Macro F-beta of the argmax with every class weighted to equal prevalence."""
    predicted = probabilities.argmax(axis=1)
    classes = np.arange(probabilities.shape[1])
    rates = np.stack([(predicted[labels == c][:, None] == classes).mean(axis=0) for c in classes])  # row: true class
    hits = np.diag(rates)
    return float(f_beta_of_counts(hits, rates.sum(axis=0) - hits, 1 - hits, beta).mean())


def trivial(classes: int, positive: int | None, beta: float = 2.0) -> float:
    """What the best answer scores that looks at no image: all positive, or always the same one of `classes`."""
    right = 1.0 if positive is not None else 1.0 / classes
    wrong = 1 if positive is not None else classes - 1
    return right * float(f_beta_of_counts(np.array(1.0), np.array(float(wrong)), np.array(0.0), beta))


def score(
    labels: NDArray[np.int32],
    predictions: Mapping[str, NDArray[np.float32]],
    positive: int | None,
    *,
    beta: float = 2.0,
    aggregate: Aggregate = AGGREGATE,
) -> RobustScore:
    """The robust objective of one network.

    Args:
        labels: `(n,)` class indices; every class must be present.
        predictions: by view's name, probabilities `(n, k)`.
        positive: index of the positive class; None: argmax and macro F-beta.
        beta: how many times recall counts against precision.
        aggregate: how the views become one number.

    Raises:
        ValueError: a class has no image, or there is no view.
    """
    if not predictions:
        raise ValueError("the robust score needs at least one view")
    k = next(iter(predictions.values())).shape[1]
    missing = sorted(set(range(k) if positive is None else {positive}) - set(labels.tolist()))
    if missing or len(np.unique(labels)) < 2:
        raise ValueError(f"the robust score needs images of every class; none of {missing or 'the others'}")
    names = list(predictions)
    if positive is None:
        by_view = np.array([_argmax(labels, np.asarray(p, np.float64), beta) for p in predictions.values()])
        value, threshold = float(aggregated(by_view, aggregate)), float("nan")
    else:
        scores = np.stack([np.asarray(p[:, positive], np.float64) for p in predictions.values()])
        value, threshold, by_view = _binary(labels == positive, scores, beta, aggregate)
    return RobustScore(value, threshold, dict(zip(names, by_view.tolist(), strict=True)))
