"""Trials as tables at the terminal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from search.cli import quantities, tables
from search.cli.live_view import COLOURS, word
from search.cli.screen import Screen
from search.cli.tables import Cell, Column
from search.reporting.formats import number
from search.study.view import TrialRecord
from xraytune.evaluation import robust_score
from xraytune.records import Objective, StudySpec

METRICS = {
    "clean": "val_f_beta",
    "robust": "robust",
    "AUC": "val_auc",
    "sensitivity": "val_sensitivity",
    "specificity": "val_specificity",
}
"""Shown beside the objective, which alone flatters."""


SHORT = {"sensitivity": "sens.", "specificity": "spec."}


def rank(trial: TrialRecord) -> tuple[int, float, int]:
    """Sorting key: by state, then the objective, then the number."""
    order = ["COMPLETE", "PRUNED", "RUNNING", "WAITING", "FAIL"]
    return order.index(trial.state), *trial.rank


def show_leaderboard(screen: Screen, trials: Sequence[TrialRecord], spec: StudySpec, *, title: str = "") -> None:
    """Print the baseline, the trials in the order given, and a line on those that have no row.

    Args:
        screen: where to.
        trials: any; waiting and interrupted ones are only counted.
        spec: the study's.
        title: above the table.
    """
    rows = [t for t in trials if t.state != "WAITING" and not t.interrupted]
    if scores := _baseline(rows, spec):
        always = "one class" if spec.positive is None else spec.classes[spec.positive]
        screen.say(f"Baseline: always predicting {always} scores {' and '.join(scores)}.")
    if rows:
        tables.show(screen, leaderboard(rows, spec), title=title)
    without = {
        "waiting": sum(t.state == "WAITING" for t in trials),
        "interrupted": sum(t.interrupted for t in trials),
    }
    if any(without.values()):
        screen.say(f"{', '.join(f'{count} {what}' for what, count in without.items() if count)}.", style="dim")
    causes: defaultdict[str, list[int]] = defaultdict(list)
    for t in rows:
        if t.cause:
            causes[f"{t.cause}: {t.message.splitlines()[0] if t.message else ''}"].append(t.number)
    for cause, numbers in causes.items():
        screen.say((f"Failed: trial {', '.join(map(str, numbers))}. ", "red"), cause)


def _baseline(trials: Sequence[TrialRecord], spec: StudySpec) -> list[str]:
    """What the answer scores that looks at no image, by each of the scores shown; empty where none is known."""
    found = (t.result.metrics.get("val_trivial_f_beta") for t in trials if t.result)
    clean = next((value for value in found if value is not None), None)
    if clean is None:
        return []
    words = f"F{spec.beta:g}"
    if spec.objective != Objective.ROBUST:
        return [f"{words} {clean:.3f}"]
    shifted = robust_score.trivial(len(spec.classes), spec.positive, spec.beta)
    return [f"robust {words} {shifted:.3f}", f"clean {words} {clean:.3f}"]


def leaderboard(trials: Sequence[TrialRecord], spec: StudySpec) -> list[Column]:
    """The columns of the leaderboard, trials in the order given.

    Args:
        trials: each a row.
        spec: the study's.
    """
    known = {key for t in trials if t.result for key in t.result.metrics}
    own = str(spec.objective)

    def column(title: str, cell: Callable[[TrialRecord], Cell], spare: int = 0, *, words: bool = False) -> Column:
        return Column(title, [cell(t) for t in trials], words=words, spare=spare, short=SHORT.get(title, ""))

    ranks = {t.number: str(i + 1) for i, t in enumerate(t for t in trials if t.state == "COMPLETE")}
    columns = [
        column("rank", lambda t: ranks.get(t.number, "–")),
        column("trial", lambda t: str(t.number)),
        column("family", lambda t: t.family, words=True),
        column("state", lambda t: (word(t.state), COLOURS.get(t.state, "cyan")), words=True),
        column(spec.label, lambda t: number(t.value)),
    ]
    for i, other in enumerate(spec.objectives[1:]):
        columns.append(column(other, lambda t, i=i: _objective(t, i + 1), 1))  # type: ignore[misc]
    for title, key in METRICS.items():
        if key in known and title != own:
            spare = 0 if title not in {"clean", "robust"} else 2
            columns.append(
                column(title, lambda t, key=key: number(t.result.metrics.get(key) if t.result else None), spare)  # type: ignore[misc]
            )
    columns += [
        column("epochs", lambda t: str(t.result.epochs if t.result else len(t.curve)), 3),
        column("time", lambda t: quantities.clock(t.seconds) if t.seconds is not None else "–"),
    ]
    if any(t.result and t.result.weakest_view for t in trials):
        columns.append(column("worst view", _worst, 4, words=True))
    return columns


def _worst(trial: TrialRecord) -> str:
    """`border masked (0.98)`."""
    weakest = trial.result.weakest_view if trial.result else None
    return f"{weakest[0]} ({weakest[1]:.2f})" if weakest else "–"


def _objective(trial: TrialRecord, index: int) -> str:
    """A further objective: a number of parameters is whole."""
    if len(trial.values) <= index:
        return "–"
    value = trial.values[index]
    return f"{value:.0f}" if value.is_integer() and value > 1 else number(value)


def show_families(screen: Screen, trials: Sequence[TrialRecord], label: str) -> None:
    """Print a table with a row per family: trials, seconds, best.

    Args:
        screen: where to.
        trials: those that count.
        label: of the objective.
    """
    groups: dict[str, list[TrialRecord]] = defaultdict(list)
    for trial in trials:
        groups[trial.family].append(trial)
    spent = {family: sum(t.seconds or 0.0 for t in group) for family, group in groups.items()}
    whole = sum(spent.values()) or 1.0
    families = sorted(groups, key=lambda f: -spent[f])
    best = {f: max((t.value for t in groups[f] if t.state == "COMPLETE" and t.value is not None), default=None)
            for f in families}  # fmt: skip

    def count(state: str) -> list[Cell]:
        return [str(sum(t.state == state for t in groups[f])) for f in families]

    screen.print()
    tables.show(
        screen,
        [
            Column("family", families, words=True),
            Column("trials", [str(len(groups[f])) for f in families]),
            Column("pruned", count("PRUNED"), spare=2),
            Column("failed", count("FAIL"), spare=2),
            Column("time", [quantities.clock(spent[f]) for f in families]),
            Column("share", [f"{100 * spent[f] / whole:.0f} %" for f in families], spare=1),
            Column(f"best {label}", [number(best[f]) for f in families]),
        ],
    )
