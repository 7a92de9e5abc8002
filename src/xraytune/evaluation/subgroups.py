"""A model by subgroup of the test images: which groups there are, how each fares, and which is the worst.

A group that holds one class only has no accuracy of its own, but a sensitivity or a specificity; each group is compared
with the other images of the classes that it holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytune.data.images import ImageRecord
from xraytune.evaluation import evaluate, intervals
from xraytune.evaluation.evaluate import triple
from xraytune.evaluation.intervals import Interval
from xraytune.evaluation.metrics import Floats
from xraytune.evaluation.predictions import Predictions

FEWEST = 10
"""Images below which a subgroup's figures say nothing: an interval would span most of 0 to 1."""

THIRDS_FROM = 6
"""Different numbers in a column above which they are a measurement (an age) and are grouped in thirds."""

MOST_VALUES = 30
"""Different texts in a column above which they are no groups."""

FIGURES = ("accuracy", "sensitivity", "specificity", "auc")
"""Of each subgroup."""


def grouped(values: Sequence[str]) -> list[str]:
    """A column's values as subgroups: thirds of many different numbers, the values themselves where they are few.

    Args:
        values: one an image, empty where there is none.

    Returns:
        the subgroup of each image; all empty where there are more than `MOST_VALUES` texts (a report, a date).
    """
    present = {v for v in values if v}
    numbers: dict[str, float] = {}
    with suppress(ValueError):
        numbers = {v: float(v) for v in present}
    if len(present) > THIRDS_FROM and numbers and np.isfinite(list(numbers.values())).all():
        low, high = np.quantile([numbers[v] for v in values if v], [1 / 3, 2 / 3])
        names = {v: f"up to {low:g}" if x <= low else f"over {high:g}" if x > high else f"over {low:g} to {high:g}"
                 for v, x in numbers.items()}  # fmt: skip
        return [names.get(v, "") for v in values]
    return list(values) if len(present) <= MOST_VALUES else [""] * len(values)


def columns(images: Sequence[ImageRecord], extra: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """What the test images can be grouped by: the source's groups, acquisition series, image size.

    Args:
        images: the test images.
        extra: further columns, one value an image, of a manifest.
    """
    found = {"group": [i.group for i in images], "acquisition series": [_series(i.key) for i in images]}
    edges = np.sqrt([max(1, i.width) * max(1, i.height) for i in images])
    low, high = np.quantile(edges, [1 / 3, 2 / 3])
    if high > low:
        named = ["small" if e <= low else "large" if e > high else "middle" for e in edges]
        found["image size"] = [
            {"small": f"up to {low:.0f} px", "middle": f"to {high:.0f} px", "large": f"over {high:.0f} px"}[n]
            for n in named
        ]
    return {**found, **{name: grouped(values) for name, values in extra.items()}}


def _series(key: str) -> str:
    """What a file's name starts with before its numbers: `IM`, `NORMAL2-IM` and `person` of the Kermany images."""
    found = re.match(r"[A-Za-z]+(\d?-[A-Za-z]+)*", PurePath(key).stem)
    return found.group() if found else ""


@dataclass(frozen=True)
class _Group:
    """Some of the images, and what they are judged by."""

    column: str
    value: str
    chosen: NDArray[np.bool_]
    figure: str
    """accuracy, or sensitivity, specificity or `recall of CLASS` where only that can be told."""
    comparable: NDArray[np.bool_]
    """The images of which the figure is: all, or those of the group's class."""


def subgroups(columns: Mapping[str, Sequence[str]], given: Predictions) -> list[dict[str, Any]]:
    """Accuracy, sensitivity, specificity and AUC of every subgroup, the worst first.

    Args:
        columns: name of a column → one value an image, e.g. `{"kind": ["bacterial", …]}`; an empty value is none.
        given: the predictions.

    Returns:
        rows of column, value, images, patients, [value, low, high] a figure; `figure`, by which the group is judged,
        `judged` its [value, low, high], `everywhere` its value of all images, `difference` from the images outside
        the group as [value, low, high] under draws of patients (where all draws agree, of the two sides' exact
        intervals). Groups clearly below the rest come first, then by the difference. Subgroups of fewer than `FEWEST`
        images and columns with one value only are left out.
    """
    truth, who, decided, positive = given.labels, given.patients, given.decided, given.positive
    groups = _groups(columns, truth, given.classes, positive)
    if not groups:
        return []
    right = decided == truth if positive is None else (decided == positive) == (truth == positive)

    def differences(weights: Floats) -> dict[str, Floats]:
        out = {}
        for i, group in enumerate(groups):
            hits = right if group.figure != "accuracy" else decided == truth
            inside, outside = group.chosen, group.comparable & ~group.chosen
            with np.errstate(invalid="ignore"):
                share = weights @ (hits & inside) / (weights @ inside)
                out[str(i)] = share - weights @ (hits & outside) / (weights @ outside)
        return out

    found = intervals.bootstrap(differences, who, draws=given.draws)
    rows = []
    for i, group in enumerate(groups):
        chosen, difference = group.chosen, found[str(i)]
        assert isinstance(difference, Interval)
        figures = evaluate.overall(given.rows(chosen), brief=True)
        hits = right if group.figure != "accuracy" else decided == truth
        if difference.flat:  # no errors on either side, mostly
            sides = (chosen, group.comparable & ~chosen)
            difference = intervals.apart(*(_share(hits[side], who[side]) for side in sides))
        rows.append(
            {
                "column": group.column,
                "value": group.value,
                "images": int(chosen.sum()),
                "patients": len(np.unique(who[chosen])),
                **{name: figures[name] for name in FIGURES},
                "figure": group.figure,
                "judged": figures[group.figure if group.figure in FIGURES else "accuracy"],
                "everywhere": float(hits[group.comparable].mean()),
                "difference": triple(difference),
            }
        )
    return sorted(rows, key=_badness)


def _groups(
    columns: Mapping[str, Sequence[str]], truth: NDArray[Any], classes: Sequence[str], positive: int | None
) -> list[_Group]:
    out = []
    for column, values in columns.items():
        array = np.asarray(values, dtype=str)
        kinds = [v for v in np.unique(array) if v]
        for kind in kinds if len(kinds) > 1 else []:
            chosen = array == kind
            if chosen.sum() < FEWEST:
                continue
            figure, comparable = "accuracy", np.ones(len(truth), dtype=bool)
            held = set(truth[chosen].tolist())
            if positive is not None and (held == {positive} or positive not in held):
                figure = "sensitivity" if positive in held else "specificity"
                comparable = (truth == positive) == (positive in held)
            elif len(held) == 1:
                (only,) = held
                figure, comparable = f"recall of {classes[only]}", truth == only
            out.append(_Group(column, str(kind), chosen, figure, comparable))
    return out


def _share(hits: NDArray[np.bool_], who: NDArray[Any]) -> Interval:
    """A share with its exact interval, taking the images of a patient to be right or wrong together."""
    value = float(hits.mean())
    return intervals.of_share(Interval(value, value, value, 0.0), len(np.unique(who)))


def _badness(row: Mapping[str, Any]) -> tuple[bool, float]:
    value, _, high = row["difference"]
    return not (high is not None and high < 0), 0.0 if value is None else value


def worst_subgroup(rows: Sequence[Mapping[str, Any]]) -> str:
    """One sentence that names the subgroup that fares worst beside the other images of its classes.

    Args:
        rows: of `subgroups`.
    """
    if not rows:
        return "No subgroup is large enough to be evaluated separately."
    compared = [row for row in rows if row["difference"][1] is not None]
    if not compared:
        return "No subgroup can be compared: none shares a class with images outside it."
    row = compared[0]
    (value, low, high), (difference, least, most) = row["judged"], row["difference"]
    text = (
        f"The worst subgroup is {row['column']} = {row['value']} ({row['images']} images): {row['figure']} {value:.2f} "
        f"[{low:.2f}, {high:.2f}], {row['everywhere']:.2f} for all images"
    )
    doubt = "significantly below" if most < 0 else "not significantly below"
    signed = f"{difference:+.2f} [{least:+.2f}, {most:+.2f}]".replace("-", "−")
    return f"{text}; {doubt} the rest ({signed})."
