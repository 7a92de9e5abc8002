"""Which training runs next, while the time lasts."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from search.retraining.confirmation import cost_estimate
from search.retraining.confirmation.cost_estimate import AFTER, START
from search.retraining.confirmation.plan import ConfirmationPlan
from search.retraining.records import FoldResult
from search.retraining.workers.tasks import FoldTask
from search.study.view import TrialRecord
from xraytune.errors import TrialError
from xraytune.records import FailureCause


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
        took = [cost_estimate.without(fold, ("prefix",)) for fold in self._of(trial)]
        return float(np.mean(took)) if took else self.plan.price(trial).fold(self.plan.folds)

    def _refit_seconds(self, trial: TrialRecord) -> float:
        images = len(self.wanted[0].recipe.data.labels)
        return cost_estimate.refit_seconds(self.plan.price(trial), trial, self._of(trial), images)

    def _first_round(self, trial: TrialRecord) -> float:
        """What a finalist's first folds take beside training: their workers start, a prefix's outputs are missing."""
        missing = (
            0.0 if self._of(trial) else cost_estimate.features_seconds([self.plan.price(trial)]) / self.plan.workers
        )
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
