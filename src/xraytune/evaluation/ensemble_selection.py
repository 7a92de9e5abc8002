"""Which networks together beat the best alone: greedy ensemble selection on out-of-fold predictions.

Caruana, Niculescu-Mizil, Crew & Ksikes 2004, "Ensemble selection from libraries of models": networks are added one by
one, with replacement, each time the one that helps most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xraytune.evaluation import robust_score
from xraytune.evaluation.calibration import log_loss
from xraytune.evaluation.metrics import Floats

ROUNDS = 20
"""Additions at most; with a handful of finalists weights settle well before (steps of a twentieth)."""


Loss = Callable[[Floats], tuple[float, ...]]
"""Averaged predictions → what should be small; the first number counts, the next ones tell equals apart."""


def robust_loss(labels: NDArray[np.int32], views: Sequence[str], positive: int | None, beta: float) -> Loss:
    """One minus the robust score of predictions `(views, n, k)`; among equals the cross-entropy of the worst view.

    Args:
        labels: class indices `(n,)`.
        views: their names.
        positive: the positive class or None.
        beta: of F-beta.
    """

    def loss(stacked: Floats) -> tuple[float, ...]:
        answers = {name: np.asarray(p, dtype=np.float32) for name, p in zip(views, stacked, strict=True)}
        score = robust_score.score(labels, answers, positive, beta=beta)
        return round(1 - score.value, 4), max(log_loss(labels, p) for p in stacked)

    return loss


def select(
    labels: ArrayLike, predictions: Mapping[str, ArrayLike], rounds: int = ROUNDS, loss: Loss | None = None
) -> dict[str, float]:
    """Weights of the chosen networks, summing to 1.

    Judged by cross-entropy, since a threshold and a calibration are fitted afterwards and would hide what a count at
    0.5 shows; or by `loss`. The best prefix of the additions is kept, so a network that only harms is never in it.

    Args:
        labels: class indices `(n,)`.
        predictions: out-of-fold probabilities `(n, k)` by network, or whatever shape `loss` takes.
        rounds: additions at most.
        loss: of averaged predictions; cross-entropy without it.

    Raises:
        ValueError: there is no network.
    """
    if not predictions:
        raise ValueError("an ensemble needs at least one network")
    arrays = {name: np.asarray(p, dtype=np.float64) for name, p in predictions.items()}
    chosen: list[str] = []
    total: Floats = np.zeros_like(next(iter(arrays.values())))
    losses: list[tuple[float, ...]] = []
    judged = loss or (lambda p: (log_loss(labels, p),))
    for _ in range(rounds):
        candidates = {name: judged((total + p) / (len(chosen) + 1)) for name, p in arrays.items()}
        best = min(candidates, key=candidates.__getitem__)
        chosen.append(best)
        total = total + arrays[best]
        losses.append(candidates[best])
    kept = chosen[: losses.index(min(losses)) + 1]
    return {name: kept.count(name) / len(kept) for name in arrays if name in kept}


def average(predictions: Sequence[ArrayLike], weights: Sequence[float] | None = None) -> NDArray[np.float32]:
    """Weighted mean of probabilities `(n, k)`."""
    return np.asarray(np.average([np.asarray(p) for p in predictions], axis=0, weights=weights), dtype=np.float32)
