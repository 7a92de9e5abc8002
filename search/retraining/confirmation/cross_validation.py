"""The finalists trained again on patient-grouped folds: their order must not depend on one split and one seed.

Each fold of each seed of each finalist is one task (`search.retraining.workers.tasks`). Its file is kept under
`results/<study>/confirmation/`, so that a confirmation killed at any point goes on from its last finished fold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.retraining.confirmation.schedule import FoldKey, Request, Schedule
from search.retraining.records import Confirmed, FoldResult, TrainingSetup
from search.retraining.workers.tasks import FoldTask, fold_digest, load_fold
from search.retraining.workers.worker_pool import TaskOutcome, Workers
from xraytune.errors import FatalError, TrialError


def tasks(
    request: Request,
    setup: TrainingSetup,
    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    folder: Path,
    *,
    keep_models: bool = False,
    tta: str = "",
) -> list[FoldTask]:
    """All trainings of a request: the first seed first, the best finalist first."""
    out = []
    for repeat in range(request.seeds):
        for trial in request.finalists:
            assert trial.config is not None
            config = replace(trial.config, seed=(trial.config.seed + 1_000_003 * (repeat + 1)) % 2**31, site="")
            for fold, (train, validation) in enumerate(folds):
                own = replace(setup, data=replace(setup.data, train=train, validation=validation))
                name = fold_digest(own, config, fold, len(folds), tta)
                path = folder / f"trial-{trial.number:04d}-seed-{repeat}-fold-{fold}-{name}.npz"
                out.append(FoldTask(own, config, trial.number, fold, len(folds), repeat, path, keep_models, tta))
    return out


@dataclass(frozen=True)
class Listener:
    """Who is told of a confirmation's trainings."""

    on_event: Callable[[FoldTask, tuple[int, float]], None]
    """Gets a task and (epoch, value) after every epoch."""
    on_done: Callable[[FoldTask, FoldResult | None, str], None]
    """Gets a task, its result (None if it failed) and the error's message."""
    on_left_out: Callable[[FoldTask], None]
    """Gets a task that does not fit the time any more."""


def run(request: Request, wanted: Sequence[FoldTask], workers: Workers, end: float, told: Listener) -> list[Confirmed]:
    """Run what is not there yet; the finalists with all their folds, best first.

    Args:
        request: what to compare.
        wanted: its tasks, from `tasks`.
        workers: who runs them.
        end: `time.monotonic()` at which all of the retraining should be over. What can't be finished before the final
            training must begin is stopped and left out; the first finalist's first seed is stopped at an epoch's end.
        told: is told of each.

    Raises:
        FatalError: no finalist could be trained.
    """
    schedule = Schedule(request, end)
    waiting = []
    for task in wanted:
        kept = load_fold(task)
        if kept is None:
            waiting.append(task)
            continue
        schedule.kept(task, kept)
        told.on_done(task, kept, "")
    left_out: set[Path] = set()

    def start(position: int) -> FoldTask | None:
        task = waiting[position]
        started = schedule.start(task)
        if started is None and task.path not in left_out:
            left_out.add(task.path)
            told.on_left_out(task)
        return started

    def event(position: int, event: tuple[int, float]) -> None:
        told.on_event(waiting[position], event)

    while True:
        for outcome in workers.run(waiting, event, start):
            _record(waiting[outcome.index], outcome, schedule, told)
        if not schedule.once_more():
            break
        waiting = [t for t in waiting if schedule.is_missing(t)]
    return _ranked(request, schedule.done, schedule.failures)


def _record(task: FoldTask, outcome: TaskOutcome, schedule: Schedule, told: Listener) -> None:
    """How a task ended.

    Raises:
        FatalError: the disk is full, a folder is gone.
    """
    if isinstance(outcome.error, TrialError):
        told.on_done(task, None, schedule.failed(task, outcome.error))
        return
    if outcome.error is not None:
        raise outcome.error
    kept = load_fold(task, cut=True)
    if kept is None:
        raise FatalError(f"{task.path} was written but can't be read back: is the disk full?")
    schedule.ended(task, kept)
    told.on_done(task, kept, "")


def _ranked(request: Request, done: Mapping[FoldKey, FoldResult], failures: Mapping[int, str]) -> list[Confirmed]:
    """The finalists with all their folds, best first, compared on the seeds that all of them have finished."""
    confirmed = []
    for trial in request.finalists:
        mine = [r for key, r in sorted(done.items()) if key[0] == trial.number]
        whole = [s for s in range(request.seeds) if sum(r.repeat == s for r in mine) == request.folds]
        if trial.number not in failures and 0 in whole:
            confirmed.append(Confirmed(trial, tuple(r for r in mine if r.repeat in whole), request.decides))
    if not confirmed:
        causes = "\n".join(f"  trial {number}: {message}" for number, message in failures.items())
        raise FatalError(f"No finalist could be retrained:\n{causes}")
    common = set.intersection(*({r.repeat for r in c.results} for c in confirmed))
    same = [replace(c, results=tuple(r for r in c.results if r.repeat in common)) for c in confirmed]
    return sorted(same, key=lambda c: (-round(c.decisive, 9), -c.ranking))
