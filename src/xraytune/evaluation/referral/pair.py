"""Two thresholds with their guarantee: what they answer, and what they do on labelled images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xraytune.evaluation import evaluate, intervals, metrics
from xraytune.evaluation.evaluate import Triple
from xraytune.evaluation.intervals import Interval
from xraytune.evaluation.metrics import Ints
from xraytune.evaluation.predictions import Predictions
from xraytune.records import Record

REFER = -1
"""Instead of a class index: the image is referred."""
WORD = "refer"
"""What answers say of a referred image."""


@dataclass(frozen=True)
class Referral(Record):
    """The two thresholds that a model carries, and their guarantee."""

    low: float
    """Calibrated probability below which the answer is negative."""
    high: float
    """From which it is positive; at or above `low`."""
    sensitivity: float
    """Guaranteed among answered images, as are the next two."""
    specificity: float
    risk: float
    positives: int
    """Patients with positive images that the guarantee rests on."""
    negatives: int

    def decide(self, probabilities: ArrayLike, positive: int) -> Ints:
        """Class indices `(n,)` of calibrated probabilities `(n, k)`; `REFER` where an image is referred."""
        p = np.asarray(probabilities, dtype=np.float64)
        decided = metrics.decide(p, positive, self.high)
        return np.where(self.between(p[:, positive]), REFER, decided)

    def between(self, score: ArrayLike) -> NDArray[np.bool_]:
        """Which calibrated probabilities of the positive class `(n,)` are referred."""
        p = np.asarray(score, dtype=np.float64)
        return np.asarray((p >= self.low) & (p < self.high))


def judged(given: Predictions, referral: Referral) -> dict[str, Any]:
    """What the pair does on labelled images, each figure as [value, low, high] with a 95 % interval by patient.

    Args:
        given: calibrated predictions with a positive class.
        referral: the pair.

    Returns:
        `images`, `answered`: counts; `referred`, `referred_positive`, `referred_negative`: the share of all, of
        positive and of negative images; `sensitivity`, `specificity`: among answered images; `missed`: the share of
        positive images that are answered and missed.
    """
    assert given.positive is not None
    score, event = given.probabilities[:, given.positive], given.labels == given.positive
    between = referral.between(score)
    answered = replace(given, threshold=referral.high).rows(~between) if not between.all() else None
    among = evaluate.overall(answered, brief=True) if answered is not None else {}
    everywhere = np.ones(len(score), dtype=bool)
    return {
        "images": len(score),
        "answered": int((~between).sum()),
        "referred": _share(between, everywhere, given),
        "referred_positive": _share(between, event, given),
        "referred_negative": _share(between, ~event, given),
        "sensitivity": among.get("sensitivity", [None, None, None]),
        "specificity": among.get("specificity", [None, None, None]),
        "missed": _share(score < referral.low, event, given),
    }


def _share(what: NDArray[np.bool_], of: NDArray[np.bool_], given: Predictions) -> Triple:
    """The share of some images that something holds for; undefined where there are none."""
    if not of.any():
        return [None, None, None]
    rows = np.flatnonzero(of)
    held, who = what[rows].astype(np.float64), given.patients[rows]
    found = intervals.bootstrap(lambda w: {"share": w @ held / w.sum(axis=1)}, who, draws=given.draws)["share"]
    assert isinstance(found, Interval)
    return evaluate.triple(intervals.of_share(found, len(np.unique(who))))
