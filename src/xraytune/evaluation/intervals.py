"""How sure a figure is: patient-level bootstrap intervals, and tests between two models on the same images.

Images of one patient are no independent evidence, so whole patients are drawn (cluster bootstrap, Davison & Hinkley
1997, ch. 3.8). A draw is a row of weights, how often each image was drawn, and `metrics` computes a figure
for all rows at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from xraytune.evaluation.metrics import Floats
from xraytune.records import Record

DRAWS = 2000
"""Bootstrap draws; the percentile ends of a 95 % interval then rest on 50 draws each."""

TAIL = (1 - 0.95) / 2
"""Share of the draws beyond each end of an interval."""

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
    error: float = field(default=float("nan"), compare=False)
    """Standard deviation of the draws."""

    @property
    def flat(self) -> bool:
        """Whether both ends are one number: (nearly) all draws gave it, which says nothing of other patients."""
        return self.high - self.low < 1e-12

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
    statistic: Statistic, patients: ArrayLike, *, draws: int = DRAWS, seed: int = 0
) -> dict[str, Interval | tuple[Interval, ...]]:
    """A 95 % percentile interval for every figure of `statistic`.

    Args:
        statistic: weights `(draws, n)` → figures; a figure of shape `(draws, classes)` gives a tuple of intervals.
        patients: who each image shows, `(n,)`.
        draws: bootstrap resamples.
        seed: of the draws.

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
    out: dict[str, Interval | tuple[Interval, ...]] = {}
    for name, value in point.items():
        drawn = np.concatenate(parts[name])
        if value.ndim == 0:
            out[name] = _interval(float(value), drawn)
        else:
            out[name] = tuple(_interval(float(v), drawn[:, i]) for i, v in enumerate(value))
    return out


def _interval(value: float, drawn: Floats) -> Interval:
    kept = drawn[np.isfinite(drawn)]
    if not kept.size:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(kept, [TAIL, 1 - TAIL])
    return Interval(value, float(low), float(high), float(np.std(kept)))


def of_share(interval: Interval, patients: int) -> Interval:
    """The 95 % interval of a share (accuracy …), which does not end at 1 because one patient was drawn seldom.

    Korn & Graubard 1998: the exact binomial interval (Clopper & Pearson 1934) of as many independent patients as would
    spread as the bootstrap draws do, `p (1 - p) / variance`, but never more than there are. A share of 0 or 1 counts
    its patients, so that 73 of 73 never reads worse than 72 of 73.

    Args:
        interval: from `bootstrap`.
        patients: behind the share's denominator; below 1 the interval is left as it is.
    """
    p = interval.value
    if patients < 1 or not np.isfinite(p):
        return interval
    variance = interval.error**2
    n = min(float(patients), p * (1 - p) / variance) if variance > 0 and 0 < p < 1 else float(patients)
    low = 0.0 if p <= 0 else float(stats.beta.ppf(TAIL, p * n, (1 - p) * n + 1))
    high = 1.0 if p >= 1 else float(stats.beta.ppf(1 - TAIL, p * n + 1, (1 - p) * n))
    return Interval(p, low, high, interval.error)


def of_perfect(interval: Interval, patients: int) -> Interval:
    """The interval of a figure that is no share, where the bootstrap's has no width.

    Of a perfect figure it is the exact binomial one of `patients` without an error (Clopper & Pearson 1934; one-sided
    the "rule of three", Hanley & Lippman-Hand 1983): at 95 % from 0.025^(1 / patients) to 1. Any other figure on which
    all draws agree has none: both ends are NaN.

    That is conservative where so many patients are all right with probability figure^patients at most:

    - A mean of figures (of classes, of sensitivity and specificity), and F-beta, which is a harmonic mean of precision
      and sensitivity, is never below its lowest part: `patients` are those of the part that has the fewest.
    - A ROC AUC is the probability that a positive is ranked above a negative. Of m pairs of patients, no patient in two
      of them, all are ranked right with probability AUC^m, whatever the scores' distributions: `patients` is m. It is
      also what the largest variance of an AUC says, AUC (1 - AUC) / m (Birnbaum & Klose 1957).

    As in `of_share`, the images of one patient are taken to be right or wrong together.

    Args:
        interval: from `bootstrap`.
        patients: as above; below 1 there is no interval.
    """
    if interval.value == 1 and patients >= 1:
        return of_share(interval, patients)
    return Interval(interval.value, float("nan"), float("nan"), interval.error)


def reflected(interval: Interval) -> Interval:
    """The basic bootstrap interval, `2 · value - high` to `2 · value - low` (Davison & Hinkley 1997, ch. 5.2).

    For a figure that resampling only raises: a calibration error of draws holds the noise of the sample and that of
    the drawing, so that its percentile interval lies too high.

    Args:
        interval: a percentile interval. The value itself stays within, and no end lies below 0.
    """
    value = interval.value
    low = min(value, max(0.0, 2 * value - interval.high))
    return Interval(value, low, max(value, 2 * value - interval.low), interval.error)


def apart(first: Interval, second: Interval) -> Interval:
    """The interval of `first - second` where they come from different patients.

    Of the two intervals (square-and-add: Newcombe 1998, method 10; Zou & Donner 2008), so that both are in doubt and
    what `of_share` knows of shares near 0 and 1 is kept.
    """
    difference = first.value - second.value
    below = np.hypot(first.value - first.low, second.high - second.value)
    above = np.hypot(first.high - first.value, second.value - second.low)
    return Interval(difference, float(difference - below), float(difference + above))


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
    images a patient prefer `paired`.

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
