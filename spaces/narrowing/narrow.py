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

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence

import keras_tuner

import spaces
from spaces.context import SpaceContext
from spaces.narrowing import prefixes
from spaces.narrowing.choices import Choices, points
from xraytune import hardware
from xraytune.data import cache
from xraytune.evaluation.shortcut_audit import Audit
from xraytune.models import FAMILIES, backbones
from xraytune.models import cost as costs
from xraytune.models.cost import Machine, measure_machine
from xraytune.records import Objective, Value
from xraytune.training import speed
from xraytune.training.inputs.augmentation import REMEDIES
from xraytune.training.inputs.batches import epoch_size

TRIALS_IN_15_MINUTES = 40
UNPRUNED = 2.0
"""How many times its share of the time a trial may cost that runs to its end: ASHA stops most at a third or a ninth."""

TRACED = 0.8
"""What tracing leaves of a trial for its steps."""

MEASURED_FROM = 600.0
"""Seconds of TIME from which on backbones are timed before prefixes are offered; once a host, some ten seconds each."""

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


def narrow(
    space: str,
    context: SpaceContext,
    *,
    seconds: float | None,
    trials: int | None = None,
    machine: Machine | None = None,
    remedies: Sequence[str] = (),
    fixed: Mapping[str, str] | None = None,
    spent: float = 0.0,
) -> tuple[SpaceContext, list[str]]:
    """The context with the choices that fit, and a line a family that says what went.

    Args:
        space: the space's name; only our own are narrowed.
        context: classes, weights, families, training images.
        seconds: how long the search may take; None narrows nothing.
        trials: how many trials it may do.
        machine: how fast; measured where not given.
        remedies: the augmentation's hyperparameters that hide what the audit found.
        fixed: what the user holds at one value, by name.
        spent: seconds of the search that reading the data took: frozen prefixes may take a share of what remains.
    """
    if space not in spaces.SPACES or space == "smoke" or not seconds or not context.images:
        return context, []
    machine = machine or this_machine(context, seconds)
    wanted = max(TRIALS_IN_15_MINUTES * math.sqrt(seconds / 900), 12)
    wanted = min(wanted, trials) if trials else wanted
    afforded = UNPRUNED * seconds * machine.workers / max(wanted, 1)
    fixed = fixed or {}
    narrowed: Choices = {} if machine.accelerator or "epochs" in fixed else _epochs(seconds)
    held = fixed.get("epochs", "")
    epochs = int(held) if held.isdecimal() and int(held) else max(int(e) for e in narrowed.get("epochs", (30,)))
    lines: list[str] = []
    threads = max(1, machine.workers // hardware.MOST_WORKERS)
    budget = prefixes.Budget.of(max(seconds - spent, 0.0), machine, threads)
    operations = afforded / epochs * machine.rate * TRACED
    narrowed["epoch_gflop"] = (max(int(operations / 1e9), 1),)
    offered = {name: _held(values, fixed.get(name)) for name, values in offered_choices(space, context).items()}
    out = []
    for family in (str(f) for f in offered["family"]):
        own = {n: v for n, v in offered.items() if n.startswith(f"{family}/")} | {"family": (family,)}
        if f"{family}/augmentation_copies" in own:
            own |= {f"{family}/{n}": offered[n] for n in prefixes.ALIKE if n not in fixed and len(offered[n]) > 1}
        before = dict(own)
        own = {name: _held(values, fixed.get(name)) for name, values in own.items()}
        _cut_steps(own, family, epoch_size(context.images, 0), operations)
        if not prefixes.cut(prefixes.Family(family, own, context.images, machine, budget), remedies):
            if "scratch" in own.get(mode := f"{family}/mode", ()):
                own[mode] = ("scratch",)
            elif not any(name.startswith(f"{family}/") for name in fixed):
                out.append(family)
                continue
        gone = {n: v for n, v in own.items() if n != "family" and v != before[n]}
        narrowed |= gone
        if gone:
            lines.append(f"{family}: {_what_went(gone)}")
    if left := tuple(f for f in offered["family"] if f not in out):
        narrowed |= {"family": left} if out else {}
        lines += [f"{family}: left out, its frozen prefixes take more than TIME leaves for them" for family in out]
    else:
        lines.append(
            f"{', '.join(out)}: the frozen prefixes take more than TIME leaves, but nothing else was asked for"
        )
    return dataclasses.replace(context, narrowed={**narrowed, **context.narrowed}), lines


def this_machine(context: SpaceContext, seconds: float | None) -> Machine:
    """This machine; its backbones too, where the time is long enough for the half minute that measuring them takes."""
    machine = measure_machine()
    if machine.accelerator or not seconds or seconds < MEASURED_FROM:
        return machine
    wanted = {n: context.weights[n] for n in backbones.of(context.families or FAMILIES) if n in context.weights}
    rates = speed.prefix_rates(wanted, cache.folder("measured"))
    return dataclasses.replace(machine, prefix_rates=rates)


def to_audit(
    space: str, context: SpaceContext, audit: Audit, objective: str, fixed: Collection[str] = ()
) -> tuple[SpaceContext, list[str]]:
    """The context with the augmentations that the shortcut audit speaks for, and a line that says which.

    Shape jitter always stays. The other remedies stay where the audit found what they hide, or where the objective is
    robust: its views move every property, and so must something that teaches a network not to mind.

    Of what the audit found, a robust search offers the remedy in full or not at all. Validation images share the
    shortcut, so their score can't say how little of a remedy is enough: light and strong shape jitter tie on folds of
    Kermany's films (docs/results.md, line 8), and on planted shortcuts strong was as good or better on the test films
    where the score said otherwise (docs/robust-validation.md).

    Args:
        space: the space's name; only our own are narrowed.
        context: what narrowing there is already holds.
        audit: of the training and validation images.
        objective: `clean` or `robust`.
        fixed: hyperparameters that the user holds at one value.
    """
    if space not in spaces.SPACES or space == "smoke":
        return context, []
    lines = []
    if audit.remedies:
        named = ", ".join(audit.remedies)
        lines.append(f"The audit's findings are in the augmentation's space ({named}) and in the shifted views.")
    wanted = set(REMEDIES) if objective == Objective.ROBUST else {"shape_jitter", *audit.remedies}
    gone: Choices = {name: ("none",) for name in REMEDIES if name not in wanted}
    if objective == Objective.ROBUST:
        gone |= {name: (REMEDIES[name][0], REMEDIES[name][-1]) for name in audit.remedies if name not in fixed}
    return dataclasses.replace(context, narrowed={**gone, **context.narrowed}), lines


def _epochs(seconds: float) -> Choices:
    """Epochs' budgets: short searches compare short trainings."""
    if seconds < 600:
        return {"epochs": (10,)}
    return {"epochs": (10, 15)} if seconds < 3600 else {}


def offered_choices(space: str, context: SpaceContext) -> Choices:
    """What each choice of a space offers."""
    hp = keras_tuner.HyperParameters()
    spaces.get(space, context).declare_hyperparameters(hp)
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
    """`image_size 48, 64; copies all with shape_jitter strong, hiding strong`."""
    by_name = {name.partition("/")[2]: values for name, values in gone.items()}
    alike = {name: by_name.pop(name)[0] for name in prefixes.ALIKE if name in by_name}
    parts = [f"{name} {', '.join(map(str, values))}" for name, values in by_name.items()]
    if alike:
        applied = ", ".join(f"{name} {value}" for name, value in alike.items() if value not in OFF)
        parts.append(f"kept copies all with {applied or 'no augmentation'}")
    return "; ".join(parts)
