"""What a retraining prints: its plan, a live bar, the confirmed finalists, the final metrics."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search import pricing
from search.cli import console, quantities, tables
from search.cli.console import BANNER
from search.cli.tables import Column
from search.confirm import Confirmed
from search.planning import ConfirmationPlan
from search.study.view import StudyView, TrialRecord
from search.summary import following, number
from xraytune.data.dataset import Dataset
from xraytune.evaluation import evaluate
from xraytune.records import Objective

if TYPE_CHECKING:
    from search.retrain import RetrainingOptions


def announce_plan(
    study: StudyView,
    plan: ConfirmationPlan,
    wanted: Sequence[TrialRecord],
    options: RetrainingOptions,
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
        console.out.say(BANNER, style="bold yellow")
    say = console.out.say
    numbers = ", ".join(str(t.number) for t in plan.finalists)
    several = len(plan.finalists) > 1
    then = {
        "refit": f"train {_count(plan.refits, 'final model')} on training + validation images",
        "folds": "average the networks of the winner's folds",
        "ensemble": "train the ensemble's members on training + validation images",
    }[options.final]
    own = "" if options.time else ", as long as the search took"
    say("Retraining study ", (study.name, "bold"), ":")
    say(
        f"  1. Confirm trial{'s' if several else ''} {numbers} on {plan.folds} folds grouped by {dataset.grouped_by}, "
        f"{_count(plan.seeds, 'seed')} per finalist ({_count(plan.trainings, 'training')}, {plan.workers} at once)."
    )
    say(f"  2. {then[0].upper()}{then[1:]}.")
    say("  3. Evaluate on the held-out test set, once.")
    say(f"About {quantities.clock(plan.seconds)} (time budget {quantities.clock(budget)}{own}).")
    for one in plan.passed_over:
        whole = one.trial.result.epochs if one.trial.result else one.epochs
        say(
            f"Skipped: trial {one.trial.number} ({one.trial.family}, {one.trial.value or 0.0:.3f}). Confirming "
            f"and training it takes about {quantities.clock(one.seconds)}; in {quantities.clock(budget)} it gets "
            f"{one.epochs} of {whole} epochs, after which its score in the search was {one.value:.3f}."
        )
    left_out = len(wanted) - len(plan.finalists)
    refits = options.refits if options.final == "refit" else 1
    if left_out or (plan.seeds, plan.folds, plan.refits) != (options.seeds, options.folds, refits):
        wanted_too = f", {refits} final models" if refits > 1 else ""
        say(
            f"Asked for: {_count(len(wanted), 'finalist')} × {_count(options.folds, 'fold')} × "
            f"{_count(options.seeds, 'seed')}{wanted_too}; reduced to fit the time budget (or the number of patients). "
            "More with --time.",
            style="dim",
        )
    if plan.seconds > budget:
        say(
            "Even the smallest plan may take longer than the time budget: trainings are then stopped at the end of an "
            "epoch.",
            style="yellow",
        )
    if rivals:
        seconds = sum(pricing.of_search(t).refit for t in rivals) / plan.workers
        say(f"--compare-recipes: {_count(len(rivals), 'recipe')} more, about {quantities.clock(seconds)} beyond that.")


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n != 1 else ''}"


def refit(name: str, epochs: int, wanted: int, error: str) -> None:
    """Say that a training of the final model failed, or that the time budget ended it."""
    if error:
        console.out.say(f"The final model of {name} could not be trained: {error}", style="yellow")
    elif epochs < wanted:
        console.out.say(
            f"The final model of {name} was stopped after {epochs} of {wanted} epochs: time budget reached.",
            style="yellow",
        )


def confirmed(found: Sequence[Confirmed], plan: ConfirmationPlan, study: StudyView) -> None:
    """The finalists after their folds, best first."""
    say = console.out.say
    robust = study.spec.objective == Objective.ROBUST
    f_beta = f"F{study.spec.beta:g}"

    def figures(which: str) -> list[str]:
        return [number(c.measured(which)) for c in found]

    tables.show(
        console.out,
        [
            Column("trial", [str(c.trial.number) for c in found]),
            Column("family", [c.trial.family for c in found], words=True),
            Column("in the search", [number(c.trial.value) for c in found], spare=1, short="search"),
            Column("on folds ± s.e.", [f"{c.mean:.3f} ± {c.error:.3f}" for c in found]),
            Column(
                f"clean {f_beta}" if robust else "robust score",
                figures("val_f_beta" if robust else "robust"), spare=2, short=f"clean {f_beta}" if robust else "robust",
            ),
            Column("ROC AUC", figures("val_auc")),
            Column("epochs", [str(c.epochs) for c in found], spare=3),
            Column("worst views", [_worst_views(c) for c in found], words=True, spare=4),
        ],
        title=f"Finalists by {'robust score' if robust else f_beta} on held-out folds",
    )  # fmt: skip
    if found[0].cut:
        say(f"{_count(found[0].cut, 'fold')} of the winner stopped early: time budget reached.", style="yellow")
    numbers = {c.trial.number for c in found}
    if left := [str(t.number) for t in plan.finalists if t.number not in numbers]:
        say(f"Not confirmed within the time budget (or failed): trial {', '.join(left)}.", style="dim")
    if any(t.state == "COMPLETE" for t in study.trials()):
        best = study.best().number
        if best != found[0].trial.number and any(c.trial.number == best for c in found):
            say(f"The confirmed winner is trial {found[0].trial.number}, not the study's best ({best}).")


def _worst_views(found: Confirmed) -> str:
    """The two views with the lowest scores, where they are lower than others."""
    views = found.by_view()
    worst = sorted(views.items(), key=lambda item: item[1])[:2]
    return ", ".join(f"{view} ({value:.2f})" for view, value in worst if value < max(views.values()) - 0.005)


def interval(triple: Sequence[float | None], digits: int = 3) -> str:
    """`0.913 [0.880, 0.941]`."""
    value, low, high = (number(v, digits) for v in triple)
    return value if triple[1] is None else f"{value} [{low}, {high}]"


def difference(triple: Sequence[float | None]) -> str:
    """`+0.031 [-0.004, +0.066]`, without brackets where there is no interval."""
    value, *ends = ("–" if v is None else f"{v:+.3f}" for v in triple)
    return value if triple[1] is None else f"{value} [{', '.join(ends)}]"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _rivals(figures: Mapping[str, Any]) -> None:
    """The final model against the trivial answer, the next finalist and the recipes, a line each."""
    compared, beta = figures["comparisons"], figures["test"]["beta"]
    rows = [("on the test set", row) for row in compared["test"]]
    rows += [("cross-validated (out-of-fold)", row) for row in compared["out_of_fold"][:-1][:1]]
    for where, row in rows:
        found = row["difference"]
        names = {"f_beta": f"F{beta:g}", "balanced_accuracy": "balanced accuracy", "auc": "AUC"}
        parts = [f"{words} {difference(found[name])}" for name, words in names.items() if found[name][0] is not None]
        p = "" if row["delong_p"] is None else f" (DeLong's p {_p(row['delong_p'])})"
        console.out.say(f"Against {row['with']} {where}: {', '.join(parts)}{p}.")


def whose(figures: Mapping[str, Any]) -> str:
    """Of how many patients the test images are, where that is known."""
    if figures["grouped_by"] == "patient":
        return f"of {figures['test']['patients']} patients"
    return "(no patients known: each image is taken alone)"


def opened(figures: Mapping[str, Any]) -> str:
    """How often the test set was evaluated, by the other studies of the results folder too."""
    studies = figures["openings"]
    together = f", {sum(studies.values())}× by {len(studies)} studies of this folder" if len(studies) > 1 else ""
    return f"evaluated {figures['opened']}×{together}"


def _by_class(test: Mapping[str, Any]) -> list[Column]:
    """Precision, recall and F1 of each class and their averages; of three and more also each one against the rest."""
    shown = {"precision": "precision", "recall": "recall", "f1": "F1"}
    if len(test["classes"]) > 2:  # of two classes one's specificity is the other's recall
        shown |= {"specificity": "specificity", "auc": "AUC against the rest"}
    names = [*test["by_class"], "macro", "weighted"]

    def cell(row: str, figure: str) -> str:
        of_class = test["by_class"].get(row)
        found = of_class[figure] if of_class else test["averages"].get(f"{row}/{figure}")
        return interval(found, 2) if found else ""

    columns = [Column("class", names, words=True)]
    for i, (figure, words) in enumerate(shown.items()):
        spare = (0, 0, 1, 2, 3)[i]
        columns.append(Column(words, [cell(row, figure) for row in names], spare=spare, short=words.split()[0]))
    support = [str(row["support"]) for row in test["by_class"].values()] + 2 * [str(test["images"])]
    return [*columns, Column("support", support, spare=4)]


def show_confusion(test: Mapping[str, Any]) -> None:
    """Print rows of true classes, columns of predicted ones; numbered where the names of many do not fit."""
    out, names = console.out, test["classes"]
    cells = [[str(row[i]) for row in test["confusion"]] for i in range(len(names))]
    whole = [Column("truth", names, words=True), *(Column(f"→ {n}", c) for n, c in zip(names, cells, strict=True))]
    numbered = [
        Column("truth", [f"{i + 1} {n}" for i, n in enumerate(names)], words=True),
        *(Column(str(i + 1), c) for i, c in enumerate(cells)),
    ]
    for columns in (whole, numbered):
        if not out.is_terminal or tables.width(columns) <= out.width:
            tables.show(out, columns, title="Confusion matrix (truth → predicted)")
            return
    out.say(f"The confusion matrix of {len(names)} classes is too wide for this terminal: see the report.")


def verdict(figures: Mapping[str, Any]) -> tuple[str, str]:
    """What the model reaches on the test images beside the trivial answer, in one sentence, and its colour."""
    test = figures["test"]
    value, trivial = test["overall"]["f_beta"][0], test["trivial"].get("f_beta")
    reached = f"F{test['beta']:g} {interval(test['overall']['f_beta'])} on {test['images']} test images"
    if value is None or trivial is None:
        return f"{reached}.", "bold"
    always = f"always predicting {test['trivial']['answer']} ({number(trivial)})"
    if value <= trivial:
        return f"{reached} is not above {always}: the model is not usable as it is.", "bold red"
    paired = figures["comparisons"]["test"][0]["difference"]["f_beta"]  # the trivial answer comes first
    if paired[1] is not None and paired[1] <= 0:
        return f"{reached} is above {always}, but not statistically significantly.", "bold yellow"
    return f"{reached}, above {always}.", "bold green"


def results(figures: Mapping[str, Any], folder: Path) -> None:
    """The verdict and the report; then the final metrics: overall beside the trivial answer, by class, what is next."""
    test = figures["test"]
    out = console.out
    say = out.say
    out.print()
    if figures["demonstration"]:
        say(BANNER, style="bold yellow")
    sentence, style = verdict(figures)
    say(sentence, style=style)
    out.print(f"Report: {folder / 'report.html'}", soft_wrap=True)
    out.print()
    trivial = test["trivial"]
    rows = evaluate.named(test["beta"])
    tables.show(
        out,
        [
            Column("figure", list(rows.values()), words=True),
            Column("test [95 % interval]", [interval(test["overall"][row]) for row in rows]),
            Column(
                "cross-validated", [number(figures["validation"]["overall"][row][0]) for row in rows], spare=1,
                short="cross-val.",
            ),
            Column(
                f"always {trivial['answer']}", [(number(trivial.get(row)), "dim") for row in rows], short="baseline"
            ),
        ],
        title=f"Held-out test set: {test['images']} images {whose(figures)}, {opened(figures)}",
    )  # fmt: skip
    if words := evaluate.unsure(test["overall"], test["beta"]):
        say(words, style="dim")
    if test["positive"] is None:
        say(
            "The likeliest class is predicted; all but accuracy, Brier score and calibration error are averages over "
            "the classes.",
            style="dim",
        )
    out.print()
    tables.show(out, _by_class(test), title="By class")
    out.print()
    show_confusion(test)
    out.print()
    if test["threshold"] is not None:
        positive = test["classes"][test["positive"]]
        say(
            f"{positive} is predicted when its calibrated probability is at least {test['threshold']:.3f} (threshold "
            f"policy {figures['model']['policy']}, fitted on cross-validated predictions)."
        )
    for line in figures["gap"]:
        say(line)
    if figures["folds_auc"]["warning"]:
        say(figures["folds_auc"]["warning"], style="yellow")
    say(figures["worst_subgroup"])
    _rivals(figures)
    say("Not a medical device: for research, no diagnosis may rest on it.")
    say(f"Saved in {folder}: {', '.join(path.name for path in sorted(folder.iterdir()))}")
    following(
        out,
        {
            f"xdg-open {shlex.quote(str(folder / 'report.html'))}": "look at the report",
            f"python -m search.predict {shlex.quote(str(folder))} FILE-OR-FOLDER": "classify images",
        },
    )
