"""Where a search starts when the audit found a shortcut: each family at its defaults, with what hides the shortcut.

The sampler knows nothing at first, and published recipes do nothing against a shortcut: without these points a short
search would try a dozen networks that cheat before the first that can't.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras_tuner

from xraytune.augmentation import REMEDIES
from xraytune.records import Value


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
        hp = keras_tuner.HyperParameters()
        hp.values = {"family": family}
        space.declare_hyperparameters(hp)
        active = [p for p in hp.space if hp.is_active(p)]
        values: dict[str, Value] = {p.name: hp.values[p.name] for p in active}
        copies = f"{family}/augmentation_copies"
        if copies in values:
            values[copies] = max(int(v) for p in active if p.name == copies for v in p.values)
            if not values[copies]:  # a kept prefix that no augmented copy of can be afforded
                continue
        values |= {p.name: _strongest(p) for p in active if p.name.rpartition("/")[2] in remedies}
        points.append((f"against shortcuts, {family}", values))
    return points


def _strongest(parameter: keras_tuner.engine.hyperparameters.HyperParameter) -> Value:
    """The last of the remedy's values that is still offered."""
    strongest_first = reversed(REMEDIES[parameter.name.rpartition("/")[2]])
    return next(value for value in strongest_first if value in parameter.values)
