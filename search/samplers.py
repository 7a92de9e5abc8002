"""Who suggests: Optuna's samplers by name, and the one pruner each name means."""

from __future__ import annotations

import importlib

import optuna
from optuna.samplers import BaseSampler

from search.prepare import PRUNERS, SAMPLERS
from search.suggest import Declaration, Narrowing, declared, is_conditional, parameters
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
    seed = (seed + existing) % 2**31
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
        return _QuasiRandomStart(tpe, seed) if name == "qmc" else tpe
    if name == "gp":
        if is_conditional(declared(declaration)):
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
    """Quasi-random points (Sobol') for the first trials, then another sampler."""

    def __init__(self, then: BaseSampler, seed: int) -> None:
        self._start = optuna.samplers.QMCSampler(
            seed=seed, scramble=True, warn_independent_sampling=False, warn_asynchronous_seeding=False
        )
        self._then = then

    def _now(self, study: optuna.Study) -> BaseSampler:
        ended = sum(t.state.is_finished() for t in study._get_trials(deepcopy=False, use_cache=True))
        return self._start if ended < STARTUP else self._then

    def infer_relative_search_space(self, study, trial):  # type: ignore[no-untyped-def]
        return self._now(study).infer_relative_search_space(study, trial)

    def sample_relative(self, study, trial, search_space):  # type: ignore[no-untyped-def]
        return self._now(study).sample_relative(study, trial, search_space)

    def sample_independent(self, study, trial, param_name, param_distribution):  # type: ignore[no-untyped-def]
        return self._now(study).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study, trial, state, values):  # type: ignore[no-untyped-def]
        self._then.after_trial(study, trial, state, values)
