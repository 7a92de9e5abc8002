"""How much confirmation fits in the time: which finalists, on how many folds, with how many seeds and refits.

Called by `search.final`; `search.confirm` runs what is planned here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from search.storage import TrialRecord

START = 12.0
"""Seconds until a worker has imported its framework and traced a first network, on two cores."""

VIEWS = 13
"""About how many shifted views there are, the clean one included."""

SPARED = ("prefix", "validate", "views", "shifts")
"""The phases that a final training is spared: its frozen prefix is kept, and it has no held-out images to look at."""

AFTER = 15.0
"""Seconds for what follows the trainings: the test set's images, audit, figures, Grad-CAM and report, on two cores."""


@dataclass(frozen=True)
class Attainable:
    """What a finalist comes to in the time if nothing else is confirmed."""

    trial: TrialRecord
    seconds: float
    """What the least confirmation and final training of it take."""
    epochs: int
    """How many of its epochs the time allows."""
    value: float
    """The objective where it stood after these in the search."""


@dataclass(frozen=True)
class Plan:
    """How much confirmation fits in the time."""

    finalists: tuple[TrialRecord, ...]
    folds: int
    seeds: int
    seconds: float
    """Expected, with all workers."""
    workers: int = 1
    """Trainings at once."""
    refits: int = 1
    """Networks of the final model that differ in their seeds alone."""
    final: int = 1
    """Trainings of the final model, one after the other, in units of a finalist's own."""
    passed_over: tuple[Attainable, ...] = ()
    """Finalists whose own three folds and refit do not fit, for what others come to in the time."""

    @property
    def trainings(self) -> int:
        """Folds × seeds × finalists."""
        return len(self.finalists) * self.folds * self.seeds


def make_plan(
    finalists: Sequence[TrialRecord],
    folds: int,
    seeds: int,
    *,
    budget: float,
    workers: int,
    final: str = "refit",
    refits: int = 1,
    beyond: Callable[[TrialRecord, int], float] = lambda trial, folds: 0.0,
    gone: float = 0.0,
) -> Plan:
    """The largest confirmation that fits: seeds shrink first, then finalists, refits and folds; never below 1 × 3 × 1.

    A finalist for which even that is too long is passed over where another comes to more in the time, by where each
    stood in the search after the epochs that the time allows: a network that is stopped in its first epochs is none.

    Args:
        finalists: those that matter most first.
        folds: wanted, at least 3.
        seeds: wanted.
        budget: seconds.
        workers: trainings at once.
        final: `refit` is followed by `refits` trainings, `ensemble` by one of each finalist, `folds` by none.
        refits: networks of a refit.
        beyond: seconds that one of so many folds of a finalist takes beside its training.
        gone: seconds of the budget that are gone already.
    """

    def rounds_after(n: int, r: int) -> int:
        return math.ceil({"refit": r, "folds": 0, "ensemble": n}[final] / workers)

    def cost(chosen: Sequence[TrialRecord], k: int, s: int, r: int) -> float:
        each = [training_seconds(t) + beyond(t, k) for t in chosen]
        # whole rounds of the workers, the last of which waits for its longest training
        rounds = sum(each) * k * s / workers + max(each) * (1 - 1 / workers)
        if len(chosen) * k * s <= workers:
            rounds = max(each)
        return gone + START + rounds + rounds_after(len(chosen), r) * max(map(refit_seconds, chosen)) + AFTER

    able, passed_over = _parted([_attainable(t, cost([t], 3, 1, 1), budget, gone) for t in finalists], budget)
    n, k, s, r = len(able), max(3, folds), max(1, seeds), max(1, refits) if final == "refit" else 1
    while cost(able[:n], k, s, r) > budget and (s > 1 or n > 1 or r > 1 or k > 3):
        if s > 1:
            s -= 1
        elif n > 1:
            n -= 1
        elif r > 1:
            r -= 1
        else:
            k -= 1
    seconds = cost(able[:n], k, s, r)
    return Plan(tuple(able[:n]), k, s, seconds, workers, r, rounds_after(n, r), tuple(passed_over))


def _attainable(trial: TrialRecord, seconds: float, budget: float, gone: float) -> Attainable:
    whole = trial.result.epochs if trial.result else max(trial.curve, default=1)
    fixed = gone + START + AFTER
    share = min(1.0, max(0.0, budget - fixed) / (seconds - fixed))
    epochs = max(1, int(share * whole))
    stood = [value for epoch, value in trial.curve.items() if epoch <= epochs]
    value = trial.value or 0.0
    return Attainable(trial, seconds, epochs, min(value, max(stood, default=value)) if share < 1 else value)


def _parted(all_: Sequence[Attainable], budget: float) -> tuple[list[TrialRecord], list[Attainable]]:
    """Those that are confirmed, and those that are passed over since others come to more in the time."""
    first = max(all_, key=lambda one: one.value)  # the first of equals
    if first.seconds > budget:  # cut short it still is the best
        return [first.trial], []
    return (
        [one.trial for one in all_ if one.seconds <= budget],
        [one for one in all_ if one.seconds > budget],
    )


def training_seconds(trial: TrialRecord) -> float:
    """What one training of this configuration took in the search; a pruned one's to its last epoch, unpruned.

    Without the time in which it computed a frozen prefix: what it kept is there for the folds.
    """
    return _seconds(trial, ("prefix",))


def refit_seconds(trial: TrialRecord) -> float:
    """The same of the final model's training."""
    return _seconds(trial, SPARED)


def _seconds(trial: TrialRecord, without: Sequence[str]) -> float:
    from xraytune.models.plan import Plan as TrainingPlan

    seconds = trial.seconds or 60.0
    if trial.result:
        seconds -= sum(trial.result.seconds.get(phase, 0.0) for phase in without)
    if trial.state == "PRUNED" and trial.config and trial.result:
        seconds *= max(1.0, TrainingPlan.of(trial.config.values).epochs / trial.result.epochs)
    return max(1.0, seconds)


def answering_seconds(
    trial: TrialRecord, folds: int, *, images: int, classes: int, robust: bool, shifts: bool
) -> float:
    """What one fold's answers should take beyond what the trial's training took, of a configuration of the families.

    The views are planned on each fold's own images, so that those of a kept prefix go through it anew; small shifts of
    each film, and of each view of it, go through the whole network.

    Args:
        trial: a finalist.
        folds: how many there are.
        images: of train and validation together.
        classes: how many.
        robust: whether shifted views are looked at.
        shifts: whether answers are means over small shifts (`--tta`).
    """
    from xraytune.judging import PER_CLASS, PER_CLASS_PREFIX
    from xraytune.model_file import SHIFTS
    from xraytune.models import FAMILIES
    from xraytune.models import cost as costs

    if trial.config is None or trial.config.family not in FAMILIES:
        return 0.0
    price = costs.cost(trial.config.values)
    machine = costs.measure_machine()
    per_class = PER_CLASS_PREFIX if price.prefix else PER_CLASS
    viewed = VIEWS * classes * per_class if robust else 0
    seconds = price.prefix_seconds(machine, viewed)
    if shifts:
        seconds += len(SHIFTS) * price.answer_seconds(machine, images // folds + viewed)
    return seconds
