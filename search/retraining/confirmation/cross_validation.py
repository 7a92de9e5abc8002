"""The finalists trained again on patient-grouped folds, so that the winner is not the luckiest seed.

Each fold of each seed of each finalist is one task (`search.retraining.workers.tasks`); what it leaves is kept under
`results/<study>/confirmation/`, so that a confirmation killed at any point goes on from its last finished fold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.retraining.confirmation.plan import ConfirmationPlan
from search.retraining.confirmation.schedule import Schedule
from search.retraining.records import Confirmed, FoldResult, TrainingSetup
from search.retraining.workers.tasks import FoldTask, fold_digest, load_fold
from search.retraining.workers.worker_pool import TaskOutcome, Workers
from xraytune.errors import FatalError, TrialError


def tasks(
    plan: ConfirmationPlan,
    recipe: TrainingSetup,
    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    folder: Path,
    *,
    keep_models: bool = False,
    tta: str = "",
) -> list[FoldTask]:
    """All trainings of a plan, first seed first, best finalist first, so that what is cut off is what matters least."""
    out = []
    for repeat in range(plan.seeds):
        for trial in plan.finalists:
            assert trial.config is not None
            config = replace(trial.config, seed=(trial.config.seed + 1_000_003 * (repeat + 1)) % 2**31)
            for fold, (train, validation) in enumerate(folds):
                own = replace(recipe, data=replace(recipe.data, train=train, validation=validation))
                name = fold_digest(own, config, fold, len(folds), tta)
                path = folder / f"trial-{trial.number:04d}-seed-{repeat}-fold-{fold}-{name}.npz"
                out.append(FoldTask(own, config, trial.number, fold, len(folds), repeat, path, keep_models, tta))
    return out


def run(
    plan: ConfirmationPlan,
    wanted: Sequence[FoldTask],
    workers: Workers,
    *,
    end: float,
    on_event: Callable[[FoldTask, tuple[int, float]], None],
    on_done: Callable[[FoldTask, FoldResult | None, str], None],
    on_left_out: Callable[[FoldTask], None],
) -> list[Confirmed]:
    """Run what is not there yet; the finalists with all their folds, best first.

    Args:
        plan: what to compare.
        wanted: its tasks, from `tasks`.
        workers: who runs them.
        end: `time.monotonic()` at which all of the retraining should be over. What can't be finished before the final
            training must begin is stopped and left out; the first finalist's first seed is stopped at an epoch's end.
        on_event: gets a task and (epoch, value) after every epoch.
        on_done: gets a task, its result (None if it failed) and the error's message.
        on_left_out: gets a task that does not fit the time any more.

    Raises:
        FatalError: no finalist could be trained.
    """
    schedule = Schedule(plan, wanted, end)
    done = schedule.done
    for i, task in enumerate(wanted):
        kept = load_fold(task)
        if kept is not None:
            done[i] = kept
            on_done(task, kept, "")
    missing: list[int] = []
    told: set[int] = set()

    def record(outcome: TaskOutcome) -> None:
        i = missing[outcome.index]
        if isinstance(outcome.error, TrialError):
            on_done(wanted[i], None, schedule.failed(i, outcome.error))
            return
        if outcome.error is not None:
            raise outcome.error
        kept = load_fold(wanted[i], cut=True)
        if kept is None:
            raise FatalError(f"{wanted[i].path} was written but can't be read back: is the disk full?")
        schedule.ended(i, kept)
        on_done(wanted[i], kept, "")

    def event(position: int, told: tuple[int, float]) -> None:
        on_event(wanted[missing[position]], told)

    def start(position: int) -> FoldTask | None:
        i = missing[position]
        task = schedule.start(i)
        if task is None and i not in told:
            told.add(i)
            on_left_out(wanted[i])
        return task

    while True:
        missing[:] = [i for i, task in enumerate(wanted) if i not in done and task.trial not in schedule.failures]
        for outcome in workers.run([wanted[i] for i in missing], event, start):
            record(outcome)
        if not schedule.once_more():
            break
    return _ranked(plan, wanted, done, schedule.failures)


def _ranked(
    plan: ConfirmationPlan, wanted: Sequence[FoldTask], done: Mapping[int, FoldResult], failures: Mapping[int, str]
) -> list[Confirmed]:
    """The finalists with all their folds, best first, compared on the seeds that all of them have finished."""
    confirmed = []
    for trial in plan.finalists:
        mine = [(wanted[i], r) for i, r in sorted(done.items()) if wanted[i].trial == trial.number]
        whole = [s for s in range(plan.seeds) if sum(t.repeat == s for t, _ in mine) == plan.folds]
        if trial.number not in failures and 0 in whole:
            confirmed.append(Confirmed(trial, tuple(r for t, r in mine if t.repeat in whole)))
    if not confirmed:
        causes = "\n".join(f"  trial {number}: {message}" for number, message in failures.items())
        raise FatalError(f"No finalist could be trained again:\n{causes}")
    common = set.intersection(*({r.repeat for r in c.results} for c in confirmed))
    same = [Confirmed(c.trial, tuple(r for r in c.results if r.repeat in common)) for c in confirmed]
    return sorted(same, key=lambda c: (-round(c.mean, 9), -c.ranking))
