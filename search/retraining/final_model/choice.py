"""Which finalists the final model is made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.retraining.records import Choice, Confirmed, shared_views
from xraytune.evaluation import (
    ensemble_selection,
)
from xraytune.records import Objective


def choose(
    confirmed: Sequence[Confirmed],
    kind: str,
    labels: NDArray[np.int32],
    *,
    objective: str = Objective.CLEAN,
    positive: int | None = None,
    beta: float = 2.0,
    refits: int = 1,
) -> Choice:
    """Which finalists the final model is made of: the confirmed best, or a greedy ensemble of them.

    Args:
        confirmed: best first.
        kind: one of `KINDS`.
        labels: of train and validation images.
        objective: under `robust` the ensemble is chosen by its robust score over all views, out of fold; under `clean`
            by its cross-entropy.
        positive: the positive class or None.
        beta: of F-beta.
        refits: networks of a refit.
    """
    if kind != "ensemble":
        return Choice(kind, ((confirmed[0], 1.0),), confirmed[0], refits)
    by_number = {str(c.trial.number): c for c in confirmed}
    indices, each = shared_views(confirmed)
    if objective == Objective.ROBUST and each[0]:
        names = list(each[0])
        stacked = {name: np.stack([views[n] for n in names]) for name, views in zip(by_number, each, strict=True)}
        loss = ensemble_selection.robust_loss(labels[indices], names, positive, beta)
        weights = ensemble_selection.select(labels[indices], stacked, loss=loss)
    else:
        weights = ensemble_selection.select(labels, {name: c.out_of_fold() for name, c in by_number.items()})
    ranked = sorted(weights, key=lambda name: -weights[name])
    return Choice(kind, tuple((by_number[name], weights[name]) for name in ranked), confirmed[0])
