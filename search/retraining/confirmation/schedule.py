"""One rule for which training runs next: start what still fits the time, the best finalist first.

The plan that is printed is this rule on estimates (`plan.make_plan`); during the confirmation (`cross_validation`) it
decides by the clock and by what trainings took.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from search.retraining.confirmation import cost_estimate
from search.retraining.confirmation.cost_estimate import AFTER, START, CostEstimate
from search.retraining.records import FoldResult
from search.retraining.workers.tasks import FoldTask
from search.study.view import TrialRecord
from xraytune.errors import TrialError
from xraytune.records import FailureCause

SLACK = 0.8
"""A fold of a series that has begun starts where this share of its expected time is left: estimates are rough."""

Series = tuple[int, int]
"""All folds of a finalist with one seed: its number and which seed, from 0."""

FoldKey = tuple[int, int, int]
"""A finalist's number, which seed, which fold."""


@dataclass(frozen=True)
class Request:
    """What a retraining should train, where the time allows."""

    finalists: tuple[TrialRecord, ...]
    """The best first."""
    folds: int = 5
    seeds: int = 1
    """Of each finalist."""
    workers: int = 1
    """Trainings at once."""
    refits: int = 1
    """Networks of the final model that differ in their seeds alone."""
    final: str = "refit"
    """`refit` is followed by `refits` trainings, `ensemble` by one of each finalist, `auto` by as many as the larger of
    them, `folds` by none."""
    prices: Mapping[int, CostEstimate] = field(default_factory=dict)
    """By a finalist's number; by what its trial took in the search where it has none."""
    images: int = 0
    """Training and validation images."""
    fewest_folds: int = 3
    """Where the time is short; as many as `folds` where each holds out a site."""
    decides: str = "mean"
    """By what over their folds finalists are ranked: mean or worst."""

    @property
    def trainings(self) -> int:
        """Folds × seeds × finalists."""
        return len(self.finalists) * self.folds * self.seeds

    def price(self, trial: TrialRecord) -> CostEstimate:
        """A finalist's."""
        return self.prices.get(trial.number) or cost_estimate.of_search(trial)


class Schedule:
    """Which task may start, and until when it may run, so that the final training still fits.

    The first seed of the best finalist is needed and always starts. A further finalist starts where all its folds and
    the final training fit the time that is left; a further seed, where those of all finalists do, since finalists are
    compared on the seeds that all of them have.

    Args:
        request: what is to be trained.
        end: the clock's value at which all of the retraining should be over.
        clock: seconds; `time.monotonic` while trainings run.
    """

    def __init__(self, request: Request, end: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.request, self.end, self._clock = request, end, clock
        self.done: dict[FoldKey, FoldResult] = {}
        self.failures: dict[int, str] = {}
        self._running: dict[FoldKey, float] = {}
        """When each began."""
        self._accepted: set[Series] = set()
        self._left_out: set[Series] = set()
        self._warm = False

    def expect(self) -> tuple[set[Series], float, float]:
        """What will be trained by the estimates, when its folds are over, and when all is. It is then accepted."""
        for repeat in range(self.request.seeds):
            for trial in self.request.finalists:
                self._accept((trial.number, repeat))
        ends = self._ends_at(self._accepted)
        return set(self._accepted), ends, ends + self._after(self._accepted)

    def kept(self, task: FoldTask, result: FoldResult) -> None:
        """Record a fold of an earlier retraining."""
        self.done[_key(task)] = result
        if not self._missing((task.trial, task.repeat)):
            self._accepted.add((task.trial, task.repeat))

    def ended(self, task: FoldTask, result: FoldResult) -> None:
        """Record what a task left."""
        self._running.pop(_key(task), None)
        self.done[_key(task)] = result
        self._warm = True

    def start(self, task: FoldTask) -> FoldTask | None:
        """The task with its deadline, or None where it must not start any more."""
        if task.trial in self.failures or not self._accept((task.trial, task.repeat)):
            return None
        now, series = self._clock(), (task.trial, task.repeat)
        trial = self._trial(task.trial)
        if series == self._needed():
            given = replace(task, deadline=max(now, self._share(trial, now)), needed=True)
        elif now + SLACK * self._seconds(trial) > self.end_of_folds():
            self._leave_out(series)  # a finalist that lacks a fold is not compared
            return None
        else:
            given = replace(task, deadline=self.end_of_folds())
        self._running[_key(task)] = now
        return given

    def failed(self, task: FoldTask, error: TrialError) -> str:
        """Record how a task failed; what to say of it."""
        self._warm = True
        self._running.pop(_key(task), None)
        if error.cause is FailureCause.INTERRUPTED:
            self._leave_out((task.trial, task.repeat))
            return error.message
        self.failures[task.trial] = f"{error.cause}: {error.message}"
        self._accepted = {series for series in self._accepted if series[0] != task.trial}
        return self.failures[task.trial]

    def once_more(self) -> bool:
        """Whether those that were left out for want of time are to be asked for again: there is nothing without them.

        They were while a better finalist was trained, of which the last folds failed.
        """
        series = {(t.number, 0) for t in self._able()}
        if any(not self._missing(one) for one in series):
            return False
        again = self._left_out & series
        self._left_out -= again
        return bool(again)

    def is_missing(self, task: FoldTask) -> bool:
        """Whether a task is not done and its finalist has not failed."""
        return _key(task) not in self.done and task.trial not in self.failures

    def end_of_folds(self) -> float:
        """When the folds should be over; by what folds took as soon as some are done."""
        return self.end - self._after(self._accepted | {(t.number, 0) for t in self._able()[:1]})

    def _able(self) -> list[TrialRecord]:
        return [t for t in self.request.finalists if t.number not in self.failures]

    def _trial(self, number: int) -> TrialRecord:
        return next(t for t in self.request.finalists if t.number == number)

    def _needed(self) -> Series | None:
        """Without these no result is possible."""
        return next(((t.number, 0) for t in self._able()), None)

    def _accept(self, series: Series) -> bool:
        """Whether a series may run: it is needed, or it fits beside all that were accepted."""
        if series in self._accepted:
            return True
        together = self._accepted | self._group(series)
        if series != self._needed():
            first = (series[0], 0)
            if series in self._left_out or (series != first and first not in self._accepted):
                return False
            if self._ends_at(together) + self._after(together) > self.end:
                self._leave_out(series)
                return False
        self._accepted = together
        return True

    def _leave_out(self, series: Series) -> None:
        self._left_out |= self._group(series)
        self._accepted -= self._left_out

    def _group(self, series: Series) -> set[Series]:
        """What is started or left out together with it: a further seed of all finalists that have their first."""
        if series[1] == 0:
            return {series}
        return {(number, series[1]) for number, repeat in self._accepted if repeat == 0}

    def _of(self, number: int) -> list[FoldResult]:
        """A finalist's folds that are done."""
        return [result for key, result in self.done.items() if key[0] == number]

    def _missing(self, series: Series) -> list[FoldKey]:
        """Its folds that are not done."""
        return [key for fold in range(self.request.folds) if (key := (*series, fold)) not in self.done]

    def _seconds(self, trial: TrialRecord) -> float:
        """Of one of its folds, without a prefix's outputs that the first ones had to compute."""
        took = [cost_estimate.without(fold, ("prefix",)) for fold in self._of(trial.number)]
        return float(np.mean(took)) if took else self.request.price(trial).fold(self.request.folds)

    def _first_round(self, numbers: set[int]) -> float:
        """What the first folds take beside training: their workers start, a prefix's outputs are missing."""
        new = [self.request.price(self._trial(number)) for number in numbers if not self._of(number)]
        return cost_estimate.features_seconds(new) / self.request.workers + (0.0 if self._warm else START)

    def _ends_at(self, accepted: set[Series]) -> float:
        """When the last fold of these is over if each free worker takes the next one, the best finalist's first."""
        now = self._clock()
        waiting, free = [], []
        for series in sorted(accepted, key=lambda one: (one[1], self._rank(one[0]))):
            seconds = self._seconds(self._trial(series[0]))
            for key in self._missing(series):
                if key in self._running:
                    free.append(max(now, self._running[key] + seconds))
                else:
                    waiting.append(seconds)
        if waiting:
            now += self._first_round({number for number, _ in accepted})
        free = [max(now, one) for one in free] + [now] * (self.request.workers - len(free))
        heapq.heapify(free)
        for seconds in waiting:
            heapq.heapreplace(free, free[0] + seconds)
        return max(free)

    def _rank(self, number: int) -> int:
        return [t.number for t in self.request.finalists].index(number)

    def _share(self, trial: TrialRecord, now: float) -> float:
        """Until when a needed fold may train: those that are missing share the time that is left."""
        end = self.end - self._after({(trial.number, 0)})
        left = sum(key not in self._running for key in self._missing((trial.number, 0)))
        begins = now + self._first_round({trial.number})
        each = (end - begins) / math.ceil(left / self.request.workers)
        # what it predicts follows its deadline
        return min(begins + each, end) - self.request.price(trial).answers(self.request.folds)

    def _after(self, accepted: set[Series]) -> float:
        """What follows the folds of these: the final training by the dearest of them, test set and report."""
        numbers = {number for number, _ in accepted}
        r = self.request
        of_each = {"refit": r.refits, "folds": 0, "ensemble": len(numbers), "auto": max(r.refits, len(numbers))}
        trainings = of_each[r.final]
        longest = max(
            (
                cost_estimate.refit_seconds(r.price(t), t, self._of(t.number), r.images)
                for t in map(self._trial, numbers)
            ),
            default=0.0,
        )
        return math.ceil(trainings / r.workers) * longest + AFTER


def _key(task: FoldTask) -> FoldKey:
    return task.trial, task.repeat, task.fold
