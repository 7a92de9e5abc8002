"""ROC and precision-recall curves with their bootstrap bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.reporting.svg import Series, chart
from xraytune.evaluation import intervals

GRID = 101
"""Points of a curve and of its band."""

DRAWS = 400
"""Bootstrap draws of a band; its ends are drawn, not quoted."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One class against the rest, on `GRID` points from 0 to 1."""

    name: str
    style: str
    """A class of the style sheet."""
    roc: Floats
    """Sensitivity over 1 - specificity."""
    pr: Floats
    """Precision over recall."""
    roc_band: Floats
    """Low and high end of 95 %, `(2, GRID)`, point by point; empty where no draw has both sides."""
    pr_band: Floats


def curves(
    labels: NDArray[np.int64], p: Floats, patients: Sequence[str] | None, classes: Sequence[str], positive: int | None
) -> list[Curve]:
    """The positive class's curve; without one each class's. A class that all or no images show has none.

    Args:
        labels: class indices `(n,)`.
        p: probabilities `(n, k)`.
        patients: `(n,)`, who are drawn; None leaves the bands out.
        classes: their names.
        positive: the positive class or None.
    """
    none = np.empty((0, len(labels)))
    weights = none if patients is None else intervals.patient_draws(patients, DRAWS, np.random.default_rng(0))
    found = []
    for i, c in enumerate([positive] if positive is not None else range(len(classes))):
        event = labels == c
        if event.all() or not event.any():
            continue
        roc, pr = roc_and_pr(event, p[:, c], np.ones((1, len(labels))))
        drawn = roc_and_pr(event, p[:, c], weights)
        ends = [np.quantile(d, [0.025, 0.975], axis=0) if len(d) else np.empty((0, GRID)) for d in drawn]
        found.append(Curve(classes[c], f"c{i % 8}", roc[0], pr[0], *ends))
    return found


def roc_and_pr(event: NDArray[np.bool_], score: Floats, weights: Floats) -> tuple[Any, Any]:
    """Sensitivity over 1 - specificity and precision over recall, on a grid of `GRID` points, for each row of weights.

    Returns:
        two arrays `(draws, GRID)`.
    """
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(score[order][1:] != score[order][:-1], True))
    tp = (weights * event)[:, order].cumsum(axis=1)[:, ends]
    fp = (weights * ~event)[:, order].cumsum(axis=1)[:, ends]
    grid = np.linspace(0, 1, GRID)
    roc, pr = [], []
    for hits, alarms in zip(tp, fp, strict=True):
        if not hits[-1] or not alarms[-1]:
            continue
        tpr, fpr = np.append(0, hits / hits[-1]), np.append(0, alarms / alarms[-1])
        roc.append(np.interp(grid, fpr, tpr))
        precision = np.append(1.0, hits / np.maximum(hits + alarms, 1))
        # the step-wise curve of average precision: the precision at the first threshold that reaches the recall
        pr.append(precision[np.minimum(np.searchsorted(tpr, grid, side="left"), len(precision) - 1)])
    return np.array(roc), np.array(pr)


def charts(found: Sequence[Curve], operating: tuple[float, float, float] | None = None) -> list[str]:
    """The two charts of some curves: of one with its band, of several without, since bands would cover each other.

    Args:
        found: of `curves`.
        operating: sensitivity, specificity and precision at the operating threshold.
    """
    grid = np.linspace(0, 1, GRID)
    roc_series: list[Series] = [Series([(0, 0), (1, 1)], style="faint")]
    pr_series: list[Series] = []
    for c in found:
        for series, line, band in ((roc_series, c.roc, c.roc_band), (pr_series, c.pr, c.pr_band)):
            if len(found) == 1 and len(band):
                low, high = band
                outline = [*zip(grid, high, strict=True), *zip(grid[::-1], low[::-1], strict=True)]
                series.append(Series(outline, style=c.style, kind="band"))
            series.append(Series(list(zip(grid, line, strict=True)), c.name, c.style))
    if operating:
        sensitivity, specificity, precision = operating
        roc_series.append(Series([(1 - specificity, sensitivity)], "operating point", "c1", "dots"))
        pr_series.append(Series([(sensitivity, precision)], "operating point", "c1", "dots"))
    whose = f" of {found[0].name}" if len(found) == 1 else ""
    return [
        chart(roc_series, x="1 − specificity", y="sensitivity", title=f"ROC curve{whose}"),
        chart(pr_series, x="recall (sensitivity)", y="precision", title=f"Precision-recall curve{whose}"),
    ]
