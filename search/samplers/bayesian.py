"""A Gaussian process over a space with branches: the sampler that asks what is most likely to beat the best so far.

All branches are modelled by one process (`search.samplers.gaussian_process`), each configuration as one point
(`search.samplers.encoding`): so branches share what they have in common and differ by what they have not (the idea of
Hutter & Osborne 2013, "A Kernel for Hierarchical Parameter Spaces", in a plain embedding). The next configuration is
that of the largest expected improvement among random ones, changes to the best ones, and mixtures of these. What is
known is kept here, so that suggesting reads no database.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from search.hyperparameters.parameter import Parameter
from search.samplers.encoding import Embedding
from search.samplers.gaussian_process import Process
from xraytune.evaluation.sites import held_out_sites
from xraytune.records import FailureCause, Value

MOST = 200
"""Trials the process is fitted to: half the best, half the latest (the time of a fit grows with their cube)."""
RANDOM, BEST, CHANGES, MIXTURES = 300, 8, 15, 150
"""Candidates: so many at random, so many small changes to each of the best trials and to the best of each branch, and
so many mixtures of two of these."""
ROUNDS, NEAR, FINER = 2, 5, 20
"""Times that the most promising candidates are changed again, how many of them, and how often each."""
ASIDE = 8
"""One in so many trials looks aside: at another branch than the best (a process that has settled on the wrong branch
would stay there), or in a flat space at random (as SMAC interleaves random configurations, Hutter et al. 2011)."""


class BayesianSampler(BaseSampler):
    """Expected improvement of a Gaussian process, for one objective.

    Args:
        parameters: all that the space can have, parents before children.
        seed: of all that is drawn.
        startup: trials before the process models anything; until then configurations are random.
        once: values of the root, the family, that are never proposed.
    """

    def __init__(
        self, parameters: Sequence[Parameter], seed: int, startup: int = 10, once: Collection[Value] = ()
    ) -> None:
        self._space = Embedding(parameters, once)
        self._rng = np.random.default_rng(seed)
        self._random = optuna.samplers.RandomSampler(seed=seed)
        self._startup = startup
        self._process = Process()
        self._genes: list[np.ndarray] = []
        self._values: list[float] = []
        self._sites: list[str] = []
        self._pending: dict[int, np.ndarray] = {}
        self._decided: dict[int, Mapping[str, Value]] = {}
        self._loaded = False

    def leave(self, choices: Mapping[str, Collection[Value]]) -> None:
        """Propose these values alone of parameters by name, and all of every other."""
        self._space.leave(choices)

    # -- Optuna's interface ------------------------------------------------------------------------------------------

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Nothing: a trial's values are decided together when the first of them is asked for."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The decided value; a random one for a parameter that the space did not declare beforehand."""
        if not self._loaded:
            self._load(study)
        if trial.number not in self._decided:
            genes = self._next(trial.number, trial.system_attrs.get("fixed_params", {}))
            self._pending[trial.number] = genes
            self._decided[trial.number] = self._space.values(genes)
        value = self._decided[trial.number].get(param_name)
        if value is not None and param_distribution._contains(param_distribution.to_internal_repr(value)):
            return value
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Learn from a trial that ended."""
        self._pending.pop(trial.number, None)
        self._decided.pop(trial.number, None)
        if self._loaded:
            self._learn(study, trial, state, values)

    # -- what is known -----------------------------------------------------------------------------------------------

    def _load(self, study: optuna.Study) -> None:
        self._loaded = True
        for trial in study.get_trials(deepcopy=False):
            if trial.state.is_finished():
                self._learn(study, trial, trial.state, trial.values)

    def _learn(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        sign = 1.0 if study.direction == optuna.study.StudyDirection.MAXIMIZE else -1.0
        value = math.nan  # a failure counts as the worst value seen
        if state == TrialState.PRUNED and trial.intermediate_values:
            value = max(sign * v for v in trial.intermediate_values.values())
        elif values:
            value = sign * values[0]
        elif state != TrialState.FAIL or trial.user_attrs.get("cause") == FailureCause.INTERRUPTED:
            return
        self._genes.append(self._space.genes(trial.params, self._rng))
        self._values.append(value)
        self._sites.append(trial.user_attrs.get("site", ""))

    # -- what is next ------------------------------------------------------------------------------------------------

    def _next(self, number: int, fixed: Mapping[str, Value]) -> np.ndarray:
        fair = held_out_sites.compared(dict(enumerate(self._values)), dict(enumerate(self._sites)))
        known, aside = np.array(list(fair.values())), number % ASIDE == 0
        if np.isfinite(known).sum() < self._startup or (aside and self._space.root is None):
            return self._space.genes(fixed, self._rng)
        chosen = self._chosen(known)
        genes = np.array([self._genes[i] for i in chosen])
        values = np.nan_to_num(known[chosen], nan=float(np.nanmin(known)))
        values = np.maximum(values, 3 * np.median(values) - 2 * values.max())  # how bad a bad one was says little
        points, branch = self._space.points(genes), self._space.branch(genes)
        active = float(self._space.active(genes).sum(axis=1).mean())
        self._process.fit(points, (values - values.mean()) / (values.std() or 1.0), active, len(known))
        expected = self._process.mean(points)
        if self._pending:
            self._process.believe(self._space.points(np.array(list(self._pending.values()))))
        best = float(expected.max())
        if aside and (other := self._other(branch, expected, fixed)) is not None:
            fixed = {**fixed, **other}
            there = self._space.branch(self._space.hold(genes[:1].copy(), fixed))[0]
            best = float(expected[branch == there].max(initial=-math.inf))
            best = best if math.isfinite(best) else float(expected.max())
        order = np.argsort(-expected)
        firsts = order[np.unique(branch[order], return_index=True)[1]]
        return self._most_promising(genes[np.concatenate([order[:BEST], firsts])], best, fixed)

    def _chosen(self, known: np.ndarray) -> np.ndarray:
        if len(known) <= MOST:
            return np.arange(len(known))
        best = np.argsort(-np.nan_to_num(known, nan=-np.inf))[: MOST // 2]
        return np.union1d(best, np.arange(len(known) - MOST // 2, len(known)))

    def _other(self, branch: np.ndarray, expected: np.ndarray, fixed: Mapping[str, Value]) -> dict[str, Value] | None:
        """A branch that is not the best, by the root's name and value: each half as often as the one before it."""
        if self._space.root is None or (root := self._space.parameters[self._space.root]).name in fixed:
            return None
        reached = [expected[branch == k].max(initial=-math.inf) for k in range(root.count)]
        others = np.argsort(-np.array(reached), kind="stable")[1:]
        others = others[np.isin(others, self._space.drawn)]
        if not len(others):
            return None
        weight = 0.5 ** np.arange(len(others))
        return {root.name: root.choices[self._rng.choice(others, p=weight / weight.sum())]}

    def _most_promising(self, tops: np.ndarray, best: float, fixed: Mapping[str, Value]) -> np.ndarray:
        """The genes of the largest expected improvement over `best` among candidates drawn around `tops`."""
        first, second = tops[self._rng.integers(0, len(tops), (2, MIXTURES))]
        mixed = np.where(self._rng.random(first.shape) < 0.5, first, second)
        candidates = np.vstack(
            [
                self._rng.random((RANDOM, self._space.width)),
                self._changed(tops, CHANGES, 0.7),
                self._changed(mixed, 1, 0.15),
            ]
        )
        candidates = self._space.hold(candidates, fixed)
        improvement = self._process.improvement(self._space.points(candidates), best)
        for _ in range(ROUNDS):
            near = candidates[np.argsort(-improvement)[:NEAR]]
            finer = self._space.hold(self._changed(near, FINER, 0.25), fixed)
            candidates = np.vstack([candidates, finer])
            improvement = np.concatenate([improvement, self._process.improvement(self._space.points(finer), best)])
        genes: np.ndarray = candidates[int(np.argmax(improvement))]
        return genes

    def _changed(self, genes: np.ndarray, times: int, share: float) -> np.ndarray:
        """Each of `genes` so often: of its numbers a share moved a little, of its categories as many drawn anew."""
        changed = np.repeat(genes, times, axis=0)
        step = self._rng.choice([0.05, 0.15, 0.3], (len(changed), 1))
        moved = np.clip(changed + step * self._rng.standard_normal(changed.shape), 0.0, 1.0 - 1e-9)
        category = self._space.categorical[None, :]
        change = self._rng.random(changed.shape) < np.where(category, min(share, 0.25), share)
        new: np.ndarray = np.where(change, np.where(category, self._rng.random(changed.shape), moved), changed)
        return new
