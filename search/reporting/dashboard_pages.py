"""Notes and pictures for optuna-dashboard: of a study what it is and what to type next, of a trial how good it is.

Names, values and messages of others stand in code spans: there Markdown reads nothing out of them, no link either.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.cli import quantities
from search.cli.screen import name
from search.reporting import formats, roc_curves, svg
from search.reporting.search_summary import next_commands
from search.reporting.svg import Series, chart
from search.reporting.trial_tables import METRICS
from search.study.pages import StudyState, TrialPage
from search.study.view import TrialRecord
from xraytune.records import Objective, StudySpec, TrialResult

FIRST = ("image_size", "learning_rate", "optimizer", "batch_size", "augmentation", "imbalance", "mode", "cut")
"""Hyperparameters that are named first where a trial has them, by the end of their name."""

LISTED = 12
"""Hyperparameters in a trial's note; the page lists all below it."""

ROOM = 60
"""Characters of a name or a value."""

LINE = 300
"""Characters of a message or a path."""

STATES = {"COMPLETE": "complete", "PRUNED": "pruned: stopped early", "FAIL": "failed"}


@dataclass(frozen=True)
class DashboardPages:
    """What the dashboard shows of one study; a `search.study.pages.Pages`."""

    about: Sequence[str] = ()
    """Lines about data and split, as a search prints them."""

    trials: int | None = None
    """Maximum number of trials."""

    seconds: float | None = None
    """Time budget."""

    where: str = ""
    """Options by which other commands find the study."""

    def of_study(self, spec: StudySpec, state: StudyState) -> str:
        """As `search.study.pages.Pages` has it."""
        budget = [f"{quantities.clock(self.seconds)} of time"] if self.seconds else []
        budget += [f"at most {self.trials} trials"] if self.trials else []
        ended = ", ".join(
            f"{state.counts.get(key, 0)} {word}"
            for key, word in (("COMPLETE", "complete"), ("PRUNED", "pruned"), ("FAIL", "failed"))
        )
        classes = ", ".join(
            f"{code(one)}{' (positive)' if i == spec.positive else ''}" for i, one in enumerate(spec.classes)
        )
        rows = [
            ("Data", code(spec.data, LINE)),
            ("Classes", classes),
            ("Families", ", ".join(map(code, spec.families))),
            ("Budget", ", ".join(budget) or "none"),
            ("Trials", f"{ended}; {quantities.clock(state.seconds)} spent"),
            (f"Best {spec.label}", _best(state.best)),
            ("State", f"ended: {code(state.stopped)}" if state.stopped else "searching"),
        ]
        mark = ["**DEMONSTRATION, NOT X-RAYS: synthetic images.**", ""] if spec.demonstration else []
        commands = next_commands(spec.name, self.where, sum(state.counts.values())) if state.best else {}
        following = ["", "Next:", "", "```", *commands, "```"] if commands else []
        lines = [f"- **{title}**: {words}" for title, words in rows]
        return "\n".join([*mark, *lines, *(f"- {code(line, LINE)}" for line in self.about), *following])

    def of_trial(self, spec: StudySpec, trial: TrialRecord, predictions: Mapping[str, Any]) -> TrialPage:
        """As `search.study.pages.Pages` has it."""
        value = "" if trial.value is None else f", {spec.label} {formats.number(trial.value)}"
        state = "interrupted" if trial.interrupted else STATES.get(trial.state, trial.state)
        lines = [f"{code(trial.family)}{value}: **{state}**", ""]
        if trial.interrupted:
            lines += ["The search ended before this trial; its configuration is queued again.", ""]
        elif trial.cause:
            said = trial.message.splitlines()[0] if trial.message else "no message"
            lines += [f"Cause: {code(trial.cause)}: {code(said, LINE)}", ""]
        if trial.result:
            lines += _metrics(trial.result)
            lines += [*_weakest(spec, trial.result), *_effort(trial.result)]
        if trial.config:
            lines += ["", f"Hyperparameters: {_hyperparameters(spec, trial.config.values)}"]
        pictures: dict[str, str] = {}
        try:
            pictures = _pictures(spec, trial.result, predictions) if trial.result else {}
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            lines += ["", f"Its curves can't be drawn: {code(f'{type(error).__name__}: {error}', LINE)}"]
        return TrialPage("\n".join(lines), pictures)


def code(text: object, room: int = ROOM) -> str:
    """Text of others as a code span of Markdown, on one line, with control characters escaped.

    Args:
        text: anything.
        room: characters that are shown; of a longer text the middle is left out.
    """
    words = name(" ".join(str(text).split()))
    words = words if len(words) <= room else f"{words[: room // 2]}…{words[-room // 2 :]}"
    fence = "`" * (1 + max(map(len, re.findall(r"`+", words)), default=0))
    spaced = f" {words} " if words[:1] == "`" or words[-1:] == "`" else words
    return f"{fence}{spaced or ' '}{fence}"


def _best(best: TrialRecord | None) -> str:
    if best is None:
        return "no trial is complete yet"
    return f"**{formats.number(best.value)}** (trial {best.number}, {code(best.family)})"


def _metrics(result: TrialResult) -> list[str]:
    """A table of the figures that are known."""
    known = {title: result.metrics[key] for title, key in METRICS.items() if key in result.metrics}
    if not known:
        return []
    cells = (formats.number(value) for value in known.values())
    return [f"| {' | '.join(known)} |", f"|{'---|' * len(known)}", f"| {' | '.join(cells)} |", ""]


def _weakest(spec: StudySpec, result: TrialResult) -> list[str]:
    """The lowest view, and the lower of sensitivity and specificity."""
    found = []
    if weakest := result.weakest_view:
        found.append(f"view {code(weakest[0])} (F{spec.beta:g} {formats.number(weakest[1])})")
    sides = {side: result.metrics[f"val_{side}"] for side in ("sensitivity", "specificity")
             if f"val_{side}" in result.metrics}  # fmt: skip
    if len(sides) == 2 and not any(map(math.isnan, sides.values())):
        low = min(sides, key=lambda side: sides[side])
        found.append(f"{low} {formats.number(sides[low])}")
    return [f"Weakest: {'; '.join(found)}."] if found else []


def _effort(result: TrialResult) -> list[str]:
    taken = quantities.clock(sum(result.seconds.values()))
    return [f"Best epoch {result.best_epoch} of {result.epochs}; {result.parameters:,} weights; {taken}."]


def _hyperparameters(spec: StudySpec, values: Mapping[str, Any]) -> str:
    """What was searched of a configuration: neither fixed nor narrowed to one choice."""
    free = {key: value for key, value in values.items()
            if key != "family" and key not in spec.fixed and len(spec.narrowed.get(key, ())) != 1}  # fmt: skip
    ends = {end: i for i, end in enumerate(FIRST)}
    order = sorted(free, key=lambda key: ends.get(key.rpartition("/")[2], len(ends)))
    shown = [f"{code(key)} {code(f'{free[key]:.4g}' if isinstance(free[key], float) else free[key])}"
             for key in order[:LISTED]]  # fmt: skip
    more = [f"and {len(order) - LISTED} more below"] if len(order) > LISTED else []
    return ", ".join([*shown, *more]) or "none is searched"


def _pictures(spec: StudySpec, result: TrialResult, predictions: Mapping[str, Any]) -> dict[str, str]:
    """Learning curves and the ROC curve of the validation images, as far as they are known."""
    last = float(result.epochs)
    axis: Any = {"x": "epoch", "whole_x": True, "x_range": (1.0, last)}
    losses = [Series(_points(result, key), words, style, kind) for key, words, style in
              (("loss", "training", "c1"), ("val_loss", "validation", "c0"))
              for kind in _kinds(result)]  # fmt: skip
    score = "balanced " if spec.objective == Objective.ROBUST else ""
    lines = (("value", f"{score}F{spec.beta:g}", "c0"), ("val_auc", "AUC", "c1"), ("robust", spec.label, "c2"))
    scores = [Series(_points(result, key), words, style, _kinds(result)[0]) for key, words, style in lines]
    drawn: dict[str, str] = {}
    if any(one.points for one in scores):
        low = min(value for one in scores for _, value in one.points)
        drawn["learning_curve.svg"] = chart(
            [one for one in scores if one.points], y="validation images", title="Scores by epoch",
            y_range=(math.floor(10 * max(0.0, low - 0.02)) / 10, 1.0), **axis,
        )  # fmt: skip
    if any(one.points for one in losses):
        high = max(value for one in losses for _, value in one.points)
        drawn["loss.svg"] = chart(
            [one for one in losses if one.points], y="loss (cross-entropy)", title="Training and validation loss",
            y_range=(0.0, 1.05 * (high or 1.0)), **axis,
        )  # fmt: skip
    if len(predictions.get("labels", ())):
        labels, p = np.asarray(predictions["labels"]), np.asarray(predictions["probabilities"], np.float64)
        if found := roc_curves.curves(labels, p, None, spec.classes, spec.positive):
            drawn["roc.svg"] = roc_curves.charts(found)[0]
    return {file: svg.document(drawing) for file, drawing in drawn.items()}


def _kinds(result: TrialResult) -> tuple[str, ...]:
    """One epoch is a dot: a line of it would not be seen."""
    return ("line",) if len(result.curve) > 1 else ("dots",)


def _points(result: TrialResult, key: str) -> list[tuple[float, float]]:
    rows = ((float(row["epoch"]), row.get(key)) for row in result.curve if "epoch" in row)
    return [(epoch, float(value)) for epoch, value in rows if value is not None and math.isfinite(value)]
