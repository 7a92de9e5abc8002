"""Narrowing a space to the time there is, before a search begins: no trial is drawn that could not be afforded.

A search of so many seconds on so many workers wants some forty trials (more where there is more time), most of which
are stopped early, so that a trial that runs to its end may cost twice its share of the time. That gives what an epoch
may cost, in operations: `epoch_gflop`. A network whose epoch of all images costs more trains on a share of them an
epoch, cycling through all in a seeded order, so that the epochs of all families, and with them ASHA's rungs, come in
comparable time. Choices whose share would be too small to learn from are taken away, the dearest first.

Kept prefixes may take a fifth of the time, those of all families together, and no single array more than a tenth.
Every augmentation of a prefix is an array of its own, so that a family whose copies are kept gets one augmentation for
all of its trials where more can't be afforded: the one that hides what the shortcut audit found.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import keras_tuner

import spaces
from spaces.context import SpaceContext
from xraytune.augmentation import REMEDIES
from xraytune.batches import epoch_size
from xraytune.data import Audit, cache
from xraytune.models import cost as costs
from xraytune.models import measured
from xraytune.models.cost import Machine, measure_machine
from xraytune.records import Objective, Value

TRIALS_IN_15_MINUTES = 40
UNPRUNED = 2.0
"""How many times its share of the time a trial may cost that runs to its end: ASHA stops most at a third or a ninth."""

TRACED = 0.8
"""What tracing leaves of a trial for its steps."""

MEASURED_FROM = 600.0
"""Seconds of TIME from which on backbones are timed before prefixes are offered; once a host, some ten seconds each."""

PREFIX_SHARE, ARRAY_SHARE = 0.2, 0.1
"""Of the time, for all kept prefixes together, and for a single array."""

GIVES_WAY = ("normalization", "backbone", "cut")
"""Which parameter of a kept prefix loses choices first: each combination is another array to compute. Before these, the
augmentation's own parameters become one choice each, in the order of `ALIKE`; after these, one size is left."""

ALIKE = {
    "flip": False,
    "exposure_jitter": "none",
    "focus_jitter": "none",
    "hiding": "none",
    "augmentation": "medium",
    "shape_jitter": "light",
}
"""What all kept copies have in common, where the audit asks for nothing else."""

OFF = ("none", False)
"""What a part of an augmentation is called that is not applied."""

DEAR = ("image_size", "width", "growth", "convolutions", "blocks", "units", "variant", "cut", "trained_blocks", "mode")
"""Which parameters a step's cost depends on."""

STEPS_GIVE_WAY = (
    ("image_size", 4),
    ("width", 3),
    ("trained_blocks", 1),
    ("cut", 1),
    ("variant", 2),
    ("image_size", 3),
    ("width", 2),
    ("variant", 1),
    ("convolutions", 1),
    ("image_size", 1),
)
"""What a family gives up, in order, and how many choices stay at that point: large images first, breadth last."""

USUAL_SHARE = 1 / 8
"""Of all images, what an epoch of a family's median network should have at least."""

Choices = dict[str, tuple[Value, ...]]
PrefixKey = tuple[Value, ...]


def narrow(
    space: str,
    context: SpaceContext,
    *,
    seconds: float | None,
    trials: int | None = None,
    machine: Machine | None = None,
    remedies: Sequence[str] = (),
    fixed: Collection[str] = (),
) -> tuple[SpaceContext, list[str]]:
    """The context with the choices that fit, and a line a family that says what went.

    Args:
        space: the space's name; only our own are narrowed.
        context: classes, weights, families, training images.
        seconds: how long the search may take; None narrows nothing.
        trials: how many trials it may do.
        machine: how fast; measured where not given.
        remedies: the augmentation's hyperparameters that hide what the audit found.
        fixed: hyperparameters that the user holds at one value.
    """
    if space not in spaces.SPACES or space == "smoke" or not seconds or not context.images:
        return context, []
    machine = machine or this_machine(context, seconds)
    wanted = max(TRIALS_IN_15_MINUTES * math.sqrt(seconds / 900), 12)
    wanted = min(wanted, trials) if trials else wanted
    afforded = UNPRUNED * seconds * machine.workers / max(wanted, 1)
    narrowed: Choices = {} if machine.accelerator else _epochs(seconds)
    epochs = max(int(e) for e in narrowed.get("epochs", (30,)))
    lines: list[str] = []
    prefixes = _Prefixes(ARRAY_SHARE * seconds * machine.workers, PREFIX_SHARE * seconds * machine.workers)
    operations = afforded / epochs * machine.rate * TRACED
    narrowed["epoch_gflop"] = (max(int(operations / 1e9), 1),)
    offered = declared(space, context)
    for family in (str(f) for f in offered["family"]):
        own = {n: v for n, v in offered.items() if n.startswith(f"{family}/")} | {"family": (family,)}
        if f"{family}/augmentation_copies" in own:
            own |= {f"{family}/{n}": offered[n] for n in ALIKE if n not in fixed and len(offered[n]) > 1}
        before = dict(own)
        _cut_steps(own, family, epoch_size(context.images, 0), operations)
        _cut_prefixes(own, family, context.images, machine, prefixes, remedies)
        gone = {n: v for n, v in own.items() if n != "family" and v != before[n]}
        narrowed |= gone
        if gone:
            lines.append(f"{family}: {_what_went(gone)}")
    return dataclasses.replace(context, narrowed={**narrowed, **context.narrowed}), lines


def this_machine(context: SpaceContext, seconds: float | None) -> Machine:
    """This machine; its backbones too, where the time is long enough for the half minute that measuring them takes."""
    machine = measure_machine()
    if machine.accelerator or not seconds or seconds < MEASURED_FROM:
        return machine
    rates = measured.prefix_rates(context.weights, cache.folder("measured"))
    return dataclasses.replace(machine, prefix_rates=rates)


def to_audit(space: str, context: SpaceContext, audit: Audit, objective: str) -> tuple[SpaceContext, list[str]]:
    """The context with the augmentations that the shortcut audit speaks for, and a line that says which.

    Shape jitter always stays. The other remedies stay where the audit found what they hide, or where the objective is
    robust: its views move every property, and so must something that teaches a network not to mind.

    Args:
        space: the space's name; only our own are narrowed.
        context: what narrowing there is already holds.
        audit: of the training and validation images.
        objective: `clean` or `robust`.
    """
    if space not in spaces.SPACES or space == "smoke":
        return context, []
    lines = []
    if audit.remedies:
        named = ", ".join(audit.remedies)
        lines.append(f"The audit's findings are in the augmentation's space ({named}) and in the shifted views.")
    wanted = set(REMEDIES) if objective == Objective.ROBUST else {"shape_jitter", *audit.remedies}
    gone: Choices = {name: ("none",) for name in REMEDIES if name not in wanted}
    return dataclasses.replace(context, narrowed={**gone, **context.narrowed}), lines


def _epochs(seconds: float) -> Choices:
    """Epochs' budgets: short searches compare short trainings."""
    if seconds < 600:
        return {"epochs": (10,)}
    return {"epochs": (10, 15)} if seconds < 3600 else {}


def declared(space: str, context: SpaceContext) -> Choices:
    """What each choice of a space offers."""
    hp = keras_tuner.HyperParameters()
    spaces.get(space, context).declare_hyperparameters(hp)
    return {p.name: tuple(p.values) for p in hp.space if type(p).__name__ == "Choice"}


def points(own: Mapping[str, tuple[Value, ...]], names: tuple[str, ...]) -> Iterator[dict[str, Value]]:
    """Every combination of the choices of parameters that end in `names`; the others at their first choice."""
    chosen = [own[n] if n == "family" or n.rpartition("/")[2] in {*names, "mode"} else own[n][:1] for n in own]
    for combination in itertools.product(*chosen):
        yield dict(zip(own, combination, strict=True))


@dataclass
class _Prefixes:
    """What may be spent on kept prefixes, and what has been."""

    single: float
    """Worker seconds for one array."""
    left: float
    """Worker seconds for all that are still to come."""
    paid: set[PrefixKey] = field(default_factory=set)
    """What a family before this one computes: VGG's block 4 is the same array under a head and under block 5."""


def _cut_prefixes(
    own: Choices, family: str, images: int, machine: Machine, prefixes: _Prefixes, remedies: Sequence[str]
) -> None:
    """Take choices away until the family's prefixes can be computed in what is left, and take it."""
    offered, copies = dict(own), f"{family}/augmentation_copies"

    def kept() -> dict[PrefixKey, tuple[float, float]]:
        """Seconds of each prefix: of one array, and of all its arrays."""
        alike = tuple(own[n] for name in ALIKE if (n := f"{family}/{name}") in own)
        most = int(max(own.get(copies, (0,))))
        # the copies and, for the validation images, a fifth of the plain array
        arrays = most * math.prod(map(len, alike)) + (1.0 if 0 in own.get(copies, (0,)) else 0.2)
        found: dict[PrefixKey, tuple[float, float]] = {}
        for point in points(own, (*GIVES_WAY, "image_size", "trained_blocks")):
            cost = costs.cost(point)
            names = ("backbone", "image_size", "normalization")
            key = (*(point.get(f"{family}/{n}", "") for n in names), cost.prefix, most, str(alike))
            each = cost.prefix_seconds(machine, images)
            found[key] = each, each * arrays
        return found

    def needed() -> tuple[float, float]:
        """Seconds of the dearest array that is not paid for, and of all of them."""
        left = [s for key, s in kept().items() if key not in prefixes.paid]
        return max((one for one, _ in left), default=0.0), sum(together for _, together in left)

    def affordable() -> bool:
        single, together = needed()
        return single <= prefixes.single and together <= prefixes.left

    def free(name: str) -> tuple[Value, ...]:
        """The choices whose arrays are all paid for."""
        before, found = own[name], []
        for value in before:
            own[name] = (value,)
            found += [value] if needed()[1] == 0 else []
        own[name] = before
        return tuple(found)

    for name, usual in ALIKE.items():
        full = f"{family}/{name}"
        if full in own and not affordable():
            own[full] = (own[full][-1] if name in remedies else usual if usual in own[full] else own[full][0],)
    for name in GIVES_WAY:
        full = f"{family}/{name}"
        while full in own and len(own[full]) > 1 and not affordable():
            own[full] = free(full) or own[full][:-1]  # the usual choice is declared first
    size = f"{family}/image_size"
    if copies in own and not affordable():  # one size: the largest that the most copies can be had of
        counts, edges = (sorted((int(v) for v in own[name]), reverse=True) for name in (copies, size))
        for most, edge in itertools.product(counts, edges):
            own |= {size: (edge,), copies: tuple(c for c in offered[copies] if int(c) <= most)}
            if affordable():
                break
    if not max(own.get(copies, (0,))):  # nothing is copied, so nothing is copied alike
        own |= {name: offered[name] for name in own if name.rpartition("/")[2] in ALIKE}
    prefixes.left = max(prefixes.left - needed()[1], 0.0)
    prefixes.paid |= set(kept())


def _cut_steps(own: Choices, family: str, images: int, budget: float) -> None:
    """Take choices away until an epoch of `budget` operations has images enough, for the median and the dearest."""

    def bearable() -> bool:
        found = sorted((costs.cost(point) for point in points(own, DEAR)), key=lambda cost: cost.train)
        usual, dearest = (found[i].epoch_images(budget) for i in (len(found) // 2, -1))
        return usual >= USUAL_SHARE * images and dearest > costs.SMALLEST_EPOCH

    for name, floor in STEPS_GIVE_WAY:
        full = f"{family}/{name}"
        while full in own and len(own[full]) > floor and not bearable():
            own[full] = _without_dearest(own, full)


def _without_dearest(own: Choices, name: str) -> tuple[Value, ...]:
    """The choices of `name` without the one whose steps cost most."""
    price = [max(costs.cost(p).train for p in points({**own, name: (value,)}, DEAR)) for value in own[name]]
    dearest = max(range(len(price)), key=price.__getitem__)
    return tuple(v for i, v in enumerate(own[name]) if i != dearest)


def _what_went(gone: Choices) -> str:
    """`image_size 48, 64; copies all with shape_jitter strong, hiding strong`."""
    by_name = {name.partition("/")[2]: values for name, values in gone.items()}
    parts = [f"{name} {', '.join(map(str, values))}" for name, values in by_name.items() if name not in ALIKE]
    if any(name in ALIKE for name in by_name):
        alike = [f"{name} {values[0]}" for name, values in by_name.items() if name in ALIKE and values[0] not in OFF]
        parts.append(f"kept copies all with {', '.join(alike) or 'no augmentation'}")
    return "; ".join(parts)
