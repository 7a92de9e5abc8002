"""Optuna's own samplers without what they must not propose: their distributions stay as they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from xraytune.records import Value


class BoundedSampler(BaseSampler):
    """Another sampler; where it proposes an excluded value, another is drawn and the rest sampled for that.

    Args:
        sampler: who proposes.
        once: values of the parameter `family` that are never proposed.
        seed: of what is drawn instead.
    """

    def __init__(self, sampler: BaseSampler, once: Collection[str], seed: int) -> None:
        self._sampler, self._once = sampler, frozenset(once)
        self._left: Mapping[str, Collection[Value]] = {}
        self._rng = np.random.default_rng(seed)

    def leave(self, choices: Mapping[str, Collection[Value]]) -> None:
        """Propose these values alone of parameters by name, and all of every other."""
        self._left = choices

    def _proposed(self, name: str, value: Any) -> bool:
        return not (name == "family" and value in self._once) and value in self._left.get(name, (value,))

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The sampler's own."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The sampler's proposal, or nothing where a value of it is excluded."""
        found = self._sampler.sample_relative(study, trial, search_space)
        return found if all(self._proposed(name, value) for name, value in found.items()) else {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The sampler's value, or another one."""
        value = self._sampler.sample_independent(study, trial, param_name, param_distribution)
        if self._proposed(param_name, value):
            return value
        assert isinstance(param_distribution, CategoricalDistribution)
        others = [choice for choice in param_distribution.choices if self._proposed(param_name, choice)]
        return others[int(self._rng.integers(len(others)))] if others else value

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Tell the sampler."""
        self._sampler.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Tell the sampler."""
        self._sampler.after_trial(study, trial, state, values)
