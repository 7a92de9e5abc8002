"""Who suggests: Optuna's samplers by name, and the one pruner each name means."""

from __future__ import annotations

import importlib

import optuna
from optuna.samplers import BaseSampler
from scipy.stats.qmc import Sobol

from search.embedding import Embedding
from search.prepare import PRUNERS, SAMPLERS
from search.suggest import Declaration, Narrowing, is_conditional, parameters
from search.surrogate import Surrogate
from xraytune.errors import InputError

STARTUP = 10
"""Trials before anything is modelled (Optuna's default); those enqueued count."""


def make_sampler(
    name: str,
    seed: int,
    *,
    declaration: Declaration,
    narrowing: Narrowing | None = None,
    existing: int = 0,
    objectives: int = 1,
) -> BaseSampler:
    """The sampler of that name.

    Args:
        name: `bo` (a Gaussian process over all branches; with two objectives `tpe`), `tpe` (multivariate, each branch
            modelled jointly, constant liar), `qmc` (quasi-random start-up, then `tpe`), `random`, or `gp` (Optuna's
            Gaussian process, flat spaces only, needs the extra `gp`).
        seed: the study's seed.
        declaration: the space's `declare_hyperparameters`.
        narrowing: what the user took out of it.
        existing: trials already in the study; a resumed search must not repeat its first suggestions.
        objectives: how many the search has.

    Raises:
        InputError: an unknown name, `gp` with a conditional space or without its package.
    """
    own, seed = seed, (seed + existing) % 2**31
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "bo" and objectives == 1:
        return Surrogate(parameters(declaration, narrowing), seed, STARTUP)
    if name in {"bo", "tpe", "qmc"}:
        tpe = optuna.samplers.TPESampler(
            multivariate=True,
            group=True,
            constant_liar=True,
            n_startup_trials=STARTUP,
            seed=seed,
            warn_independent_sampling=False,
        )
        return tpe if name != "qmc" else _QuasiRandomStart(tpe, Embedding(parameters(declaration, narrowing)), own)
    if name == "gp":
        if is_conditional(declaration):
            raise InputError("--sampler gp works on flat spaces only; this one has branches. Use bo.")
        try:
            importlib.import_module("torch")
        except ImportError:
            raise InputError("--sampler gp needs torch. Install it with: pip install 'xraytune[gp]'") from None
        return optuna.samplers.GPSampler(seed=seed)
    raise InputError(f"unknown sampler {name!r}: {', '.join(SAMPLERS)}")


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


class _QuasiRandomStart(BaseSampler):
    """Quasi-random points (scrambled Sobol') until `STARTUP` trials have ended, then another sampler.

    A point has a place for every parameter of every branch; a trial takes those that it has. (Optuna's own has Sobol'
    points for the parameters that all trials so far have in common, the rest is random.)

    Args:
        then: the other sampler.
        space: its points' places.
        seed: of the study: sessions share one sequence, in which each trial has the point of its number.
    """

    def __init__(self, then: BaseSampler, space: Embedding, seed: int) -> None:
        self._then = then
        self._space = space
        self._seed = seed

    def _starting(self, study: optuna.Study) -> bool:
        ended = sum(t.state.is_finished() for t in study._get_trials(deepcopy=False, use_cache=True))
        return ended < STARTUP

    def infer_relative_search_space(self, study, trial):  # type: ignore[no-untyped-def]
        return {} if self._starting(study) else self._then.infer_relative_search_space(study, trial)

    def sample_relative(self, study, trial, search_space):  # type: ignore[no-untyped-def]
        return {} if self._starting(study) else self._then.sample_relative(study, trial, search_space)

    def sample_independent(self, study, trial, param_name, param_distribution):  # type: ignore[no-untyped-def]
        if not self._starting(study):
            return self._then.sample_independent(study, trial, param_name, param_distribution)
        # a parameter that the space did not declare beforehand has no place: what is then asked draws it at random
        genes = Sobol(self._space.width, seed=self._seed).random_base2(trial.number.bit_length())[[trial.number]]
        held = self._space.hold(genes, trial.system_attrs.get("fixed_params", {}))
        value = self._space.values(held[0]).get(param_name)
        if value is not None and param_distribution._contains(param_distribution.to_internal_repr(value)):
            return value
        return self._then.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study, trial, state, values):  # type: ignore[no-untyped-def]
        self._then.after_trial(study, trial, state, values)
