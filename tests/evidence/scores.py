"""Candidate scores of a network, and how well each picks the one that does best on the test images.

A candidate sees validation images and their views only. It is judged by Spearman's correlation with what the network
achieves on the test images, and by the regret of picking by it: how much worse the picked network is than the best one.
Intervals are of 2,000 bootstrap draws of the networks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from tests.evidence import networks
from xraytune.evaluation import metrics
from xraytune.evaluation import robust_score as robust
from xraytune.evaluation.robust_score import Aggregate
from xraytune.training.inputs.shifted_views import LIKE

Floats = NDArray[np.float64]
DRAWS = 2000


@dataclass(frozen=True)
class Network:
    """All that one trained network answered."""

    positive: int | None
    labels: NDArray[np.int32]
    validation: NDArray[np.float32]
    view_labels: NDArray[np.int32]
    views: Mapping[float, Mapping[str, NDArray[np.float32]]]
    """Reach → view → probabilities `(m, k)`."""

    test_labels: NDArray[np.int32]
    test: tuple[NDArray[np.float32], ...]
    """Test images as they are, or under each planted shift."""


def load(name: str, shifted: bool = False) -> list[Network]:
    """The networks of a set that were trained, `shifted` with their test images under the planted shifts."""
    found = []
    for path in sorted((networks.RESULTS / "networks" / name).glob("*.npz")):
        network = read(path, shifted)
        if network is not None:
            found.append(network)
    return found


def read(path: Path, shifted: bool = False) -> Network | None:
    """The network of a file, None where its training failed."""
    with np.load(path) as kept:
        if "failed" in kept:
            return None
        names = [str(n) for n in kept["view_names"]]
        views = {reach: dict(zip(names, kept[f"views_{reach:g}"], strict=True)) for reach in networks.REACHES}
        positive = int(kept["positive"])
        test = tuple(kept["test_shifted"]) if shifted else (kept["test"],)
        return Network(
            None if positive < 0 else positive, kept["labels"], kept["validation"], kept["view_labels"], views,
            kept["test_labels"], test,
        )  # fmt: skip


# ── candidates ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _clean(name: str, network: Network) -> float:
    return metrics.summary(network.labels, network.validation, network.positive)[name]


def _loss(network: Network) -> float:
    chosen = network.validation[np.arange(len(network.labels)), network.labels]
    return float(np.log(np.clip(chosen, 1e-7, 1)).mean())


def _robust(reach: float, aggregate: Aggregate, network: Network) -> float:
    return robust.score(network.view_labels, network.views[reach], network.positive, aggregate=aggregate).value


def robust_score(network: Network, reach: float) -> robust.RobustScore:
    """The score that a search sees, with the threshold that all views share."""
    return robust.score(network.view_labels, network.views[reach], network.positive)


def one_at_a_time(network: Network) -> float:
    """The score as it is without the views that move several properties at once."""
    single = {name: answers for name, answers in network.views[1.0].items() if not name.startswith(LIKE)}
    return robust.score(network.view_labels, single, network.positive).value


def _plain_mean(network: Network) -> float:
    figures = [metrics.summary(network.view_labels, p, network.positive)["f_beta"] for p in network.views[1.0].values()]
    return float(np.mean(figures))


def _view_auc(pick: Callable[[Floats], float], network: Network) -> float:
    aucs = [metrics.summary(network.view_labels, p, network.positive)["auc"] for p in network.views[1.0].values()]
    return float(pick(np.array(aucs)))


CANDIDATES: dict[str, Callable[[Network], float]] = {
    "clean F2": functools.partial(_clean, "f_beta"),
    "clean AUC": functools.partial(_clean, "auc"),
    "validation loss": _loss,
    "mean F2 over views, threshold 0.5": _plain_mean,
    "robust F2, mean and worst, reach 1, no joint views": one_at_a_time,
    "mean AUC over views": functools.partial(_view_auc, np.mean),
    "worst AUC of the views": functools.partial(_view_auc, np.min),
} | {
    f"robust F2, {aggregate.value}, reach {reach:g}": functools.partial(_robust, reach, aggregate)
    for aggregate in Aggregate
    for reach in networks.REACHES
}

TARGETS = {"AUC": "auc", "balanced accuracy": "balanced_accuracy", "F2": "f_beta"}


def achieved(network: Network) -> dict[str, float]:
    """What a network does on the test images, threshold 0.5; the mean over planted shifts where there are some."""
    figures = [metrics.summary(network.test_labels, p, network.positive) for p in network.test]
    return {name: float(np.mean([f[key] for f in figures])) for name, key in TARGETS.items()}


# ── judging them ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} – {self.high:.2f})"


@dataclass(frozen=True)
class Verdict:
    """How one candidate ranks networks by one target, mean over the sets."""

    correlation: Interval
    """Spearman's."""

    regret: Interval
    """In the target's unit."""


def judge(sets: Mapping[str, list[Network]], seed: int = 0) -> dict[str, dict[str, Verdict]]:
    """Candidate → target → verdict, over all `sets` with equal weight."""
    rng = np.random.default_rng(seed)
    draws = {
        name: np.vstack([np.arange(len(n)), rng.integers(len(n), size=(DRAWS, len(n)))]) for name, n in sets.items()
    }
    targets = {name: [achieved(network) for network in found] for name, found in sets.items()}
    verdicts: dict[str, dict[str, Verdict]] = {}
    for candidate, score in CANDIDATES.items():
        scores = {name: np.array([score(network) for network in found]) for name, found in sets.items()}
        verdicts[candidate] = {}
        for target in TARGETS:
            reached = {name: np.array([t[target] for t in targets[name]]) for name in sets}
            correlation = np.mean([_spearman(scores[n][draws[n]], reached[n][draws[n]]) for n in sets], axis=0)
            regret = np.mean([_regret(scores[n][draws[n]], reached[n][draws[n]]) for n in sets], axis=0)
            verdicts[candidate][target] = Verdict(_interval(correlation), _interval(regret))
    return verdicts


def _interval(values: Floats) -> Interval:
    """The first is the figure itself, the rest are bootstrap draws of it."""
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return Interval(float(values[0]), float(low), float(high))


def _spearman(a: Floats, b: Floats) -> Floats:
    """Row by row, `(draws, n)` to `(draws,)`; NaN where a draw has no spread."""
    x, y = rankdata(a, axis=1), rankdata(b, axis=1)
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.asarray((x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1)))


def _regret(scores: Floats, reached: Floats) -> Floats:
    picked = np.take_along_axis(reached, scores.argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.asarray(reached.max(axis=1) - picked)
