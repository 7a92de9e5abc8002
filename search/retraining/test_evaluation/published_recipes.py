"""`--compare-recipes`: the study's published recipes, trained as the final model is, and their test predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.retraining import records
from search.retraining.confirmation import cost_estimate
from search.retraining.final_model import refit
from search.retraining.final_model.refit import Trained
from search.retraining.records import TrainingSetup, image_size
from search.retraining.workers.tasks import NetworkTask, RefitTask, refit_digest
from search.retraining.workers.worker_pool import Workers
from search.study.view import StudyView, TrialRecord, recipes_of
from xraytune.errors import FatalError
from xraytune.training.optimization.settings import TrainingSettings


@dataclass(frozen=True)
class Retrained:
    """A recipe of the study trained on train + validation."""

    name: str
    trial: TrialRecord
    network: Trained

    @property
    def image_size(self) -> int:
        """Of its images."""
        return image_size(self.trial)


def train(recipes: Sequence[tuple[str, TrialRecord, RefitTask]], pool: Workers) -> list[Retrained]:
    """Train them, beyond the time budget.

    Args:
        recipes: from `refits`.
        pool: who trains.

    Raises:
        FatalError: as `refit.train`.
    """
    found = refit.train(
        [(f"recipe {name}", task) for name, _, task in recipes], pool, "training the study's recipes",
        each=max((cost_estimate.of_search(trial).refit for _, trial, _ in recipes), default=0.0), deadline=None,
    )  # fmt: skip
    return [Retrained(name, trial, network) for (name, trial, _), network in zip(recipes, found, strict=True)]


def answers(
    rivals: Sequence[Retrained], pool: Workers, images: Mapping[int, Any], max_epochs: int, *, first: int | None = None
) -> list[records.Rival]:
    """Their uncalibrated predictions of decoded images; recipes that could not be trained are left out.

    Args:
        rivals: from `train`.
        pool: in whose processes the networks run.
        images: files of decoded ones by edge.
        max_epochs: the study's bound on epochs, 0 for none.
        first: only so many of them.

    Raises:
        FatalError: a kept network can't be used.
    """
    able = [r for r in rivals if not r.network.error]
    tasks = [NetworkTask(r.network.path, r.network.sha256, images[r.image_size], first) for r in able]
    found: dict[int, NDArray[np.float32]] = {}
    for outcome in pool.run(tasks):
        if outcome.error:
            raise FatalError(f"The network of recipe {able[outcome.index].name} could not be used: {outcome.error}")
        found[outcome.index] = outcome.value
    return [
        records.Rival(r.name, r.trial.number, found[i], records.adapted(r.name, r.trial, max_epochs))
        for i, r in enumerate(able)
    ]


def refits(study: StudyView, recipe: TrainingSetup, folder: Path) -> list[tuple[str, TrialRecord, RefitTask]]:
    """A training on train + validation for each recipe of the study.

    It lasts as many epochs as were best in the search; where the search stopped it early (pruned), as many as the
    recipe says.

    Args:
        study: whose recipes.
        recipe: all of train and validation.
        folder: where networks are kept.
    """
    out = []
    for name, trial in recipes_of(study):
        if trial.config is None or trial.state == "FAIL":
            continue
        whole = trial.state == "COMPLETE" and trial.result is not None
        epochs = trial.result.best_epoch if whole and trial.result else TrainingSettings.of(trial.config.values).epochs
        task = RefitTask(recipe, trial.config, epochs, (), folder)
        out.append((name, trial, replace(task, path=folder / f"recipe-{trial.number:04d}-{refit_digest(task)}.keras")))
    return out
