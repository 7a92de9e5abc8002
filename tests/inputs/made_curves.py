"""A made table of learning curves: scores that follow from the configuration by a known rule, no network trained."""

from __future__ import annotations

import numpy as np

from tests.evidence.curves.design import SetInfo, design
from tests.evidence.curves.table import Curve, Table


def made_set(
    name: str = "made", *, images: int = 1200, countermeasures: tuple[str, ...] = ("shape_jitter",)
) -> SetInfo:
    """A data set of two classes without pretrained weights, small images only."""
    narrowed = {f"{family}/image_size": (28, 48) for family in ("dense", "cnn")} | {
        "densenet/image_size": (48,), "densenet/variant": ("densenet33",), "epoch_gflop": (20,)
    }  # fmt: skip
    return SetInfo(name, 2, 1, (images // 3, images - images // 3), images // 5, (), narrowed, countermeasures, 1, 48e9)


def made_score(values: dict) -> float:
    """Convolutional networks are best, at a rate near 0.001, with strong shape jitter."""
    family = {"linear": 0.80, "dense": 0.84, "cnn": 0.94, "densenet": 0.90}[values["family"]]
    rate = -0.02 * abs(np.log10(float(values.get("learning_rate", 1e-3))) + 3)
    return float(family + rate + 0.03 * (values.get("shape_jitter") == "strong"))


def made_curve(info: SetInfo, planned) -> Curve:
    """A curve that comes close to its score, a second an epoch."""
    score, count = made_score(planned.values), int(planned.values.get("epochs", 1))
    rng = np.random.default_rng(planned.number)
    rows = tuple(
        {
            "epoch": e, "robust": score - 0.2 * np.exp(-e / 2) + 0.002 * rng.standard_normal(), "steps": 40,
            "loss": 1 / e, "seconds_build": 1.0 * (e == 1), "seconds_train": 1.0, "seconds_validate": 0.1,
            "seconds_views": 0.3,
        }
        for e in range(1, count + 1)
    )  # fmt: skip
    return Curve(info.name, planned.number, planned.family, planned.countered, planned.values, rows, score, 1.0, {})


def made_table(*names: str, count: int = 24) -> Table:
    """A table of such sets."""
    sets = {name: made_set(name, images=1200 + 300 * i) for i, name in enumerate(names or ("one", "two"))}
    curves = [made_curve(s, p) for i, s in enumerate(sets.values()) for p in design(s, count, 4.0, i)]
    return Table(sets, curves)
