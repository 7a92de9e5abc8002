"""Where a search starts when the audit found a shortcut: each family at its defaults, with what hides the shortcut.

The sampler knows nothing at first, and published recipes do nothing against a shortcut: without these points a short
search would try a dozen networks that cheat before the first that can't.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras_tuner

from xraytune.records import Value
from xraytune.training.inputs.augmentation import REMEDIES

HEADS: dict[str, dict[str, Value]] = {
    "vgg_frozen": {"head/pool": "flatten", "head/units": 128, "head/dropout": 0.5, "head/batch_norm": True}
}
"""Where a family's defaults are a poor start. On Kermany's validation films (VGG16 at 64 px, block 4, four copies, one
seed each) this head came to a robust score of 0.978, the averaging default in a search to 0.943 when it was stopped."""


def against_shortcuts(
    space: keras_tuner.HyperModel, families: Sequence[str], remedies: Sequence[str]
) -> list[tuple[str, dict[str, Value]]]:
    """A point of each family that can be augmented: origin (one of its own each) and values.

    Args:
        space: one of ours.
        families: those that take part.
        remedies: the hyperparameters that hide what the audit found (`Audit.remedies`), each set to its strongest
            choice; none of them gives no points.
    """
    points = []
    for family in families if remedies else ():
        values, active = _defaults(space, {"family": family})
        copies = f"{family}/augmentation_copies"
        if copies in active:
            most = max(map(int, active[copies].values))
            if not most:  # a kept prefix that no augmented copy of can be afforded
                continue
            values, active = _defaults(space, {"family": family, copies: most})
        values |= {n: v for n, v in HEADS.get(family, {}).items() if n in values}
        values |= {n: _strongest(p) for n, p in active.items() if n.rpartition("/")[2] in remedies}
        points.append((f"against shortcuts, {family}", values))
    return points


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
    """The last of the remedy's values that is still offered."""
    strongest_first = reversed(REMEDIES[parameter.name.rpartition("/")[2]])
    return next(value for value in strongest_first if value in parameter.values)
