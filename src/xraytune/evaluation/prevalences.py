"""Prevalence: how frequent each class is where a probability is meant to hold.

A calibrated probability holds for one prevalence. By Bayes' rule it is restated for another by adding
`log(after / before)` to each class's logit (Saerens et al. 2002, "Adjusting the outputs of a classifier to new a priori
probabilities"), provided that the images of each class look alike in both places.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Prevalence = tuple[float, ...]
"""The share of each class, `(k,)`, summing to 1."""


def weights(labels: ArrayLike, prevalence: ArrayLike | None) -> NDArray[np.float64]:
    """Weights `(n,)`, 1 on average, under which each class has its share; None weighs all images alike.

    Classes without an image are left out, and the others keep their proportions.

    Args:
        labels: class indices `(n,)`.
        prevalence: shares `(k,)`.
    """
    truth = np.asarray(labels, dtype=np.int64)
    if prevalence is None:
        return np.ones(len(truth))
    shares = np.asarray(prevalence, dtype=np.float64)
    counts = np.bincount(truth, minlength=len(shares))
    wanted = np.where(counts > 0, shares, 0.0)
    return np.asarray((wanted / wanted.sum() * len(truth) / np.maximum(counts, 1))[truth])


def equal(labels: ArrayLike, classes: int, positive: int | None) -> Prevalence:
    """The prevalence at which a decision weighs both sides equally.

    The positive class has one half, and the others share the other half as they do in `labels` `(n,)`. Without a
    positive class all classes have the same share.
    """
    if positive is None:
        return (1 / classes,) * classes
    counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=classes).astype(np.float64)
    counts[positive] = 0.0
    rest = counts if counts.any() else (np.arange(classes) != positive).astype(np.float64)
    return of_positive(tuple(rest / rest.sum()), positive, 0.5)


def of_positive(prevalence: Sequence[float], positive: int, share: float) -> Prevalence:
    """The prevalence with another share of the positive class; the other classes keep their proportions.

    Raises:
        ValueError: the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"a prevalence must lie between 0 and 1, not at {share:g}")
    rest = 1 - prevalence[positive] if prevalence[positive] else 1.0
    return tuple(float(share if c == positive else p / rest * (1 - share)) for c, p in enumerate(prevalence))


def moved(probability: float, before: float, after: float) -> float:
    """A probability (or a threshold) of the positive class, stated for its share `before`, restated for `after`."""
    return float(special.expit(special.logit(probability) + special.logit(after) - special.logit(before)))


def restated(probabilities: ArrayLike, before: Sequence[float], after: Sequence[float]) -> NDArray[np.float64]:
    """Probabilities `(n, k)` stated for the prevalence `before`, restated for `after`."""
    odds = np.asarray(probabilities, dtype=np.float64) * (np.asarray(after) / np.asarray(before))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))
