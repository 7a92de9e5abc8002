"""The plan of a retraining: what of the request should fit the time, by the schedule's own rule on estimates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.retraining.confirmation import cost_estimate
from search.retraining.confirmation.cost_estimate import AFTER, START, CostEstimate
from search.retraining.confirmation.schedule import Request, Schedule
from search.retraining.workers.worker_pool import KEPT
from search.study.view import TrialRecord
from xraytune import __version__, artifacts
from xraytune.errors import ArtifactError, FatalError


@dataclass(frozen=True)
class Attainable:
    """What a finalist would reach in the time if nothing else were confirmed."""

    trial: TrialRecord
    seconds: float
    """What a retraining takes that confirms it on the fewest folds and nothing else."""
    epochs: int
    """How many of its epochs the time allows."""
    value: float
    """Its objective in the search after these epochs."""


@dataclass(frozen=True)
class ConfirmationPlan:
    """What is trained, and how much of it is expected to fit the time."""

    request: Request
    """What is started as long as it fits: the finalists that were not passed over, the folds, the final training."""
    finalists: tuple[TrialRecord, ...]
    """That are expected to be confirmed."""
    seeds: int = 1
    """Of each, expected."""
    seconds: float = 0.0
    """Expected of the whole retraining, with all workers; what was gone when it was planned is part of it."""
    after: float = 0.0
    """Of these, what follows the folds."""
    budget: float = 0.0
    """Seconds that the retraining may take."""
    passed_over: tuple[Attainable, ...] = ()
    """Finalists whose own three folds and final training do not fit, where another reaches more in the time."""

    @property
    def trainings(self) -> int:
        """Folds × seeds × finalists that are expected."""
        return len(self.finalists) * self.request.folds * self.seeds


def make_plan(request: Request, budget: float, gone: float = 0.0, most: float = 0.0) -> ConfirmationPlan:
    """The plan that fits: further seeds are left out first, then finalists, final models and folds.

    The number of folds and of final models is fixed by what the best finalist takes; the schedule decides on the rest.
    A finalist that can't be confirmed on the fewest folds and trained within the budget is passed over where another
    reaches more in the time, by the search's score after the epochs that the time allows.

    Args:
        request: what was asked for.
        budget: seconds.
        gone: of these, seconds that are gone already.
        most: the budget grows to what the best finalist takes at least, up to these seconds.
    """

    def expect(**changes: Any) -> tuple[set[tuple[int, int]], float, float]:
        return Schedule(replace(request, **changes), budget, lambda: gone).expect()

    fewest = request.fewest_folds
    smallest = [expect(finalists=(t,), folds=fewest, seeds=1, refits=1)[2] for t in request.finalists]
    budget = max(budget, min(most, smallest[0]))
    able, passed_over = _parted(
        [
            _attainable(request, t, seconds, budget, gone)
            for t, seconds in zip(request.finalists, smallest, strict=True)
        ],
        budget,
    )
    refits = request.refits if request.final in {"refit", "auto"} else 1
    shapes = [(request.folds, r) for r in range(refits, 0, -1)] + [
        (k, 1) for k in range(request.folds - 1, fewest - 1, -1)
    ]
    fitting = ((k, r) for k, r in shapes if expect(finalists=able[:1], folds=k, seeds=1, refits=r)[2] <= budget)
    folds, refits = next(fitting, shapes[-1])
    request = replace(request, finalists=able, folds=folds, refits=refits)
    series, folds_end, seconds = expect()
    chosen = tuple(t for t in able if (t.number, 0) in series)
    seeds = 1 + max(repeat for _, repeat in series)
    return ConfirmationPlan(request, chosen, seeds, seconds, seconds - folds_end, budget, passed_over)


def kept(path: Path, request: Request, about: Any, budget: float, gone: float, most: float = 0.0) -> ConfirmationPlan:
    """The plan, made from the figures of an earlier retraining of the same request where that left finished folds.

    With another number of folds none of them could be used; and the time that is gone when a plan is made is not the
    same a second time.

    Args:
        path: of the file that keeps the figures, beside the folds.
        request: what was asked for.
        about: what a plan depends on beside the request, as plain values; not a budget that grows with the search.
        budget: seconds.
        gone: of these, seconds that are gone already.
        most: as `make_plan` takes it.

    Raises:
        FatalError: the file can't be written.
    """
    asked = [request.folds, request.seeds, request.workers, request.refits, request.final, request.images]
    asked += [request.fewest_folds]
    parts = [__version__, [(t.number, t.value, t.seconds) for t in request.finalists], asked, about]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    try:
        plain = artifacts.read_json(path)
        if plain["key"] == key and any(path.parent.glob("trial-*.npz")):
            prices = {int(number): CostEstimate(**price) for number, price in plain["prices"].items()}
            plan = make_plan(replace(request, prices=prices), plain["budget"], plain["gone"], most)
            return replace(plan, seconds=plan.seconds + gone - plain["gone"])
    except (ArtifactError, KeyError, TypeError, AttributeError):
        pass  # none, or none that can be read: it is made again
    plain = {"key": key, "budget": budget, "gone": gone, "prices": {n: vars(p) for n, p in request.prices.items()}}
    try:
        artifacts.write_json(path, plain)
    except OSError as error:
        raise FatalError(f"{path} can't be kept: {error.strerror}. {KEPT}") from None
    return make_plan(request, budget, gone, most)


def _attainable(request: Request, trial: TrialRecord, seconds: float, budget: float, gone: float) -> Attainable:
    whole = trial.result.epochs if trial.result else max(trial.curve, default=1)
    fixed = gone + START + cost_estimate.features_seconds([request.price(trial)]) / request.workers + AFTER
    share = min(1.0, max(0.0, budget - fixed) / (seconds - fixed))
    epochs = max(1, int(share * whole))
    stood = [value - trial.easier for epoch, value in trial.curve.items() if epoch <= epochs]
    value = trial.compared or 0.0
    return Attainable(trial, seconds, epochs, min(value, max(stood, default=value)) if share < 1 else value)


def _parted(all_: Sequence[Attainable], budget: float) -> tuple[tuple[TrialRecord, ...], tuple[Attainable, ...]]:
    """Those that are confirmed, and those that are passed over since others reach more in the time."""
    first = max(all_, key=lambda one: one.value)  # the first of equals
    if first.seconds > budget:  # it is the best though it is cut short
        return (first.trial,), ()
    return (
        tuple(one.trial for one in all_ if one.seconds <= budget),
        tuple(one for one in all_ if one.seconds > budget),
    )
