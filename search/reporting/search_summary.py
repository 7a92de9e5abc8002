"""What a search says at its end: why it stopped, the best trials, where the time went, what to type next."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from search.cli import console
from search.cli.screen import Screen, styled
from search.reporting.formats import number
from search.reporting.trial_tables import show_families, show_leaderboard
from search.study.database import PASSWORD_NOTE
from search.study.view import StudyView

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
        title = "Pareto-optimal trials" if several else ""
        show_leaderboard(out, view.pareto() if several else complete[:SHOWN], view.spec, title=title)
    if trials:
        show_families(out, trials, view.spec.label)
    if complete:
        following(out, next_commands(view.name, where, len(trials)))


def next_commands(study: str, where: str, ended: int) -> dict[str, str]:
    """What can be typed after a search, and what it does.

    Args:
        study: its name.
        where: options by which the study is found, if not in the usual place.
        ended: trials that count.
    """
    commands = {
        f"retrain best --study {study}{where}": "retrain the winner, evaluate it once on the test set",
        f"leaderboard {study}{where}": "every trial",
        f"dashboard{where}": "curves and parameters in the browser",
        f"run --study {study} --resume{where} --trials {ended + 20}": "continue the search",
    }
    return {f"python -m search.{command}": what for command, what in commands.items()}


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
            "No trial finished: all started trials were pruned. Allow more trials:\n"
            f"  python -m search.run --study {study} --resume --trials N"
        )
    minutes = max(LEAST_MINUTES, math.ceil(3 * preparation / 60), math.ceil(2 * seconds / 60))
    return (
        f"No trial finished: preparation took {preparation:.0f} s of {seconds:.0f} s. Give at least TIME={minutes}m:\n"
        f"  python -m search.run --study {study} --resume --time {minutes}m"
    )
