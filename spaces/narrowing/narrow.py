"""Narrowing a space to the time there is, before a search begins: no trial is drawn that could not be afforded.

A search of so many seconds on so many workers wants some forty trials (more where there is more time), most of which
are stopped early, so that a trial that runs to its end may cost twice its share of the time. That gives what an epoch
may cost, in operations: `epoch_gflop`. A network whose epoch of all images costs more trains on a share of them an
epoch, cycling through all in a seeded order, so that the epochs of all families, and with them ASHA's rungs, come in
comparable time. Choices whose share would be too small to learn from are taken away, the dearest first.

Frozen prefixes are cut to what they may cost by `spaces.narrowing.prefixes`. What the user holds at one value is not
taken away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import keras_tuner

from spaces.context import SpaceContext
from spaces.narrowing import prefixes
from spaces.narrowing.choices import points
from spaces.space import Choices, Narrowed, SearchContext, Space, TimeLeft
from xraytune import hardware
from xraytune.models import cost as costs
from xraytune.records import Value
from xraytune.training.inputs.batches import epoch_size

TRIALS_IN_15_MINUTES = 40
UNPRUNED = 2.0
"""How many times its share of the time a trial may cost that runs to its end: ASHA stops most at a third or a ninth."""

TRACED = 0.8
"""What tracing leaves of a trial for its steps."""

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


def narrow(space: Space, search: SearchContext, kept: Mapping[str, tuple[Value, ...]]) -> Narrowed:
    """The choices that fit the time, by counted operations, and a line a family that says what went.

    Args:
        space: with an `epoch_gflop`, and the families of `xraytune.models`; its context counts the training images.
        search: the time and the machine; without a time everything fits. Frozen features may take a share of the time
            that remains.
        kept: values by name, `family` among them, that stay whatever they cost: the user asked for a configuration.
    """
    context: SpaceContext = space.context
    if not search.seconds or not context.images:
        return Narrowed({}, [])
    limit = _Limit.of(search, search.seconds)
    offered = {name: _held(values, search.fixed.get(name)) for name, values in offered_choices(space).items()}
    narrowed, lines, out = dict(limit.narrowed), list[str](), list[str]()
    for family in map(str, offered["family"]):
        own = _of_family(family, offered, search.fixed)
        gone = _cut(family, own, _Room(context.images, limit, search), kept)
        if gone is None:
            out.append(family)
        elif gone:
            narrowed |= gone
            lines.append(f"{family}: {_what_went(gone)}")
    if left := tuple(f for f in offered["family"] if f not in out):
        narrowed |= {"family": left} if out else {}
        lines += [f"{family}: left out, its frozen features take too long for TIME" for family in out]
    else:
        lines.append(f"{', '.join(out)}: the frozen features take too long for TIME, but no other family was asked for")
    return Narrowed(_with(narrowed, offered, kept), lines)


@dataclass(frozen=True)
class _Limit:
    """What a trial may cost."""

    operations: float
    """Of an epoch."""
    features: prefixes.Budget
    narrowed: Choices
    """Parameters that follow from it alone."""

    @classmethod
    def of(cls, search: TimeLeft, seconds: float) -> _Limit:
        machine, fixed = search.machine, search.fixed
        wanted = max(TRIALS_IN_15_MINUTES * math.sqrt(seconds / 900), 12)
        wanted = min(wanted, search.trials) if search.trials else wanted
        afforded = UNPRUNED * seconds * machine.workers / max(wanted, 1)
        narrowed: Choices = {} if machine.accelerator or "epochs" in fixed else _epochs(seconds)
        held = fixed.get("epochs", "")
        epochs = int(held) if held.isdecimal() and int(held) else max(int(e) for e in narrowed.get("epochs", (30,)))
        operations = afforded / epochs * machine.rate * TRACED
        narrowed["epoch_gflop"] = (max(int(operations / 1e9), 1),)
        threads = max(1, machine.workers // hardware.MOST_WORKERS)
        features = prefixes.Budget.of(max(seconds - search.spent, 0.0), machine, threads)
        return cls(operations, features, narrowed)


def affordable(space: Space, left: TimeLeft) -> Choices:
    """What is left, for the time that is left, of the choices that training takes time by; no family loses all.

    Args:
        space: of the families of `xraytune.models`; where it was not narrowed to a time, everything fits.
        left: how much time there is, and how fast the families have trained so far.
    """
    context: SpaceContext = space.context
    if not left.seconds or "epoch_gflop" not in context.narrowed:
        return {}
    limit = _Limit.of(left, left.seconds)
    offered, found = offered_choices(space), Choices()
    for family in map(str, offered["family"]):
        own = {n: _held(v, left.fixed.get(n)) for n, v in _of_family(family, offered, left.fixed).items()}
        before = dict(own)
        _cut_steps(own, family, epoch_size(context.images, 0), limit.operations / left.slower.get(family, 1.0))
        found |= {name: values for name, values in own.items() if values != before[name]}
    return found


class _Room(NamedTuple):
    """What there is for one family."""

    images: int
    limit: _Limit
    search: SearchContext


def _of_family(family: str, offered: Choices, fixed: Mapping[str, str]) -> Choices:
    """The choices of one family; where it caches augmented features, the augmentation's too, under its own name."""
    own = {n: v for n, v in offered.items() if n.startswith(f"{family}/")} | {"family": (family,)}
    if f"{family}/augmentation_copies" in own:
        own |= {f"{family}/{n}": offered[n] for n in prefixes.ALIKE if n not in fixed and len(offered[n]) > 1}
    return own


def _cut(family: str, own: Choices, room: _Room, kept: Mapping[str, tuple[Value, ...]]) -> Choices | None:
    """What is left of the choices that a family had to give up; None where the family can't take part."""
    images, limit, search = room
    before = dict(own)
    own = {name: _held(values, search.fixed.get(name)) for name, values in own.items()}
    _cut_steps(own, family, epoch_size(images, 0), limit.operations)
    if not prefixes.cut(
        prefixes.Family(family, own, images, search.machine, limit.features), search.audit.countermeasures
    ):
        if family in kept.get("family", ()):  # a configuration of it is tried, and what is cheap of it
            own |= {name: kept[name] for name in own if name in kept and name != "family"}
            if not max(map(int, own.get(f"{family}/augmentation_copies", (0,)))):  # nothing is copied, so nothing alike
                own |= {name: before[name] for name in own if name.partition("/")[2] in prefixes.ALIKE}
        elif "scratch" in own.get(mode := f"{family}/mode", ()):
            own[mode] = ("scratch",)
        elif not any(name.startswith(f"{family}/") for name in search.fixed):
            return None
    return {name: values for name, values in own.items() if name != "family" and values != before[name]}


def _with(narrowed: Choices, offered: Choices, kept: Mapping[str, tuple[Value, ...]]) -> Choices:
    """Narrowed choices with the kept values back in their places."""
    out = dict(narrowed)
    for name, values in narrowed.items():
        full = offered.get(name) or offered.get(name.rpartition("/")[2], ())
        wanted = {*values, *kept.get(name, ())}
        out[name] = tuple(value for value in full if value in wanted) or values
    return out


def _epochs(seconds: float) -> Choices:
    """Epochs' budgets: short searches compare short trainings."""
    if seconds < 600:
        return {"epochs": (10,)}
    return {"epochs": (10, 15)} if seconds < 3600 else {}


def offered_choices(space: keras_tuner.HyperModel) -> Choices:
    """What each choice of a space offers."""
    hp = keras_tuner.HyperParameters()
    space.declare_hyperparameters(hp)
    return {p.name: tuple(p.values) for p in hp.space if type(p).__name__ == "Choice"}


def _held(values: tuple[Value, ...], held: str | None) -> tuple[Value, ...]:
    """Of a parameter's choices the one that the user holds; all of them where none is held."""
    return tuple(value for value in values if held is not None and str(value) == held) or values


def _cut_steps(own: Choices, family: str, images: int, budget: float) -> None:
    """Take choices away until an epoch of `budget` operations has images enough, for the median and the dearest."""

    def bearable() -> bool:
        found = sorted((costs.cost(point) for point in points(own, DEAR)), key=lambda cost: cost.train)
        usual, dearest = (found[i].epoch_images(budget) for i in (len(found) // 2, -1))
        return usual >= USUAL_SHARE * images and dearest > costs.SMALLEST_EPOCH

    for name, floor in STEPS_GIVE_WAY:
        full = f"{family}/{name}"
        while full in own and len(own[full]) > floor and not bearable():
            if (left := _without_dearest(own, full)) == own[full]:
                break
            own[full] = left


def _without_dearest(own: Choices, name: str) -> tuple[Value, ...]:
    """The choices of `name` without the one whose steps cost most; all of them where they cost the same."""
    price = [max(costs.cost(p).train for p in points({**own, name: (value,)}, DEAR)) for value in own[name]]
    if min(price) == max(price):
        return own[name]
    dearest = max(range(len(price)), key=price.__getitem__)
    return tuple(v for i, v in enumerate(own[name]) if i != dearest)


def _what_went(gone: Choices) -> str:
    """`image_size 48, 64; copies all with shape_jitter strong, masking strong`."""
    by_name = {name.partition("/")[2]: values for name, values in gone.items()}
    alike = {name: by_name.pop(name)[0] for name in prefixes.ALIKE if name in by_name}
    parts = [f"{name} {', '.join(map(str, values))}" for name, values in by_name.items()]
    if alike:
        applied = ", ".join(f"{name} {value}" for name, value in alike.items() if value not in OFF)
        parts.append(f"all cached copies with {applied or 'no augmentation'}")
    return "; ".join(parts)
