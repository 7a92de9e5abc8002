"""`python -m search.verify DATA`: is the data set complete, does it leak, and which shortcuts does it contain?

Ends with 0 if the data can be used, 1 if they have errors or can't be read (a damaged archive), 2 if the question can't
be answered (no such folder, a wrong option).
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Annotated, Any

import typer

from search.cli import console, tables
from search.cli.options import ADVANCED, DATA
from search.cli.progress_bars import bars
from search.cli.shared import Data, Json, Reading
from search.cli.tables import Column
from xraytune import artifacts
from xraytune.data import Dataset, Examination, Problem, examine
from xraytune.data.problems import summarised
from xraytune.errors import SourceError
from xraytune.evaluation import shortcut_audit
from xraytune.evaluation.shortcut_audit import NOTABLE

EXAMPLES = """
python -m search.verify path/to/chest_xray
python -m search.verify chest_xray.zip --quarantine
python -m search.verify images.csv --positive tuberculosis --json
python -m search.verify path/to/images --patient-regex '(?P<patient>P[0-9]+)_'
python -m search.verify nih/Data_Entry_2017.csv --label Pneumonia
python -m search.verify path/to/chest_xray --compare-test
"""


def main(
    data: Data = "",
    as_json: Json = False,
    compare_test: Annotated[
        bool,
        typer.Option(
            "--compare-test",
            help="Also report differences between training and test images, without labels; do not tune by them",
            rich_help_panel=DATA,
        ),
    ] = False,
    rehash: Annotated[
        bool,
        typer.Option("--rehash", help="Read every file again, also unchanged files", rich_help_panel=ADVANCED),
    ] = False,
    *,
    reading: Reading,
) -> None:
    """Check a data set completely, list every problem at once, and audit it for shortcuts.

    Every image is fully decoded; no file is changed. The exit code is 0 if the data can be used, 1 if they have errors
    or are damaged, and 2 if there is nothing to check or an option is wrong.
    """
    try:
        with nullcontext(None) if as_json else bars() as progress:
            found = examine(
                data,
                **reading.of(Reading),
                rehash=rehash,
                progress=progress,
            )
            audit = shortcut_audit.audit(found.dataset, compare_test=compare_test) if found.dataset else None
    except SourceError as error:
        if as_json:
            _print_json(_unread(data, str(error)))
        else:
            console.fail(str(error))
        raise typer.Exit(1) from None
    if as_json:
        _print_json(_plain(found, audit))
    else:
        _show(found, audit)
    misnamed = reading.positive is not None and {problem.kind for problem in found.errors} == {"positive class"}
    raise typer.Exit(2 if misnamed else 1 if found.errors else 0)


def _print_json(plain: dict[str, Any]) -> None:
    console.out.print_json(json.dumps(artifacts.finite(plain)), indent=2, highlight=False)


def _unread(source: str, what: str) -> dict[str, Any]:
    """A source of which nothing could be listed, for machines."""
    error = {"kind": "source", "where": source, "what": what, "files": []}
    return {"data": source, "usable": False, "listed": 0, "errors": [error], "warnings": [], "notes": []}


def _plain(found: Examination, audit: shortcut_audit.Audit | None) -> dict[str, Any]:
    """Everything, for machines."""
    dataset = found.dataset
    plain: dict[str, Any] = {
        "data": found.name,
        "usable": dataset is not None,
        "listed": found.listed,
        "errors": [_problem(problem) for problem in found.errors],
        "warnings": [_problem(problem) for problem in found.warnings],
        "notes": list(found.notes),
    }
    if dataset is not None and audit is not None:
        plain |= {
            "demonstration": dataset.demonstration,
            "classes": list(dataset.classes),
            "positive": None if dataset.positive is None else dataset.classes[dataset.positive],
            "grouped_by": dataset.grouped_by,
            "images": {split: dataset.counts(split) for split in ("train", "val", "test")},
            "patients": {split: len({i.patient for i in dataset.select(split)}) for split in ("train", "val", "test")},
            "quarantined": list(dataset.quarantined),
            "train_fingerprint": dataset.train_fingerprint,
            "test_fingerprint": dataset.test_fingerprint,
            "audit": audit.to_json(),
        }
    return plain


def _problem(problem: Problem) -> dict[str, Any]:
    return {"kind": problem.kind, "where": problem.where, "what": problem.what, "files": list(problem.files)}


def _show(found: Examination, audit: shortcut_audit.Audit | None) -> None:
    """Everything, for people."""
    dataset, out = found.dataset, console.out
    if dataset is not None and dataset.demonstration:
        out.say("DEMONSTRATION, NOT X-RAYS", style="bold yellow")
    if found.problems:
        tables.show(out, _problems(found))
        out.print()
    for note in found.notes:
        out.say(note)
    if dataset is None or audit is None:
        _verdict(found)
        return
    tables.show(out, _counts(dataset))
    out.print()
    out.say(("Shortcuts. ", "bold"), audit.summary)
    for shift in audit.shifts:
        if shift.auc >= NOTABLE:
            out.say(f"  {shift.sentence}")
    if audit.shifts and all(shift.auc < NOTABLE for shift in audit.shifts):
        out.say("  Train and test differ in none of these properties.")
    _verdict(found)


def _problems(found: Examination) -> list[Column]:
    """All problems in one table, errors first."""
    rows = [(("error", "red"), p) for p in summarised(found.errors)]
    rows += [(("warning", "yellow"), p) for p in summarised(found.warnings)]
    return [
        Column("", [mark for mark, _ in rows], words=True),
        Column("kind", [p.kind for _, p in rows], words=True),
        Column("where", [p.where for _, p in rows], words=True),
        Column("what", [p.what for _, p in rows], words=True),
    ]


def _counts(dataset: Dataset) -> list[Column]:
    """Images by class and split; patients in the last row, where they are known."""
    positive = None if dataset.positive is None else dataset.classes[dataset.positive]
    names = [f"{c} (positive)" if c == positive else c for c in dataset.classes]
    by_patient = dataset.grouped_by == "patient"
    columns = [Column("class", [*names, *(["patients"] if by_patient else [])], words=True)]
    for split, title in (("train", "train"), ("val", "validation"), ("test", "test")):
        patients = [str(len({image.patient for image in dataset.select(split)}))] if by_patient else []
        columns.append(Column(title, [*map(str, dataset.counts(split).values()), *patients]))
    return columns


def _verdict(found: Examination) -> None:
    """The last line, and what to do."""
    warnings = len(found.warnings)
    said = f", {warnings} {'warning' if warnings == 1 else 'warnings'}" if warnings else ""
    if found.dataset is not None:
        console.out.say(("The data can be used", "bold green"), f"{said}.")
        return
    count = len(found.errors)
    console.out.say(("The data can't be used", "bold red"), f": {count} {'error' if count == 1 else 'errors'}{said}.")
    if any(problem.files for problem in found.errors):
        console.out.say("Repair or remove the files named above, or leave them out with --quarantine.")


if __name__ == "__main__":
    console.run(main, examples=EXAMPLES)
