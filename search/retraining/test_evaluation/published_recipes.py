"""`--compare-recipes`: the study's published recipes, trained as the final model is, and their test predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import spaces
from search.retraining import records
from search.retraining.confirmation import cost_estimate
from search.retraining.final_model import refit
from search.retraining.final_model.refit import Trained
from search.retraining.records import TrainingSetup, image_size
from search.retraining.workers.tasks import NetworkTask, RefitTask, refit_digest
from search.retraining.workers.worker_pool import Workers
from search.study.view import StudyView, TrialRecord, recipes_of
from xraytune.errors import FatalError
from xraytune.evaluation.shortcut_audit import Audit
from xraytune.models.cost import this_machine
from xraytune.records import TrialConfig, Value
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
        records.Rival(
            r.name,
            r.trial.number if r.trial.number >= 0 else None,
            found[i],
            records.adapted(r.name, r.trial, max_epochs),
        )
        for i, r in enumerate(able)
    ]


def compared(study: StudyView, images: int, seconds: float) -> list[tuple[str, TrialRecord]]:
    """The recipes that are trained: those that the study tried, then others that fit the time, as they were published.

    One that the study did not try is a trial without a number (negative) and without a result, in state WAITING. Its
    backbone must be one that the study has; a quarter of the time pays for all of them, cheapest first.

    Args:
        study: whose recipes.
        images: training images.
        seconds: the time budget of the retraining.
    """
    tried = recipes_of(study)
    names = {name for name, _ in tried}
    context = spaces.SpaceContext(weights=dict.fromkeys(study.spec.weights, ""), images=images)
    space = spaces.get(study.spec.space, context)
    if not isinstance(space, spaces.Space):
        return tried
    nothing = Audit(0.5, 0, (), "")
    search = spaces.SearchContext(audit=nothing, machine=this_machine(), seconds=seconds, recipes="fitting")
    others = [(name, values) for name, values in space.recipes(search)[0] if name not in names]
    return tried + [
        (name, _untried(-1 - index, name, values, study.spec.seed)) for index, (name, values) in enumerate(others)
    ]


def _untried(number: int, name: str, values: Mapping[str, Value], seed: int) -> TrialRecord:
    config = TrialConfig(str(values["family"]), dict(values), seed)
    return TrialRecord(number, "WAITING", (), config, None, "", "", {}, None, None, {"recipe": name})


def refits(
    recipes: Sequence[tuple[str, TrialRecord]], recipe: TrainingSetup, folder: Path
) -> list[tuple[str, TrialRecord, RefitTask]]:
    """A training on train + validation for each recipe.

    It lasts as many epochs as were best in the search; where the search stopped it early (pruned) or did not try it, as
    many as the recipe says. One that was not tried is trained in the whole space, at the study's precision.

    Args:
        recipes: from `compared`.
        recipe: all of train and validation.
        folder: where networks are kept.
    """
    precision = {name: values for name, values in recipe.context.narrowed.items() if name == "precision"}
    whole_space = replace(recipe, context=replace(recipe.context, families=(), narrowed=precision))
    out = []
    for name, trial in recipes:
        if trial.config is None or trial.state == "FAIL":
            continue
        whole = trial.state == "COMPLETE" and trial.result is not None
        epochs = trial.result.best_epoch if whole and trial.result else TrainingSettings.of(trial.config.values).epochs
        task = RefitTask(recipe if trial.number >= 0 else whole_space, trial.config, epochs, (), folder)
        out.append((name, trial, replace(task, path=folder / f"recipe-{name}-{refit_digest(task)}.keras")))
    return out
