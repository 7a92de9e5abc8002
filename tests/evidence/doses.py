"""How much of a countermeasure? One network on each planted shortcut, none, light or strong.

A search can choose a dose by its score on validation images only, which share the shortcut. Whether that score would
choose as the test images do is what this shows. All else is the same: a convolutional network at 64 px with light
augmentation, trained as in `networks`, three seeds a dose. One file a network, `results/evidence/doses/SET/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from tests.evidence import networks, scores
from tests.inputs.made_networks import config
from xraytune.evaluation import metrics
from xraytune.training.inputs.augmentation import COUNTERMEASURES

HIDES = {
    "aspect": ("shape_jitter",), "brightness": ("exposure_jitter",), "marker": ("masking",), "blur": ("focus_jitter",),
    "machine": ("shape_jitter", "exposure_jitter", "focus_jitter"),
}  # fmt: skip
"""What hides each planted shortcut; all of them in one dose."""

STRENGTHS = ("none", "light", "strong")
SEEDS = 3
REACH = 1.0
EDGE = 64


@dataclass(frozen=True)
class Dose:
    """One network to be trained."""

    set: str
    strength: str
    seed: int

    @property
    def path(self) -> Path:
        """Where its answers are kept."""
        return networks.RESULTS / "doses" / self.set / f"{self.strength}-{self.seed}.npz"


def doses(name: str) -> list[Dose]:
    """All networks of a set."""
    return [Dose(name, strength, seed) for seed in range(SEEDS) for strength in STRENGTHS]


def configuration(name: str, strength: str) -> dict[str, Any]:
    """A small convolutional network with a set's countermeasure in this strength."""
    return {
        "family": "cnn", "cnn/image_size": EDGE, "cnn/blocks": 4, "cnn/width": 16, "cnn/batch_norm": True,
        "head/pool": "avg", "head/layers": 0, "batch_size": 32, "learning_rate": 2e-3, "epochs": 10,
        "augmentation": "light", **dict.fromkeys(COUNTERMEASURES, "none"), **dict.fromkeys(HIDES[name], strength),
    }  # fmt: skip


def train(name: str, missing: list[Dose]) -> None:
    """Train these networks of a set, one after another."""
    place = networks.workshop(name)
    for dose in missing:
        values = configuration(name, dose.strength)
        place.network(config(place.space, seed=dose.seed, **values), dose.path)


def make(workers: int) -> None:
    """Train what is missing, in `workers` processes of one thread each."""
    for name in HIDES:
        networks.spread(train, name, [dose for dose in doses(name) if not dose.path.exists()], workers)


def table(names: Iterable[str]) -> str:
    """A line a set and dose: the score that a search sees, what the test images say; means of seeds ± deviation."""
    columns = "dose | robust F2 | no joint views | clean AUC | test AUC | test balanced accuracy"
    lines = [f"| shortcut | countermeasure | {columns} |", "|---" * 8 + "|"]
    for name in names:
        for strength in STRENGTHS:
            found = [_figures(dose.path) for dose in doses(name) if dose.strength == strength and dose.path.exists()]
            if found:
                countermeasures = ", ".join(f"`{countermeasure}`" for countermeasure in HIDES[name])
                lines.append(f"| {name} | {countermeasures} | {strength} | {' | '.join(_cells(found))} |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def _figures(path: Path) -> tuple[float, ...]:
    """What the network of a file reached; at the threshold that its views share where there is a decision."""
    network = scores.read(path)
    assert network is not None
    score = scores.robust_score(network, REACH)
    clean = metrics.summary(network.labels, network.validation, network.positive)
    test = metrics.summary(network.test_labels, network.test[0], network.positive, score.threshold)
    return score.value, scores.one_at_a_time(network), clean["auc"], test["auc"], test["balanced_accuracy"]


def _cells(found: list[tuple[float, ...]]) -> Iterator[str]:
    for column in zip(*found, strict=True):
        yield f"{mean(column):.3f} ± {stdev(column) if len(column) > 1 else 0.0:.3f}"
