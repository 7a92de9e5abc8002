"""Whole searches replayed against the table of learning curves, in virtual time on two workers.

The samplers are those of `search.samplers` over the real declaration of a set's space, on an Optuna study in memory;
the shared rungs are `search.tuner.pruning.AshaRule`. What a trial reports is its curve (from the table where that
configuration was trained on the set, else from the forest) with the noise that reported scores have; the judge's score
is that of its end, without noise. A sampler's own thinking costs nothing here.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from search.driver.initial_trials import FirstTrials, first_trials
from search.driver.prepared import Prepared
from search.hyperparameters.declaration import ambiguous_names, declared_parameters
from search.hyperparameters.suggestion import RecordedHyperParameters, SuggestedHyperParameters
from search.samplers import factory
from search.samplers.bounded import BoundedSampler
from search.tuner.pruning import AshaRule
from spaces import shortcut_countermeasures
from tests.evidence.curves.design import SetInfo
from tests.evidence.curves.portfolio import choose
from tests.evidence.curves.table import Course, Table
from xraytune.evaluation import robust_score
from xraytune.records import StudySpec, Value
from xraytune.training.epoch_evaluation import SHARE
from xraytune.training.history import is_rung

WORKERS = 2
MARKS = (5.0, 15.0, 30.0, 60.0)
"""Minutes after which a search is judged."""

BATCH, KEEP = 20, 5
"""One epoch for so many trials, then so many of them to their end; and so on."""

SAMPLERS = ("bo", "tpe", "stock", "random")
"""`stock` is Optuna's `TPESampler()` as it comes; the others are ours by their `--sampler` names."""

PRUNINGS = ("shared rungs", "rungs within a family", "one epoch, then the best", "none")
INITIALS = ("today's", "portfolio", "none")
BETA = 2.0


@dataclass(frozen=True)
class Policy:
    """How a search decides."""

    sampler: str = SAMPLERS[0]
    pruning: str = PRUNINGS[0]
    initial: str = INITIALS[0]

    @property
    def name(self) -> str:
        """In tables."""
        return f"{self.sampler} · {self.pruning} · {self.initial}"


def today(info: SetInfo) -> FirstTrials:
    """The initial trials of a search on such a data set."""
    space = info.space
    starts = shortcut_countermeasures.against_shortcuts(space, space.families, info.countermeasures)
    return first_trials(_as_prepared(info, starts))


def with_portfolio(info: SetInfo, portfolio: FirstTrials) -> FirstTrials:
    """A portfolio's configurations in place of the starting points; families that it has not come once."""
    return first_trials(_as_prepared(info, []), portfolio)


def _as_prepared(info: SetInfo, starts: Sequence[tuple[str, Mapping[str, Value]]]) -> Prepared:
    space = info.space
    spec = StudySpec("simulated", info.name, "", "", ("a", "b"), 1, "chest_xray", "", space.families)
    return Prepared(
        spec, space.declare_hyperparameters, space.families, (), tuple(starts), _no_job, (), once=space.once
    )


def _no_job(_progress: Any) -> Any:
    raise NotImplementedError("a simulated search trains nothing")


class World:
    """A data set as simulated searches meet it.

    Args:
        table: all trainings.
        name: the data set.
        predict: the course of a configuration that was not trained on it.
        seconds: of a search, by which a portfolio is chosen.
        portfolio: chosen from the other data sets if not given.
    """

    def __init__(
        self,
        table: Table,
        name: str,
        predict: Callable[[str, Mapping[str, Value]], Course],
        *,
        seconds: float = 60 * MARKS[-1],
        portfolio: FirstTrials | None = None,
    ) -> None:
        self.info, self.noise, self._predict = table.sets[name], table.noise, predict
        space = self.info.space
        self.declaration, self.once = space.declare_hyperparameters, space.once
        self.ambiguous = ambiguous_names(declared_parameters(self.declaration))
        self._trained = {_key(curve.values): curve.course for curve in table.of(name)}
        others = table.without(name)
        if portfolio is None:
            portfolio = choose(others, self.info, seconds) if others.curves else []
        self.initial: dict[str, FirstTrials] = {
            "today's": today(self.info), "portfolio": with_portfolio(self.info, portfolio), "none": [],
        }  # fmt: skip
        self.nothing = robust_score.trivial(self.info.classes, self.info.positive, BETA)
        """The judge's score where nothing was trained yet."""

    def course(self, values: Mapping[str, Value]) -> Course:
        """Of any configuration of the space."""
        key = _key(values)
        if key not in self._trained:
            self._trained[key] = self._predict(self.info.name, values)
        return self._trained[key]

    def encode(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """A configuration as Optuna's parameters, as `Study.encode`."""
        hp = RecordedHyperParameters(values, ambiguous=self.ambiguous)
        self.declaration(hp)
        return hp.optuna_params

    def completed(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """A configuration with all that it leaves open at the space's defaults."""
        hp = RecordedHyperParameters(values, ambiguous=self.ambiguous)
        self.declaration(hp)
        return dict(hp.values)


def _key(values: Mapping[str, Value]) -> str:
    return json.dumps(dict(values), sort_keys=True)


def make_sampler(name: str, seed: int, world: World) -> optuna.samplers.BaseSampler:
    """A sampler of `SAMPLERS`."""
    if name == "stock":
        stock = optuna.samplers.TPESampler(seed=seed, warn_independent_sampling=False)
        return BoundedSampler(stock, world.once, seed) if world.once else stock
    return factory.make_sampler(name, seed, declaration=world.declaration, once=world.once)


@dataclass
class _Running:
    """A trial that is trained or waits."""

    trial: optuna.Trial
    family: str
    course: Course
    features: float
    """Seconds for frozen features that it still has to pay."""

    epoch: int = 0
    best: float = -1.0
    """What it reported last."""


class Search:
    """One search.

    Args:
        world: the data set.
        policy: how it decides.
        seed: of the sampler and of the noise.
    """

    def __init__(self, world: World, policy: Policy, seed: int) -> None:
        self.world, self.policy = world, policy
        self._study = optuna.create_study(direction="maximize", sampler=make_sampler(policy.sampler, seed, world))
        for one in world.initial[policy.initial]:
            self._study.enqueue_trial(world.encode(one.values))
        self._rng = np.random.default_rng((seed, 99))
        self._rungs: dict[str, AshaRule] = {}
        self._made: set[str] = set()
        self._paused: list[_Running] = []
        self._resumed: deque[_Running] = deque()
        self.picks: list[tuple[float, float, bool, float]] = []
        """Each report: seconds, what was reported, whether the trial was complete, the judge's score of it."""
        self.trials = 0

    def run(self, seconds: float = 60 * MARKS[-1]) -> Search:
        """Search for so many virtual seconds."""
        order = itertools.count()
        events: list[tuple[float, int, _Running]] = []
        for _ in range(WORKERS):
            self._go_on(events, order, 0.0, self._next())
        while events and events[0][0] <= seconds:
            now, _, one = heapq.heappop(events)
            going_on = self._reported(now, one)
            self._go_on(events, order, now, one if going_on else self._next())
        return self

    def picked(self, minutes: float) -> float:
        """The judge's score of the trial that stands best after so many minutes: a complete one where there is any."""
        known = [(complete, value, score) for at, value, complete, score in self.picks if at <= 60 * minutes]
        return max(known, key=lambda one: one[:2])[2] if known else self.world.nothing

    def _next(self) -> _Running:
        if self._resumed:
            return self._resumed.popleft()
        trial = self._study.ask()
        hp = SuggestedHyperParameters(trial, ambiguous=self.world.ambiguous)
        self.world.declaration(hp)
        values = dict(hp.values)
        course = self.world.course(values)
        features, key = course.features, _features_key(values)
        if features and key in self._made:
            features = 0.0
        self._made.add(key)
        self.trials += 1
        return _Running(trial, str(values["family"]), course, features)

    def _go_on(self, events: list[Any], order: Iterator[int], now: float, one: _Running) -> None:
        """Train until the next epoch at which it is looked at."""
        course, before = one.course, one.epoch
        one.epoch = next(
            (e for e in range(before + 1, course.epochs) if is_rung(e) and self.policy.pruning != "none"), course.epochs
        )
        trained = (one.epoch - before) * course.epoch
        # at its end a trial looks at all images of the views, at a rung at as many as keep views cheap
        look = course.look if one.epoch == course.epochs else min(course.look, SHARE / 2 * trained)
        first = 0.0 if before else course.start + one.features
        heapq.heappush(events, (now + first + trained + look, next(order), one))

    def _reported(self, now: float, one: _Running) -> bool:
        """Note a report; whether the trial goes on in its worker."""
        course = one.course
        value = float(course.standing[one.epoch - 1] + self.world.noise * self._rng.standard_normal())
        one.best, complete = value, one.epoch >= course.epochs
        self.picks.append((now, value, complete, course.score))
        one.trial.report(value, one.epoch)
        if complete:
            self._study.tell(one.trial, value)
            return False
        if self.policy.pruning == "one epoch, then the best":
            if one.epoch == 1:
                self._pause(one)
            return one.epoch > 1
        if self._prunes(one, value):
            self._study.tell(one.trial, state=TrialState.PRUNED)
            return False
        return True

    def _prunes(self, one: _Running, value: float) -> bool:
        if self.policy.pruning == "none":
            return False
        group = one.family if self.policy.pruning == "rungs within a family" else ""
        return self._rungs.setdefault(group, AshaRule()).prune(one.trial.number, one.family, one.epoch, value)

    def _pause(self, one: _Running) -> None:
        """Keep a trial after its first epoch; of each `BATCH` the best go on, the others end."""
        self._paused.append(one)
        if len(self._paused) < BATCH:
            return
        ranked = sorted(self._paused, key=lambda other: -other.best)
        self._resumed.extend(ranked[:KEEP])
        for other in ranked[KEEP:]:
            self._study.tell(other.trial, state=TrialState.PRUNED)
        self._paused = []


def _features_key(values: Mapping[str, Value]) -> str:
    """What frozen features depend on; empty for a network without."""
    family = str(values["family"])
    names = ("backbone", "image_size", "normalization", "cut", "trained_blocks", "augmentation_copies")
    if f"{family}/backbone" not in values:
        return ""
    return json.dumps([family, *(values.get(f"{family}/{name}") for name in names)])
