"""What a search asks of its space: hooks that do nothing until a space overrides them.

A space needs `declare_hyperparameters` and `build`, as every KerasTuner `HyperModel`. One that derives from `Space` can
also say which pretrained networks it needs, what is too slow for the time budget, and which trials come first. A plain
HyperModel has none of these hooks; `discovery.Foreign` gives it those of the base class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras_tuner

from spaces.context import SpaceContext
from xraytune.data import Progress
from xraytune.errors import InputError
from xraytune.evaluation.shortcut_audit import Audit
from xraytune.models.cost import Machine
from xraytune.records import Objective, Value

Choices = dict[str, tuple[Value, ...]]
"""What is left of each parameter's choices, by name."""

Point = tuple[str, Mapping[str, Value]]
"""A configuration: what it is called, and its hyperparameters."""


@dataclass(frozen=True, kw_only=True)
class TimeLeft:
    """What trials may cost."""

    machine: Machine
    """How fast this machine is, by its processor."""

    seconds: float | None = None
    """The time that networks are chosen for."""

    trials: int | None = None
    """The maximum number of trials."""

    fixed: Mapping[str, str] = field(default_factory=dict)
    """Hyperparameters that the user holds at one value, by name."""

    spent: float = 0.0
    """Seconds of the time budget that reading the data took."""

    slower: Mapping[str, float] = field(default_factory=dict)
    """How many times as long as counted a family's training takes, by the trials so far; 1 without one."""


@dataclass(frozen=True, kw_only=True)
class SearchContext(TimeLeft):
    """What a search knows before its first trial, beside the data that `SpaceContext` describes."""

    audit: Audit
    """Of the training and validation images."""

    objective: str = Objective.ROBUST
    recipes: str = "none"
    """`fitting`, `all`, `none`, or names of published configurations by comma."""


class Narrowed(NamedTuple):
    """What a space leaves of its choices, and a line on each thing that it took away."""

    choices: Choices
    lines: list[str]


class Feature(NamedTuple):
    """Frozen backbone features that trials may write to the cache."""

    image_bytes: float
    """Bytes an image of one copy."""

    copies: int
    """The most augmented copies beside the plain images."""


class Space(keras_tuner.HyperModel):  # type: ignore[misc]  # KerasTuner has no types
    """A search space with hooks; each of them does nothing here."""

    precisions: tuple[str, ...] = ("float32",)
    """What its networks can compute in by `--precision`."""

    declares_all: bool = True
    """Whether `declare_hyperparameters` names everything that may vary before `completed` was called."""

    @property
    def families(self) -> tuple[str, ...]:
        """The architecture families that take part."""
        return ()

    @property
    def once(self) -> tuple[str, ...]:
        """Families that are tried before all others, by their initial trials alone: no sampler proposes them."""
        return ()

    def job(self) -> Any | None:
        """How configurations are evaluated, for a space without images; None trains its networks on images."""
        return None

    def backbones(self) -> tuple[str, ...] | None:
        """The pretrained networks that it may need; None where that is not known before networks are built."""
        return None

    def narrow(self, search: SearchContext) -> Narrowed:
        """What is left of its choices for this search: too slow here, or not asked for by the audit.

        Raises:
            InputError: the user asked for something that the space can't offer.
        """
        return Narrowed({}, [])

    def affordable(self, left: TimeLeft) -> Choices:
        """Of each parameter that has choices too slow for the time that is left, those that are not."""
        return {}

    def initial_trials(self, search: SearchContext) -> list[Point]:
        """Configurations to try before the sampler is asked: why, and the values."""
        return []

    def recipes(self, search: SearchContext) -> tuple[list[Point], list[str]]:
        """The published configurations that the user asked for, and a line on each that is left out or adapted.

        Raises:
            InputError: there is none of that name.
        """
        if search.recipes not in {"fitting", "all", "none"}:
            raise InputError(f"--recipes {search.recipes}: this space has no published configurations.")
        return [], []

    def recipe_names(self) -> tuple[str, ...]:
        """The published configurations that it knows."""
        return ()

    def cached_features(self) -> dict[str, Feature]:
        """The frozen backbone features that its trials may keep on disk, by what they are of."""
        return {}

    def completed(self, name: str, context: SpaceContext, progress: Progress | None = None) -> Space:
        """The same space with every parameter declared, an image size among them.

        Args:
            name: by which it was found.
            context: that it was given.
            progress: told what takes its time.
        """
        return self
