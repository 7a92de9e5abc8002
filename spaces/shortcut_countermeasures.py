"""Where a search starts when the audit found a shortcut: each family at its defaults, with the countermeasures.

The sampler knows nothing at first, and published recipes do nothing against a shortcut: without these points a short
search would try a dozen networks that cheat before the first that can't.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import keras_tuner

from spaces.space import Choices, Point
from xraytune.evaluation.shortcut_audit import Audit
from xraytune.records import Objective, Value
from xraytune.training.inputs.augmentation import COUNTERMEASURES

HEADS: dict[str, dict[str, Value]] = {
    "vgg_frozen": {"head/pool": "flatten", "head/units": 128, "head/dropout": 0.5, "head/batch_norm": True}
}
"""Where a family's defaults are a poor start. On Kermany's validation images (VGG16 at 64 px, block 4, four copies, one
seed each) this head came to a robust score of 0.978, the averaging default in a search to 0.943 when it was stopped."""


def against_shortcuts(
    space: keras_tuner.HyperModel, families: Sequence[str], countermeasures: Sequence[str]
) -> list[Point]:
    """A point of each family that can be augmented: origin (one of its own each) and values.

    Args:
        space: `chest_xray`, or one derived from it.
        families: those that take part.
        countermeasures: the hyperparameters against what the audit found (`Audit.countermeasures`), each set to its
            strongest choice; none of them gives no points.
    """
    points: list[Point] = []
    for family in families if countermeasures else ():
        values, active = _defaults(space, {"family": family})
        copies = f"{family}/augmentation_copies"
        if copies in active:
            most = max(map(int, active[copies].values))
            if not most:  # a kept prefix that no augmented copy of can be afforded
                continue
            values, active = _defaults(space, {"family": family, copies: most})
        strongest = {n: _strongest(p) for n, p in active.items() if n.rpartition("/")[2] in countermeasures}
        if not strongest:  # nothing of it is augmented
            continue
        values |= {n: v for n, v in HEADS.get(family, {}).items() if n in values} | strongest
        points.append((f"against shortcuts, {family}", values))
    return points


def to_audit(audit: Audit, objective: str, fixed: Collection[str] = ()) -> tuple[Choices, list[str]]:
    """The choices of the augmentation that the shortcut audit leaves, and a line that says so.

    Shape jitter always stays. The other countermeasures stay where the audit found what they remove, or where the
    objective is robust: its views move every property, so something must teach a network not to mind.

    Of what the audit found, a robust search offers the countermeasure in full or not at all. Validation images share
    the shortcut, so their score can't say how little is enough: on planted shortcuts strong was as good or better on
    the test images where the score said otherwise (docs/evidence/robust-validation.md).

    Args:
        audit: of the training and validation images.
        objective: `clean` or `robust`.
        fixed: hyperparameters that the user holds at one value.
    """
    lines = []
    if audit.countermeasures:
        named = ", ".join(audit.countermeasures)
        lines.append(f"The audit's findings are in the augmentation's space ({named}) and in the shifted views.")
    wanted = set(COUNTERMEASURES) if objective == Objective.ROBUST else {"shape_jitter", *audit.countermeasures}
    left: Choices = {name: ("none",) for name in COUNTERMEASURES if name not in wanted}
    if objective == Objective.ROBUST:
        left |= {
            name: (COUNTERMEASURES[name][0], COUNTERMEASURES[name][-1])
            for name in audit.countermeasures
            if name not in fixed
        }
    return left, lines


def _defaults(
    space: keras_tuner.HyperModel, chosen: Mapping[str, Value]
) -> tuple[dict[str, Value], dict[str, keras_tuner.engine.hyperparameters.HyperParameter]]:
    """The point of a space with these values, all else at its default: values and parameters by name."""
    hp = keras_tuner.HyperParameters()
    hp.values = dict(chosen)
    space.declare_hyperparameters(hp)
    active = {p.name: p for p in hp.space if hp.is_active(p)}
    return {name: hp.values[name] for name in active}, active


def _strongest(parameter: keras_tuner.engine.hyperparameters.HyperParameter) -> Value:
    """The last of the countermeasure's values that is still offered."""
    strongest_first = reversed(COUNTERMEASURES[parameter.name.rpartition("/")[2]])
    return next(value for value in strongest_first if value in parameter.values)
