"""The charts of the report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from search.reporting.svg import Series, bars, chart
from search.study.view import StudyView, TrialRecord

ENOUGH = 8
"""Complete trials from which importance is shown: with fewer it is chance."""


def operating_point(figures: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Sensitivity, specificity and precision at the threshold, 0 where undefined; None without a positive class."""
    if figures["test"]["positive"] is None:
        return None
    found = [figures["test"]["overall"][name][0] or 0.0 for name in ("sensitivity", "specificity", "precision")]
    return found[0], found[1], found[2]


def reliability_chart(figures: Mapping[str, Any]) -> str:
    """The curve with and without calibration; a bin's dot says how many images it holds."""

    def line(rows: Sequence[Mapping[str, float]]) -> list[tuple[float, float]]:
        return [(r["predicted"], r["observed"]) for r in rows]

    with_it = line(figures["test"]["reliability"])
    without = line(figures["calibration"]["reliability_without"])
    series = [
        Series([(0, 0), (1, 1)], style="faint"),
        Series(without, "as the network gives it", "c1"),
        Series(without, style="c1", kind="dots", notes=counts_of_bins(figures["calibration"]["reliability_without"])),
        Series(with_it, "calibrated", "c0"),
        Series(with_it, style="c0", kind="dots", notes=counts_of_bins(figures["test"]["reliability"])),
    ]
    return chart(series, x="probability", y="share that had it", title="Reliability curve")


def counts_of_bins(rows: Sequence[Mapping[str, float]]) -> list[str]:
    """How many images are in each bin of a reliability diagram."""
    return [f"{row['n']:.0f} images" for row in rows]


def history_chart(trials: Sequence[TrialRecord]) -> str:
    """Objective of each trial by number, families in colours, the best so far as a line."""
    valued = [(t, t.value) for t in trials if t.value is not None]
    if not valued:
        return ""
    families = sorted({t.family for t, _ in valued})
    series: list[Series] = []
    best, line = -np.inf, []
    for t, value in valued:
        if t.state == "COMPLETE":
            best = max(best, value)
        if np.isfinite(best):
            line.append((float(t.number), float(best)))
    series.append(Series(line, "best so far", "faint", "steps"))
    for i, family in enumerate(families):
        points = [(float(t.number), value) for t, value in valued if t.family == family]
        series.append(Series(points, family, f"c{i % 8}", "dots"))
    values = [value for _, value in valued]
    low, high = float(np.quantile(values, 0.05)) - 0.02, max(values) + 0.02
    if min(values) >= 0 and max(values) <= 1:  # as every objective of ours
        low, high = max(0.0, low), min(1.0, high)
    return chart(
        series, x="trial", y="objective", title="Objective by trial", whole_x=True,
        x_range=(0, max(t.number for t, _ in valued)), y_range=(low, high),
    )  # fmt: skip


def pareto_chart(study: StudyView, trials: Sequence[TrialRecord]) -> str:
    """Two objectives against each other, the trials that no other beats in both joined; empty for one objective."""
    if len(study.directions) < 2:
        return ""
    other = study.spec.objectives[1]
    pairs = {t.number: (t.values[1], t.values[0]) for t in trials if len(t.values) > 1}
    if not pairs:
        return ""
    front = [t.number for t in study.pareto() if t.number in pairs]
    everything = np.array(list(pairs.values()))
    (left, low), (right, high) = everything.min(axis=0), everything.max(axis=0)
    wide, tall = 0.04 * (right - left), 0.04 * (high - low)
    return chart(
        [
            Series(sorted(pairs[n] for n in front), "beaten by no other", "faint", "line"),
            Series([p for n, p in pairs.items() if n not in front], "beaten in both", "c7", "dots",
                   [f"trial {n}" for n in pairs if n not in front]),
            Series([pairs[n] for n in front], "Pareto front", "c0", "dots", [f"trial {n}" for n in front]),
        ],
        x=other.replace("_", " "), y="objective", title=f"Objective against {other}",
        x_range=(float(left - wide), float(right + wide)), y_range=(float(low - tall), float(high + tall)),
    )  # fmt: skip


def importance_chart(study: StudyView) -> str:
    """Which hyperparameters tell the best trials from the rest, where there are trials enough to say."""
    if sum(t.state == "COMPLETE" for t in study.trials()) < ENOUGH:
        return ""
    try:
        found = study.importances()
    except (ValueError, RuntimeError):  # all values alike
        return ""
    return bars(dict(list(found.items())[:8]))


def time_chart(trials: Sequence[TrialRecord]) -> str:
    """Seconds of all trials by phase, as bars."""
    total: defaultdict[str, float] = defaultdict(float)
    for t in trials:
        for phase, seconds in (t.result.seconds if t.result else {}).items():
            total[phase] += seconds
    return bars(dict(total), unit=" s", digits=0) if total else ""


def learning_chart(figures: Mapping[str, Any]) -> str:
    """What the winner's epochs were chosen by on its folds, epoch by epoch."""
    winner = next(c for c in figures["confirmation"]["finalists"] if c["trial"] == figures["confirmation"]["winner"])
    series, values, last = [], [0.0], 1.0
    for i, curve in enumerate(winner["curves"]):
        points = [(float(row["epoch"]), float(row["value"])) for row in curve]
        values += [v for _, v in points]
        last = max(last, points[-1][0]) if points else last
        series.append(Series(points, f"fold {i + 1}", f"c{i % 8}"))
    low = min(values[1:], default=0.0)
    return chart(
        series, x="epoch", y="score on the held-out fold", title="Learning curves", whole_x=True,
        x_range=(1, last), y_range=(max(0.0, low - 0.05), 1.0),
    )  # fmt: skip
