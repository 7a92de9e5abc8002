"""Which finalists the final model is made of: the confirmed best, or a greedy ensemble of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from search.retraining.records import Choice, Confirmed, shared_views
from xraytune.evaluation import ensemble_selection, intervals, robust_score
from xraytune.evaluation.calibration import Folds
from xraytune.evaluation.intervals import Interval, Statistic
from xraytune.records import Objective


@dataclass(frozen=True)
class Judged:
    """By what finalists and ensembles of them are judged: images that their networks had not seen."""

    labels: NDArray[np.int32]
    """Of training and validation images, `(n,)`."""
    patients: NDArray[np.generic]
    """Who each shows, `(n,)`."""
    folds: Folds
    """Of the confirmation: images that were trained on, and the others."""
    objective: str = Objective.CLEAN
    """`robust`: an ensemble is chosen by its robust score over all views; `clean`: by its cross-entropy."""
    positive: int | None = None
    beta: float = 2.0


def choose(confirmed: Sequence[Confirmed], kind: str, judged: Judged, refits: int = 1) -> Choice:
    """What the final model is made of.

    Args:
        confirmed: finalists, the best first.
        kind: one of `KINDS`; `auto` is `ensemble` where that is significantly better over the views, else `refit`.
        judged: by what.
        refits: networks of a refit.
    """
    best = Choice("refit" if kind == "auto" else kind, ((confirmed[0], 1.0),), confirmed[0], refits)
    if kind not in {"auto", "ensemble"}:
        return best
    found = _gain(confirmed, best, judged) if kind == "auto" else None
    if kind == "auto" and not (found and found.low > 0):
        return replace(best, gain=found)
    by_number = {str(c.trial.number): c for c in confirmed}
    indices, each = shared_views(confirmed)
    if judged.objective == Objective.ROBUST and each[0]:
        names = list(each[0])
        stacked = {name: np.stack([views[n] for n in names]) for name, views in zip(by_number, each, strict=True)}
        weights = _weights(judged.labels[indices], names, stacked, judged)
    else:
        weights = ensemble_selection.select(judged.labels, {name: c.out_of_fold() for name, c in by_number.items()})
    ranked = sorted(weights, key=lambda name: -weights[name])
    return Choice("ensemble", tuple((by_number[name], weights[name]) for name in ranked), confirmed[0], gain=found)


def _weights(
    labels: NDArray[np.int32], names: Sequence[str], stacked: dict[str, NDArray[np.float32]], judged: Judged
) -> dict[str, float]:
    """Of an ensemble by its robust score; `stacked` has each finalist's probabilities `(views, m, k)`."""
    loss = ensemble_selection.robust_loss(labels, names, judged.positive, judged.beta)
    return ensemble_selection.select(labels, stacked, loss=loss)


def _gain(confirmed: Sequence[Confirmed], best: Choice, judged: Judged) -> Interval | None:
    """What an ensemble adds to the best finalist's cross-validated robust score over the views, over draws of patients.

    The weights for the images of each fold are chosen on those of the other folds: no image has a part in the ensemble
    that it judges. None where there is one finalist, where no views were kept, and where a class has no image outside a
    fold.
    """
    shared, each = shared_views(confirmed)
    own, alone = best.views()
    names = [name for name in each[0] if name in alone]
    if len(confirmed) < 2 or judged.objective != Objective.ROBUST or not names:
        return None
    labels, rows = judged.labels[shared], np.searchsorted(own, shared)
    stacked = {
        str(c.trial.number): np.stack([views[n] for n in names]) for c, views in zip(confirmed, each, strict=True)
    }
    together = np.empty_like(next(iter(stacked.values())))
    for _, held in judged.folds:
        inside = np.isin(shared, held)
        if len(np.unique(labels[~inside])) < together.shape[2]:
            return None
        weights = _weights(labels[~inside], names, {k: p[:, ~inside] for k, p in stacked.items()}, judged)
        members = [stacked[number][:, inside] for number in weights]
        together[:, inside] = ensemble_selection.average(members, list(weights.values()))

    def statistic(views: NDArray[np.float32]) -> Statistic:
        by_name = dict(zip(names, views, strict=True))
        found = robust_score.score(labels, by_name, judged.positive, beta=judged.beta)
        return robust_score.statistic(labels, views, judged.positive, found.threshold, judged.beta)

    single = np.stack([alone[n][rows] for n in names])
    return intervals.paired(statistic(together), statistic(single), judged.patients[shared])["robust"]
