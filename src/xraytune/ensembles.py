"""Which networks together beat the best alone: greedy ensemble selection on out-of-fold predictions.

Caruana, Niculescu-Mizil, Crew & Ksikes 2004, "Ensemble selection from libraries of models": networks are added one by
one, with replacement, each time the one that helps most. Called by the retraining (`--final ensemble`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xraytune.calibration import log_loss
from xraytune.metrics import Floats

ROUNDS = 20
"""Additions at most; with a handful of finalists weights settle well before (steps of a twentieth)."""


def select(labels: ArrayLike, predictions: Mapping[str, ArrayLike], rounds: int = ROUNDS) -> dict[str, float]:
    """Weights of the chosen networks, summing to 1.

    Judged by cross-entropy, since a threshold and a calibration are fitted afterwards and would hide what a count at
    0.5 shows. The best prefix of the additions is kept, so a network that only harms is never in it.

    Args:
        labels: class indices `(n,)`.
        predictions: out-of-fold probabilities `(n, k)` by network.
        rounds: additions at most.

    Raises:
        ValueError: there is no network.
    """
    if not predictions:
        raise ValueError("an ensemble needs at least one network")
    arrays = {name: np.asarray(p, dtype=np.float64) for name, p in predictions.items()}
    chosen: list[str] = []
    total: Floats = np.zeros_like(next(iter(arrays.values())))
    losses = []
    for _ in range(rounds):
        candidates = {name: log_loss(labels, (total + p) / (len(chosen) + 1)) for name, p in arrays.items()}
        best = min(candidates, key=candidates.__getitem__)
        chosen.append(best)
        total = total + arrays[best]
        losses.append(candidates[best])
    kept = chosen[: int(np.argmin(losses)) + 1]
    return {name: kept.count(name) / len(kept) for name in arrays if name in kept}


def average(predictions: Sequence[ArrayLike], weights: Sequence[float] | None = None) -> NDArray[np.float32]:
    """Weighted mean of probabilities `(n, k)`."""
    return np.asarray(np.average([np.asarray(p) for p in predictions], axis=0, weights=weights), dtype=np.float32)
