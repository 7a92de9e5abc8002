"""The final metrics as tables at the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.cli import console, tables
from search.cli.console import BANNER
from search.cli.tables import Column
from search.reporting.formats import difference, interval, number, p_value
from search.reporting.search_summary import following
from xraytune.evaluation import evaluate


def _rivals(figures: Mapping[str, Any]) -> None:
    """The final model against the trivial answer, the next finalist and the recipes, a line each."""
    compared, beta = figures["comparisons"], figures["test"]["beta"]
    rows = [("on the test set", row) for row in compared["test"]]
    rows += [("cross-validated (out-of-fold)", row) for row in compared["out_of_fold"][:-1][:1]]
    for where, row in rows:
        found = row["difference"]
        names = {"f_beta": f"F{beta:g}", "balanced_accuracy": "balanced accuracy", "auc": "AUC"}
        parts = [f"{words} {difference(found[name])}" for name, words in names.items() if found[name][0] is not None]
        p = "" if row["delong_p"] is None else f" (DeLong's p {p_value(row['delong_p'])})"
        console.out.say(f"Against {row['with']} {where}: {', '.join(parts)}{p}.")


def whose(figures: Mapping[str, Any]) -> str:
    """Of how many patients the test images are, where that is known."""
    if figures["grouped_by"] == "patient":
        return f"of {figures['test']['patients']} patients"
    return "(no patients known: each image counts as a patient)"


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
    differences = figures["comparisons"]["test"][0]["difference"]  # the trivial answer comes first
    paired, balanced = differences["f_beta"], differences.get("balanced_accuracy") or [None] * 3
    if value <= trivial and balanced[1] is not None and balanced[1] > 0:
        both = interval(test["overall"]["balanced_accuracy"])
        return (
            f"{reached} is not above {always}, but balanced accuracy {both} is significantly above it.",
            "bold yellow",
        )
    if value <= trivial:
        return f"{reached} is not above {always}: the model is not usable as it is.", "bold red"
    if paired[1] is not None and paired[1] <= 0:
        return f"{reached} is above {always}, but not statistically significantly.", "bold yellow"
    return f"{reached}, above {always}.", "bold green"


def _overall(figures: Mapping[str, Any]) -> list[Column]:
    """The metrics of all classes together: test set, cross-validated, beside the trivial answer."""
    test, trivial = figures["test"], figures["test"]["trivial"]
    rows = evaluate.named(test["beta"])
    crossed = [number(figures["validation"]["overall"][row][0]) for row in rows]
    return [
        Column("figure", list(rows.values()), words=True),
        Column("test [95 % interval]", [interval(test["overall"][row]) for row in rows]),
        Column("cross-validated", crossed, spare=1, short="cross-val."),
        Column(f"always {trivial['answer']}", [(number(trivial.get(row)), "dim") for row in rows], short="baseline"),
    ]


UNRELIABLE = 0.1
"""Calibration error from which probabilities are called unreliable."""

WIDE = 0.2
"""Width of an interval from which a test set is called small."""


def limit(figures: Mapping[str, Any]) -> str:
    """What limits the model most, in one sentence: a subgroup, new patients, its probabilities, or too few images."""
    overall = figures["test"]["overall"]
    weak = [row for row in figures["subgroups"] if (row.get("difference") or [None] * 3)[2] is not None]
    weak = [row for row in weak if row["difference"][2] < 0]
    if weak:
        row = min(weak, key=lambda one: one["difference"][0])
        return (
            f"It is significantly weaker for {row['column']} {row['value']}: {row['figure']} "
            f"{number(row['judged'][0], 2)}, {number(row['everywhere'], 2)} for all images."
        )
    fell = {name: triple for name, triple in figures["changes"].items() if triple[2] is not None and triple[2] < 0}
    if fell:
        name = min(fell, key=lambda one: fell[one][0])
        before = figures["validation"]["overall"][name][0]
        return (
            f"{evaluate.NAMES[name]} is significantly lower on the test images ({number(overall[name][0], 2)}) than in "
            f"cross-validation ({number(before, 2)})."
        )
    error = overall["calibration_error"][0]
    if error is not None and error >= UNRELIABLE:
        return f"Its probabilities are unreliable: calibration error {error:.2f}."
    for name in ("sensitivity", "specificity"):
        _, low, high = overall[name]
        if low is not None and high is not None and high - low >= WIDE:
            return f"The test set is small: the 95 % interval of {name} is {low:.2f} to {high:.2f}."
    if figures["sites"] and figures["sites"]["new"]:
        _, low, high = figures["sites"]["new"]["auc"]
        return f"At another site its ROC AUC is expected between {number(low, 2)} and {number(high, 2)}."
    return "It was tested only on images of the training data's source: its performance elsewhere is unknown."


def _sites(figures: Mapping[str, Any]) -> None:
    """Each held-out site's figures, and what is predicted of another one."""
    found = figures["sites"]
    if not found:
        return
    rows, names = list(found["sites"]), ("auc", "sensitivity", "specificity")
    if found["new"] is not None:
        rows.append({"site": "another site (predicted)", "images": "", **found["new"]})
    columns = [Column("held-out site", [row["site"] for row in rows], words=True)]
    columns += [Column(evaluate.NAMES[n], [interval(row[n], 2) for row in rows], spare=i) for i, n in enumerate(names)]
    columns.append(Column("images", [str(row["images"]) for row in rows], spare=3))
    tables.show(console.out, columns, title="By site, predicted by networks that were not trained on it")
    if found["note"]:
        console.out.say(found["note"], style="dim")
    console.out.print()


def referral(found: Mapping[str, Any] | None, test: Mapping[str, Any]) -> list[str]:
    """What became of `--refer`, in sentences; none where it was not asked for.

    Args:
        found: `referral` of `metrics.json`.
        test: the test figures.
    """
    if not found:
        return []
    if not (pair := found["pair"]):
        return [found["reason"]]
    return [referral_rule(pair, test["classes"][test["positive"]]), referral_figures(found["test"], "test images")]


def referral_rule(pair: Mapping[str, Any], positive: str) -> str:
    """The two thresholds and their guarantee, in words."""
    rest = (
        f"search.predict answers {positive} at a probability of at least {pair['high']:.3f}, another class below "
        f"{pair['low']:.3f}, and refers images between to a radiologist."
    )
    if pair["low"] == pair["high"]:
        rest = f"search.predict refers no image and answers {positive} at a probability of at least {pair['low']:.3f}."
    return (
        f"Referral: {rest} Among answered images like the study's own sensitivity is at least "
        f"{pair['sensitivity']:g} and specificity at least {pair['specificity']:g}; the risk that this fails is "
        f"{pair['risk']:g}."
    )


def referral_figures(judged: Mapping[str, Any], where: str) -> str:
    """What a referral does on labelled images, in one sentence."""
    return (
        f"Of {judged['images']} {where} a share of {interval(judged['referred'])} is referred; among the answered ones "
        f"sensitivity is {interval(judged['sensitivity'])} and specificity {interval(judged['specificity'])}."
    )


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
    say(limit(figures))
    out.print(f"Report: {folder / 'report.html'}", soft_wrap=True)
    out.print()
    title = f"Held-out test set: {test['images']} images {whose(figures)}, {opened(figures)}"
    tables.show(out, _overall(figures), title=title)
    if words := evaluate.unsure(test["overall"], test["beta"]):
        say(words, style="dim")
    if test["positive"] is None:
        say(
            "The most probable class is predicted; all but accuracy, Brier score and calibration error are averages "
            "over the classes.",
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
    for line in referral(figures.get("referral"), test):
        say(line)
    for line in figures["gap"]:
        say(line)
    if figures["folds_auc"]["warning"]:
        say(figures["folds_auc"]["warning"], style="yellow")
    _sites(figures)
    say(figures["worst_subgroup"])
    _rivals(figures)
    say("Not a medical device. For research only; do not use it for diagnosis.")
    say(f"Saved in {folder}: {', '.join(path.name for path in sorted(folder.iterdir()))}")
    following(
        out,
        {
            f"xdg-open {shlex.quote(str(folder / 'report.html'))}": "open the report",
            f"python -m search.predict {shlex.quote(str(folder))} FILE-OR-FOLDER": "classify images",
        },
    )
