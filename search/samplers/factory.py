"""The sampler: Optuna's samplers by name, and the one pruner each name means."""

from __future__ import annotations

from collections.abc import Collection

import optuna
from optuna.samplers import BaseSampler

from search.hyperparameters.parameter import parameters
from search.hyperparameters.suggestion import Declaration, Narrowing
from search.samplers import SAMPLERS
from search.samplers.bayesian import BayesianSampler
from search.samplers.bounded import BoundedSampler
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
    once: Collection[str] = (),
) -> BaseSampler:
    """The sampler of that name.

    Args:
        name: `bo` (a Gaussian process over all branches; with two objectives `tpe`), `tpe` (multivariate, each branch
            modelled jointly, constant liar) or `random`.
        seed: the study's seed.
        declaration: the space's `declare_hyperparameters`.
        narrowing: what the user took out of it.
        existing: trials already in the study; a resumed search must not repeat its first suggestions.
        objectives: how many the search has.
        once: families that only initial trials have.

    Raises:
        InputError: an unknown name.
    """
    seed = (seed + existing) % 2**31
    if name == "random":
        return BoundedSampler(optuna.samplers.RandomSampler(seed=seed), once, seed)
    if name == "bo" and objectives == 1:
        return BayesianSampler(parameters(declaration, narrowing), seed, STARTUP, once)
    if name in {"bo", "tpe"}:
        tpe = optuna.samplers.TPESampler(
            multivariate=True,
            group=True,
            constant_liar=True,
            n_startup_trials=STARTUP,
            seed=seed,
            warn_independent_sampling=False,
        )
        return BoundedSampler(tpe, once, seed)
    raise InputError(f"unknown sampler {name!r}: {', '.join(SAMPLERS)}")
