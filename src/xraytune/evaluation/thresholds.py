"""At which probability the decision becomes "positive": policies fitted on out-of-fold predictions.

A threshold tuned on clean validation images need not carry over to another hospital's. So the default policy is the
one that out-of-fold evidence supports: each policy is fitted on the images of the other folds and judged on the
held-out fold under every shifted view there is. Policies are fitted and judged at equal prevalence: positive and
negative images have the same weight, however many there are of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xraytune.errors import InputError
from xraytune.evaluation import metrics, prevalences, robust_score
from xraytune.evaluation.metrics import Floats
from xraytune.records import Record

AUTOMATIC = "auto"
STANDARD = ("0.5", "f-beta", "sensitivity:0.95", "youden")
"""The policies of the images as they are that every report compares."""
SHARED = "shared"
"""The one threshold of all views that the robust objective uses: the highest F-beta."""
PLATEAU, PLATEAU_MIDDLE = "plateau", "plateau_middle"
"""Of all thresholds whose F-beta over the views is within one standard error of the highest: the highest threshold, and
the middle between the lowest and the highest."""
OVER_VIEWS = (SHARED, PLATEAU, PLATEAU_MIDDLE)
"""The policies fitted on all views; the others are fitted on the images as they are."""
COMPARED = (*STANDARD, *OVER_VIEWS)
"""Those compared in every report."""
CANDIDATES = tuple(n for n in COMPARED if not n.startswith("sensitivity") and n != PLATEAU_MIDDLE)
"""Those that `auto` chooses from."""

Folds = Sequence[tuple[NDArray[np.integer], NDArray[np.integer]]]


@dataclass(frozen=True)
class Policy(Record):
    """A policy with its threshold and what out-of-fold evidence says of it."""

    name: str
    """0.5, f-beta, sensitivity:0.95, youden, shared, plateau, plateau_middle."""
    threshold: float
    """Fitted on all out-of-fold predictions."""
    evidence: float
    """Class-balanced F-beta over the views, as in `robust`, on patients it was not fitted on: mean of folds."""
    error: float
    """Standard error of that mean over the folds."""
    sensitivity: float
    """Held out, mean over views."""
    specificity: float


def check(policy: str) -> str:
    """The policy as it is spelled here.

    Raises:
        InputError: there is no such policy.
    """
    name = policy.strip().lower()
    if name in {AUTOMATIC, "f-beta", "youden", *OVER_VIEWS}:
        return name
    kind, _, number = name.partition(":")
    try:
        value = float(number if kind == "sensitivity" else name)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise InputError(
            f"--threshold {policy!r} is no policy. Use auto, a number between 0 and 1 (0.5), f-beta, "
            "sensitivity:0.95, youden, shared, plateau, or plateau_middle."
        )
    return name


def fit(
    policy: str,
    labels01: ArrayLike,
    scores: Mapping[str, ArrayLike],
    beta: float,
    patients: NDArray[np.generic] | None = None,
) -> float:
    """The threshold that a policy gives, classes weighted equally.

    Args:
        policy: a checked policy, not `auto`.
        labels01: truth of the positive class, `(n,)`.
        scores: the positive class's probability by view, each `(n,)`; `clean` is there.
        beta: of F-beta.
        patients: who each image shows, `(n,)`, for the standard error of `plateau`; None: each another patient.
    """
    clean = np.asarray(scores["clean"], dtype=np.float64)
    if policy == "f-beta":
        weights = prevalences.weights(np.asarray(labels01).astype(int), (0.5, 0.5))
        return metrics.best_threshold(labels01, clean, beta, weights)[0]
    if policy == SHARED:
        return _shared(labels01, scores, beta)
    if policy in OVER_VIEWS:
        low, high = plateau(labels01, scores, beta, patients)
        return high if policy == PLATEAU else (low + high) / 2
    thresholds, tp, fp, positives, negatives = metrics.threshold_counts(labels01, clean)
    sensitivity = tp / positives if positives else np.ones_like(tp)
    if policy == "youden":  # sensitivity + specificity - 1 (Youden 1950); the middle of its plateau
        index = sensitivity - (fp / negatives if negatives else 0.0)
        equals = np.flatnonzero(index >= index.max() - 1e-12)
        return float(thresholds[equals[len(equals) // 2]])
    if policy.startswith("sensitivity:"):
        wanted = float(policy.partition(":")[2])
        return float(thresholds[np.flatnonzero(sensitivity >= wanted - 1e-12)[-1]])
    return float(policy)


def _shared(labels01: ArrayLike, scores: Mapping[str, ArrayLike], beta: float) -> float:
    truth = np.asarray(labels01).astype(np.int32)
    columns = {name: np.asarray(view, dtype=np.float32) for name, view in scores.items()}
    stacked = {name: np.stack([1 - view, view], axis=1) for name, view in columns.items()}
    return robust_score.score(truth, stacked, 1, beta=beta).threshold


def plateau(
    labels01: ArrayLike, scores: Mapping[str, ArrayLike], beta: float, patients: NDArray[np.generic] | None = None
) -> tuple[float, float]:
    """The lowest and the highest threshold whose F-beta over the views is within one standard error of the best.

    F2 is flat near its maximum. Of thresholds that the data can't tell apart the highest gives away least specificity
    (the rule of one standard error: Breiman et al. 1984, "Classification and Regression Trees").

    Args:
        labels01: truth of the positive class, `(n,)`; both classes must be present.
        scores: its probability by view, each `(n,)`.
        beta: of F-beta.
        patients: as in `fit`.
    """
    truth = np.asarray(labels01).astype(bool)
    views = np.stack([np.asarray(view, dtype=np.float64) for view in scores.values()])
    thresholds, values = robust_score.curve(truth, views, beta)
    total = robust_score.aggregated(values)
    best = int(total.argmax())
    error = robust_score.standard_error(truth, views, float(thresholds[best]), beta, patients)
    within = thresholds[total >= total[best] - error - 1e-9]
    return float(within[0]), float(within[-1])


@dataclass(frozen=True)
class Everything:
    """All clean out-of-fold predictions, where only some images have views."""

    labels01: NDArray[np.bool_]
    """`(N,)`."""
    scores: Floats
    """The positive class's probability, `(N,)`."""
    folds: Folds
    """Of these."""


def compare(
    names: Sequence[str],
    labels01: ArrayLike,
    views: Mapping[str, ArrayLike],
    folds: Folds,
    beta: float,
    everything: Everything | None = None,
    patients: NDArray[np.generic] | None = None,
) -> tuple[Policy, ...]:
    """Every policy, fitted on all and judged on held-out folds over all views.

    Args:
        names: checked policies.
        labels01: truth of the positive class, `(n,)`.
        views: the positive class's out-of-fold probability by view, each `(n,)`; `clean` is there.
        folds: patient-grouped (train, validation) indices.
        beta: of F-beta.
        everything: what the policies that are not `OVER_VIEWS` are fitted on, where that is more than the images
            that have views; its folds are the same patients' as `folds`, in the same order.
        patients: who each of the `n` images shows; None: each another patient.
    """
    truth = np.asarray(labels01).astype(bool)
    scores = {name: np.asarray(v, dtype=np.float64) for name, v in views.items()}
    whole = everything or Everything(truth, scores["clean"], folds)
    out = []
    for name in names:
        if name in OVER_VIEWS:
            who = np.arange(len(truth)) if patients is None else patients
            fitted = [
                fit(name, truth[rows], {v: s[rows] for v, s in scores.items()}, beta, who[rows]) for rows, _ in folds
            ]
            final = fit(name, truth, scores, beta, who)
        else:
            fitted = [fit(name, whole.labels01[r], {"clean": whole.scores[r]}, beta) for r, _ in whole.folds]
            final = fit(name, whole.labels01, {"clean": whole.scores}, beta)
        parts = zip(fitted, folds, strict=True)
        held_out = np.array([_judge(threshold, truth, scores, held, beta) for threshold, (_, held) in parts])
        mean = np.nanmean(held_out, axis=0)
        known = held_out[np.isfinite(held_out[:, 0]), 0]
        error = float(np.std(known, ddof=1) / np.sqrt(len(known))) if len(known) > 1 else 0.0
        out.append(Policy(name, final, float(mean[0]), error, float(mean[1]), float(mean[2])))
    return tuple(out)


def _judge(
    threshold: float, truth: NDArray[np.bool_], scores: Mapping[str, Floats], held: NDArray[np.integer], beta: float
) -> tuple[float, float, float]:
    """What a threshold is worth on one held-out fold: F-beta as `robust` aggregates it, mean sensitivity, specificity.

    Classes weigh equally, since F2 with three quarters positives forgives a threshold that calls all images positive.
    """
    event = truth[held]
    if event.all() or not event.any():
        return np.nan, np.nan, np.nan
    answers = np.array([view[held] >= threshold for view in scores.values()])
    sensitivity, false = answers[:, event].mean(axis=1), answers[:, ~event].mean(axis=1)
    values = metrics.f_beta_of_counts(sensitivity, false, 1 - sensitivity, beta)
    return float(robust_score.aggregated(values)), float(sensitivity.mean()), float(1 - false.mean())


def _informedness(policy: Policy) -> float:
    """Sensitivity + specificity − 1 (Youden 1950): 0 for an answer that is always the same."""
    return policy.sensitivity + policy.specificity - 1


def automatic(policies: Sequence[Policy], beta: float) -> Policy:
    """The policy that the evidence supports: `plateau`, unless its own evidence speaks against it.

    On four planted shortcuts (docs/evidence/decision.md) `plateau` has a higher F2 than 0.5, over the views on held-out
    patients (0.89 against 0.85) and on test images on which the shortcut misleads (0.90 against 0.89); it gives up
    specificity (0.92 against 0.95, and 0.88 against 0.97). `shared` has 0.01 more F2 and less specificity.

    Evidence that is not above what always answering "positive" scores, (1 + β²) / (2 + β²) of equally frequent classes,
    supports nothing: F2 would then choose to call everybody ill. Nor does a policy count that gives up more than half
    of what the best one tells the classes apart by (sensitivity + specificity − 1, held out). Where `plateau` does not
    count, the one of the highest evidence is taken; where none is left, the highest held-out mean of sensitivity and
    specificity decides.

    Args:
        policies: compared ones.
        beta: of the F-beta that is the evidence.
    """
    trivial = (1 + beta * beta) / (2 + beta * beta)
    best = max(policies, key=_informedness)
    telling = [p for p in policies if _informedness(p) >= _informedness(best) / 2]
    supported = [p for p in telling if p.evidence - p.error > trivial]
    if not supported:
        return best
    plateau = next((p for p in supported if p.name == PLATEAU), None)
    return plateau or max(supported, key=lambda p: p.evidence)
