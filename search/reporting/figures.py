"""The charts of the report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from search.reporting.svg import WIDTH, Series, bars, chart, marker, opened, ticks
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
        Series(without, "not calibrated", "c1"),
        Series(without, style="c1", kind="dots", notes=counts_of_bins(figures["calibration"]["reliability_without"])),
        Series(with_it, "calibrated", "c0"),
        Series(with_it, style="c0", kind="dots", notes=counts_of_bins(figures["test"]["reliability"])),
    ]
    return chart(series, x="mean predicted probability", y="observed share", title="Reliability curve")


def counts_of_bins(rows: Sequence[Mapping[str, float]]) -> list[str]:
    """How many images are in each bin of a reliability diagram."""
    return [f"{row['n']:.0f} images" for row in rows]


def referral_chart(figures: Mapping[str, Any]) -> str:
    """Missed positives over the share referred and the chosen pair: cross-validated (out-of-fold) and on the test set.

    Empty where no referral was asked for, or no pair keeps the specificity.
    """
    found = figures.get("referral")
    if not found or not found["curve"]:
        return ""
    line = [(float(x), float(y)) for x, y in found["curve"]]
    allowed = 1 - found["asked"]["sensitivity"]
    series = [Series([(0.0, allowed), (1.0, allowed)], style="faint"), Series(line, "out-of-fold", "c0", "steps")]
    marked = []
    if found["pair"]:
        own, test = found["out_of_fold"], found["test"]
        marked.append(("chosen", "c0", (own["referred"], 1 - own["sensitivity"])))
        sides = [test[name][0] for name in ("referred_positive", "referred_negative", "sensitivity")]
        if None not in sides:
            marked.append(("chosen, test images", "c1", ((sides[0] + sides[1]) / 2, 1 - sides[2])))
    for name, style, (share, missed) in marked:
        series.append(Series([(share, missed)], name, style, "dots", [f"{share:.3f} referred, {missed:.3f} missed"]))
    top = max(allowed, *(y for s in series for _, y in s.points))
    return chart(
        series, x="share of images referred", y="missed share of positives answered",
        title="Share referred against missed positives", y_range=(0.0, min(1.0, 1.1 * top)),
    )  # fmt: skip


def history_chart(trials: Sequence[TrialRecord], objective: str) -> str:
    """Objective of each trial by number; families by colour and shape, pruned ones hollow; the best so far as a line.

    Args:
        trials: of the study.
        objective: its name, for the axis.
    """
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
        for complete in (True, False):
            own = [(t, v) for t, v in valued if t.family == family and (t.state == "COMPLETE") == complete]
            if own:
                name, kind = (family, "dots") if complete else (f"{family}, pruned", "hollow")
                notes = [f"trial {t.number}: {value:.3f}" for t, value in own]
                series.append(Series([(float(t.number), v) for t, v in own], name, f"c{i % 8}", kind, notes))
    values = [value for _, value in valued]
    low, high = float(np.quantile(values, 0.05)) - 0.02, max(values) + 0.02
    if min(values) >= 0 and max(values) <= 1:  # as every objective of ours
        low, high = max(0.0, low), min(1.0, high)
    last = max(t.number for t, _ in valued)
    return chart(
        series, x="trial", y=objective, title=f"{objective} by trial", whole_x=True,
        x_range=(-0.02 * last, 1.02 * last), y_range=(low, high),
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
            Series(sorted(pairs[n] for n in front), "Pareto-optimal", "faint", "line"),
            Series([p for n, p in pairs.items() if n not in front], "dominated", "c7", "dots",
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
    return bars(dict(list(found.items())[:8]), title="Hyperparameter importance")


def time_chart(trials: Sequence[TrialRecord]) -> str:
    """Seconds of all trials by phase, as bars."""
    total: defaultdict[str, float] = defaultdict(float)
    for t in trials:
        for phase, seconds in (t.result.seconds if t.result else {}).items():
            total[phase] += seconds
    return bars(dict(total), title="Time by phase", unit=" s", digits=0) if total else ""


def learning_charts(figures: Mapping[str, Any]) -> list[str]:
    """The winner's loss on training and held-out images of each fold, and the score that chose the epoch."""
    winner = next(c for c in figures["confirmation"]["finalists"] if c["trial"] == figures["confirmation"]["winner"])
    curves = [curve for curve in winner["curves"] if curve]
    last = max((float(curve[-1]["epoch"]) for curve in curves), default=1.0)
    losses, scores = [], []
    for i, curve in enumerate(curves):
        for name, style, words in (("loss", "c1", "training"), ("val_loss", "c0", "held-out fold")):
            points = [(float(row["epoch"]), float(row[name])) for row in curve if row.get(name) is not None]
            losses.append(Series(points, "" if i else words, style))
        scores.append(Series([(float(r["epoch"]), float(r["value"])) for r in curve], f"fold {i + 1}", f"c{i % 8}"))
    low = min((v for s in scores for _, v in s.points), default=0.0)
    high = max((v for s in losses for _, v in s.points), default=1.0) or 1.0
    axis: Any = {"x": "epoch", "whole_x": True, "x_range": (1.0, last)}
    return [
        chart(
            losses, y="loss (cross-entropy)", title="Training and validation loss", y_range=(0.0, 1.05 * high), **axis
        ),
        chart(
            scores, y="score on the held-out fold", title="Score by epoch", y_range=(max(0.0, low - 0.05), 1.0), **axis
        ),
    ]


def subgroup_chart(rows: Sequence[tuple[str, Sequence[float | None]]]) -> str:
    """A forest plot: each subgroup's figure with its interval, all images first.

    Args:
        rows: name and value, low, high; those without an interval are left out.
    """
    shown = [(name, [float(v) for v in triple]) for name, triple in rows if None not in triple]  # type: ignore[arg-type]
    if len(shown) < 2:
        return ""
    left, wide, step = 190, WIDTH - 190 - 14, 24
    height = 12 + step * len(shown) + 34
    everywhere = left + wide * shown[0][1][0]
    out = [opened("Subgroups with 95 % intervals", height)]
    for value in ticks(0.0, 1.0):
        x = left + wide * value
        out.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="6" y2="{height - 34}"/>')
        out.append(f'<text x="{x:.1f}" y="{height - 14}" text-anchor="middle">{value:g}</text>')
    out.append(f'<polyline class="line faint" points="{everywhere:.1f},6 {everywhere:.1f},{height - 34}"/>')
    for i, (name, (value, low, high)) in enumerate(shown):
        y = 18 + step * i
        words = name if len(name) <= 27 else f"{name[:13]}…{name[-13:]}"
        out.append(f'<text x="0" y="{y + 4}">{escape(words)}<title>{escape(name)}</title></text>')
        out.append(f'<polyline class="line c0" points="{left + wide * low:.1f},{y} {left + wide * high:.1f},{y}"/>')
        out.append(marker(left + wide * value, y, "c0", note=f"{name}: {value:.2f} [{low:.2f}, {high:.2f}]"))
    return "".join([*out, "</svg>"])


def flow_chart(card: Mapping[str, Any]) -> str:
    """How many images (and patients) were read, left out, and went to training, validation and test.

    Args:
        card: `data_card` of `metrics.json`.
    """
    sums = {split: sum(counts.values()) for split, counts in card["counts"].items()}
    names = {"train": "training", "val": "validation", "test": "test"}
    read = sum(sums.values()) + card["excluded"]
    out = [opened("Flow of images", 190)]

    def box(x: float, y: float, wide: float, lines: Sequence[str]) -> None:
        out.append(f'<rect class="box" x="{x}" y="{y}" width="{wide}" height="{12 + 18 * len(lines)}" rx="5"/>')
        for i, line in enumerate(lines):
            style = ' class="strong"' if not i else ""
            out.append(
                f'<text{style} x="{x + wide / 2}" y="{y + 19 + 18 * i}" text-anchor="middle">{escape(line)}</text>'
            )

    box(20, 4, 170, (f"{read} images", "read"))
    box(250, 4, 170, (f"{card['excluded']} images", "excluded (unusable)"))
    out.append('<polyline class="box" points="190,28 250,28"/><polyline class="box" points="105,52 105,90"/>')
    out.append(
        '<polyline class="box" points="75,110 75,90 366,90 366,110"/><polyline class="box" points="220,90 220,110"/>'
    )
    for i, (split, n) in enumerate(sums.items()):
        box(10 + 145 * i, 110, 130, (f"{n} images", names[split], f"{card['patients'][split]} patients"))
    return "".join([*out, "</svg>"])
