"""Networks trained on train and validation together, kept by digest: each is trained once."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from search.cli import progress_bars
from search.retraining import announce
from search.retraining.confirmation import cost_estimate
from search.retraining.confirmation.schedule import Request
from search.retraining.records import Choice, Confirmed, TrainingSetup
from search.retraining.workers.tasks import RefitTask, refit_digest
from search.retraining.workers.worker_pool import KEPT, TaskOutcome, Workers
from search.study.view import TrialRecord
from xraytune import artifacts
from xraytune.errors import FOREIGN, ArtifactError, FatalError, TrialError
from xraytune.models.file_backbones.backbone import FileBackbone
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


def everything(recipe: TrainingSetup) -> TrainingSetup:
    """The recipe with all images to train on and none to judge by."""
    data = replace(recipe.data, train=np.arange(len(recipe.data.labels)), validation=np.arange(0))
    return replace(recipe, data=data)


def refit_of(member: Confirmed, recipe: TrainingSetup, folder: Path, repeat: int = 0) -> RefitTask:
    """The final training of a finalist: for the epochs and with the rates that its folds chose.

    Args:
        member: the finalist.
        recipe: how networks are trained.
        folder: where it is kept.
        repeat: which of several that differ in their seeds; 0 has the trial's own.
    """
    assert member.trial.config is not None
    config = replace(member.trial.config, seed=(member.trial.config.seed + 999_983 * repeat) % 2**31, site="")
    task = RefitTask(everything(recipe), config, member.epochs, member.rate_drops, folder)
    return replace(task, path=folder / f"final-{member.trial.number:04d}-{refit_digest(task)}.keras")


@dataclass(frozen=True)
class EnsembleMember:
    """One network of the final model."""

    path: Path
    trial: TrialRecord
    weight: float
    epochs: int
    backbone: FileBackbone | None = None
    """By file, whose features the network takes; None: it takes images."""


def final(
    choice: Choice, request: Request, recipe: TrainingSetup, folder: Path, pool: Workers, deadline: float
) -> list[EnsembleMember]:
    """The final model's networks, trained where they are not kept yet.

    Args:
        choice: what it is made of.
        request: by which its finalists were confirmed; it has their prices.
        recipe: how networks are trained.
        folder: where they are kept.
        pool: who trains.
        deadline: `time.monotonic()` at which a training stops at the end of an epoch. Of several refits of a finalist
            those that it stopped are left out, as long as one is whole.

    Raises:
        FatalError: a finalist's network can't be trained, or kept.
    """
    if choice.kind == "folds":
        folds = choice.winner.results  # of every seed
        trial = choice.winner.trial
        shares = [(r.path.with_suffix(".keras"), 1 / len(folds), r.result.best_epoch) for r in folds]
        return [EnsembleMember(path, trial, share, epochs, _file(trial, recipe)) for path, share, epochs in shares]
    repeats = range(choice.refits)
    tasks = [(_called(c, r, choice), refit_of(c, recipe, folder, r)) for c, _ in choice.finalists for r in repeats]
    images = len(recipe.data.labels)
    each = max(
        cost_estimate.refit_seconds(request.price(c.trial), c.trial, c.results, images) for c, _ in choice.finalists
    )
    found = train(tasks, pool, "training on train + validation", each=each, deadline=deadline)
    found_members = []
    for i, (member, weight) in enumerate(choice.finalists):
        own = range(i * choice.refits, (i + 1) * choice.refits)
        for n in own:
            announce.refit(tasks[n][0], found[n].epochs, tasks[n][1].epochs, found[n].error)
        able = able_of([found[n] for n in own], member.epochs)
        if not able:
            raise FatalError(f"The final network of {tasks[own[0]][0]} could not be trained: {found[own[0]].error}")
        of = _file(member.trial, recipe)
        found_members += [EnsembleMember(n.path, member.trial, weight / len(able), n.epochs, of) for n in able]
    return found_members


def _file(trial: TrialRecord, recipe: TrainingSetup) -> FileBackbone | None:
    """The backbone by file whose features a trial's network takes; None: it takes images."""
    backbone: FileBackbone | None = recipe.context.files.get(trial.family)
    return backbone


def able_of(refits: Sequence[Trained], epochs: int) -> list[Trained]:
    """Those trained for all their epochs; where there is none the one that was trained longest, if any was."""
    trained = [network for network in refits if not network.error]
    return [n for n in trained if n.epochs >= epochs] or sorted(trained, key=lambda network: -network.epochs)[:1]


def _called(member: Confirmed, repeat: int, choice: Choice) -> str:
    return f"trial {member.trial.number}" + (f" seed {repeat + 1}" if choice.refits > 1 else "")


def train(
    tasks: Sequence[tuple[str, RefitTask]], pool: Workers, what: str, *, each: float, deadline: float | None
) -> list[Trained]:
    """Every task's network, trained where it is not kept yet.

    Args:
        tasks: with what each is called.
        pool: who trains.
        what: said while they do.
        each: seconds that the longest of them should take.
        deadline: `time.monotonic()` at which each stops at the end of an epoch, and after which none begins of a
            configuration that was trained whole with another seed; None: none.

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
        with progress_bars.trainings(len(missing), what, each * math.ceil(len(missing) / pool.count)) as bar:

            def record(outcome: TaskOutcome) -> None:
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

            def start(position: int) -> RefitTask | None:
                i = missing[position]
                if deadline and time.monotonic() > deadline and _whole_of(tasks[i][1], tasks, found):
                    found[i] = Trained(tasks[i][1].path, "", 0, 0.0, "the time was up before it began")
                    bar.left_out()
                    return None
                return replace(tasks[i][1], deadline=deadline)

            wanted = [task for _, task in (tasks[i] for i in missing)]
            for outcome in pool.run(wanted, lambda i, event: bar.event(tasks[missing[i]][0], event), start):
                record(outcome)
    return [found[i] for i in range(len(tasks))]


def _whole_of(task: RefitTask, tasks: Sequence[tuple[str, RefitTask]], found: Mapping[int, Trained]) -> bool:
    """Whether another seed of the same configuration was trained for all its epochs."""
    same = [found[i] for i, (_, other) in enumerate(tasks) if i in found and other.config.values == task.config.values]
    return any(not network.error and network.epochs >= task.epochs for network in same)


def _read(task: RefitTask) -> Trained:
    kept = artifacts.read_json(task.path.with_suffix(".json"))
    artifacts.check_sha256(task.path, kept["sha256"])
    result = TrialResult.from_json(kept["result"])
    return Trained(task.path, kept["sha256"], result.epochs, sum(result.seconds.values()))


def _kept(task: RefitTask) -> Trained | None:
    """What is kept of it, None where that is nothing, damaged, or was cut short by the time."""
    try:
        kept = _read(task)
    except (ArtifactError, *FOREIGN):
        return None
    return kept if kept.epochs >= task.epochs else None
