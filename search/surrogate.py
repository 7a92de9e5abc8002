"""A Gaussian process over a space with branches: the sampler that asks what is most likely to beat the best so far.

Every configuration is one point: a number is its place in its range, a choice that is no number a corner of its own, a
parameter that its branch does not have lies outside all ranges. So branches share what they have in common and differ
by what they have not (the idea of Hutter & Osborne 2013, "A Kernel for Hierarchical Parameter Spaces", in the plainest
of embeddings). The next configuration is that of the largest expected improvement among random ones and small changes
to the best ones. The process is scikit-learn's; what it knows is kept here, so that suggesting reads no database.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from search.suggest import Parameter
from xraytune.records import FailureCause, Value

MOST = 200
"""Trials the process is fitted to: half the best, half the latest (the time of a fit grows with their cube)."""
RANDOM, BEST, CHANGES = 300, 8, 30
"""Candidates: so many at random, and so many small changes to each of the best trials."""
OUTSIDE = -0.5
"""Where a number lies that its branch does not have; ranges are 0 to 1."""
ASTRAY = 8
"""One in so many trials is random: what keeps a process that has settled on the wrong branch from staying there (as
SMAC interleaves random configurations, Hutter et al. 2011)."""
REFIT = 1.1
"""The kernel's parameters are fitted again when the trials have grown by this factor."""


class Surrogate(BaseSampler):
    """Expected improvement of a Gaussian process, for one objective.

    Args:
        parameters: all that the space can have, parents before children.
        seed: of all that is drawn.
        startup: trials before the process models anything; until then configurations are random.
    """

    def __init__(self, parameters: Sequence[Parameter], seed: int, startup: int = 10) -> None:
        self._space = _Embedding(parameters)
        self._rng = np.random.default_rng(seed)
        self._random = optuna.samplers.RandomSampler(seed=seed)
        self._startup = startup
        self._genes: list[np.ndarray] = []
        self._values: list[float] = []
        self._pending: dict[int, np.ndarray] = {}
        self._decided: dict[int, Mapping[str, Value]] = {}
        self._kernel: Any = None
        self._fitted = 0
        self._loaded = False

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
            genes = self._next(trial.system_attrs.get("fixed_params", {}))
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

    # -- what is next ------------------------------------------------------------------------------------------------

    def _next(self, fixed: Mapping[str, Value]) -> np.ndarray:
        known = np.array(self._values)
        if np.isfinite(known).sum() < self._startup or len(known) % ASTRAY == 0:
            return self._space.genes(fixed, self._rng)
        chosen = self._chosen(known)
        values = np.nan_to_num(known[chosen], nan=float(np.nanmin(known)))
        values = np.maximum(values, 3 * np.median(values) - 2 * values.max())  # how bad a bad one was says little
        mean, spread = values.mean(), values.std() or 1.0
        genes = np.array([self._genes[i] for i in chosen])
        candidates = self._space.hold(self._candidates(genes[np.argsort(-values)[:BEST]]), fixed)
        expected, doubt = self._predict(genes, (values - mean) / spread, candidates)
        chosen_row: np.ndarray = candidates[
            int(np.argmax(_improvement(expected, doubt, (values.max() - mean) / spread)))
        ]
        return chosen_row

    def _chosen(self, known: np.ndarray) -> np.ndarray:
        if len(known) <= MOST:
            return np.arange(len(known))
        best = np.argsort(-np.nan_to_num(known, nan=-np.inf))[: MOST // 2]
        return np.union1d(best, np.arange(len(known) - MOST // 2, len(known)))

    def _candidates(self, best: np.ndarray) -> np.ndarray:
        """Random points, and the best with some genes moved a little or drawn anew."""
        changed = np.repeat(best, CHANGES, axis=0)
        step = self._rng.choice([0.05, 0.15, 0.3], (len(changed), 1))
        moved = changed + step * self._rng.standard_normal(changed.shape)
        drawn = self._rng.random(changed.shape)
        category = self._space.categorical[None, :]
        change = self._rng.random(changed.shape) < np.where(category, 0.25, 0.7)
        changed = np.where(change, np.where(category, drawn, np.clip(moved, 0.0, 1.0 - 1e-9)), changed)
        return np.vstack([self._rng.random((RANDOM, changed.shape[1])), changed])

    def _predict(self, genes: np.ndarray, values: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation at `at`; trials that run count with what is expected of them."""
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
        from threadpoolctl import threadpool_limits  # scikit-learn's own

        x, new = self._space.points(genes), self._space.points(at)
        again = self._kernel is None or len(self._values) >= REFIT * self._fitted
        if again:
            width = 0.5 * math.sqrt(x.shape[1] / 4)
            self._fitted = len(self._values)
            self._kernel = ConstantKernel(1.0) * Matern(width, (0.1, 20.0), nu=2.5) + WhiteKernel(0.05, (1e-3, 1.0))
        # trials have all the cores: more threads than one would wait for each other, for seconds
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a parameter at its bound
            process = GaussianProcessRegressor(self._kernel, optimizer="fmin_l_bfgs_b" if again else None)
            process.fit(x, values)
            self._kernel = process.kernel_
            if self._pending:
                running = self._space.points(np.array(list(self._pending.values())))
                believed = np.concatenate([values, process.predict(running)])
                process = GaussianProcessRegressor(self._kernel, optimizer=None).fit(np.vstack([x, running]), believed)
            mean, deviation = process.predict(new, return_std=True)
        return mean, deviation


def _improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    """Expected improvement over `best` (Jones et al. 1998)."""
    from scipy.stats import norm

    z = (mean - best) / np.maximum(deviation, 1e-9)
    improvement: np.ndarray = (mean - best) * norm.cdf(z) + deviation * norm.pdf(z)
    return improvement


class _Embedding:
    """Configurations as genes (one number in [0, 1) a parameter, active or not) and as points of the process."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.parameters = tuple(parameters)
        self.width = len(self.parameters)
        self.categorical = np.array([not p.ordered for p in self.parameters])
        self._column = {p.name: i for i, p in enumerate(self.parameters)}

    def hold(self, genes: np.ndarray, fixed: Mapping[str, Value]) -> np.ndarray:
        """`genes` with what is fixed (by the study's names) in place."""
        for name, value in fixed.items():
            if name in self._column:
                genes[:, self._column[name]] = self.parameters[self._column[name]].share(value)
        return genes

    def genes(self, values: Mapping[str, Value], rng: np.random.Generator) -> np.ndarray:
        """The genes of a configuration; those of parameters it does not have are drawn."""
        row: np.ndarray = self.hold(rng.random((1, self.width)), values)[0]
        return row

    def values(self, genes: np.ndarray) -> dict[str, Value]:
        """The configuration of one row of genes: active parameters by the study's names."""
        active = self._active(genes[None, :])[0]
        return {p.name: p.at(genes[i]) for i, p in enumerate(self.parameters) if active[i]}

    def points(self, genes: np.ndarray) -> np.ndarray:
        """`(n, parameters)` genes as `(n, columns)` points."""
        active = self._active(genes)
        columns = []
        for i, parameter in enumerate(self.parameters):
            place = parameter.place(genes[:, i])
            if parameter.ordered:
                columns.append(np.where(active[:, i], place, OUTSIDE))
            else:
                columns += [active[:, i] & (place == k) for k in range(parameter.count)]
        return np.array(columns, float).T

    def _active(self, genes: np.ndarray) -> np.ndarray:
        """Which parameters each row has: those all of whose conditions hold."""
        active = np.ones(genes.shape, bool)
        for i, parameter in enumerate(self.parameters):
            for parent, allowed in parameter.conditions:
                holds = np.zeros(len(genes), bool)
                for j, other in enumerate(self.parameters[:i]):
                    if other.declared == parent:
                        holds |= active[:, j] & other.one_of(genes[:, j], allowed)
                active[:, i] &= holds
        return active
