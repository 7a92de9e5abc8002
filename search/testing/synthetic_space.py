"""Spaces with known answers that need no images: what the engine and the samplers are measured and broken with.

    python -m search.run --space search.testing.synthetic_space:Branches --trials 100

A space may bring its own evaluation with a method `job()`: the same engine, Ray workers, study and pruner as for
networks, only the epochs are arithmetic (`search.testing.synthetic_trial`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras_tuner

from search.testing.synthetic_trial import BRANCHES, SyntheticJob, branch_value
from xraytune.errors import TrialError
from xraytune.records import FailureCause


class Branches(keras_tuner.HyperModel):  # type: ignore[misc]
    """A conditional objective: five branches of different size and shape, as architecture families are.

    Args:
        seed: moves every optimum, so that many instances of the problem can be drawn.
    """

    families = tuple(BRANCHES)
    faulty = False

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed if isinstance(seed, int) else 0  # `spaces.get` offers a context first

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """One family, its own parameters, and one that all share."""
        hp.Choice("family", list(BRANCHES))
        for family, (size, _) in BRANCHES.items():
            with hp.conditional_scope("family", [family]):
                hp.Float(f"{family}/rate", 1e-5, 1e-1, sampling="log")
                for i in range(size):
                    if i % 3 == 2:
                        hp.Choice(f"{family}/kind_{i}", ["a", "b", "c", "d"])
                    else:
                        hp.Float(f"{family}/x_{i}", 0.0, 1.0)
        hp.Float("shared", 0.0, 1.0)

    def build(self, hp: keras_tuner.HyperParameters) -> Any:
        """Nothing to build: there are no networks here.

        Raises:
            TrialError: always.
        """
        raise TrialError(FailureCause.BAD_CONFIG, "a synthetic space has no networks")

    def value(self, values: Mapping[str, Any]) -> float:
        """The objective of a configuration, at most the branch's best."""
        return branch_value(values, self.seed)

    def job(self) -> SyntheticJob:
        """How configurations are evaluated."""
        return SyntheticJob(self.seed, faulty=self.faulty)


class Faulty(Branches):
    """Branches with slow epochs, where environment variables say what goes wrong; for the fault tests."""

    faulty = True
