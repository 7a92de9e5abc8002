"""How sure a figure is: patient-level bootstrap intervals, and tests between two models on the same images.

Images of one patient are no independent evidence, so whole patients are drawn (cluster bootstrap, Davison & Hinkley
1997, ch. 3.8). A draw is a row of weights, how often each image was drawn, and `xraytune.metrics` computes a figure
for all rows at once. Called by `xraytune.evaluation`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from xraytune.metrics import Floats
from xraytune.records import Record

DRAWS = 2000
"""Bootstrap draws; the percentile ends of a 95 % interval then rest on 50 draws each."""

_CELLS = 4_000_000  # weights held at once: 32 MB

Statistic = Callable[[Floats], Mapping[str, Floats]]
"""Weights `(draws, n)` → figures by name, each `(draws,)` or `(draws, classes)`."""


@dataclass(frozen=True)
class Interval(Record):
    """A figure and its percentile bootstrap interval."""

    value: float
    """The figure on the images as they are; NaN where it is undefined."""
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def patient_draws(patients: ArrayLike, draws: int, rng: np.random.Generator) -> Floats:
    """How often each image is drawn when patients are drawn with replacement: `(draws, n)`.

    Args:
        patients: who each image shows, `(n,)`.
        draws: how many resamples.
        rng: the source of randomness.
    """
    _, index = np.unique(np.asarray(patients), return_inverse=True)
    m = int(index.max()) + 1
    counts = rng.multinomial(m, np.full(m, 1 / m), size=draws)
    return counts[:, index].astype(np.float64)


def bootstrap(
    statistic: Statistic, patients: ArrayLike, *, draws: int = DRAWS, seed: int = 0, level: float = 0.95
) -> dict[str, Interval | tuple[Interval, ...]]:
    """A percentile interval for every figure of `statistic`.

    Args:
        statistic: weights `(draws, n)` → figures; a figure of shape `(draws, classes)` gives a tuple of intervals.
        patients: who each image shows, `(n,)`.
        draws: bootstrap resamples.
        seed: of the draws.
        level: share of draws between the two ends.

    Draws in which a figure is undefined (a class was not drawn) are left out of its interval.
    """
    who = np.asarray(patients)
    rng = np.random.default_rng(seed)
    point = {name: np.asarray(value)[0] for name, value in statistic(np.ones((1, who.size))).items()}
    parts: dict[str, list[Floats]] = {name: [] for name in point}
    step = max(1, _CELLS // max(1, who.size))
    for start in range(0, draws, step):
        for name, value in statistic(patient_draws(who, min(step, draws - start), rng)).items():
            parts[name].append(np.asarray(value))
    tail = (1 - level) / 2
    out: dict[str, Interval | tuple[Interval, ...]] = {}
    for name, value in point.items():
        drawn = np.concatenate(parts[name])
        if value.ndim == 0:
            out[name] = _interval(float(value), drawn, tail)
        else:
            out[name] = tuple(_interval(float(v), drawn[:, i], tail) for i, v in enumerate(value))
    return out


def _interval(value: float, drawn: Floats, tail: float) -> Interval:
    kept = drawn[np.isfinite(drawn)]
    if not kept.size:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(kept, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def exact_at_an_end(interval: Interval, n: int, level: float = 0.95) -> Interval:
    """The interval of a share that is 0 or 1 in every draw, where the bootstrap knows no doubt.

    Of n patients without an exception the exact binomial interval (Clopper & Pearson 1934) reaches to
    `((1 - level) / 2) ** (1 / n)`: 36 right of 36 may be 90 of 100. Any other interval is left as it is.

    Args:
        interval: from `bootstrap`.
        n: patients behind the share.
        level: of the interval.
    """
    if n < 1 or interval.value not in {0.0, 1.0} or not interval.low == interval.high == interval.value:
        return interval
    end = float(((1 - level) / 2) ** (1 / n))
    return Interval(1.0, end, 1.0) if interval.value == 1.0 else Interval(0.0, 0.0, 1 - end)


def paired(
    first: Statistic, second: Statistic, patients: ArrayLike, *, draws: int = DRAWS, seed: int = 0
) -> dict[str, Interval]:
    """Intervals of `first - second` under the same draws of patients; an interval without 0 is a difference.

    Only figures that both have, of shape `(draws,)`.
    """

    def difference(weights: Floats) -> dict[str, Floats]:
        a, b = first(weights), second(weights)
        return {name: a[name] - b[name] for name in a if name in b and np.ndim(a[name]) == 1}

    found = bootstrap(difference, patients, draws=draws, seed=seed)
    return {name: interval for name, interval in found.items() if isinstance(interval, Interval)}


@dataclass(frozen=True)
class DeLong(Record):
    """DeLong's test of two correlated areas under the ROC curve."""

    first: float
    """AUC of the first model."""
    second: float
    difference: float
    standard_error: float
    """Of the difference."""
    z: float
    p: float
    """Two-sided."""


def delong(labels01: ArrayLike, first: ArrayLike, second: ArrayLike) -> DeLong:
    """Whether two models' areas under the ROC curve differ, on the same images.

    DeLong, DeLong & Clarke-Pearson 1988, by midranks (Sun & Xu 2014). Images count as independent: with several
    films a patient prefer `paired`.

    Args:
        labels01: truth, `(n,)`.
        first: scores of one model, `(n,)`.
        second: scores of the other, `(n,)`.

    Raises:
        ValueError: fewer than two images of a class.
    """
    truth = np.asarray(labels01).astype(bool)
    scores = np.stack([np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)])
    m, n = int(truth.sum()), int((~truth).sum())
    if m < 2 or n < 2:
        raise ValueError(f"DeLong's test needs two images of each class, not {m} and {n}")
    positive, negative = scores[:, truth], scores[:, ~truth]
    everything = np.stack([stats.rankdata(np.concatenate([p, q])) for p, q in zip(positive, negative, strict=True)])
    own_positive = np.stack([stats.rankdata(p) for p in positive])
    own_negative = np.stack([stats.rankdata(q) for q in negative])
    v10 = (everything[:, :m] - own_positive) / n  # share of negatives that each positive beats
    v01 = 1 - (everything[:, m:] - own_negative) / m
    areas = v10.mean(axis=1)
    covariance = np.cov(v10) / m + np.cov(v01) / n
    difference = float(areas[0] - areas[1])
    error = float(np.sqrt(max(0.0, covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])))
    z = difference / error if error > 0 else 0.0
    p = float(2 * stats.norm.sf(abs(z))) if error > 0 else float(difference == 0)
    return DeLong(float(areas[0]), float(areas[1]), difference, error, float(z), p)
