"""Who decides in a search: what is tried next, what a report means, when it is over.

The conductor knows the study, the budget and the view, and nothing of Ray: Tune's searcher and scheduler ask it. All of
it runs in the driver's main thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from search.cli import clock
from search.study.study import Asked, Study
from search.study.tally import FAILURE_SHARE
from xraytune.errors import FatalError, TrialError
from xraytune.records import EpochReport, FailureCause, TrialConfig, TrialResult, Value

if TYPE_CHECKING:
    from search.tuner.messages import TrialOutcome

TOUCH = 10.0
"""Seconds between signs of life in the study: what a SIGKILL can cost the study's account of its time."""

GRACE = 15.0
"""Seconds after the end of TIME in which running trials may wrap up; then they are ended as they are."""


RETRIES = 2
"""Times a trial whose worker was lost is given another one."""


class SearchEnded(BaseException):
    """Raised at a safe point between two events of Tune to leave its loop at once."""


@contextmanager
def past_tune() -> Iterator[None]:
    """Let what ends the search past Tune, which makes of any other error in its callbacks a trial's and a traceback.

    Raises:
        SearchEnded: with the `FatalError` as its cause.
    """
    try:
        yield
    except FatalError as error:
        raise SearchEnded from error


class View(Protocol):
    """Who is told what happens, to show it."""

    def started(self, number: int, config: TrialConfig) -> None:
        """A trial began on a worker."""

    def epoch(self, number: int, report: EpochReport) -> None:
        """A trial reported."""

    def ended(self, number: int, state: str, result: TrialResult | None, cause: str, message: str) -> None:
        """A trial ended: COMPLETE, PRUNED, FAIL or INTERRUPTED."""

    def detail(self, message: str) -> None:
        """Something for the log."""

    def note(self, message: str) -> None:
        """Something worth a line."""

    def tick(self) -> None:
        """Time passed."""


class PruningRule(Protocol):
    """Whether a trial should stop early."""

    def prune(self, number: int, family: str, epoch: int, value: float, site: str = "") -> bool:
        """Called once for each epoch of a trial, in order; `site` is the one that it holds out."""
        ...


class Pace(Protocol):
    """What is too slow for the time that is left, by how fast trials train."""

    def learn(self, config: TrialConfig, report: EpochReport) -> None:
        """A trial reported an epoch."""

    def review(
        self, before: Mapping[str, Sequence[Value]], seconds: float | None
    ) -> tuple[Mapping[str, Sequence[Value]], list[str]]:
        """What is left of bounded parameters' values for so many seconds, and a line on each change."""
        ...


@dataclass(frozen=True)
class Budget:
    """When a search is over."""

    trials: int | None = None
    """The maximum number of trials, over all sessions."""
    end: float | None = None
    """Seconds since 1970."""
    plateau: int | None = None
    """Trials without a better one."""
    target: float | None = None
    """An objective that is good enough."""
    trial_timeout: float | None = None
    """Seconds a trial may take."""
    failures: float = FAILURE_SHARE
    """Share of the ended trials that may fail, of at least `tally.FAILURE_LEAST`."""


@dataclass
class _Running:
    asked: Asked
    started: float | None = None
    concluding: str = ""
    """Why it was asked to wrap up: `pruned`, or why the search ends."""
    lost: int = 0
    """Workers lost under it."""
    cause: tuple[FailureCause, str] | None = None
    """Set before its worker is killed: what to record."""


@dataclass
class Orchestrator:
    """Decides; see the module."""

    study: Study
    view: View
    budget: Budget
    rule: PruningRule | None = None
    pace: Pace | None = None
    running: dict[int, _Running] = field(default_factory=dict)
    why_over: str = ""
    """Why no further trial is started, said at the end; empty while the search goes on."""
    failed: bool = False
    """Whether it is over because too much failed."""
    _again: deque[Asked] = field(default_factory=deque)
    _touched: float = 0.0

    # -- what is next ------------------------------------------------------------------------------------------------

    def next(self) -> Asked | None:
        """The next suggestion, or a trial whose worker was lost; None when no further trial is to start now."""
        if self._again:
            return self._again.popleft()
        if self.over():
            return None
        if self.budget.trials is not None and self.study.tally.ended + self.study.running >= self.budget.trials:
            return None
        self._exclude()
        asked = self.study.ask()
        self.running[asked.number] = _Running(asked)
        return asked

    def _exclude(self) -> None:
        """Have the sampler propose nothing that is too slow for the time that is left."""
        if self.pace is None:
            return
        now, lines = self.pace.review(self.study.left, self.time_left())
        if lines:
            self.study.leave(now, lines)
        for line in lines:
            self.view.detail(line)

    def time_left(self) -> float | None:
        """Seconds until the search's time ends, None where it has no end. A clock of another machine is never asked."""
        return None if self.budget.end is None else self.budget.end - clock.now()

    @property
    def waiting(self) -> bool:
        """Whether a trial waits for another worker."""
        return bool(self._again)

    def over(self) -> str:
        """Why the search is over, empty while it is not."""
        if self.why_over:
            return self.why_over
        budget, study = self.budget, self.study
        if failing := study.tally.failing(budget.failures):
            self.why_over, self.failed = failing, True
        elif budget.trials is not None and study.tally.ended >= budget.trials:
            self.why_over = f"all {budget.trials} trials are done"
        elif budget.end is not None and clock.now() >= budget.end:
            self.why_over = "time budget reached"
        elif budget.target is not None and study.tally.best and (study.tally.best.compared or 0.0) >= budget.target:
            self.why_over = f"the target {budget.target:g} is reached"
        elif budget.plateau is not None and study.tally.best and study.tally.since_best >= budget.plateau:
            self.why_over = f"no better trial in the last {study.tally.since_best}"
        return self.why_over

    def stop(self, why: str) -> None:
        """Start nothing more, for a reason from outside."""
        self.why_over = self.why_over or why

    # -- what is heard -----------------------------------------------------------------------------------------------

    def started(self, number: int) -> None:
        """A worker took the trial (again, after a lost worker)."""
        trial = self.running[number]
        if trial.started is None:
            trial.started = time.monotonic()
        self.view.started(number, trial.asked.config)

    def heard(self, number: int, outcome: TrialOutcome) -> str:
        """Record what a worker brought.

        Returns:
            `continue`, `conclude` (ask the worker to wrap the trial up, then continue) or `stop`.

        Raises:
            FatalError: the worker met what every other would meet too.
        """
        trial = self.running.get(number)
        if trial is None:  # told already: its worker was too late
            return "stop"
        if outcome.fatal:
            raise FatalError(outcome.fatal)
        if outcome.machine:
            self.study.ran_on(number, outcome.machine)
        if outcome.failure:
            self._failure(number, *outcome.failure)
            return "stop"
        if outcome.report:
            if outcome.result and self.study.has_epoch(number, outcome.report.epoch) and not trial.concluding:
                trial.concluding = "time budget reached"  # the deadline cut the next epoch short
            self.study.report(number, outcome.report)
            if self.pace is not None:
                self.pace.learn(trial.asked.config, outcome.report)
            self.view.epoch(number, outcome.report)
        if outcome.result:
            if outcome.predictions:
                self.study.keep_predictions(number, **outcome.predictions)
            self._end(number, outcome.result, pruned=bool(trial.concluding))
            return "stop"
        if outcome.report and not trial.concluding:
            if self.over():
                trial.concluding = self.why_over
            elif self._prune(number, trial, outcome.report):
                trial.concluding = "pruned"
        return "conclude" if trial.concluding else "continue"

    def lost(self, number: int, cause: FailureCause, message: str) -> None:
        """The trial's worker is gone: another one goes on with it, unless it has lost too many or was ended on purpose.

        Tune's own retries are not used: it gives a trial up at once whose worker dies between two trials.
        """
        trial = self.running.get(number)
        if trial is None:
            return
        if trial.cause is None and cause is FailureCause.WORKER_LOST and trial.lost < RETRIES:
            trial.lost += 1
            self._again.append(trial.asked)
            retry = f"{trial.lost} of {RETRIES} retries"
            self.view.note(f"trial {number}: its worker was lost; it continues from its last saved epoch ({retry})")
            return
        self._failure(number, *(trial.cause or (cause, message)))

    def tick(self) -> list[int]:
        """Called some ten times a second.

        Returns:
            Trials that hang: their workers are to be killed.

        Raises:
            SearchEnded: the time given to wrapping up is over as well.
        """
        now = clock.now()
        if now - self._touched >= TOUCH:
            self._touched = now
            self.study.touch()
        self.view.tick()
        if self.budget.end is not None and now >= self.budget.end + GRACE:
            self.stop("time budget reached")
            raise SearchEnded
        hanging = []
        if self.budget.trial_timeout is not None:
            for number, trial in self.running.items():
                if trial.started is None or trial.cause is not None:
                    continue
                if (taken := time.monotonic() - trial.started) > self.budget.trial_timeout:
                    limit = f"{self.budget.trial_timeout:g} s"
                    trial.cause = FailureCause.TIMEOUT, f"ended after {taken:.0f} s (--trial-timeout {limit})"
                    hanging.append(number)
        return hanging

    def leave(self, message: str) -> int:
        """Record what still runs: PRUNED where the time is up and it has reported, else interrupted.

        Returns:
            The number of interrupted trials.
        """
        states = [self._failure(number, FailureCause.INTERRUPTED, message) for number in list(self.running)]
        self.study.touch()
        self.study.describe(self.why_over or message)
        return states.count("INTERRUPTED")

    # -- inside ------------------------------------------------------------------------------------------------------

    def _prune(self, number: int, trial: _Running, report: EpochReport) -> bool:
        if self.rule is None or not report.judged:
            return False
        config = trial.asked.config
        return self.rule.prune(number, config.family, report.epoch, report.standing, config.site)

    def _failure(self, number: int, cause: FailureCause, message: str) -> str:
        """Record a failure; what was cut off after a report when the search was over is PRUNED. The state it got."""
        if cause is FailureCause.INTERRUPTED and self.study.reported(number) and self.over():
            self._end(number, None, pruned=True)
            return "PRUNED"
        self.study.failed(number, cause, message)
        del self.running[number]
        state = "INTERRUPTED" if cause is FailureCause.INTERRUPTED else "FAIL"
        self.view.ended(number, state, None, str(cause), message)
        return state

    def _end(self, number: int, result: TrialResult | None, *, pruned: bool) -> None:
        if pruned:
            self.study.pruned(number, result)
        else:
            assert result is not None
            try:
                self.study.complete(number, result)
            except TrialError as error:
                self._failure(number, error.cause, error.message)
                return
        del self.running[number]
        state = "PRUNED" if pruned else "COMPLETE"
        self.view.ended(number, state, result, "", "")
