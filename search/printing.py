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

from search import console, pricing
from search.confirm import Confirmed
from search.planning import Plan
from search.storage import StudyView, TrialRecord
from xraytune import evaluation
from xraytune.data.dataset import Dataset
from xraytune.records import Objective

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
    dataset: Dataset,
    rivals: Sequence[TrialRecord],
) -> None:
    """What will be done and how long it should take, before it begins.

    Args:
        study: whose winner.
        plan: what is confirmed.
        wanted: the finalists before the plan shrank.
        options: what was asked for.
        budget: seconds.
        dataset: the data.
        rivals: recipes that are retrained too, beyond the budget.
    """
    if dataset.demonstration:
        console.out.print(BANNER)
    numbers = ", ".join(str(t.number) for t in plan.finalists)
    several = len(plan.finalists) > 1
    then = {
        "refit": "train the winner "
        + ("once more" if plan.refits == 1 else f"{plan.refits} times more, seed by seed,")
        + " on train + validation",
        "folds": "average the networks of the winner's folds",
        "ensemble": "train the ensemble's members once more on train + validation",
    }[options.final]
    own = "" if options.time else ", what the search took"
    say(
        f"Study [bold]{study.name}[/]. Plan: confirm trial{'s' if several else ''} {numbers} on {plan.folds} folds "
        f"grouped by {dataset.grouped_by}, each with {_count(plan.seeds, 'seed')} "
        f"({_count(plan.trainings, 'training')}, {plan.workers} at once); then {then}; then open the sealed test "
        f"set. About {console.clock(plan.seconds)} (--time {console.clock(budget)}{own})."
    )
    for one in plan.passed_over:
        whole = one.trial.result.epochs if one.trial.result else one.epochs
        say(
            f"Passed over: trial {one.trial.number} ({one.trial.family}, {one.trial.value or 0.0:.3f}). Confirming "
            f"and training it takes about {console.clock(one.seconds)}; in {console.clock(budget)} it gets "
            f"{one.epochs} of {whole} epochs, after which it stood at {one.value:.3f} in the search."
        )
    left_out = len(wanted) - len(plan.finalists)
    refits = options.refits if options.final == "refit" else 1
    if left_out or (plan.seeds, plan.folds, plan.refits) != (options.seeds, options.folds, refits):
        wanted_too = f", {refits} refits" if refits > 1 else ""
        say(
            f"[dim]Wanted: {_count(len(wanted), 'finalist')} × {_count(options.folds, 'fold')} × "
            f"{_count(options.seeds, 'seed')}{wanted_too}; shrunk to fit the time (or the patients there are). More "
            "with --time.[/]"
        )
    if plan.seconds > budget:
        say(
            "[yellow]Even the least that can be confirmed may take longer than that: trainings are then stopped at the "
            "end of an epoch.[/]"
        )
    if rivals:
        seconds = sum(pricing.of_search(t).refit for t in rivals) / plan.workers
        say(f"--compare-recipes: {_count(len(rivals), 'recipe')} more, about {console.clock(seconds)} beyond that.")


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n != 1 else ''}"


def refit(name: str, epochs: int, wanted: int, error: str) -> None:
    """Say that a training of the final model failed, or that the time ended it."""
    if error:
        say(f"[yellow]The final network of {name} could not be trained: {error}[/]")
    elif epochs < wanted:
        say(f"[yellow]The final network of {name} was stopped after {epochs} of {wanted} epochs: the time was up.[/]")


@contextmanager
def progress() -> Iterator[Callable[[int, int, str], None]]:
    """A bar for the library's `progress(done, total, what)`; silent where there is no terminal."""
    with _bar() as bar:
        tasks: dict[str, Any] = {}

        def show(done: int, total: int, what: str) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total, left="")
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
        """A training ended, or was found finished: then no epoch of it was told."""
        self._done += 1
        self._total = max(self._total, self._done)
        trained = self._running.pop(name, None) is not None
        self._fresh += trained
        word = "[red]failed[/]" if failed else "done" if trained else "kept"
        if not console.err.is_terminal or failed:
            console.err.print(f"{console.now()}  {self._done}/{self._total}  {name} {word}: {text}{self._left()}")
        self._show()

    def left_out(self) -> None:
        """One of them does not fit the time any more."""
        self._total = max(self._total - 1, self._done)
        self._show()

    def _left(self) -> str:
        if self._done >= self._total:
            return ""
        spent = time.monotonic() - self._begun
        if self._fresh < FEW:  # the first trainings hold the start of the workers: the plan knows better
            kept = (self._done - self._fresh) / self._total
            left = max(0.0, (1 - kept) * self._expected - spent)
        else:
            left = spent / self._fresh * (self._total - self._done)
        return f", about {console.clock(left)} left" if left >= 1 else ""

    def _show(self) -> None:
        running = "; ".join(list(self._running.values())[-2:])
        what = f"{self._what} [dim]{running}[/]"
        self._bar.update(self._task, completed=self._done, total=self._total, description=what, left=self._left())


@contextmanager
def trainings(total: int, what: str, seconds: float) -> Iterator[Trainings]:
    """The live view of so many trainings, expected to take so many seconds."""
    with _bar() as bar:
        yield Trainings(bar, total, what, seconds)


def confirmed(found: Sequence[Confirmed], plan: Plan, study: StudyView) -> None:
    """The finalists after their folds, best first."""
    robust = study.spec.objective == Objective.ROBUST
    objective = "robust score" if robust else f"F{study.spec.beta:g}"
    table = Table(title=f"Confirmed by {objective} on held-out folds", title_justify="left", header_style="bold")
    other = f"clean F{study.spec.beta:g}" if robust else "robust score"
    columns = (
        "trial",
        "family",
        "in the search",
        "on folds ± s.e.",
        other,
        "ROC AUC (mean of folds)",
        "epochs",
        "falls most under",
    )
    for name in columns:
        table.add_column(name, justify="left" if name in {"family", "falls most under"} else "right")
    for c in found:
        beside = c.measured("val_f_beta" if robust else "robust")
        views = c.by_view()
        worst = sorted(views.items(), key=lambda item: item[1])[:2]
        worst = [(name, value) for name, value in worst if value < max(views.values()) - 0.005]
        table.add_row(
            str(c.trial.number), c.trial.family, number(c.trial.value), f"{c.mean:.3f} ± {c.error:.3f}",
            number(beside), number(c.measured("val_auc")), str(c.epochs),
            ", ".join(f"{name} ({value:.2f})" for name, value in worst),
        )  # fmt: skip
    console.out.print(table)
    if found[0].cut:
        say(f"[yellow]{_count(found[0].cut, 'fold')} of the winner stopped before the end: the time was up.[/]")
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


def difference(triple: Sequence[float | None]) -> str:
    """`+0.031 [-0.004, +0.066]`, without brackets where there is no interval."""
    value, *ends = ("–" if v is None else f"{v:+.3f}" for v in triple)
    return value if triple[1] is None else f"{value} [{', '.join(ends)}]"


def say(text: str) -> None:
    """A line that the terminal may wrap and a pipe gets whole."""
    console.out.print(text, soft_wrap=True)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _rivals(figures: Mapping[str, Any]) -> None:
    """The final model against the trivial answer, the next finalist and the recipes, a line each."""
    compared, beta = figures["comparisons"], figures["test"]["beta"]
    rows = [("on the test set", row) for row in compared["test"]]
    rows += [("out of fold", row) for row in compared["out_of_fold"][:-1][:1]]
    for where, row in rows:
        found = row["difference"]
        names = {"f_beta": f"F{beta:g}", "balanced_accuracy": "balanced accuracy", "auc": "AUC"}
        parts = [f"{words} {difference(found[name])}" for name, words in names.items() if found[name][0] is not None]
        p = "" if row["delong_p"] is None else f" (DeLong's p {_p(row['delong_p'])})"
        say(f"Against {row['with']} {where}: {', '.join(parts)}{p}.")


def whose(figures: Mapping[str, Any]) -> str:
    """Of how many patients the test images are, where that is known."""
    if figures["grouped_by"] == "patient":
        return f"of {figures['test']['patients']} patients"
    return "(no patients known: each image is taken alone)"


def opened(figures: Mapping[str, Any]) -> str:
    """How often the test set was opened, by the other studies of the results folder too."""
    studies = figures["openings"]
    together = f", {sum(studies.values())}× by {len(studies)} studies of this folder" if len(studies) > 1 else ""
    return f"opened {figures['opened']}×{together}"


def _by_class(test: Mapping[str, Any]) -> Table:
    """Precision, recall and F1 of each class and their averages; of three and more also each one against the rest."""
    classes = Table(title="By class", title_justify="left", header_style="bold")
    shown = {"precision": "precision", "recall": "recall", "f1": "F1"}
    if len(test["classes"]) > 2:  # of two classes one's specificity is the other's recall
        shown |= {"specificity": "specificity", "auc": "AUC against the rest"}
    for name in ("class", *shown.values(), "support"):
        classes.add_column(name, justify="left" if name == "class" else "right")
    for name, row in test["by_class"].items():
        cells = [interval(row[figure], 2) for figure in shown]
        classes.add_row(name, *cells, str(row["support"]))
    for kind in ("macro", "weighted"):
        averages = (test["averages"].get(f"{kind}/{figure}") for figure in shown)
        cells = [interval(found, 2) if found else "" for found in averages]
        classes.add_row(kind, *cells, str(test["images"]))
    return classes


def results(figures: Mapping[str, Any], folder: Path) -> None:
    """The final metrics: overall beside the trivial answer, by class, confusion matrix, gap, what to do next."""
    test = figures["test"]
    out = console.out
    if figures["demonstration"]:
        out.print(BANNER)
    table = Table(
        title=f"Sealed test set: {test['images']} images {whose(figures)}, {opened(figures)}",
        title_justify="left",
        header_style="bold",
    )
    trivial = test["trivial"]
    table.add_column("figure")
    table.add_column("test [95 % interval]", justify="right")
    table.add_column("out of fold, pooled", justify="right")
    table.add_column(f"always {trivial['answer']}", justify="right", style="dim")
    for name, words in evaluation.named(test["beta"]).items():
        validation = figures["validation"]["overall"][name][0]
        table.add_row(words, interval(test["overall"][name]), number(validation), number(trivial.get(name)))
    out.print(table)
    if words := evaluation.unsure(test["overall"], test["beta"]):
        say(f"[dim]{words}[/]")
    if test["positive"] is None:
        say(
            "[dim]The likeliest class is the answer; all but accuracy, Brier score and calibration error are averages "
            "over the classes.[/]"
        )
    out.print(_by_class(test))
    matrix = Table(title="Confusion matrix", title_justify="left", header_style="bold")
    matrix.add_column("truth")
    for name in test["classes"]:
        matrix.add_column(f"→ {name}", justify="right")
    for name, row in zip(test["classes"], test["confusion"], strict=True):
        matrix.add_row(name, *map(str, row))
    out.print(matrix)
    if test["threshold"] is not None:
        positive = test["classes"][test["positive"]]
        say(
            f"{positive} is answered from a calibrated probability of {test['threshold']:.3f} on (threshold policy "
            f"{figures['model']['policy']}, fitted out of fold)."
        )
    for line in figures["gap"]:
        say(line)
    if figures["folds_auc"]["warning"]:
        say(f"[yellow]{figures['folds_auc']['warning']}[/]")
    say(figures["worst_subgroup"])
    _rivals(figures)
    say("Not a medical device: for research, no diagnosis may rest on it.")
    say(f"\nSaved in {folder}: {', '.join(path.name for path in sorted(folder.iterdir()))}")
    say(f"Use it: python -m search.predict {folder} FILE-OR-FOLDER")
