"""`python -m search.evaluate MODEL DATA…`: a saved model on labelled images of another hospital."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli import console, tables
from search.cli.progress_bars import bars
from search.cli.tables import Column
from search.external.options import EvaluationOptions

if TYPE_CHECKING:
    from search.external.evaluation import Evaluated

EXAMPLES = """
python -m search.evaluate results/mine/winner path/to/hospital
python -m search.evaluate results/mine/winner a/ b.csv --map "Clear=NORMAL"
python -m search.evaluate results/mine/winner train.csv --label Pneumonia
python -m search.evaluate results/mine/winner/model.onnx data/ --out here/
"""


REFERRAL_NOTICE = "The guarantee does not hold at another hospital: only the values measured here count."


def main(
    model: Annotated[
        Path, typer.Argument(help="The folder that search.retrain wrote, or a .keras or .onnx file in it.")
    ],
    sources: Annotated[list[str], typer.Argument(metavar="DATA...", help="Labelled data sets, as search.run takes.")],
    *,
    options: EvaluationOptions,
) -> None:
    """Evaluate a saved model on labelled images, and say whether it is usable there.

    If the data have a test set, only that is used, else all images. Images that the study trained or validated on are
    left out. Writes report.html, metrics.json and predictions.csv. Not a medical device.
    """
    from search.external import evaluation, labelled_data, saved_model

    loaded = saved_model.load(model)
    with bars() as bar:
        ready = [labelled_data.load(source, loaded, options, bar) for source in sources]
        base, moved = saved_model.place(loaded, options.out)
        done = [evaluation.run(loaded, one, base, bar) for one in ready]
    if moved:
        console.err.say(moved, style="yellow")
    for one in done:
        _show(one)
    if len(done) > 1:
        _together(done)
    console.out.say("Not a medical device. For research only; do not use it for diagnosis.")


def _show(one: Evaluated) -> None:
    """The verdict, the figures beside the study's, and where the report is."""
    from search.external import verdict
    from search.reporting.final_metrics import show_confusion
    from search.reporting.formats import interval
    from xraytune.evaluation import evaluate

    found, out = one.found, console.out
    test, known = found["test"], found["study_test"] or {}
    verdict.show(found)
    rows = evaluate.named(test["beta"])
    tables.show(
        out,
        [
            Column("figure", list(rows.values()), words=True),
            Column("here [95 % interval]", [interval(test["overall"][row]) for row in rows], short="here"),
            Column(
                "study's test set",
                [interval(known[row]) if row in known else "–" for row in rows],
                spare=1,
                short="study",
            ),
        ],
        title=f"{test['images']} images" + (f" of {test['patients']} patients" * (found["grouped_by"] == "patient")),
    )
    out.print()
    show_confusion(test)
    out.print()
    for line in (*_referral(one), *found["gap"], found["worst_subgroup"], *_left_out(one)):
        out.say(line)
    out.print(f"Report: {one.folder / 'report.html'}", soft_wrap=True)
    out.print()


def _referral(one: Evaluated) -> list[str]:
    """What the model's referral does here and did on the study's test set; nothing where it refers no image."""
    from search.reporting.final_metrics import referral_figures, referral_rule

    found, test = one.found["referral"], one.found["test"]
    if not found:
        return []
    lines = [referral_rule(found["pair"], test["classes"][test["positive"]])]
    lines.append(referral_figures(found["here"], "images here"))
    if found["study_test"]:
        lines.append(referral_figures(found["study_test"], "images of the study's test set"))
    return [*lines, REFERRAL_NOTICE]


def _left_out(one: Evaluated) -> list[str]:
    """What was left out, included all the same, or recorded."""
    found = one.found
    seen, far, lines = found["seen"], found["far"], []
    if not seen["known"]:
        lines.append("The list of the study's images is missing: none of them could be left out.")
    elif seen["same_content"] or seen["near_copies"]:
        what = "INCLUDED (--include-seen)" if seen["included"] else "left out"
        lines.append(
            f"{seen['same_content']} images that the study trained or validated on, and {seen['near_copies']} that "
            f"look like one of those, were {what}."
        )
    if found.get("opened"):
        lines.append(f"This was access {found['opened']} to the study's own test set; it is in the access log.")
    if far["told"]:
        lines.append(f"{far['images']} of {found['test']['images']} images are unlike the training images.")
    return lines


def _together(done: Sequence[Evaluated]) -> None:
    """All data sets in one table."""
    from search.reporting.formats import interval

    def of(name: str) -> list[str]:
        return [interval(one.found["test"]["overall"][name], 2) for one in done]

    tables.show(
        console.out,
        [
            Column("data", [Path(one.found["data"]).name for one in done], words=True, path=True),
            Column("images", [str(one.found["test"]["images"]) for one in done], spare=1),
            Column("ROC AUC", of("auc")),
            Column("sensitivity", of("sensitivity"), spare=2, short="sens."),
            Column("specificity", of("specificity"), spare=2, short="spec."),
            Column("verdict", [one.found["verdict"] for one in done], words=True),
        ],
        title="All data sets",
    )


if __name__ == "__main__":
    console.run(main, examples=EXAMPLES)
