"""`python -m search.shift MODEL FOLDER`: how images without labels differ from the training images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli import console, tables
from search.cli.progress_bars import bars
from search.cli.tables import Column

if TYPE_CHECKING:
    from search.external.shift_report import Reported

EXAMPLES = """
python -m search.shift results/mine/winner path/to/images
python -m search.shift results/mine/winner images/ --out here/
python -m search.shift results/mine/winner/model.onnx images/
"""

SHOWN = 8
"""Properties in the table of the terminal, the most different first."""


def main(
    model: Annotated[
        Path, typer.Argument(help="The folder that search.retrain wrote, or a .keras or .onnx file in it.")
    ],
    folder: Annotated[Path, typer.Argument(help="A folder of images (JPEG, PNG, PGM, DICOM) without labels.")],
    patient_regex: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Finds the patient in a file's path", show_default="known naming schemes"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where reports are written", show_default="evaluations/ of the study")
    ] = None,
) -> int:
    """Report how images without labels differ from the training images, and estimate sensitivity and specificity.

    The estimate is made only if the images are like the training images. Writes report.html, shift.json and
    images.csv. The model is not adapted. Not a medical device.
    """
    from search.external import saved_model, shift_report

    loaded = saved_model.load(model)
    with bars() as bar:
        images = shift_report.read(loaded, folder, patient_regex, bar)
        base, moved = saved_model.place(loaded, out)
        bar.show(1, 2, "comparing with the training images")
        done = shift_report.run(loaded, images, base)
    if moved:
        console.err.say(moved, style="yellow")
    _show(done)
    return 1 if done.found["skipped"] else 0


def _show(done: Reported) -> None:
    """The verdict, the estimate, the properties and where the report is."""
    from search.external import verdict
    from search.reporting.formats import interval, number

    found, out = done.found, console.out
    verdict.show(found)
    shares = {f"predicted {found['positive']}": found["predicted"][found["positive"]]} if found["positive"] else {
        f"predicted {name}": share for name, share in found["predicted"].items()
    }  # fmt: skip
    shares["unlike the training images"] = found["outside"]["share"]
    estimate, home = found["estimate"] or {}, found["at_home"] or {}
    figures = {f"estimated {name}": estimate[name] for name in ("sensitivity", "specificity") if name in estimate}
    rows = [*shares.items(), *figures.items()]
    tables.show(
        out,
        [
            Column("figure", [name for name, _ in rows], words=True),
            Column("here [95 % interval]", [interval(value) for _, value in rows], short="here"),
            Column("training images", [number(home.get(name.rpartition(" ")[2])) for name, _ in rows], spare=1),
        ],
        title=f"{found['images']} images"
        + (f" of {found['patients']} patients" * (found["grouped_by"] == "patient"))
        + ", no labels",
    )
    if found["comparison"]:
        out.print()
        _properties(done)
    out.print()
    for line in _notes(done):
        out.say(line)
    out.print(f"Report: {done.folder / 'report.html'}", soft_wrap=True)
    out.say("Not a medical device. For research only; do not use it for diagnosis.")


def _properties(done: Reported) -> None:
    """How the images differ, property by property."""
    found = done.found["comparison"]
    rows = [row for row in found["properties"] if row["seen"]][:SHOWN]
    if found["auc"] is not None:
        console.out.say(
            f"Image properties separate these images from the training images with ROC AUC {found['auc']:.2f} (above "
            f"{found['bound']:.2f} no estimate is made)."
        )
    tables.show(
        console.out,
        [
            Column("property", [row["words"] for row in rows], words=True),
            Column("ROC AUC", [(f"{row['auc']:.2f}", "bold" if row["notable"] else "") for row in rows]),
            Column("here", ["higher" if row["higher"] else "lower" for row in rows], words=True),
            Column("training", [f"{row['training'][0]:.3g}" for row in rows], spare=2),
            Column("these", [f"{row['here'][0]:.3g}" for row in rows], spare=2),
            Column("outside its range", [f"{100 * row['outside']:.0f} %" for row in rows], spare=1, short="outside"),
        ],
    )


def _notes(done: Reported) -> list[str]:
    """What was left out or could not be looked for."""
    found, lines = done.found, []
    if not found["seen"]["known"]:
        lines.append("The list of the study's images is missing: none of them could be left out.")
    elif found["seen"]["left_out"]:
        lines.append(f"{found['seen']['left_out']} images that the study trained or validated on were left out.")
    if skipped := found["skipped"]:
        names = [f"{row['image']} ({row['why']})" for row in skipped[:3]]
        more = f" and {len(skipped) - 3} more" * (len(skipped) > 3)
        lines.append(f"Skipped, because they can't be used: {', '.join(names)}{more}.")
    return lines


if __name__ == "__main__":
    console.run(main, examples=EXAMPLES)
