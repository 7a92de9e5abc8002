"""Which images a model leaves to a radiologist: two thresholds of its probability, with a guarantee.

Below the lower threshold the answer is negative, from the upper one on positive, and between them the image is
referred. Learn-then-Test (Angelopoulos, Bates, Candès, Jordan & Lei 2021) tests for every pair of a fixed grid whether
sensitivity or specificity among the answered images is below what is asked for; of the pairs for which both tests
reject, the one that refers least is chosen. With a probability of at least 1 - `Aims.risk` over the patients that it
was chosen on, the chosen pair then holds both in the population that these patients were drawn from.

Images of one patient are no independent evidence, so a pair is valid only if both of these tests reject on each side:

- One image of each patient, drawn at random. Given how many of the drawn positive images are answered, the number
  answered wrongly is binomial, so the p-value is exact (Clopper & Pearson 1934); likewise for negative ones. The
  guarantee rests on this test: it is one on an image of a new patient.
- All images, as many as each patient has: the binomial p-value of the effective number of patients (Korn & Graubard
  1998), as in `intervals.of_share`. It keeps a pair from being chosen that fails on the images of patients who
  have many.

Where predictions come from the networks of several folds, the number of errors is a sum over networks that differ; its
lower tail is no heavier than the binomial one of the mean (Hoeffding 1956), so the test stays valid for that mean.

A pair's p-value is the largest of all, since any of the hypotheses makes it invalid (intersection-union test, Berger
1982). Bonferroni's bound over all pairs keeps the probability that any invalid pair is accepted at the risk.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from xraytune.evaluation.metrics import Floats
from xraytune.evaluation.referral.pair import Referral
from xraytune.records import Record

GRID: Floats = special.expit(np.arange(-4.5, 4.6, 0.5))
"""Thresholds of the calibrated probability, 0.011 to 0.989: fixed before any data are seen, as the method needs."""
PAIRS: NDArray[np.float64] = np.array([(low, high) for i, low in enumerate(GRID) for high in GRID[i:]])
"""Every pair of them, `(m, 2)`; a pair of equal thresholds refers nothing."""


@dataclass(frozen=True)
class Aims(Record):
    """What is asked for."""

    sensitivity: float = 0.95
    """Least sensitivity among answered images."""
    specificity: float = 0.90
    """Least specificity among them."""
    risk: float = 0.05
    """Probability, over the patients that the pair is chosen on, that a pair which falls short is chosen."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Predictions of patients that neither the network nor its calibration was fitted on, one view an image."""

    event: NDArray[np.bool_]
    """Which of the `n` images are positive."""
    score: Floats
    """Calibrated probability of the positive class, `(n,)`."""
    patients: NDArray[np.generic]
    """Who each image shows, `(n,)`."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """What became of the request."""

    aims: Aims
    referral: Referral | None
    """None where no pair is valid."""
    reason: str
    """Why not, in one sentence; else empty."""
    at: Mapping[str, float]
    """Of the chosen pair on the sample: `referred` (classes weighted equally), `sensitivity` and `specificity` among
    answered images; empty without a pair."""
    curve: Sequence[tuple[float, float]]
    """See the function `curve`."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "asked": self.aims.to_json(),
            "pair": self.referral.to_json() if self.referral else None,
            "reason": self.reason,
            "out_of_fold": dict(self.at),
            "curve": [list(point) for point in self.curve],
        }


def needed(aims: Aims) -> tuple[int, int]:
    """How many patients with answered positive and with answered negative images the guarantee needs without errors."""
    level = math.log(aims.risk / len(PAIRS))
    return math.ceil(level / math.log(aims.sensitivity)), math.ceil(level / math.log(aims.specificity))


def too_few(event: NDArray[np.bool_], patients: NDArray[np.generic], aims: Aims) -> str:
    """Why no pair can be valid with these patients, in one sentence; empty where one can.

    Args:
        event: which of the images are positive, `(n,)`.
        patients: who each shows, `(n,)`.
        aims: what is asked for.
    """
    has, least = _patients(event, patients), needed(aims)
    if has[0] >= least[0] and has[1] >= least[1]:
        return ""
    return (
        f"Too few patients for a referral: sensitivity {aims.sensitivity:g} and specificity {aims.specificity:g} at a "
        f"risk of {aims.risk:g} need at least {least[0]} patients with positive and {least[1]} with negative images, "
        f"and there are {has[0]} and {has[1]}."
    )


def _patients(event: NDArray[np.bool_], patients: NDArray[np.generic]) -> tuple[int, int]:
    """How many have positive images, and how many negative ones."""
    return len(np.unique(patients[event])), len(np.unique(patients[~event]))


def choose(sample: Sample, aims: Aims, seed: int = 0) -> Fitted:
    """The valid pair that refers least, positive and negative images weighted equally; none where none is valid.

    Of pairs that refer as little, the one of the highest sensitivity + specificity, then the narrowest, then that
    around 0.5.

    Args:
        sample: what it is chosen on.
        aims: what is asked for.
        seed: of the image that is drawn of each patient.
    """
    event, score = sample.event, sample.score
    line = curve(event, score, aims.specificity) if event.any() and not event.all() else ()
    if few := too_few(event, sample.patients, aims):
        return Fitted(aims, None, few, {}, line)
    valid = p_values(sample, aims, seed) <= aims.risk / len(PAIRS)
    referred, sensitivity, specificity = _figures(event, score)
    if not valid.any():
        reason = (
            f"No pair of thresholds is shown to reach sensitivity {aims.sensitivity:g} and specificity "
            f"{aims.specificity:g} among answered images at a risk of {aims.risk:g}: the model has no referral."
        )
        return Fitted(aims, None, reason, {}, line)
    off, width = np.abs(PAIRS.sum(axis=1) - 1), PAIRS[:, 1] - PAIRS[:, 0]
    order = (off, width, -(sensitivity + specificity), np.where(valid, referred, np.inf))
    best = int(np.lexsort(np.round(order, 9))[0])  # the last key counts first
    low, high = (float(value) for value in PAIRS[best])
    pair = Referral(low, high, aims.sensitivity, aims.specificity, aims.risk, *_patients(event, sample.patients))
    at = {
        "referred": float(referred[best]),
        "sensitivity": float(sensitivity[best]),
        "specificity": float(specificity[best]),
    }
    return Fitted(aims, pair, "", at, line)


def p_values(sample: Sample, aims: Aims, seed: int = 0) -> Floats:
    """For each of `PAIRS`: how likely so few errors among answered images are if the pair falls short, `(m,)`.

    Args:
        sample: patients of both sides.
        aims: what is asked for.
        seed: of the image that is drawn of each patient.
    """
    low, high = PAIRS.T
    rng = np.random.default_rng(seed)
    worst = np.zeros(len(PAIRS))
    for side, allowed in ((sample.event, 1 - aims.sensitivity), (~sample.event, 1 - aims.specificity)):
        rows = rng.permutation(np.flatnonzero(side))
        rows = rows[np.argsort(sample.patients[rows], kind="stable")]
        first = np.flatnonzero(np.append(True, sample.patients[rows][1:] != sample.patients[rows][:-1]))
        score = sample.score[rows, None]
        below, above = score < low, score >= high
        wrong, right = (below, above) if side is sample.event else (above, below)
        drawn = wrong[first].sum(axis=0)  # of a patient the first, since they were shuffled
        exact = stats.binom.cdf(drawn, drawn + right[first].sum(axis=0), allowed)
        errors, answered = (np.add.reduceat(each, first, axis=0, dtype=np.int64) for each in (wrong, wrong | right))
        worst = np.maximum.reduce([worst, exact, _of_all_images(errors, answered, allowed)])
    return worst


def _of_all_images(errors: NDArray[np.int64], answered: NDArray[np.int64], allowed: float) -> Floats:
    """P-values `(m,)` of the share of errors among answered images against `allowed`, where patients are clusters.

    Args:
        errors: of each patient with each pair, `(patients, m)`.
        answered: the same.
        allowed: the share of errors that the hypothesis says is reached.
    """
    images, patients = answered.sum(axis=0), (answered > 0).sum(axis=0)
    share = errors.sum(axis=0) / np.maximum(images, 1)
    spread = ((errors - share * answered) ** 2).sum(axis=0)
    variance = spread * patients / np.maximum(patients - 1, 1) / np.maximum(images, 1) ** 2
    effective = np.minimum(patients, share * (1 - share) / np.where(variance > 0, variance, np.inf))
    effective = np.where(variance > 0, effective, patients)
    right = effective * (1 - share)
    p = special.betainc(np.maximum(right, 1e-9), effective * share + 1, 1 - allowed)
    return np.where(right > 0, p, 1.0)


def _counts(score: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many scores are below the lower and how many from the upper threshold on, for each of `PAIRS`."""
    ordered = np.sort(score)
    below = np.searchsorted(ordered, PAIRS[:, 0], side="left")
    return below, len(ordered) - np.searchsorted(ordered, PAIRS[:, 1], side="left")


def _figures(event: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats, Floats]:
    """Share referred with classes weighted equally, sensitivity and specificity among answered, each for all `PAIRS`.

    A share of nothing is 0: a pair that answers no image of a class is never the better one.
    """
    missed, found = _counts(score[event])
    right, alarms = _counts(score[~event])
    answered, rejected = missed + found, right + alarms
    referred = 1 - (answered / max(1, int(event.sum())) + rejected / max(1, int((~event).sum()))) / 2
    return referred, found / np.maximum(answered, 1), right / np.maximum(rejected, 1)


def curve(event: NDArray[np.bool_], score: Floats, specificity: float) -> tuple[tuple[float, float], ...]:
    """What referring more buys: points of (share referred, share of positive answered images that are missed).

    Of the pairs that refer at most so much and keep the specificity among answered images, the one that misses least;
    the share referred weighs classes equally.

    Args:
        event: which images are positive, `(n,)`; both kinds are there.
        score: calibrated probability of the positive class, `(n,)`.
        specificity: least one among answered images.
    """
    referred, sensitivity, specific = _figures(event, score)
    kept = specific >= specificity
    out: list[tuple[float, float]] = []
    for share, missed in sorted(zip(referred[kept], 1 - sensitivity[kept], strict=True)):
        if not out or missed < out[-1][1]:
            out.append((float(share), float(missed)))
    return tuple(out)
