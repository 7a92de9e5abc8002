"""What a search says at its end: why it stopped, the best trials, where the time went, what to type next."""

from __future__ import annotations

from collections import defaultdict

from rich.table import Table
from rich.text import Text

from search import console
from search.running import with_note
from search.storage import StudyView, TrialRecord
from xraytune.records import StudySpec


def summarize(view: StudyView, why: str, where: str = "") -> None:
    """Print the summary.

    Args:
        view: the study.
        why: why the search ended.
        where: options by which the study is found, if not in the usual place.
    """
    trials = [t for t in view.trials() if t.counts]
    states = {state: sum(t.state == state for t in trials) for state in ("COMPLETE", "PRUNED", "FAIL")}
    out = console.out
    if view.spec.demonstration:
        out.print(Text("DEMONSTRATION, NOT X-RAYS: drawn phantoms, made to show the search at work.", "bold yellow"))
    out.print(
        f"\nStudy [bold]{view.name}[/]: {states['COMPLETE']} trials complete, {states['PRUNED']} pruned, "
        f"{states['FAIL']} failed. It ended because {why.splitlines()[0] if why else 'nothing was left to try'}."
    )
    complete = view.ranked()
    if complete and len(view.directions) > 1:
        out.print("Beaten by no other trial in both objectives:")
        out.print(leaderboard(view.pareto(), view.spec))
    elif complete:
        out.print(leaderboard(complete[:5], view.spec))
    if trials:
        out.print(where_time_went(trials, view.spec.label))
    if complete:
        commands = {
            f"retrain best --study {view.name}{where}": "retrain the winner, open the test set",
            f"leaderboard {view.name}{where}": "every trial",
            f"dashboard{where}": "curves and parameters in the browser",
            f"run --study {view.name} --resume{where} --trials {len(trials) + 20}": "search on",
        }
        width = max(map(len, commands))
        lines = [f"  python -m search.{command:<{width}}  # {what}" for command, what in commands.items()]
        out.print(with_note("\n".join(["Next:", *lines])), markup=False, soft_wrap=True)


METRICS = {
    "clean": "val_f_beta",
    "robust": "robust",
    "AUC": "val_auc",
    "sensitivity": "val_sensitivity",
    "specificity": "val_specificity",
    "trivial": "val_trivial_f_beta",
}
"""Shown beside the objective, which alone flatters: `trivial` is what always answering "positive" would score."""


def leaderboard(trials: list[TrialRecord], spec: StudySpec) -> Table:
    """Trials in the order given: the objective, the other score beside it, and the view where each falls."""
    known = {key for t in trials if t.result for key in t.result.metrics}
    own = str(spec.objective)
    shown = {title: key for title, key in METRICS.items() if key in known and title != own}
    viewed = any(t.result and t.result.weakest_view for t in trials)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("trial", "family", "state"):
        table.add_column(column, no_wrap=True)
    others = spec.objectives[1:]
    for column in (spec.label, *others, *shown, "epochs", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    if viewed:
        table.add_column("falls where", no_wrap=True)
    if any(t.cause for t in trials):
        table.add_column("cause", overflow="fold")
    for t in trials:
        metrics = t.result.metrics if t.result else {}
        row = [
            str(t.number),
            t.family,
            t.state.lower() if not t.interrupted else "interrupted",
            _figure(t.value),
            *(_objective(t, i) for i in range(1, len(others) + 1)),
            *(_figure(metrics.get(key)) for key in shown.values()),
            str(t.result.epochs if t.result else len(t.curve)),
            console.clock(t.seconds) if t.seconds is not None else "-",
        ]
        if viewed:
            weakest = t.result.weakest_view if t.result else None
            row.append(f"{weakest[0]} {weakest[1]:.2f}" if weakest else "-")
        if any(trial.cause for trial in trials):
            row.append(f"{t.cause}: {t.message.splitlines()[0] if t.message else ''}" if t.cause else "")
        table.add_row(*row)
    return table


def _objective(trial: TrialRecord, index: int) -> str:
    """A further objective: a number of parameters is whole."""
    if len(trial.values) <= index:
        return "-"
    value = trial.values[index]
    return f"{value:.0f}" if value.is_integer() and value > 1 else _figure(value)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def where_time_went(trials: list[TrialRecord], label: str) -> Table:
    """One line a family: trials, seconds, best."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("family")
    for column in ("trials", "pruned", "failed", "time", "share", f"best {label}"):
        table.add_column(column, justify="right")
    groups: dict[str, list[TrialRecord]] = defaultdict(list)
    for trial in trials:
        groups[trial.family].append(trial)
    spent = {family: sum(t.seconds or 0.0 for t in group) for family, group in groups.items()}
    whole = sum(spent.values()) or 1.0
    for family in sorted(groups, key=lambda f: -spent[f]):
        group = groups[family]
        best = max((t.value for t in group if t.state == "COMPLETE" and t.value is not None), default=None)
        table.add_row(
            family,
            str(len(group)),
            str(sum(t.state == "PRUNED" for t in group)),
            str(sum(t.state == "FAIL" for t in group)),
            console.clock(spent[family]),
            f"{100 * spent[family] / whole:.0f} %",
            _figure(best),
        )
    return table
