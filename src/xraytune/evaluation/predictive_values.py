"""Predictive values at any prevalence and likelihood ratios, from sensitivity and specificity with their intervals.

By Bayes' theorem a predictive value depends on the prevalence and one likelihood ratio alone (Altman & Bland 1994), and
rises or falls with it: the ends of the ratio's interval give the ends of the value's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Triple = Sequence[float | None]
"""value, low, high; None where undefined."""


@dataclass(frozen=True)
class LikelihoodRatios:
    """Of a decision for the positive class, each value, low and high end of 95 %; infinite where nothing was wrong."""

    positive: tuple[float, float, float]
    """Sensitivity / (1 - specificity)."""
    negative: tuple[float, float, float]
    """(1 - sensitivity) / specificity."""


def likelihood_ratios(sensitivity: Triple, specificity: Triple) -> LikelihoodRatios | None:
    """Both likelihood ratios with their intervals; None where sensitivity or specificity has none.

    Args:
        sensitivity: with its 95 % interval.
        specificity: the same.
    """
    if None in (*sensitivity, *specificity):
        return None
    hit, correct = ([float(v or 0.0) for v in triple] for triple in (sensitivity, specificity))
    miss, alarm = ([1 - v, 1 - high, 1 - low] for v, low, high in (hit, correct))
    return LikelihoodRatios(_ratio(hit, alarm), _ratio(miss, correct))


def predictive_values(ratios: LikelihoodRatios, prevalence: float) -> tuple[list[float | None], list[float | None]]:
    """Positive and negative predictive value, each value, low and high end, at a prevalence between 0 and 1.

    Args:
        ratios: of the decision.
        prevalence: share of images with the finding.
    """
    positive = [_after(ratio, prevalence) for ratio in ratios.positive]
    value, low, high = (_after(ratio, prevalence) for ratio in ratios.negative)
    absent = [None if v is None else 1 - v for v in (value, high, low)]
    return positive, absent


def _after(ratio: float, prevalence: float) -> float | None:
    """The probability of the finding after a decision with that likelihood ratio; None where the ratio has no value."""
    if math.isnan(ratio):
        return None
    if math.isinf(ratio):
        return 1.0
    return prevalence * ratio / (prevalence * ratio + 1 - prevalence)


def _ratio(above: Sequence[float], below: Sequence[float]) -> tuple[float, float, float]:
    """The quotient of two independent shares and its interval: MOVER on the logarithms (Zou & Donner 2008).

    Where a share is 0 its logarithm has no value: the interval is then that of the intervals' ends, which is wider.
    """
    (a, a_low, a_high), (b, b_low, b_high) = above, below
    value = _quotient(a, b)
    low, high = _quotient(a_low, b_high), _quotient(a_high, b_low)
    if min(a, a_low, b_low, b) > 0:
        middle = math.log(a / b)
        low = math.exp(middle - math.hypot(math.log(a / a_low), math.log(b_high / b)))
        high = math.exp(middle + math.hypot(math.log(a_high / a), math.log(b / b_low)))
    return value, low, high


def _quotient(a: float, b: float) -> float:
    return a / b if b > 0 else math.inf if a > 0 else math.nan
