"""What final model depends least on luck? One configuration on each planted shortcut, made final in several ways.

The configuration is that of `doses` with the strong countermeasure. It is trained on five patient-grouped folds with
two seeds and three times on train and validation together, by the tasks that `search.retrain` itself runs; then the
test images are answered by one refit, by the mean of the three, by the mean of one seed's folds and of both. One file a
network, `results/evidence/finals/SET/`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from tests.evidence import networks
from tests.evidence.doses import EDGE, configuration
from tests.evidence.sets import PLANTED
from tests.inputs.made_networks import config
from xraytune import artifacts, data
from xraytune.data import arrays, cache
from xraytune.evaluation import metrics
from xraytune.training.inputs.trial_data import TrialData

FOLDS = 5
SEEDS = 2
REFITS = 3


@dataclass(frozen=True)
class Part:
    """One network: of a fold, or of all images where `fold` is None."""

    set: str
    seed: int
    fold: int | None = None

    @property
    def path(self) -> Path:
        """Where its answers on the test images are kept; what its training left lies beside it."""
        name = f"refit-{self.seed}" if self.fold is None else f"fold-{self.seed}-{self.fold}"
        return networks.RESULTS / "finals" / self.set / f"{name}.npz"


def folds(name: str) -> list[Part]:
    """The networks of a set's folds."""
    return [Part(name, seed, fold) for seed in range(SEEDS) for fold in range(FOLDS)]


def refits(name: str) -> list[Part]:
    """A set's networks of all images, for as many epochs as its folds chose."""
    return [Part(name, seed) for seed in range(REFITS)]


def train(name: str, missing: list[Part]) -> None:
    """Train these networks of a set, one after another, and keep what they answer to the test images."""
    from search.retraining.final_model.refit import refit_of
    from search.retraining.records import Confirmed, TrainingSetup
    from search.retraining.workers.tasks import FoldTask, load_fold
    from search.study.view import TrialRecord
    from xraytune.inference.networks import load_network, predict_network

    place = networks.workshop(name)
    values = configuration(name, "strong")
    whole = TrialData.of(place.dataset, place.data.pools, refit=True, cache=cache.folder())
    recipe = TrainingSetup(place.job.space, place.job.context, whole, "robust", 2.0, values["epochs"])
    dealt = data.folds(whole.labels.tolist(), whole.patients.tolist(), FOLDS, 0)
    test = np.load(arrays.test(place.dataset, EDGE))

    def fold_of(part: Part) -> FoldTask:
        assert part.fold is not None
        rows, held = dealt[part.fold]
        own = dataclasses.replace(recipe, data=dataclasses.replace(whole, train=rows, validation=held))
        point = config(place.space, seed=100 + part.seed, **values)
        return FoldTask(own, point, 0, part.fold, FOLDS, part.seed, part.path.with_suffix(".fold"), keep_model=True)

    for part in missing:
        part.path.parent.mkdir(parents=True, exist_ok=True)
        if part.fold is None:
            results = tuple(found for other in folds(name) if (found := load_fold(fold_of(other))))
            point = config(place.space, seed=part.seed, **values)
            trial = TrialRecord(0, "COMPLETE", (), point, None, "", "", {}, None, None, {})
            task: Any = refit_of(Confirmed(trial, results), recipe, part.path.parent)
        else:
            task = fold_of(part)
        task(_silent)
        answers = predict_network(load_network(task.path.with_suffix(".keras")), test)
        labels = np.array([image.label for image in place.dataset.select("test")], np.int32)
        with artifacts.atomic_write(part.path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, test=answers, test_labels=labels, positive=place.dataset.positive)
        print(f"{name} {part.path.stem}", flush=True)


def _silent(_event: Any) -> None:
    """No progress of epochs."""


def make(workers: int) -> None:
    """Train what is missing, in `workers` processes of one thread each; the folds first, which choose the epochs."""
    for name in PLANTED:
        for parts in (folds(name), refits(name)):
            networks.spread(train, name, [part for part in parts if not part.path.exists()], workers)


def table() -> str:
    """A line a set and kind of final model: its test figures; means ± deviation where there are several of a kind."""
    head = "| shortcut | final model | networks | test AUC | test accuracy | test F2 | test specificity |"
    lines = [head, "|---" * 7 + "|"]
    for name in PLANTED:
        if all(part.path.exists() for part in [*folds(name), *refits(name)]):
            for kind, members in _kinds(name).items():
                cells = " | ".join(_cells([_figures(paths) for paths in members]))
                lines.append(f"| {name} | {kind} | {len(members[0])} | {cells} |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def _kinds(name: str) -> dict[str, list[list[Part]]]:
    """Final models of a set by how they are made; each the networks that it averages."""
    alone, by_seed = refits(name), [[p for p in folds(name) if p.seed == seed] for seed in range(SEEDS)]
    return {
        "one refit": [[part] for part in alone],
        "the mean of three refits": [alone],
        "the mean of one seed's folds": by_seed,
        "the mean of all folds": [folds(name)],
    }


def _figures(parts: list[Part]) -> tuple[float, ...]:
    """ROC AUC, accuracy, F2 and specificity of the mean of these networks, at 0.5."""
    kept = [np.load(part.path) for part in parts]
    answers = np.mean([k["test"] for k in kept], axis=0)
    found = metrics.summary(kept[0]["test_labels"], answers, int(kept[0]["positive"]))
    return tuple(found[name] for name in ("auc", "accuracy", "f_beta", "specificity"))


def _cells(found: list[tuple[float, ...]]) -> Iterator[str]:
    for column in zip(*found, strict=True):
        yield f"{mean(column):.3f}" + (f" ± {stdev(column):.3f}" if len(column) > 1 else "")
