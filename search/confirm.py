"""The finalists trained again on patient-grouped folds, so that the winner is not the luckiest seed.

Each fold of each seed of each finalist is one task (`search.trainings`); what it leaves is kept under
`results/<study>/confirmation/`, so that a confirmation killed at any point goes on from its last finished fold.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search import pricing
from search.planning import ConfirmationPlan
from search.pricing import AFTER, START
from search.retraining.records import Confirmed, FoldResult, TrainingSetup
from search.study.view import TrialRecord
from search.trainings import FoldTask, fold_digest, load_fold
from search.workers import TaskOutcome, Workers
from xraytune.errors import FatalError, TrialError
from xraytune.records import FailureCause


def tasks(
    plan: ConfirmationPlan,
    recipe: TrainingSetup,
    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    folder: Path,
    *,
    keep_models: bool = False,
    shifts: bool = False,
) -> list[FoldTask]:
    """All trainings of a plan, first seed first, best finalist first, so that what is cut off is what matters least."""
    out = []
    for repeat in range(plan.seeds):
        for trial in plan.finalists:
            assert trial.config is not None
            config = replace(trial.config, seed=(trial.config.seed + 1_000_003 * (repeat + 1)) % 2**31)
            for fold, (train, validation) in enumerate(folds):
                own = replace(recipe, data=replace(recipe.data, train=train, validation=validation))
                name = fold_digest(own, config, fold, len(folds), shifts)
                path = folder / f"trial-{trial.number:04d}-seed-{repeat}-fold-{fold}-{name}.npz"
                out.append(FoldTask(own, config, trial.number, fold, len(folds), repeat, path, keep_models, shifts))
    return out


class Schedule:
    """Which task may start, and until when it may run, so that the final training still fits.

    Args:
        plan: what is compared.
        wanted: its tasks.
        end: `time.monotonic()` at which all of the retraining should be over.
    """

    def __init__(self, plan: ConfirmationPlan, wanted: Sequence[FoldTask], end: float) -> None:
        self.plan, self.wanted, self.end = plan, wanted, end
        self.done: dict[int, FoldResult] = {}
        self.failures: dict[int, str] = {}
        self._left_out: set[tuple[int, int]] = set()
        self._warm = False

    def ended(self, index: int, result: FoldResult) -> None:
        """Record what a task left."""
        self.done[index] = result
        self._warm = True

    def end_of_folds(self) -> float:
        """`time.monotonic()` at which the folds should be over; by what folds took as soon as some are done."""
        able = [t for t in self.plan.finalists if t.number not in self.failures]
        return self.end - AFTER - self.plan.final * max(map(self._refit_seconds, able), default=0.0)

    def _of(self, trial: TrialRecord) -> list[FoldResult]:
        """A finalist's folds that are done."""
        return [r for i, r in self.done.items() if self.wanted[i].trial == trial.number]

    def _seconds(self, trial: TrialRecord) -> float:
        """Of one of its folds, without a prefix's outputs that the first ones had to compute."""
        took = [pricing.without(fold, ("prefix",)) for fold in self._of(trial)]
        return float(np.mean(took)) if took else self.plan.price(trial).fold(self.plan.folds)

    def _refit_seconds(self, trial: TrialRecord) -> float:
        images = len(self.wanted[0].recipe.data.labels)
        return pricing.refit_seconds(self.plan.price(trial), trial, self._of(trial), images)

    def _first_round(self, trial: TrialRecord) -> float:
        """What a finalist's first folds take beside training: their workers start, a prefix's outputs are missing."""
        missing = 0.0 if self._of(trial) else pricing.features_seconds([self.plan.price(trial)]) / self.plan.workers
        return missing + (0.0 if self._warm else START)

    def start(self, index: int) -> FoldTask | None:
        """The task with its deadline, or None where it must not start any more."""
        task, now = self.wanted[index], time.monotonic()
        if task.trial in self.failures:
            return None
        finalists = {t.number: t for t in self.plan.finalists if t.number not in self.failures}
        trial, needed = finalists[task.trial], next(iter(finalists))
        if task.repeat == 0 and task.trial == needed:
            ahead = [t for i, t in enumerate(self.wanted) if i >= index and i not in self.done]
            left = sum(t.repeat == 0 and t.trial == needed for t in ahead)
            begins = now + self._first_round(trial)
            each = (self.end_of_folds() - begins) / math.ceil(left / self.plan.workers)
            # what it answers follows its deadline
            deadline = min(begins + each, self.end_of_folds()) - self.plan.price(trial).answers(self.plan.folds)
            return replace(task, deadline=max(now, deadline), needed=True)
        series = (task.trial, task.repeat)
        if series in self._left_out or now + 0.8 * self._seconds(trial) > self.end_of_folds():
            self._left_out.add(series)  # a finalist that lacks a fold is not compared
            return None
        return replace(task, deadline=self.end_of_folds())

    def once_more(self) -> bool:
        """Whether those that were left out for want of time are to be asked for again: there is nothing without them.

        They were while a better finalist was trained, of which the last folds failed.
        """
        numbers = {t.number for t in self.plan.finalists} - set(self.failures)
        folds = [(t.trial, t.repeat) for i, t in enumerate(self.wanted) if i in self.done]
        if any(folds.count((number, 0)) == self.plan.folds for number in numbers):
            return False
        again = {(trial, repeat) for trial, repeat in self._left_out if trial in numbers and repeat == 0}
        self._left_out -= again
        return bool(again)

    def failed(self, index: int, error: TrialError) -> str:
        """Record how a task failed; what to say of it."""
        task = self.wanted[index]
        self._warm = True
        if error.cause is FailureCause.INTERRUPTED:
            self._left_out.add((task.trial, task.repeat))
            return error.message
        self.failures[task.trial] = f"{error.cause}: {error.message}"
        return self.failures[task.trial]


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
