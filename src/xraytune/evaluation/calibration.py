"""Probabilities that mean what they say: temperature or Platt scaling, fitted on out-of-fold predictions.

They are fitted at a stated prevalence: each class has its share of the weight however many images it has. Both are
`softmax(slope · log p + bias)`: a temperature has no bias (Guo et al. 2017); with two classes a slope and a bias are
Platt's sigmoid on the logit (Platt 1999), with more it is bias-corrected temperature scaling (Alexandari et al. 2020).
The numbers are kept in JSON, so a kept model needs no pickle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from xraytune.evaluation import prevalences
from xraytune.evaluation.metrics import CALIBRATION_BINS, Floats
from xraytune.records import Record

Folds = Sequence[tuple[NDArray[np.integer], NDArray[np.integer]]]

_FLOOR = 1e-7  # float32 softmax reaches 0; its logarithm must not
SLOPES = (0.05, 20.0)
"""Never turned round, never flattened to nothing."""


@dataclass(frozen=True)
class Calibration(Record):
    """`softmax(slope · log p + bias)`."""

    method: str
    """none, temperature or platt."""
    slope: float
    """1 / temperature."""
    bias: tuple[float, ...]
    """One a class; the first is 0."""
    prevalence: tuple[float, ...] = ()
    """The share of each class that the probabilities are stated for; empty where that is not known."""

    def __post_init__(self) -> None:
        if self.method not in {"none", "temperature", "platt"}:
            raise ValueError(f"unknown calibration {self.method!r}")
        if not 0 < self.slope < np.inf:
            raise ValueError("a calibration's slope must be above 0")
        if not np.isfinite([*self.bias, *self.prevalence]).all() or not all(0 <= p <= 1 for p in self.prevalence):
            raise ValueError("a calibration's bias must be finite, its prevalence between 0 and 1")

    def apply(self, probabilities: ArrayLike) -> Floats:
        """Calibrated probabilities, `(n, k)` → `(n, k)`."""
        p = np.asarray(probabilities, dtype=np.float64)
        if self.method == "none":
            return p
        return np.asarray(special.softmax(_logits(p) * self.slope + np.asarray(self.bias), axis=1))


def none(classes: int, prevalence: tuple[float, ...] = ()) -> Calibration:
    """Probabilities as the network gives them."""
    return Calibration("none", 1.0, (0.0,) * classes, prevalence)


def _logits(p: Floats) -> Floats:
    return np.asarray(np.log(np.clip(p, _FLOOR, 1.0)))


@dataclass(frozen=True)
class Sample:
    """Out-of-fold predictions that a calibration is fitted on, and how its methods are told apart."""

    labels: NDArray[np.int64]
    """Class indices `(n,)`."""
    probabilities: Floats
    """`(n, k)`."""
    folds: Folds
    """Patient-grouped (train, validation) indices."""
    prevalence: tuple[float, ...] | None = None
    """The share of each class that the calibration is fitted and judged at; None: that of the sample."""


def over_views(
    labels: ArrayLike, views: Mapping[str, ArrayLike], folds: Folds, prevalence: tuple[float, ...] | None
) -> Sample:
    """All views of some images as one sample.

    A calibration fitted on the images as they are holds where images look as they did; fitted on shifted ones it gives
    up a little there and holds better elsewhere (Tomani et al. 2021, "Post-hoc uncertainty calibration for domain drift
    scenarios").

    Args:
        labels: of the images, `(m,)`.
        views: out-of-fold probabilities `(m, k)` by view.
        folds: of the images.
        prevalence: of the sample.
    """
    truth = np.asarray(labels, dtype=np.int64)
    m, v = len(truth), len(views)
    rows = [tuple(np.concatenate([part + i * m for i in range(v)]) for part in fold) for fold in folds]
    stacked = np.concatenate([np.asarray(p, dtype=np.float64) for p in views.values()])
    return Sample(np.tile(truth, v), stacked, [(a, b) for a, b in rows], prevalence)


def fit(
    labels: ArrayLike, probabilities: ArrayLike, method: str, prevalence: tuple[float, ...] | None = None
) -> Calibration:
    """The calibration of least cross-entropy.

    Targets are Platt's smoothed ones, (N + 1) / (N + 2), so that separable predictions don't end in certainty.

    Args:
        labels: class indices `(n,)`.
        probabilities: out-of-fold predictions `(n, k)`.
        method: none, temperature or platt.
        prevalence: the share of each class at which it is fitted; None: that of `labels`.
    """
    truth = np.asarray(labels, dtype=np.int64)
    p = np.asarray(probabilities, dtype=np.float64)
    k = p.shape[1]
    counts = np.bincount(truth, minlength=k)
    stated = prevalence or tuple(float(share) for share in counts / max(1, len(truth)))
    if method == "none" or len(truth) < 2:
        return none(k, stated)
    share = _shares(prevalences.weights(truth, prevalence))
    logits = _logits(p)
    own = (counts + 1) / (counts + 2)
    targets = np.eye(k)[truth] * (own - (1 - own) / (k - 1))[truth][:, None] + ((1 - own) / (k - 1))[truth][:, None]
    biased = method == "platt"

    def loss(x: Floats) -> tuple[float, Floats]:
        slope = np.exp(x[0])
        z = logits * slope + (np.concatenate([[0.0], x[1:]]) if biased else 0.0)
        error = special.softmax(z, axis=1) - targets
        value = -share @ (targets * special.log_softmax(z, axis=1)).sum(axis=1)
        by_slope = share @ (error * logits).sum(axis=1) * slope
        return float(value), np.concatenate([[by_slope], (share @ error)[1:] if biased else []])

    start = np.zeros(k if biased else 1)
    bounds = [(np.log(SLOPES[0]), np.log(SLOPES[1]))] + [(-10.0, 10.0)] * (len(start) - 1)
    x = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    bias = (0.0, *(float(b) for b in x[1:])) if biased else (0.0,) * k
    return Calibration(method, float(np.exp(x[0])), bias, stated)


def _shares(weights: Floats) -> Floats:
    """Weights `(n,)` that sum to 1."""
    return np.asarray(weights / weights.sum())


def log_loss(labels: ArrayLike, probabilities: ArrayLike, prevalence: tuple[float, ...] | None = None) -> float:
    """Mean cross-entropy in nats, at the `prevalence` of the classes where one is given."""
    truth = np.asarray(labels, dtype=np.int64)
    each = _logits(np.asarray(probabilities, dtype=np.float64))[np.arange(len(truth)), truth]
    return float(-_shares(prevalences.weights(truth, prevalence)) @ each)


def choose(sample: Sample) -> tuple[Calibration, dict[str, float], list[Calibration]]:
    """The calibration whose cross-entropy on folds that it was not fitted on is least.

    Returns:
        the chosen one fitted on everything, each method's cross-validated cross-entropy, and the chosen one fitted
        without each fold.
    """
    truth, p = sample.labels, sample.probabilities
    losses, without = {}, {}
    for method in ("none", "temperature", "platt"):
        without[method] = [fit(truth[train], p[train], method, sample.prevalence) for train, _ in sample.folds]
        held_out = np.array(p)
        for scale, (_, validation) in zip(without[method], sample.folds, strict=True):
            held_out[validation] = scale.apply(p[validation])
        losses[method] = log_loss(truth, held_out, sample.prevalence)
    chosen = min(losses, key=losses.__getitem__)
    return fit(truth, p, chosen, sample.prevalence), losses, without[chosen]


def reliability(
    happened: ArrayLike, probability: ArrayLike, weights: ArrayLike | None = None
) -> list[dict[str, float]]:
    """The reliability curve: for each bin that holds images its mean probability, observed share and count.

    Args:
        happened: the event, `(n,)` of 0 and 1.
        probability: that it was given, `(n,)`.
        weights: of the images in means and shares, `(n,)`.
    """
    event, p = np.asarray(happened, dtype=np.float64), np.asarray(probability, dtype=np.float64)
    w = np.ones(len(p)) if weights is None else np.asarray(weights, dtype=np.float64)
    bins = np.clip((p * CALIBRATION_BINS).astype(int), 0, CALIBRATION_BINS - 1)
    return [
        {
            "predicted": float(np.average(p[bins == b], weights=w[bins == b])),
            "observed": float(np.average(event[bins == b], weights=w[bins == b])),
            "n": int((bins == b).sum()),
        }
        for b in np.unique(bins)
    ]
