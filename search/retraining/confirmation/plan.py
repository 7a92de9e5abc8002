"""How much confirmation fits in the time: which finalists, on how many folds, with how many seeds and refits."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.retraining.confirmation import cost_estimate
from search.retraining.confirmation.cost_estimate import AFTER, START, CostEstimate
from search.retraining.workers.worker_pool import KEPT
from search.study.view import TrialRecord
from xraytune import __version__, artifacts
from xraytune.errors import ArtifactError, FatalError


@dataclass(frozen=True)
class Attainable:
    """What a finalist comes to in the time if nothing else is confirmed."""

    trial: TrialRecord
    seconds: float
    """What a retraining takes that confirms it on the fewest folds and nothing else."""
    epochs: int
    """How many of its epochs the time allows."""
    value: float
    """The objective where it stood after these in the search."""


@dataclass(frozen=True)
class ConfirmationPlan:
    """How much confirmation fits in the time."""

    finalists: tuple[TrialRecord, ...]
    folds: int
    seeds: int
    seconds: float
    """Expected of the whole retraining, with all workers; what was gone when it was planned is part of it."""
    after: float = 0.0
    """Of these, what follows the folds."""
    workers: int = 1
    """Trainings at once."""
    refits: int = 1
    """Networks of the final model that differ in their seeds alone."""
    final: int = 1
    """Trainings of the final model, one after the other, in units of a finalist's own."""
    passed_over: tuple[Attainable, ...] = ()
    """Finalists whose own three folds and refit do not fit, for what others come to in the time."""
    prices: Mapping[int, CostEstimate] = field(default_factory=dict)
    """By a finalist's number."""

    @property
    def trainings(self) -> int:
        """Folds × seeds × finalists."""
        return len(self.finalists) * self.folds * self.seeds

    def price(self, trial: TrialRecord) -> CostEstimate:
        """A finalist's."""
        return self.prices.get(trial.number) or cost_estimate.of_search(trial)


def make_plan(
    finalists: Sequence[TrialRecord],
    folds: int,
    seeds: int,
    *,
    budget: float,
    workers: int,
    final: str = "refit",
    refits: int = 1,
    price: Callable[[TrialRecord], CostEstimate] = cost_estimate.of_search,
    gone: float = 0.0,
) -> ConfirmationPlan:
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
        price: what a finalist takes.
        gone: seconds of the budget that are gone already.
    """

    def rounds_after(n: int, r: int) -> int:
        return math.ceil({"refit": r, "folds": 0, "ensemble": n}[final] / workers)

    prices = {t.number: price(t) for t in finalists}

    def after(chosen: Sequence[TrialRecord], r: int) -> float:
        return rounds_after(len(chosen), r) * max(prices[t.number].refit for t in chosen) + AFTER

    def before(chosen: Sequence[TrialRecord]) -> float:
        return gone + START + cost_estimate.features_seconds(prices[t.number] for t in chosen) / workers

    def cost(chosen: Sequence[TrialRecord], k: int, s: int, r: int) -> float:
        each = [prices[t.number].fold(k) for t in chosen]
        # whole rounds of the workers, the last of which waits for its longest training
        rounds = sum(each) * k * s / workers + max(each) * (1 - 1 / workers)
        if len(chosen) * k * s <= workers:
            rounds = max(each)
        return before(chosen) + rounds + after(chosen, r)

    able, passed_over = _parted([_attainable(t, cost([t], 3, 1, 1), budget, before([t])) for t in finalists], budget)
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
    chosen = tuple(able[:n])
    seconds, rounds = cost(chosen, k, s, r), rounds_after(n, r)
    own = {t.number: prices[t.number] for t in chosen}
    return ConfirmationPlan(chosen, k, s, seconds, after(chosen, r), workers, r, rounds, tuple(passed_over), own)


def kept(
    path: Path, about: Any, finalists: Sequence[TrialRecord], gone: float, make: Callable[[], ConfirmationPlan]
) -> ConfirmationPlan:
    """The plan that was made about the same and kept, else one made and kept now: a killed retraining goes on with it.

    A plan of another number of folds would begin with none of those that are done; and what is gone when a plan is made
    (images decoded then, or before) is not the same a second time. Where no fold is done there is nothing to go on
    with.

    Args:
        path: of the file, beside the folds.
        about: what a plan follows from beside the finalists, as plain values; not what is gone, nor a budget that grows
            with the search.
        finalists: that `make` plans for.
        gone: seconds of the budget that are gone already.
        make: makes a plan.

    Raises:
        FatalError: it can't be kept.
    """
    parts = [__version__, [(t.number, t.value, t.seconds) for t in finalists], about]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    trials = {t.number: t for t in finalists}
    try:
        plain = artifacts.read_json(path)
        if plain.pop("key") == key and any(path.parent.glob("trial-*.npz")):
            plain["seconds"] += gone - plain.pop("gone")
            return ConfirmationPlan(
                tuple(trials[number] for number in plain.pop("finalists")),
                passed_over=tuple(
                    Attainable(**one | {"trial": trials[one["trial"]]}) for one in plain.pop("passed_over")
                ),
                prices={int(number): CostEstimate(**price) for number, price in plain.pop("prices").items()},
                **plain,
            )
    except (ArtifactError, KeyError, TypeError, AttributeError):
        pass  # none, or none that can be read: it is made again
    plan = make()
    plain = vars(plan) | {"key": key, "gone": gone, "finalists": [t.number for t in plan.finalists]}
    plain["passed_over"] = [vars(one) | {"trial": one.trial.number} for one in plan.passed_over]
    plain["prices"] = {number: vars(price) for number, price in plan.prices.items()}
    try:
        artifacts.write_json(path, plain)
    except OSError as error:
        raise FatalError(f"{path} can't be kept: {error.strerror}. {KEPT}") from None
    return plan


def _attainable(trial: TrialRecord, seconds: float, budget: float, before: float) -> Attainable:
    whole = trial.result.epochs if trial.result else max(trial.curve, default=1)
    fixed = before + AFTER
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
