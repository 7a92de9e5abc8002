"""What a set of predictions is worth: plain numpy, no network.

Every figure is computed from counts under a matrix of sample weights `(draws, n)`, so that the point estimate (one
row of ones) and the 2,000 draws of a bootstrap (`xraytune.evaluation.intervals`) run through the same lines.

Conventions: `labels` int `(n,)`; `probabilities` float `(n, k)`; a positive class decides by its own column at an
operating threshold (score >= threshold), otherwise the largest probability decides. A figure whose denominator is
empty is NaN where the data lack the class (specificity without negatives) and 0 where the *answers* lack it
(precision without a positive answer), as scikit-learn's `zero_division=0` has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xraytune.evaluation import prevalences

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CALIBRATION_BINS = 10
"""Bins of equal width in the calibration error; Guo et al. 2017 take 15 for thousands of images, here are hundreds."""


def _divide(numerator: Floats, denominator: Floats, empty: float) -> Floats:
    """`numerator / denominator`, `empty` where the denominator is 0."""
    out = np.full(np.broadcast(numerator, denominator).shape, empty, dtype=np.float64)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


def f_beta_of_counts(tp: Floats, fp: Floats, fn: Floats, beta: float = 2.0) -> Floats:
    """F-beta from (weighted) counts: (1 + b²)·TP / ((1 + b²)·TP + b²·FN + FP); 0 where nothing is positive.

    Van Rijsbergen 1979; recall counts beta times as much as precision.
    """
    b2 = beta * beta
    return _divide((1 + b2) * tp, (1 + b2) * tp + b2 * fn + fp, 0.0)


def _binary(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, not {array.shape}")
    return array.astype(bool)


def _weights(weights: ArrayLike | None, n: int) -> Floats:
    if weights is None:
        return np.ones((1, n))
    return np.atleast_2d(np.asarray(weights, dtype=np.float64))


def threshold_counts(
    labels01: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None
) -> tuple[Floats, Floats, Floats, float, float]:
    """Every threshold that gives another answer, with the counts above it.

    Args:
        labels01: truth, `(n,)`.
        scores: score of the class 1, `(n,)`, larger is surer.
        weights: how much each sample counts, `(n,)`.

    Returns:
        thresholds `(m,)` ascending (the smallest score, then the middle between neighbouring distinct scores),
        true positives `(m,)` and false positives `(m,)` of `score >= threshold`, all positives, all negatives.
    """
    truth = _binary(labels01, "labels")
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != truth.shape:
        raise ValueError(f"{truth.size} labels but {values.size} scores")
    if not truth.size:
        raise ValueError("no predictions")
    w = _weights(weights, truth.size)[0]
    distinct, index = np.unique(values, return_inverse=True)
    positive = np.bincount(index, weights=w * truth, minlength=distinct.size)
    negative = np.bincount(index, weights=w * ~truth, minlength=distinct.size)
    thresholds = np.concatenate([distinct[:1], (distinct[:-1] + distinct[1:]) / 2])
    tp = positive[::-1].cumsum()[::-1]
    fp = negative[::-1].cumsum()[::-1]
    return thresholds, tp, fp, float(positive.sum()), float(negative.sum())


def best_threshold(
    labels01: ArrayLike, scores: ArrayLike, beta: float = 2.0, weights: ArrayLike | None = None
) -> tuple[float, float]:
    """The threshold of the highest F-beta and that F-beta; among equals the one nearest to 0.5."""
    thresholds, tp, fp, positives, _ = threshold_counts(labels01, scores, weights)
    values = f_beta_of_counts(tp, fp, positives - tp, beta)
    equals = np.flatnonzero(values >= values.max() - 1e-12)
    chosen = equals[np.abs(thresholds[equals] - 0.5).argmin()]
    return float(thresholds[chosen]), float(values[chosen])


def two_columns(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """A foreign network's single sigmoid `(n, 1)` as the two columns of the convention."""
    if probabilities.shape[1] == 1:
        return np.concatenate([1 - probabilities, probabilities], axis=1)
    return probabilities


def decide(probabilities: ArrayLike, positive: int | None, threshold: float = 0.5) -> Ints:
    """Class indices `(n,)`: the positive class at or above the threshold, else the likeliest of the others.

    Without a positive class the likeliest of all.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if positive is None:
        return np.asarray(p.argmax(axis=1), dtype=np.int64)
    others = p.copy()
    others[:, positive] = -np.inf
    return np.where(p[:, positive] >= threshold, positive, others.argmax(axis=1)).astype(np.int64)


def roc_auc(labels01: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Area under the ROC curve, ties counted half (Mann-Whitney), for each row of `weights` `(draws, n)`: `(draws,)`.

    NaN for a draw in which one class is missing.
    """
    truth, w, groups, _ = _grouped(labels01, scores, weights)
    positive = _summed(w * truth, groups)
    negative = _summed(w * ~truth, groups)
    below = negative.sum(axis=1, keepdims=True) - negative.cumsum(axis=1)  # scores are sorted descending
    wins = (positive * (below + negative / 2)).sum(axis=1)
    return _divide(wins, positive.sum(axis=1) * negative.sum(axis=1), np.nan)


def pr_auc(labels01: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Average precision, the step-wise area under precision over recall, for each row of `weights`: `(draws,)`."""
    truth, w, groups, _ = _grouped(labels01, scores, weights)
    positive = _summed(w * truth, groups)
    tp = positive.cumsum(axis=1)
    answered = _summed(w, groups).cumsum(axis=1)
    return _divide((positive * _divide(tp, answered, 0.0)).sum(axis=1), tp[:, -1], np.nan)


def _summed(values: Floats, groups: NDArray[np.intp]) -> Floats:
    """Sums over each group of equal scores; scores are mostly distinct, and then there is nothing to sum."""
    return values if len(groups) == values.shape[1] else np.asarray(np.add.reduceat(values, groups, axis=1))


def _grouped(
    labels01: ArrayLike, scores: ArrayLike, weights: ArrayLike | None
) -> tuple[NDArray[np.bool_], Floats, NDArray[np.intp], NDArray[np.intp]]:
    """Truth and weights in descending order of the score, and where each group of equal scores starts."""
    truth = _binary(labels01, "labels")
    values = np.asarray(scores, dtype=np.float64)
    if not truth.size:
        raise ValueError("no predictions")
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    groups = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return truth[order], _weights(weights, truth.size)[:, order], groups, order


def calibration_error(correct: ArrayLike, confidence: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Expected calibration error over equal-width bins (Naeini et al. 2015; Guo et al. 2017): `(draws,)`.

    Args:
        correct: whether the event happened, `(n,)` of 0 and 1.
        confidence: the probability it was given, `(n,)`.
        weights: `(draws, n)`.
    """
    happened = np.asarray(correct, dtype=np.float64)
    p = np.asarray(confidence, dtype=np.float64)
    w = _weights(weights, p.size)
    bins = np.clip((p * CALIBRATION_BINS).astype(int), 0, CALIBRATION_BINS - 1)
    gaps = w @ ((happened - p)[:, None] * np.eye(CALIBRATION_BINS)[bins])
    return _divide(np.abs(gaps).sum(axis=1), w.sum(axis=1), np.nan)


def confusion(labels: ArrayLike, decisions: ArrayLike, classes: int, weights: ArrayLike | None = None) -> Floats:
    """Confusion matrices `(draws, classes, classes)`: rows truth, columns decision."""
    cells = np.asarray(labels, dtype=np.int64) * classes + np.asarray(decisions, dtype=np.int64)
    w = _weights(weights, cells.size)
    return (w @ np.eye(classes * classes)[cells]).reshape(len(w), classes, classes)


def class_figures(matrix: Floats, beta: float | None = None) -> dict[str, Floats]:
    """What the answers are worth for each class against the rest, `(draws, classes)`, from confusion matrices.

    accuracy, balanced_accuracy, precision, recall (the class's sensitivity), specificity, f1, f2, and its support;
    f_beta where a beta is given.
    """
    tp = np.diagonal(matrix, axis1=1, axis2=2)
    support, answered = matrix.sum(axis=2), matrix.sum(axis=1)
    total = support.sum(axis=1, keepdims=True)
    negatives, fp, fn = total - support, answered - tp, support - tp
    recall, specificity = _divide(tp, support, np.nan), _divide(negatives - fp, negatives, np.nan)
    return {
        "accuracy": _divide(total - fp - fn, total, np.nan),
        "balanced_accuracy": (recall + specificity) / 2,
        "precision": _divide(tp, answered, 0.0),
        "recall": recall,
        "specificity": specificity,
        **({} if beta is None else {"f_beta": f_beta_of_counts(tp, fp, fn, beta)}),
        "f1": f_beta_of_counts(tp, fp, fn, 1.0),
        "f2": f_beta_of_counts(tp, fp, fn, 2.0),
        "support": support,
    }


def event_and_score(
    labels: ArrayLike, probabilities: ArrayLike, positive: int | None, decided: ArrayLike | None = None
) -> tuple[NDArray[np.bool_], Floats]:
    """What calibration is about, and the probability it was given: `(n,)` each.

    With a positive class its presence and its column; without one whether the decision was right (the likeliest class,
    or `decided`) and the largest probability.
    """
    truth, p = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if positive is not None:
        return truth == positive, p[:, positive]
    return truth == (p.argmax(axis=1) if decided is None else np.asarray(decided)), p.max(axis=1)


def brier(event: ArrayLike, score: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Brier's score `(draws,)`: the mean squared error of a probability `(n,)`, or of columns `(n, k)`, summed."""
    squares = (np.asarray(score, dtype=np.float64) - np.asarray(event, dtype=np.float64)) ** 2
    each = squares.sum(axis=1) if squares.ndim == 2 else squares
    w = _weights(weights, len(each))
    return np.asarray(w @ each / w.sum(axis=1))


def calibration_figures(
    labels: ArrayLike,
    probabilities: ArrayLike,
    positive: int | None,
    weights: ArrayLike | None = None,
    decided: ArrayLike | None = None,
    prevalence: ArrayLike | None = None,
) -> dict[str, Floats]:
    """`brier` and `calibration_error` of a set, `(draws,)` each.

    Brier's score is the mean squared error of the positive class's column, without one the sum over all columns; the
    calibration error is that of `event_and_score`. Both are judged at the `prevalence` `(k,)` that the probabilities
    are stated for; None: as frequent as the classes are.
    """
    w = _weights(weights, len(np.asarray(labels))) * prevalences.weights(labels, prevalence)
    event, score = event_and_score(labels, probabilities, positive, decided)
    p = np.asarray(probabilities, dtype=np.float64)
    squared = (event, score) if positive is not None else (np.eye(p.shape[1])[np.asarray(labels)], p)
    return {
        "brier": brier(squared[0], squared[1], w),
        "calibration_error": calibration_error(event, score, w),
    }


def class_scores(
    labels: ArrayLike,
    probabilities: ArrayLike,
    weights: Floats,
    calibrated: ArrayLike | None = None,
    prevalence: ArrayLike | None = None,
) -> dict[str, Floats]:
    """What the probabilities are worth for each class against the rest, `(draws, classes)`.

    auc, pr_auc; and brier, the mean squared error of the class's column, and its calibration_error.

    Args:
        labels: class indices `(n,)`.
        probabilities: `(n, classes)`.
        weights: `(draws, n)`.
        calibrated: `(n, classes)`, of which the last two are where they are not of `probabilities`.
        prevalence: the shares of the classes at which the last two are judged; None: as they are.
    """
    truth, p = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    q = p if calibrated is None else np.asarray(calibrated, dtype=np.float64)
    w = weights * prevalences.weights(truth, prevalence)
    events = [truth == c for c in range(p.shape[1])]
    each = {
        "auc": [roc_auc(event, p[:, c], weights) for c, event in enumerate(events)],
        "pr_auc": [pr_auc(event, p[:, c], weights) for c, event in enumerate(events)],
        "brier": [brier(event, q[:, c], w) for c, event in enumerate(events)],
        "calibration_error": [calibration_error(event, q[:, c], w) for c, event in enumerate(events)],
    }
    return {name: np.stack(columns, axis=1) for name, columns in each.items()}


def averaged(figures: dict[str, Floats]) -> dict[str, Floats]:
    """Macro and support-weighted averages of every figure but the support: `macro/f1` … of shape `(draws,)`.

    Classes that the data lack count in neither; NaN where a class that they have leaves a figure undefined.
    """
    support = figures["support"]
    present = support > 0
    out: dict[str, Floats] = {}
    for name in (n for n in figures if n != "support"):
        values = np.where(present, figures[name], 0.0)
        out[f"macro/{name}"] = _divide(values.sum(axis=1), present.sum(axis=1).astype(np.float64), np.nan)
        out[f"weighted/{name}"] = _divide((values * support).sum(axis=1), support.sum(axis=1), np.nan)
    return out


def _trivial(support: NDArray[Any], positive: int | None, beta: float) -> Floats:
    """F-beta of the trivial answer: always the positive class; without one (macro), always the largest class."""
    counts = np.asarray(support, dtype=np.float64)
    total = counts.sum(axis=1)
    if positive is not None:
        hits = counts[:, positive]
        return f_beta_of_counts(hits, total - hits, np.zeros_like(hits), beta)
    hits = counts.max(axis=1)
    present = np.maximum((counts > 0).sum(axis=1), 1)
    return np.asarray(f_beta_of_counts(hits, total - hits, np.zeros_like(hits), beta) / present)


def _checked(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Ints, Floats]:
    truth = np.asarray(labels, dtype=np.int64)
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or len(p) != len(truth):
        raise ValueError(f"{len(truth)} labels but probabilities of shape {p.shape}")
    if not len(truth):
        raise ValueError("no predictions")
    return truth, p


def figures(
    labels: ArrayLike,
    probabilities: ArrayLike,
    positive: int | None,
    beta: float = 2.0,
    weights: ArrayLike | None = None,
    *,
    decided: ArrayLike | None = None,
    prevalence: ArrayLike | None = None,
    brief: bool = False,
) -> dict[str, Floats]:
    """Every overall figure for each row of `weights` `(draws, n)`; one array `(draws,)` a figure.

    `decided` are the decisions, class indices `(n,)`; without them those at 0.5. `brief` leaves out PR AUC, Brier's
    score and the calibration error, half of the time.

    With a positive class its sensitivity, specificity, precision and areas; without one their macro averages over
    the classes that the data have, one against the rest. Brier's score and the calibration error are those of
    `calibration_figures`, at a `prevalence` where one is given.

    Raises:
        ValueError: no predictions, or shapes that don't fit.
    """
    truth, p = _checked(labels, probabilities)
    w = _weights(weights, len(truth))
    answers = decide(p, positive) if decided is None else np.asarray(decided, dtype=np.int64)
    matrix = confusion(truth, answers, p.shape[1], w)
    support = matrix.sum(axis=2)
    present = support > 0

    def one(values: Floats) -> Floats:
        """The positive class's, or the mean over the classes that the data have: `(draws, k)` to `(draws,)`."""
        if positive is not None:
            return values[:, positive]
        total = np.where(present, np.nan_to_num(values), 0.0).sum(axis=1)
        return np.asarray(total / np.maximum(present.sum(axis=1), 1))

    def area(of: Callable[[ArrayLike, ArrayLike, ArrayLike], Floats]) -> Floats:
        if positive is not None:
            return of(truth == positive, p[:, positive], w)
        return one(np.stack([of(truth == c, p[:, c], w) for c in range(p.shape[1])], axis=1))

    each = {name: one(values) for name, values in class_figures(matrix, beta).items()}
    found = {
        "f_beta": each["f_beta"],
        "sensitivity": each["recall"],
        "specificity": each["specificity"],
        "precision": each["precision"],
        "accuracy": np.trace(matrix, axis1=1, axis2=2) / w.sum(axis=1),
        "balanced_accuracy": each["recall" if positive is None else "balanced_accuracy"],
        "f1": each["f1"],
        "f2": each["f2"],
        "auc": np.where(present.sum(axis=1) > 1, area(roc_auc), np.nan),
        "trivial_f_beta": _trivial(support, positive, beta),
    }
    if brief:
        return found
    return found | {"pr_auc": area(pr_auc)} | calibration_figures(truth, p, positive, w, answers, prevalence)


def summary(
    labels: ArrayLike, probabilities: ArrayLike, positive: int | None, threshold: float = 0.5, beta: float = 2.0
) -> dict[str, float]:
    """Every overall figure of `figures` as one number each.

    Args:
        labels: class indices `(n,)`.
        probabilities: `(n, k)`.
        positive: the positive class, or None for macro averages and the likeliest class.
        threshold: operating threshold of the positive class.
        beta: of `f_beta` and `trivial_f_beta`.

    Raises:
        ValueError: no predictions, or shapes that don't fit.
    """
    decided = decide(probabilities, positive, threshold)
    found = figures(labels, probabilities, positive, beta, decided=decided)
    return {name: float(value[0]) for name, value in found.items()}
