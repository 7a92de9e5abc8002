"""Records that several steps of a retraining use."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.study.view import TrialRecord
from spaces.recipes import RECIPES
from xraytune.evaluation import (
    ensemble_selection,
)
from xraytune.evaluation.calibration import Calibration
from xraytune.evaluation.evaluate import Crossed
from xraytune.evaluation.intervals import Interval
from xraytune.evaluation.referral.selection import Fitted, Sample
from xraytune.evaluation.thresholds import Policy
from xraytune.records import TrialResult
from xraytune.training.inputs.trial_data import TrialData
from xraytune.training.optimization.settings import TrainingSettings


def adapted(name: str, trial: TrialRecord, max_epochs: int = 0) -> str:
    """What the study changed of a published configuration, `image_size 224 → 64, epochs 30 → 10`; empty if nothing.

    Args:
        name: the recipe's.
        trial: that tried it.
        max_epochs: the study's bound on epochs, 0 for none.
    """
    recipe = RECIPES.get(name)
    if recipe is None or trial.config is None:
        return ""
    tried = dict(trial.config.values)
    if max_epochs and int(tried.get("epochs", 0)) > max_epochs:
        tried["epochs"] = max_epochs
    pairs = []
    for key, value in recipe.values.items():
        own = f"{recipe.values['family']}/{key}"  # kept copies may have an augmentation of their own
        if own in tried:
            pairs.append((key, value, tried[own]))
        elif key in tried:
            pairs.append((key.rpartition("/")[2], value, tried[key]))
    return ", ".join(f"{key} {value} → {type(value)(now)}" for key, value, now in pairs if now != value)


@dataclass(frozen=True)
class Rival:
    """A retrained recipe on the test set."""

    name: str
    trial: int | None
    """The study's trial of it, None where the study did not try it."""
    probabilities: NDArray[np.float32]
    """Uncalibrated, `(n, k)`; evaluated at a threshold of 0.5."""
    adapted: str = ""
    """What the study changed of it, from the function `adapted`."""


@dataclass(frozen=True)
class Confirmed:
    """A finalist after all its folds."""

    trial: TrialRecord
    results: tuple[FoldResult, ...]
    decides: str = "mean"
    """By what over its folds it is ranked: mean or worst."""

    @property
    def decisive(self) -> float:
        """What finalists are ranked by: the mean over folds and seeds, or the worst fold's mean over seeds."""
        return self.mean if self.decides == "mean" else self.worst

    @property
    def worst(self) -> float:
        """The objective of the worst fold, mean over seeds."""
        folds = {r.fold for r in self.results}
        return min(float(np.mean([r.result.value for r in self.results if r.fold == fold])) for fold in folds)

    @property
    def values(self) -> list[float]:
        """The objective of each fold and seed."""
        return [r.result.value for r in self.results]

    @property
    def mean(self) -> float:
        """The objective, mean over folds and seeds."""
        return float(np.mean(self.values))

    @property
    def ranking(self) -> float:
        """ROC AUC, mean over folds and seeds: ranks finalists whose objectives are equal."""
        return self.measured("val_auc") or 0.0

    @property
    def error(self) -> float:
        """Its standard error over folds and seeds."""
        return float(np.std(self.values, ddof=1) / math.sqrt(len(self.values))) if len(self.values) > 1 else 0.0

    @property
    def epochs(self) -> int:
        """The epochs that the folds chose: their median."""
        return max(1, round(float(np.median([r.result.best_epoch for r in self.results]))))

    @property
    def rate_drops(self) -> tuple[int, ...]:
        """Epochs after which the plateau schedule lowered the rate, the median of the folds for each time.

        A fold that had not lowered it so often when its best epoch was over counts as never.
        """
        drops = [_drops(r) for r in self.results]
        out = []
        for i in range(max(map(len, drops), default=0)):
            at = sorted(epochs[i] if i < len(epochs) else math.inf for epochs in drops)
            middle = at[len(at) // 2]
            if middle < self.epochs:
                out.append(int(middle))
        return tuple(out)

    @property
    def cut(self) -> int:
        """Folds that were stopped by the time budget."""
        return sum(r.cut for r in self.results)

    def measured(self, name: str) -> float | None:
        """A metric of the folds, their mean; None where no fold has it."""
        values = [r.result.metrics[name] for r in self.results if name in r.result.metrics]
        return float(np.mean(values)) if values else None

    def by_view(self) -> dict[str, float]:
        """F-beta under every view, classes weighted equally, at the threshold that a fold's views share: their mean."""
        folds = [r.result.by_view for r in self.results]
        return {n: float(np.mean([f[n] for f in folds])) for n in folds[0] if all(n in f for f in folds)}

    def out_of_fold(self, *, averaged: bool = False) -> NDArray[np.float32]:
        """Probabilities of every image by networks that had not seen it: `(n, k)`.

        Args:
            averaged: the mean over seeds, for a final model that averages them; else one network's, the first seed's.
        """
        chosen = [r for r in self.results if averaged or r.repeat == 0]
        n = max(int(r.indices.max()) for r in chosen) + 1
        k = chosen[0].probabilities.shape[1]
        total, count = np.zeros((n, k)), np.zeros((n, 1))
        for r in chosen:
            total[r.indices] += r.probabilities
            count[r.indices] += 1
        return np.asarray(total / np.maximum(count, 1), dtype=np.float32)

    def views(self, *, averaged: bool = False) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]:
        """Image indices `(m,)` ascending and, by view, their out-of-fold probabilities `(m, k)`.

        Args:
            averaged: as in `out_of_fold`.
        """
        chosen = [r for r in self.results if averaged or r.repeat == 0]
        names = [name for name in chosen[0].views if all(name in r.views for r in chosen)]
        shared = np.unique(np.concatenate([r.view_indices for r in chosen]))
        out = {}
        for name in names:
            total = np.zeros((len(shared), chosen[0].probabilities.shape[1]))
            count = np.zeros((len(shared), 1))
            for r in chosen:
                rows = np.searchsorted(shared, r.view_indices)
                total[rows] += r.views[name]
                count[rows] += 1
            out[name] = np.asarray(total / count, dtype=np.float32)
        return shared, out


def _drops(fold: FoldResult) -> list[int]:
    """Epochs up to its best one after which a fold's learning rate was lowered."""
    counts = [int(row.get("rate_drops", 0)) for row in fold.result.curve[: fold.result.best_epoch]]
    return [epoch for epoch, (before, after) in enumerate(itertools.pairwise(counts), 1) if after > before]


@dataclass(frozen=True)
class Choice:
    """What the final model is made of."""

    kind: str
    finalists: tuple[tuple[Confirmed, float], ...]
    """With their weights, the heaviest first; one unless it is an ensemble."""
    winner: Confirmed
    """The confirmed best finalist, which need not be the heaviest of an ensemble, nor in it."""
    refits: int = 1
    """Networks of each finalist that differ in their seeds alone."""
    gain: Interval | None = None
    """What an ensemble adds to the winner's cross-validated robust score; None where they were not compared."""

    @property
    def averaged(self) -> bool:
        """Whether the final model averages over seeds, as its out-of-fold answers then do over those of a fold."""
        return self.kind == "folds" or self.refits > 1

    def out_of_fold(self) -> NDArray[np.float32]:
        """Probabilities of every image by networks that had not seen it, averaged as the final model averages."""
        each = [c.out_of_fold(averaged=self.averaged) for c, _ in self.finalists]
        return ensemble_selection.average(each, [w for _, w in self.finalists])

    def views(self) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]:
        """The same under every shifted view, on the images `(m,)` that all members have views of."""
        shared, each = shared_views([c for c, _ in self.finalists], averaged=self.averaged)
        weights = [w for _, w in self.finalists]
        return shared, {name: ensemble_selection.average([views[name] for views in each], weights) for name in each[0]}


def shared_views(
    confirmed: Sequence[Confirmed], *, averaged: bool = False
) -> tuple[NDArray[np.int64], list[dict[str, NDArray[np.float32]]]]:
    """The images `(m,)` that every finalist has views of, and each one's probabilities `(m, k)` by view.

    Args:
        confirmed: finalists.
        averaged: as in `Confirmed.out_of_fold`.
    """
    each = [c.views(averaged=averaged) for c in confirmed]
    shared = each[0][0]
    for indices, _ in each[1:]:
        shared = np.intersect1d(shared, indices)
    names = [name for name in each[0][1] if all(name in views for _, views in each)]
    return shared, [{n: views[n][np.searchsorted(indices, shared)] for n in names} for indices, views in each]


@dataclass(frozen=True)
class OperatingPoint:
    """Calibration and threshold, fitted on cross-validated (out-of-fold) predictions."""

    calibration: Calibration
    losses: Mapping[str, float]
    """Cross-validated cross-entropy by calibration."""
    shifted: bool
    """Whether it was fitted and chosen on the shifted views."""
    policies: tuple[Policy, ...]
    policy: Policy | None
    """The one in use; None without a positive class."""
    probabilities: NDArray[np.float64]
    """Calibrated out-of-fold probabilities `(n, k)`."""
    crossed: Crossed
    """Each fold's predictions with calibration and threshold fitted on the other folds."""
    areas: tuple[float, ...]
    """ROC AUC within each fold, as the final model averages."""
    views: tuple[str, ...]
    """The shifted views behind the evidence."""
    referral: Fitted | None = None
    """The referral that was asked for; None where none was."""
    referred_on: Sample | None = None
    """What it was fitted on."""

    @property
    def threshold(self) -> float:
        """The operating threshold."""
        return self.policy.threshold if self.policy else 0.5


@dataclass(frozen=True)
class TrainingSetup:
    """How a network is trained, beside its configuration: the same for all tasks of a retraining."""

    space: str
    """The space's name."""
    context: Any
    """Its `SpaceContext`."""
    data: TrialData
    """All of train and validation; each task sets its own `train` and `validation` indices."""
    objective: str
    beta: float
    max_epochs: int
    space_fingerprint: str = ""
    """Of the space's source, where it is the user's own: a network of another source is trained again."""


def image_size(trial: TrialRecord) -> int:
    """The edge of a trial's images; 224 where its values don't say."""
    assert trial.config is not None
    return TrainingSettings.of(trial.config.values).image_size or 224


@dataclass(frozen=True)
class FoldResult:
    """The result of one fold."""

    fold: int
    repeat: int
    indices: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    view_indices: NDArray[np.int64]
    views: Mapping[str, NDArray[np.float32]]
    result: TrialResult
    path: Path
    cut: bool
    """Whether the time budget stopped it."""
