"""What a search says at its end: why it stopped, the best trials, where the time went, what to type next."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from search.cli import console, quantities, tables
from search.cli.live_view import COLOURS, word
from search.cli.screen import Screen, styled
from search.cli.tables import Cell, Column
from search.running import PASSWORD_NOTE
from search.study.view import StudyView, TrialRecord
from xraytune.evaluation import robust_score
from xraytune.records import Objective, StudySpec

SHOWN = 5
"""Trials listed at the end of a search."""

LEAST_MINUTES = 3
"""Minutes advised at least to a search in which no trial finished."""


def summarize(view: StudyView, why: str, where: str = "") -> None:
    """Print the summary.

    Args:
        view: the study.
        why: why the search ended.
        where: options by which the study is found, if not in the usual place.
    """
    trials = [t for t in view.trials() if t.counts]
    states = Counter(t.state for t in trials)
    complete = view.ranked()
    out = console.out
    counted = f"{states['COMPLETE']} trials complete, {states['PRUNED']} pruned, {states['FAIL']} failed"
    best = ""
    if complete:
        first = complete[0]
        best = f"Best {view.spec.label}: {number(first.value)} (trial {first.number}, {first.family}). "
    out.print()
    if view.spec.demonstration:
        out.say("DEMONSTRATION, NOT X-RAYS: synthetic images.", style="bold yellow")
    out.say((best, "bold green"), "Study ", (view.name, "bold"), f": {counted}.")
    out.say(f"Stopped: {why.splitlines()[0] if why else 'nothing was left to try'}.")
    if complete:
        several = len(view.directions) > 1
        title = "Beaten by no other trial in both objectives" if several else ""
        show_leaderboard(out, view.pareto() if several else complete[:SHOWN], view.spec, title=title)
    if trials:
        show_families(out, trials, view.spec.label)
    if complete:
        commands = {
            f"retrain best --study {view.name}{where}": "retrain the winner, evaluate it once on the test set",
            f"leaderboard {view.name}{where}": "every trial",
            f"dashboard{where}": "curves and parameters in the browser",
            f"run --study {view.name} --resume{where} --trials {len(trials) + 20}": "search on",
        }
        following(out, {f"python -m search.{command}": what for command, what in commands.items()})


def following(screen: Screen, commands: Mapping[str, str]) -> None:
    """The commands that can be typed next, each in one piece, with what they do beside or above them.

    Args:
        screen: where to.
        commands: what each does, by command.
    """
    screen.print("Next:")
    width = max(map(len, commands))
    beside = not screen.is_terminal or 2 + width + 4 + max(map(len, commands.values())) <= screen.width
    for command, what in commands.items():
        line = f"  {command:<{width}}  # {what}" if beside else f"  # {what}\n  {command}"
        screen.print(styled(line), soft_wrap=True)
    if any("***" in command for command in commands):
        screen.say(PASSWORD_NOTE)


def why_none(seconds: float | None, preparation: float, study: str) -> str:
    """What to do where no trial finished.

    Args:
        seconds: time budget.
        preparation: seconds before the first trial.
        study: its name and the options by which it is found.
    """
    if seconds is None:
        return (
            "No trial finished: all that were started were pruned. Allow more trials:\n"
            f"  python -m search.run --study {study} --resume --trials N"
        )
    minutes = max(LEAST_MINUTES, math.ceil(3 * preparation / 60), math.ceil(2 * seconds / 60))
    return (
        f"No trial finished: preparation took {preparation:.0f} s of {seconds:.0f} s. Give at least TIME={minutes}m:\n"
        f"  python -m search.run --study {study} --resume --time {minutes}m"
    )


METRICS = {
    "clean": "val_f_beta",
    "robust": "robust",
    "AUC": "val_auc",
    "sensitivity": "val_sensitivity",
    "specificity": "val_specificity",
}
"""Shown beside the objective, which alone flatters."""

SHORT = {"sensitivity": "sens.", "specificity": "spec."}


def show_leaderboard(
    screen: Screen, trials: Sequence[TrialRecord], spec: StudySpec, *, title: str = "", ranked: bool = True
) -> None:
    """Print the baseline, the trials in the order given, and a line on those that have no row.

    Args:
        screen: where to.
        trials: any; waiting and interrupted ones are only counted.
        spec: the study's.
        title: above the table.
        ranked: whether the trials are in the order of their scores.
    """
    rows = [t for t in trials if t.state != "WAITING" and not t.interrupted]
    if scores := _baseline(rows, spec):
        always = "one class" if spec.positive is None else spec.classes[spec.positive]
        screen.say(f"Baseline: always predicting {always} scores {' and '.join(scores)}.")
    if rows:
        tables.show(screen, leaderboard(rows, spec, ranked=ranked), title=title)
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


def leaderboard(trials: Sequence[TrialRecord], spec: StudySpec, *, ranked: bool = True) -> list[Column]:
    """The columns of the leaderboard, trials in the order given.

    Args:
        trials: each a row.
        spec: the study's.
        ranked: whether complete trials are numbered.
    """
    known = {key for t in trials if t.result for key in t.result.metrics}
    own = str(spec.objective)

    def column(title: str, cell: Callable[[TrialRecord], Cell], spare: int = 0, *, words: bool = False) -> Column:
        return Column(title, [cell(t) for t in trials], words=words, spare=spare, short=SHORT.get(title, ""))

    ranks = {t.number: str(i + 1) for i, t in enumerate(t for t in trials if t.state == "COMPLETE")}
    columns = [column("rank", lambda t: ranks.get(t.number, "–"))] if ranked else []
    columns += [
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


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash where it is undefined."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


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
