"""What a retraining prints: its plan, a live bar, the confirmed finalists, the final metrics."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from search import console
from search.confirm import Confirmed, Plan
from search.storage import StudyView, TrialRecord
from xraytune.data.dataset import Dataset
from xraytune.evaluation import NAMES

if TYPE_CHECKING:
    from search.retrain import Options

FEW = 4
"""Trainings done before their own pace is believed."""

BANNER = "[bold yellow]DEMONSTRATION, NOT X-RAYS[/]"


def plan(
    study: StudyView,
    plan: Plan,
    wanted: Sequence[TrialRecord],
    options: Options,
    budget: float,
    workers: int,
    dataset: Dataset,
) -> None:
    """What will be done and how long it should take, before it begins."""
    if dataset.demonstration:
        console.out.print(BANNER)
    numbers = ", ".join(str(t.number) for t in plan.finalists)
    word = "trials" if len(plan.finalists) > 1 else "trial"
    say(
        f"Study [bold]{study.name}[/]: {word} {numbers} on {plan.folds} folds grouped by {dataset.grouped_by} × "
        f"{plan.seeds} {'seeds' if plan.seeds > 1 else 'seed'} = {plan.trainings} trainings, {workers} at once, then "
        f"{options.final}: about {console.clock(plan.seconds)} of {console.clock(budget)}."
    )
    left_out = len(wanted) - len(plan.finalists)
    if left_out or plan.seeds < options.seeds or plan.folds < options.folds:
        say(
            f"[dim]Wanted {len(wanted)} × {options.folds} × {options.seeds} (finalists × folds × seeds); shrunk to fit "
            "(more with --time).[/]"
        )


@contextmanager
def progress() -> Iterator[Callable[[int, int, str], None]]:
    """A bar for the library's `progress(done, total, what)`; silent where there is no terminal."""
    with _bar() as bar:
        tasks: dict[str, Any] = {}

        def show(done: int, total: int, what: str) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total, left="")

        yield show


def _bar() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        console=console.err,
        transient=True,
        disable=not console.err.is_terminal,
    )


class Trainings:
    """Trainings done and running, with the time left; a plain line each where there is no terminal."""

    def __init__(self, bar: Progress, total: int, what: str, seconds: float) -> None:
        self._bar = bar
        self._total = total
        self._what = what
        self._done = self._fresh = 0
        self._begun = time.monotonic()
        self._expected = seconds
        self._running: dict[str, str] = {}
        self._task = bar.add_task(what, total=total, left="")

    def event(self, name: str, event: tuple[int, float]) -> None:
        """An epoch ended: (epoch, value)."""
        self._running[name] = f"{name}, epoch {event[0]}: {event[1]:.3f}"
        self._show()

    def done(self, name: str, text: str, *, failed: bool) -> None:
        """A training ended (or was found finished)."""
        self._done += 1
        if self._running.pop(name, None):
            self._fresh += 1
        word = "[red]failed[/]" if failed else "done"
        if not console.err.is_terminal or failed:
            console.err.print(f"{console.now()}  {self._done}/{self._total}  {name} {word}: {text}{self._left()}")
        self._show()

    def _left(self) -> str:
        if self._done >= self._total:
            return ""
        spent = time.monotonic() - self._begun
        if self._fresh < FEW:  # the first trainings hold the start of the workers: the plan knows better
            left = max(0.0, self._expected - spent)
        else:
            left = spent / self._fresh * (self._total - self._done)
        return f", about {console.clock(left)} left" if left >= 1 else ""

    def _show(self) -> None:
        running = "; ".join(list(self._running.values())[-2:])
        self._bar.update(
            self._task, completed=self._done, description=f"{self._what} [dim]{running}[/]", left=self._left()
        )


@contextmanager
def trainings(total: int, what: str, seconds: float) -> Iterator[Trainings]:
    """The live view of so many trainings, expected to take so many seconds."""
    with _bar() as bar:
        yield Trainings(bar, total, what, seconds)


def confirmed(found: Sequence[Confirmed], plan: Plan, study: StudyView) -> None:
    """The finalists after their folds, best first."""
    table = Table(title="Confirmed on patient-grouped folds", title_justify="left", header_style="bold")
    for name in ("trial", "family", "in the search", "on folds", "± s.e.", "epochs"):
        table.add_column(name, justify="left" if name == "family" else "right")
    for c in found:
        searched = f"{c.trial.value:.3f}" if c.trial.value is not None else "-"
        table.add_row(str(c.trial.number), c.trial.family, searched, f"{c.mean:.3f}", f"{c.error:.3f}", str(c.epochs))
    console.out.print(table)
    numbers = {c.trial.number for c in found}
    if left := [str(t.number) for t in plan.finalists if t.number not in numbers]:
        say(f"[dim]Not confirmed in the time there was (or failed): trial {', '.join(left)}.[/]")
    if any(t.state == "COMPLETE" for t in study.trials()):
        best = study.best().number
        if best != found[0].trial.number and any(c.trial.number == best for c in found):
            say(f"The confirmed winner is trial {found[0].trial.number}, not the study's best ({best}).")


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash where it is undefined."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def interval(triple: Sequence[float | None], digits: int = 3) -> str:
    """`0.913 [0.880, 0.941]`."""
    value, low, high = (number(v, digits) for v in triple)
    return value if triple[1] is None else f"{value} [{low}, {high}]"


def say(text: str) -> None:
    """A line that the terminal may wrap and a pipe gets whole."""
    console.out.print(text, soft_wrap=True)


def results(figures: Mapping[str, Any], folder: Path) -> None:
    """The final metrics: overall beside the trivial answer, by class, confusion matrix, gap, what to do next."""
    test = figures["test"]
    out = console.out
    if figures["demonstration"]:
        out.print(BANNER)
    table = Table(
        title=f"Sealed test set: {test['images']} images of {test['patients']} patients, opened {figures['opened']}×",
        title_justify="left",
        header_style="bold",
    )
    trivial = test["trivial"]
    table.add_column("figure")
    table.add_column("test [95 % interval]", justify="right")
    table.add_column("out of fold", justify="right")
    table.add_column(f"always {trivial['answer']}", justify="right", style="dim")
    rows = dict(NAMES)
    if test["beta"] not in {1, 2}:
        rows = {"f_beta": f"F{test['beta']:g}", **rows}
    for name, words in rows.items():
        validation = figures["validation"]["overall"][name][0]
        table.add_row(words, interval(test["overall"][name]), number(validation), number(trivial.get(name)))
    out.print(table)
    classes = Table(title="By class", title_justify="left", header_style="bold")
    for name in ("class", "precision", "recall", "F1", "support"):
        classes.add_column(name, justify="left" if name == "class" else "right")
    for name, row in test["by_class"].items():
        cells = [interval(row[figure], 2) for figure in ("precision", "recall", "f1")]
        classes.add_row(name, *cells, str(row["support"]))
    for kind in ("macro", "weighted"):
        cells = [interval(test["averages"][f"{kind}/{figure}"], 2) for figure in ("precision", "recall", "f1")]
        classes.add_row(kind, *cells, str(test["images"]))
    out.print(classes)
    matrix = Table(title="Confusion matrix", title_justify="left", header_style="bold")
    matrix.add_column("truth")
    for name in test["classes"]:
        matrix.add_column(f"→ {name}", justify="right")
    for name, row in zip(test["classes"], test["confusion"], strict=True):
        matrix.add_row(name, *map(str, row))
    out.print(matrix)
    if test["threshold"] is not None:
        positive = test["classes"][test["positive"]]
        say(f"{positive} is answered from a probability of {test['threshold']:.3f} on ({figures['model']['policy']}).")
    for line in figures["gap"]:
        say(line)
    say(figures["worst_subgroup"])
    say(f"\nSaved in {folder}: {', '.join(path.name for path in sorted(folder.iterdir()))}")
    say(f"Use it: python -m search.predict {folder} FILE-OR-FOLDER")
