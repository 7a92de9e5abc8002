"""The course of one training: its epochs' values, the weights of the best, and how long nothing was gained."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytune.errors import TrialError
from xraytune.records import FailureCause

LEAST_GAIN = 1e-4
"""A smoothed value must rise by so much to count as a gain: less is no other answer to any image."""

REDUCTION = 3
"""Rungs are the epochs 1, 3, 9, 27 …: there trials are compared, and one in so many goes on (Li et al. 2020, "A System
for Massively Parallel Hyperparameter Tuning", use 4; 3 wastes less of a small budget)."""

Weights = list[NDArray[Any]]


def rung_before(epoch: int) -> int:
    """The last rung before an epoch; 0 before the first."""
    rung = 1
    while rung * REDUCTION < epoch:
        rung *= REDUCTION
    return rung if rung < epoch else 0


def is_rung(epoch: int) -> bool:
    """Whether trials are compared after this epoch, from 1."""
    return epoch == max(1, rung_before(epoch) * REDUCTION)


class Course:
    """The epochs so far.

    Args:
        judged: whether there are validation images; without them the newest epoch is the best.

    Attributes:
        curve: one row an epoch: `epoch`, `value` and every metric.
        best: the epoch whose weights would be restored now, from 1; 0 before the first.
    """

    def __init__(self, judged: bool) -> None:
        self.curve: list[dict[str, float]] = []
        self.best = 0
        self._judged = judged
        self._kept: dict[int, tuple[Weights, NDArray[np.float32]]] = {}

    @property
    def best_value(self) -> float:
        """The best epoch's value."""
        return self.curve[self.best - 1]["value"]

    def add(self, row: dict[str, float], weights: Weights, probabilities: NDArray[np.float32]) -> None:
        """The next epoch: keep its weights and predictions, and the best one's before it.

        An epoch counts with the mean of its value and its neighbours' (one lucky epoch must not win); among
        equals the higher ROC AUC, then the smaller validation loss. The newest epoch has no successor yet, so both
        stay available.
        """
        self.curve.append(row)
        newest = len(self.curve)
        self._kept[newest] = (weights, probabilities)
        values = [r["value"] for r in self.curve]

        def rank(epoch: int) -> tuple[float, float, float]:
            smoothed, at = float(np.mean(values[max(epoch - 2, 0) : epoch + 1])), self.curve[epoch - 1]
            return round(smoothed, 9), at.get("val_auc", 0.0), -at["val_loss"]

        before = [e for e in self._kept if e != newest]
        self.best = max(self._kept, key=rank) if self._judged else newest
        settled = max(before, key=rank) if before and self._judged else newest
        for epoch in set(self._kept) - {self.best, settled, newest}:
            del self._kept[epoch]

    def without_gain(self, trivial: float) -> int:
        """Epochs since the smoothed value was first as good as its best; a smaller loss alone is no gain.

        While no epoch beats the trivial answer, its F-beta says nothing of what the network learns: there a better
        ranking (ROC AUC) is the gain.

        Args:
            trivial: the objective of the best answer that looks at no image.
        """
        values = [row["value"] for row in self.curve]
        if self._judged and max(values) <= trivial + LEAST_GAIN:
            values = [row.get("val_auc", 0.0) for row in self.curve]
        smoothed = [float(np.mean(values[max(i - 1, 0) : i + 2])) for i in range(len(values))]
        return len(values) - 1 - int(np.argmax(np.array(smoothed) >= max(smoothed) - LEAST_GAIN))

    def restored(self) -> tuple[Weights, NDArray[np.float32]]:
        """Weights and validation predictions of the best epoch.

        Raises:
            TrialError: no epoch was finished.
        """
        if not self._kept:
            raise TrialError(FailureCause.INTERRUPTED, "stopped before its first epoch was finished")
        return self._kept[self.best]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is kept, by name, for `numpy.savez`."""
        named: dict[str, NDArray[Any]] = {}
        for epoch, (weights, probabilities) in self._kept.items():
            named |= {f"snapshot{epoch}_{i}": w for i, w in enumerate(weights)}
            named[f"predictions{epoch}"] = probabilities
        return named

    def load(self, curve: list[dict[str, float]], best: int, arrays: Any, count: int) -> None:
        """Go on where `arrays` was taken.

        Args:
            curve: as it was.
            best: as it was.
            arrays: by name, an open `.npz`.
            count: how many weights a snapshot has.
        """
        self.curve, self.best = curve, best
        epochs = [int(name.removeprefix("predictions")) for name in arrays if name.startswith("predictions")]
        self._kept = {
            e: ([arrays[f"snapshot{e}_{i}"] for i in range(count)], arrays[f"predictions{e}"]) for e in epochs
        }
