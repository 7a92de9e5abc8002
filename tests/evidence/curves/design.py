"""Which configurations `make curves` trains: a seeded design over sets, families, countermeasures and cost.

A set's configurations are drawn from the space that a search of the default time has on it. Families take turns. Half
of the configurations have the countermeasures that the shortcut audit asks for; half are cheap and half are dear for
their family. Each set has a share of the hours by its number of configurations; where the predicted sum is above it,
the dearest configurations are ruled out until it is not. The prediction (`xraytune.models.cost`) is for one core of the
machine that the set was prepared on and for all epochs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.hyperparameters.parameter import Parameter, parameters
from spaces.chest_xray import ChestXRay
from spaces.context import SpaceContext
from xraytune.models.cost import Machine, cost
from xraytune.records import Value
from xraytune.training import epoch_evaluation
from xraytune.training.inputs.augmentation import COUNTERMEASURES
from xraytune.training.inputs.batches import epoch_size
from xraytune.training.optimization.settings import TrainingSettings

WORKERS = 2
LIMITS = (1200.0, 900.0, 700.0, 550.0, 450.0, 350.0, 250.0, 180.0, 120.0, 80.0, 50.0, 30.0)
"""Seconds that one training may be predicted to take; the first with which the sum fits is taken."""

CANDIDATES, DRAWS = 12, 400
"""Affordable candidates of a slot, of which a cheap or a dear one is taken; configurations drawn for them at most."""

VIEWS = 13
"""At most: the clean images and twelve shifted views."""


@dataclass(frozen=True)
class SetInfo:
    """What the design and the simulator know of a data set: no images, no labels."""

    name: str
    classes: int
    channels: int
    counts: tuple[int, ...]
    """Training images of each class."""

    validation: int
    """Validation images."""

    weights: tuple[str, ...]
    """Pretrained backbones that were available."""

    narrowed: Mapping[str, tuple[Value, ...]]
    """The choices of a search of the default time."""

    countermeasures: tuple[str, ...]
    """The countermeasures that the audit asks for."""

    positive: int | None
    rate: float
    """Operations a second of one core of the machine that the set was prepared on, as its processor suggests."""

    forward: float = 1.0
    """How much faster a frozen backbone computes there."""

    @property
    def images(self) -> int:
        """Training images."""
        return sum(self.counts)

    @property
    def space(self) -> ChestXRay:
        """The space, for its declaration; its weights have no files."""
        return ChestXRay(
            SpaceContext(
                classes=self.classes, channels=self.channels, counts=self.counts, images=self.images,
                weights=dict.fromkeys(self.weights, ""), narrowed=self.narrowed,
            )
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> SetInfo:
        """What `to_json` gave."""
        kinds = {name: tuple(plain[name]) for name in ("counts", "weights", "countermeasures")}
        narrowed = {name: tuple(values) for name, values in plain["narrowed"].items()}
        return cls(**{**plain, **kinds, "narrowed": narrowed})


@dataclass(frozen=True)
class Planned:
    """One training of the design."""

    set: str
    number: int
    family: str
    countered: bool
    """Whether it has the countermeasures that the audit asks for."""

    values: Mapping[str, Value]
    seconds: float
    """Predicted, of one core."""

    place: float
    """From 0 to 1: where it comes in the order of all trainings."""


class TooDearError(Exception):
    """No design of a set fits its hours; the message says which."""


def draw(
    declared: Sequence[Parameter], family: str, countermeasures: Sequence[str] | None, rng: np.random.Generator
) -> dict[str, Value]:
    """A random configuration of one family.

    Args:
        declared: the space's parameters, parents before children.
        family: its family.
        countermeasures: countermeasures that it has in full; None switches all countermeasures off.
        rng: draws it.
    """
    values: dict[str, Value] = {}
    for parameter in declared:
        name, last = parameter.declared, parameter.declared.rpartition("/")[2]
        if name in values or not all(values.get(parent) in allowed for parent, allowed in parameter.conditions):
            continue
        value = parameter.at(float(rng.random()))
        if name == "family":
            value = family
        elif last in COUNTERMEASURES and countermeasures is None:
            value = "none" if "none" in parameter.choices else parameter.choices[0]
        elif countermeasures and last in countermeasures:
            value = parameter.choices[-1]
        elif countermeasures and last == "augmentation_copies":  # features without copies are never augmented
            augmented = [choice for choice in parameter.choices if choice] or list(parameter.choices)
            value = augmented[int(rng.integers(len(augmented)))]
        values[name] = value
    return values


def predicted(values: Mapping[str, Value], info: SetInfo) -> float:
    """Seconds of one core for all epochs, each judged over the views, and for the frozen features."""
    core, each, plan = Machine(info.rate, 1, forward=info.forward), cost(values), TrainingSettings.of(values)
    frozen = each.prefix > 0
    per_class = epoch_evaluation.PER_CLASS_PREFIX if frozen else epoch_evaluation.PER_CLASS
    judged = info.validation + VIEWS * info.classes * per_class
    images = epoch_size(info.images, plan.epoch_images)
    behind = dataclasses.replace(each, prefix=0.0)
    epoch = each.epoch_seconds(core, images, plan.batch_size) + behind.answer_seconds(core, judged)
    once = each.prefix_seconds(core, info.images * (1 + plan.copies) + judged)
    return each.trace + once + plan.epochs * epoch


def design(info: SetInfo, count: int, hours: float, index: int = 0, seed: int = 0) -> list[Planned]:
    """A set's trainings, in their order: each family of one configuration, then `count` others.

    Args:
        info: the set.
        count: trainings beside those of families with one configuration.
        hours: of `WORKERS` cores, for all of them.
        index: of the set; sets begin with different halves of the design.
        seed: of what is drawn.

    Raises:
        TooDearError: not even the cheapest configurations fit.
    """
    for limit in LIMITS:
        planned = _within(info, count, limit, index, seed)
        if planned and sum(one.seconds for one in planned) <= hours * WORKERS * 3600:
            return planned
    raise TooDearError(f"{info.name}: {count} trainings can't be predicted to end within {hours:.1f} hours")


def _within(info: SetInfo, count: int, limit: float, index: int, seed: int) -> list[Planned]:
    """The design with trainings of at most `limit` predicted seconds; empty where a family has none."""
    space = info.space
    declared = parameters(space.declare_hyperparameters)
    slots = [(family, False, False) for family in space.once]
    for number in range(count):
        turn, at = divmod(number, len(space.trained))
        slots.append((space.trained[at], (turn + at + index) % 2 == 1, (turn // 2 + at // 2 + index) % 2 == 1))
    planned: list[Planned] = []
    for number, (family, countered, dear) in enumerate(slots):
        rng = np.random.default_rng([seed, index, number])
        candidates: list[tuple[float, dict[str, Value]]] = []
        for _ in range(DRAWS):
            values = draw(declared, family, info.countermeasures if countered else None, rng)
            if (seconds := predicted(values, info)) <= limit:
                candidates.append((seconds, values))
            if len(candidates) == CANDIDATES:
                break
        if not candidates and limit == LIMITS[0]:
            continue  # nothing of this family can be trained in the longest time: it is left out
        if not candidates:
            return []
        affordable = sorted(candidates, key=lambda one: one[0])
        half = affordable[len(affordable) // 2 :] if dear else affordable[: (len(affordable) + 1) // 2]
        seconds, values = half[int(rng.integers(len(half)))]
        place = (number + 0.5) / len(slots)
        planned.append(Planned(info.name, number, family, countered, values, seconds, place))
    return planned


def interleaved(designs: Sequence[Sequence[Planned]]) -> list[Planned]:
    """All sets' trainings in one order, of which every beginning has all sets and families in proportion."""
    return sorted((one for planned in designs for one in planned), key=lambda one: (one.place, one.set))
