"""Who stops a trial early: Ray's ASHA, or one of Optuna's pruners, behind one rule.

Rungs are epochs. All families compete in the same rungs, but a family is not stopped before its own grace period: a
deep network that is trained as a whole is no worse for being slower to start. What the rungs know is rebuilt on resume
from what the study keeps of each trial.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace

import optuna
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from search.study.study import Study
from search.study.view import TrialRecord
from search.tuner import PRUNERS
from xraytune import models
from xraytune.errors import InputError
from xraytune.training.history import REDUCTION

GRACE: Mapping[str, int] = {name: family.grace for name, family in models.BY_NAME.items()}
"""Epochs before a family may be stopped; those of other spaces get 1."""

LEAST = 3
"""Trials that must have reached a rung before it stops one: with fewer the best of two would end the other."""


class AshaRule:
    """Asynchronous successive halving by Ray, over all families; trials that hold out the same site share their rungs.

    Args:
        max_epochs: the most epochs a trial can have; the last rung lies at or below it.
        grace: epochs before a family may be stopped.
    """

    def __init__(self, max_epochs: int = 100, grace: Mapping[str, int] = GRACE) -> None:
        self._max_epochs = max(2, max_epochs)
        self._schedulers: dict[str, AsyncHyperBandScheduler] = {}
        self._grace = grace
        self._known: set[int] = set()
        self._reached: dict[tuple[str, int], set[int]] = {}

    def _rungs(self, site: str) -> AsyncHyperBandScheduler:
        """The rungs of the trials that hold out a site."""
        if site not in self._schedulers:
            self._schedulers[site] = AsyncHyperBandScheduler(
                time_attr="epoch",
                metric="value",
                mode="max",
                max_t=self._max_epochs,
                grace_period=1,
                reduction_factor=REDUCTION,
                stop_last_trials=False,
            )
        return self._schedulers[site]

    def prune(self, number: int, family: str, epoch: int, value: float, site: str = "") -> bool:
        """Whether the trial is among the worst of its rung; epochs between rungs, or reported again, never stop one.

        `value` is what the trial would have if it stopped here.
        """
        scheduler, reached = self._rungs(site), self._reached.setdefault((site, epoch), set())
        if number in reached:
            return False
        reached.add(number)
        trial = SimpleNamespace(trial_id=str(number))
        if number not in self._known:
            self._known.add(number)
            scheduler.on_trial_add(None, trial)
        decision = scheduler.on_trial_result(None, trial, {"epoch": epoch, "value": value})
        if epoch < self._grace.get(family, 1) or len(reached) <= LEAST:
            return False
        return bool(decision == TrialScheduler.STOP)

    def replay(self, trials: Iterable[TrialRecord]) -> None:
        """Fill the rungs from what earlier sessions recorded; what was cut off comes again and counts then."""
        for trial in trials:
            if not trial.interrupted:
                for epoch, value in sorted(trial.standing.items()):
                    self.prune(trial.number, trial.family, epoch, value, trial.site)


class OptunaRule:
    """The study's own pruner (median, Hyperband …), with the same grace periods."""

    def __init__(self, study: Study, grace: Mapping[str, int] = GRACE) -> None:
        self._study = study
        self._grace = grace

    def prune(self, number: int, family: str, epoch: int, value: float, site: str = "") -> bool:
        """Ask the pruner, after the grace period."""
        return epoch >= self._grace.get(family, 1) and self._study.should_prune(number)


def make_pruner(name: str) -> optuna.pruners.BasePruner:
    """Optuna's pruner of that name; one that never prunes where Ray's schedulers do.

    Raises:
        InputError: an unknown name.
    """
    if name not in PRUNERS:
        raise InputError(f"unknown pruner {name!r}: {', '.join(PRUNERS)}")
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, reduction_factor=3)
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)
    return optuna.pruners.NopPruner()
