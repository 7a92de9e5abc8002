"""The finalists trained again on patient-grouped folds, so that the winner is not the luckiest seed.

Each fold of each seed of each finalist is one task; what it leaves (out-of-fold predictions, curve, result) is kept
under `results/<study>/confirmation/` by the digest of everything that went into it, so that a confirmation killed at
any point goes on from its last finished fold. Called by `search.retrain`.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.storage import TrialRecord
from search.workers import Outcome, Report, Workers
from xraytune import artifacts
from xraytune.errors import FatalError, TrialError
from xraytune.records import TrialConfig, TrialResult
from xraytune.trial_data import TrialData, with_views

START = 12.0
"""Seconds until a worker has imported its framework and traced a first network, on two cores."""


@dataclass(frozen=True)
class Recipe:
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


@dataclass(frozen=True)
class Plan:
    """How much confirmation fits in the time."""

    finalists: tuple[TrialRecord, ...]
    folds: int
    seeds: int
    seconds: float
    """Expected, with all workers."""

    @property
    def trainings(self) -> int:
        """Folds × seeds × finalists."""
        return len(self.finalists) * self.folds * self.seeds


def make_plan(
    finalists: Sequence[TrialRecord], folds: int, seeds: int, *, budget: float, workers: int, final: float = 1.0
) -> Plan:
    """The largest confirmation that fits: seeds shrink first, then finalists, then folds; never below 1 × 3 × 1.

    Args:
        finalists: best first.
        folds: wanted, at least 3.
        seeds: wanted.
        budget: seconds.
        workers: trainings at once.
        final: trainings that follow (the refit), in units of a finalist's own.
    """

    def cost(n: int, k: int, s: int) -> float:
        each = [training_seconds(t) for t in finalists[:n]]
        longest = max(each)
        # whole rounds of the workers, the last of which waits for its longest training
        return START + sum(each) * k * s / workers + longest * (1 - 1 / workers) + final * longest

    n, k, s = len(finalists), max(3, folds), max(1, seeds)
    while cost(n, k, s) > budget and (s > 1 or n > 1 or k > 3):
        if s > 1:
            s -= 1
        elif n > 1:
            n -= 1
        else:
            k -= 1
    return Plan(tuple(finalists[:n]), k, s, cost(n, k, s))


def training_seconds(trial: TrialRecord) -> float:
    """What one training of this configuration took in the search."""
    return max(1.0, trial.seconds or 60.0)


@dataclass(frozen=True)
class FoldTask:
    """One training on all folds but one."""

    recipe: Recipe
    config: TrialConfig
    trial: int
    fold: int
    folds: int
    repeat: int
    """Which of the seeds, from 0."""
    path: Path
    """The `.npz` that it leaves."""
    keep_model: bool
    """Whether the fold's network is kept too, beside it as `.keras`."""

    def __call__(self, report: Report) -> Path:
        """Train; write the predictions; return their file. Runs in a worker."""
        import keras

        keras.backend.clear_session()
        training = _train(self.recipe, self.config, report, epochs=None)
        result = training.finish()
        validation = np.asarray(self.recipe.data.validation)
        probabilities = training.validation_predictions()
        if self.keep_model:
            save_network(training.model, self.path.with_suffix(".keras"))
        with artifacts.atomic_write(self.path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(
                stream,
                probabilities=np.asarray(probabilities, dtype=np.float32),
                indices=validation,
                view_indices=validation[training.view_positions],
                result=np.array(json.dumps(result.to_json())),
                allow_pickle=False,
                **{f"view:{name}": p for name, p in training.view_predictions.items()},
            )
        return self.path


def _train(recipe: Recipe, config: TrialConfig, report: Report, epochs: int | None) -> Any:
    """A `Training`, stepped until it ends by itself or after so many epochs."""
    import spaces
    from xraytune.training import Training

    space = spaces.get(recipe.space, recipe.context)
    # views are planned on the fold's own training images: what is held out has no part in them
    data = with_views(recipe.data, config.seed) if len(recipe.data.validation) else recipe.data
    training = Training(space, config, data, objective=recipe.objective, beta=recipe.beta, max_epochs=recipe.max_epochs)
    while True:
        epoch = training.step()
        report((epoch.epoch, epoch.value))
        if epoch.done or (epochs is not None and epoch.epoch >= epochs):
            return training


def pool_of(data: TrialData, size: int) -> NDArray[np.uint8]:
    """The decoded images at one size, mapped read-only."""
    pool = data.pools[size]
    return np.load(pool, mmap_mode="r") if isinstance(pool, Path) else np.asarray(pool)


def save_network(model: Any, path: Path) -> None:
    """Keep a network without its optimiser's state, whole or not at all."""
    import keras

    try:
        plain = keras.Model(model.inputs, model.outputs, name=model.name)
    except (AttributeError, ValueError, TypeError):  # a subclassed network has no graph
        plain = model
    with artifacts.atomic_write(path) as temporary:
        plain.save(temporary)


@dataclass(frozen=True)
class RefitTask:
    """One network on train and validation together, for the epochs that the folds chose."""

    recipe: Recipe
    config: TrialConfig
    epochs: int
    path: Path

    def __call__(self, report: Report) -> dict[str, Any]:
        """Train; save the network at `path`; return its result as JSON. Runs in a worker."""
        import keras

        keras.backend.clear_session()
        training = _train(self.recipe, self.config, report, epochs=self.epochs)
        result = training.finish()
        save_network(training.model, self.path)
        plain: dict[str, Any] = result.to_json()
        return plain


@dataclass(frozen=True)
class PredictTask:
    """The saved model, loaded back and checked, on decoded images."""

    folder: Path
    """The model's."""
    arrays: Mapping[int, Path]
    """Decoded images by edge."""

    def __call__(self, report: Report) -> NDArray[np.float32]:
        """Probabilities `(n, k)` before calibration. Runs in a worker."""
        from xraytune.model_file import load_model

        squares = {size: np.load(path, mmap_mode="r") for size, path in self.arrays.items()}
        return load_model(self.folder).raw_squares(squares)


@dataclass(frozen=True)
class FoldResult:
    """What one fold left."""

    fold: int
    repeat: int
    indices: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    view_indices: NDArray[np.int64]
    views: Mapping[str, NDArray[np.float32]]
    result: TrialResult
    path: Path


@dataclass(frozen=True)
class Confirmed:
    """A finalist after all its folds."""

    trial: TrialRecord
    results: tuple[FoldResult, ...]

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
        """ROC AUC, mean over folds and seeds: tells finalists apart whose objective is that of the trivial answer."""
        return float(np.mean([r.result.metrics.get("val_auc", 0.0) for r in self.results]))

    @property
    def error(self) -> float:
        """Its standard error over folds and seeds."""
        return float(np.std(self.values, ddof=1) / math.sqrt(len(self.values))) if len(self.values) > 1 else 0.0

    @property
    def epochs(self) -> int:
        """The epochs that the folds chose: their median."""
        return max(1, round(float(np.median([r.result.best_epoch for r in self.results]))))

    def out_of_fold(self) -> NDArray[np.float32]:
        """Probabilities of every image by networks that had not seen it, mean over seeds: `(n, k)`."""
        n = max(int(r.indices.max()) for r in self.results) + 1
        k = self.results[0].probabilities.shape[1]
        total, count = np.zeros((n, k)), np.zeros((n, 1))
        for r in self.results:
            total[r.indices] += r.probabilities
            count[r.indices] += 1
        return np.asarray(total / np.maximum(count, 1), dtype=np.float32)

    def views(self) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]:
        """Image indices `(m,)` and, by view, their out-of-fold probabilities `(m, k)` by the first seed's networks."""
        first = [r for r in self.results if r.repeat == 0]
        names = [name for name in first[0].views if all(name in r.views for r in first)]
        indices = np.concatenate([r.view_indices for r in first])
        return indices, {name: np.concatenate([r.views[name] for r in first]) for name in names}


def load_fold(task: FoldTask) -> FoldResult | None:
    """What the task left, None where it has not run (or its file was damaged: then it runs again)."""
    try:
        with np.load(task.path, allow_pickle=False) as kept:
            result = TrialResult.from_json(json.loads(str(kept["result"])))
            views = {name.removeprefix("view:"): kept[name] for name in kept.files if name.startswith("view:")}
            found = FoldResult(
                task.fold, task.repeat, kept["indices"], kept["probabilities"], kept["view_indices"], views, result,
                task.path,
            )  # fmt: skip
    except (OSError, ValueError, KeyError, EOFError, TypeError):
        return None
    if task.keep_model and not task.path.with_suffix(".keras").exists():
        return None
    return found


def tasks(
    plan: Plan,
    recipe: Recipe,
    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    folder: Path,
    keep_models: bool,
) -> list[FoldTask]:
    """All trainings of a plan, first seed first, best finalist first, so that what is cut off is what matters least."""
    out = []
    for repeat in range(plan.seeds):
        for trial in plan.finalists:
            assert trial.config is not None
            config = replace(trial.config, seed=(trial.config.seed + 1_000_003 * (repeat + 1)) % 2**31)
            for fold, (train, validation) in enumerate(folds):
                data = replace(recipe.data, train=train, validation=validation)
                own = replace(recipe, data=data)
                name = _digest(own, config, fold, len(folds))
                path = folder / f"trial-{trial.number:04d}-seed-{repeat}-fold-{fold}-{name}.npz"
                out.append(FoldTask(own, config, trial.number, fold, len(folds), repeat, path, keep_models))
    return out


def _digest(recipe: Recipe, config: TrialConfig, fold: int, folds: int) -> str:
    """Names a training by everything that went into it."""
    data = recipe.data
    parts = [
        config.to_json(), fold, folds, recipe.space, recipe.objective, recipe.beta, recipe.max_epochs,
        data.fingerprint, list(data.classes), data.positive, data.channels,
        hashlib.sha256(np.ascontiguousarray(data.validation, dtype=np.int64).tobytes()).hexdigest(),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def run(
    plan: Plan,
    wanted: Sequence[FoldTask],
    workers: Workers,
    *,
    deadline: float,
    on_event: Callable[[FoldTask, tuple[int, float]], None],
    on_done: Callable[[FoldTask, FoldResult | None, str], None],
) -> list[Confirmed]:
    """Run what is not there yet; the finalists with all their folds, best first.

    Args:
        plan: what to compare.
        wanted: its tasks, from `tasks`.
        workers: who runs them.
        deadline: `time.monotonic()` after which only the first finalist's first seed still starts.
        on_event: gets a task and (epoch, value) after every epoch.
        on_done: gets a task, its result (None if it failed) and the error's message.

    Raises:
        FatalError: no finalist could be trained.
    """
    done: dict[int, FoldResult] = {}
    for i, task in enumerate(wanted):
        kept = load_fold(task)
        if kept is not None:
            done[i] = kept
            on_done(task, kept, "")
    missing = [i for i in range(len(wanted)) if i not in done]
    least = plan.finalists[0].number
    failures: dict[int, str] = {}

    def may_start(position: int) -> bool:
        task = wanted[missing[position]]
        if task.trial in failures:
            return False
        return time.monotonic() < deadline or (task.repeat == 0 and task.trial == least)

    def record(outcome: Outcome) -> None:
        i = missing[outcome.index]
        if isinstance(outcome.error, TrialError):
            failures[wanted[i].trial] = f"{outcome.error.cause}: {outcome.error.message}"
            on_done(wanted[i], None, failures[wanted[i].trial])
            return
        if outcome.error is not None:
            raise outcome.error
        kept = load_fold(wanted[i])
        if kept is None:
            raise FatalError(f"{wanted[i].path} was written but can't be read back: is the disk full?")
        done[i] = kept
        on_done(wanted[i], kept, "")

    for outcome in workers.run([wanted[i] for i in missing], lambda p, e: on_event(wanted[missing[p]], e), may_start):
        record(outcome)
    # compared on the same seeds: those that every finalist left in the race has finished
    confirmed = []
    for trial in plan.finalists:
        mine = [(wanted[i], r) for i, r in done.items() if wanted[i].trial == trial.number]
        whole = [s for s in range(plan.seeds) if sum(t.repeat == s for t, _ in mine) == plan.folds]
        if trial.number not in failures and whole:
            confirmed.append(Confirmed(trial, tuple(r for t, r in mine if t.repeat in whole)))
    if not confirmed:
        causes = "\n".join(f"  trial {number}: {message}" for number, message in failures.items())
        raise FatalError(f"No finalist could be trained again:\n{causes}")
    common = set.intersection(*({r.repeat for r in c.results} for c in confirmed))
    same = [Confirmed(c.trial, tuple(r for r in c.results if r.repeat in common)) for c in confirmed]
    return sorted(same, key=lambda c: (-round(c.mean, 9), -c.ranking))
