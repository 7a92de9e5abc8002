"""Networks trained on train and validation together, kept by digest: each is trained once. Called by `search.final`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from search import printing
from search.confirm import Confirmed
from search.trainings import Recipe, RefitTask, refit_digest
from search.workers import KEPT, Outcome, Workers
from xraytune import artifacts
from xraytune.errors import ArtifactError, FatalError, TrialError
from xraytune.records import TrialResult


@dataclass(frozen=True)
class Trained:
    """A kept network, or why there is none."""

    path: Path
    sha256: str
    epochs: int
    """That it was trained for; fewer than wanted where the time was up."""
    seconds: float
    error: str = ""


def everything(recipe: Recipe) -> Recipe:
    """The recipe with all images to train on and none to judge by."""
    data = replace(recipe.data, train=np.arange(len(recipe.data.labels)), validation=np.arange(0))
    return replace(recipe, data=data)


def refit_of(member: Confirmed, recipe: Recipe, folder: Path) -> RefitTask:
    """The final training of a finalist: for the epochs and with the rates that its folds chose."""
    assert member.trial.config is not None
    task = RefitTask(everything(recipe), member.trial.config, member.epochs, member.rate_drops, folder)
    return replace(task, path=folder / f"final-{member.trial.number:04d}-{refit_digest(task)}.keras")


def train(
    tasks: Sequence[tuple[str, RefitTask]], pool: Workers, what: str, *, expected: float, deadline: float | None
) -> list[Trained]:
    """Every task's network, trained where it is not kept yet.

    Args:
        tasks: with what each is called.
        pool: who trains.
        what: said while they do.
        expected: seconds that all should take.
        deadline: `time.monotonic()` at which each stops at the end of an epoch; None: none.

    Raises:
        FatalError: the disk is full, a folder is gone.
    """
    found: dict[int, Trained] = {}
    for i, (_, task) in enumerate(tasks):
        kept = _kept(task)
        if kept is not None:
            found[i] = kept
    missing = [i for i in range(len(tasks)) if i not in found]
    if missing:
        with printing.trainings(len(missing), what, expected) as bar:

            def record(outcome: Outcome) -> None:
                i = missing[outcome.index]
                name, task = tasks[i]
                if isinstance(outcome.error, TrialError):
                    found[i] = Trained(task.path, "", 0, 0.0, f"{outcome.error.cause}: {outcome.error.message}")
                    bar.done(name, found[i].error, failed=True)
                    return
                if outcome.error:
                    raise outcome.error
                kept = {"sha256": artifacts.sha256(task.path), "result": outcome.value}
                try:
                    artifacts.write_json(task.path.with_suffix(".json"), kept)
                except OSError as error:
                    raise FatalError(f"{task.path} can't be kept: {error.strerror}. {KEPT}") from None
                found[i] = _read(task)
                bar.done(name, f"{found[i].epochs} of {task.epochs} epochs", failed=False)

            wanted = [replace(tasks[i][1], deadline=deadline) for i in missing]
            for outcome in pool.run(wanted, lambda i, event: bar.event(tasks[missing[i]][0], event)):
                record(outcome)
    return [found[i] for i in range(len(tasks))]


def _read(task: RefitTask) -> Trained:
    kept = artifacts.read_json(task.path.with_suffix(".json"))
    artifacts.check_sha256(task.path, kept["sha256"])
    result = TrialResult.from_json(kept["result"])
    return Trained(task.path, kept["sha256"], result.epochs, sum(result.seconds.values()))


def _kept(task: RefitTask) -> Trained | None:
    """What is kept of it, None where that is nothing, damaged, or was cut short by the time."""
    try:
        kept = _read(task)
    except (ArtifactError, ValueError, TypeError, KeyError):
        return None
    return kept if kept.epochs >= task.epochs else None
