"""Optuna's own samplers without the families that only initial trials have."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState


class WithoutOnce(BaseSampler):
    """Another sampler; where it proposes one of these families, another family is drawn and the rest sampled for that.

    Args:
        sampler: who proposes.
        once: values of the parameter `family` that are never proposed.
        seed: of what is drawn instead.
    """

    def __init__(self, sampler: BaseSampler, once: Collection[str], seed: int) -> None:
        self._sampler, self._once = sampler, frozenset(once)
        self._rng = np.random.default_rng(seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The sampler's own."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The sampler's proposal, or nothing where that is of a family that is not proposed."""
        found = self._sampler.sample_relative(study, trial, search_space)
        return {} if found.get("family") in self._once else found

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The sampler's value, or another family."""
        value = self._sampler.sample_independent(study, trial, param_name, param_distribution)
        if param_name != "family" or value not in self._once:
            return value
        assert isinstance(param_distribution, CategoricalDistribution)
        others = [choice for choice in param_distribution.choices if choice not in self._once]
        return others[int(self._rng.integers(len(others)))] if others else value

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Tell the sampler."""
        self._sampler.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Tell the sampler."""
        self._sampler.after_trial(study, trial, state, values)
