"""`python -m search.predict MODEL image-or-folder…`: what a saved model predicts for images without labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from search.cli import console, options, tables
from search.cli.console import NOTICE
from search.cli.options import OUTPUT, option
from search.cli.progress_bars import bars
from search.cli.screen import name
from search.cli.shared import Json, Saved, Statement
from search.cli.tables import Column
from xraytune.data.decoding.image_files import find
from xraytune.errors import InputError
from xraytune.evaluation.referral.pair import WORD
from xraytune.inference.predict_files import Answer, Stated, classify

EXAMPLES = """
python -m search.predict results/mine/winner image.jpeg
python -m search.predict results/mine/winner folder/ --csv answers.csv
python -m search.predict results/mine/winner folder/ --overlays heat/ --json
python -m search.predict results/mine/winner folder/ --prevalence 0.1
"""


@dataclass(frozen=True)
class PredictionOptions(Statement):
    """Where the answers of one call go, and how they are stated."""

    csv_file: Path | None = option(
        None, "Write path, probability, decision, and flag (how an image is unusual)", OUTPUT, flags=("--csv",),
        metavar="FILE", parse=options.path, shown="a table is printed",
    )  # fmt: skip
    overlays: Path | None = option(
        None, "Write a Grad-CAM overlay of each image here", OUTPUT, metavar="FOLDER", parse=options.path, shown="none"
    )


def main(
    model: Saved,
    images: Annotated[
        list[Path], typer.Argument(help="Image files (JPEG, PNG, PGM, DICOM) or folders of them", metavar="IMAGES")
    ],
    *,
    asked: PredictionOptions,
    as_json: Json = False,
) -> int:
    """Classify images with a saved model: class, calibrated probability, decision at the operating threshold.

    Files that can't be read are listed and skipped (exit code 1). Images unlike the training images are marked.
    A model that was retrained with --refer answers `refer` between its two thresholds.
    Not a medical device.
    """
    from xraytune.data.property_table import Gathered
    from xraytune.inference import training_sample, unlabelled
    from xraytune.inference.classifier import load_model

    paths = find(images)
    loaded = load_model(model)
    stated = Stated(asked.prevalence, asked.threshold)
    if restated := stated.check(loaded):
        console.err.say(restated)
    if asked.overlays and loaded.inexplicable:
        raise InputError(f"No overlays: {loaded.inexplicable}")
    if loaded.card.demonstration:
        console.err.say("DEMONSTRATION MODEL, TRAINED ON SYNTHETIC IMAGES, NOT ON X-RAYS", style="bold yellow")
    folder = next((image for image in images if image.is_dir()), None)
    sample = None if folder is None else training_sample.load(model if model.is_dir() else model.parent, loaded.card)
    gathered = None if sample is None else Gathered()
    answers, skipped = _classified(loaded, paths, asked.overlays, stated, gathered)
    foreign = ""
    if folder and sample and gathered:
        foreign, answers = unlabelled.warning(loaded.card, sample, answers, folder, gathered.measured())
    if asked.csv_file:
        write_csv(asked.csv_file, answers, loaded.card.classes)
    if as_json:
        print(json.dumps({**_plain(answers, skipped, loaded, stated), "warning": foreign}, indent=2))
    elif not asked.csv_file:
        _table(answers, skipped, loaded, stated, images)
    else:
        console.err.say(f"{len(answers)} images classified: {asked.csv_file}. {NOTICE}")
    _warn(answers if as_json or asked.csv_file else (), skipped)
    if foreign:
        console.err.say(foreign, style="bold red")
    return 1 if skipped else 0


def _classified(
    model: Any, paths: Sequence[Path], overlays: Path | None, stated: Stated, gathered: Any
) -> tuple[list[Answer], list[tuple[str, str]]]:
    """The answers, and the files that can't be read with why, with a bar."""
    answers: list[Answer] = []
    skipped: list[tuple[str, str]] = []
    with bars() as bar:
        for answer, path, problem in classify(model, paths, overlays=overlays, stated=stated, gathered=gathered):
            if answer:
                answers.append(answer)
            else:
                skipped.append((str(path), problem))
            bar.show(len(answers) + len(skipped), len(paths), "classifying")
    return answers, skipped


def _warn(answers: Sequence[Answer], skipped: Sequence[tuple[str, str]]) -> None:
    """On stderr: which images are unusual (where no table says so), and which files could not be read."""
    if odd := [a for a in answers if a.unusual]:
        console.err.say(f"{len(odd)} unlike the training images; don't trust the answer:", style="yellow")
        for answer in odd:
            console.err.print(f"  {name(answer.path)}: {answer.unusual}", soft_wrap=True)
    if skipped:
        console.err.say(f"{len(skipped)} could not be read and were skipped:", style="red")
        for where, why in skipped:
            console.err.print(f"  {name(where)}: {why}", soft_wrap=True)


def write_csv(path: Path, answers: Sequence[Answer], classes: Sequence[str]) -> None:
    """`path, probability, decision`, one probability a class where there are more than two, and last `flag`.

    `flag` is empty, or in what the image is unlike the training images.
    """
    from xraytune import artifacts

    several = len(classes) > 2
    header = ["path", "probability", "decision", *([f"probability_{c}" for c in classes] if several else []), "flag"]
    rows = [
        [
            answer.path,
            f"{answer.probability:.6f}",
            answer.decision,
            *([f"{p:.6f}" for p in answer.probabilities] if several else []),
            answer.unusual,
        ]
        for answer in answers
    ]
    try:
        artifacts.write_csv(path, header, rows)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror}.") from None


def _plain(answers: Sequence[Answer], skipped: Sequence[tuple[str, str]], model: Any, stated: Stated) -> dict[str, Any]:
    card = model.card
    return {
        "classes": list(card.classes),
        "positive": None if card.positive is None else card.classes[card.positive],
        "threshold": None if card.positive is None else stated.at(model)[0],
        "prevalence": stated.prevalence or model.prevalence,
        "referral": pair.to_json() if (pair := stated.referral(model)) else None,
        "demonstration": card.demonstration,
        "notice": NOTICE,
        "images": [
            {
                "path": a.path,
                "probability": a.probability,
                "decision": a.decision,
                "probabilities": dict(zip(card.classes, a.probabilities, strict=True)),
                "unusual": a.unusual,
            }
            for a in answers
        ],
        "skipped": [{"path": where, "why": why} for where, why in skipped],
    }


def _table(
    answers: Sequence[Answer],
    skipped: Sequence[tuple[str, str]],
    model: Any,
    stated: Stated,
    images: Sequence[Path],
) -> None:
    """A row per image with its path as it was given, the reason of a flag on its own line, counts below."""
    card = model.card
    title = "P(predicted)" if card.positive is None else f"P({card.classes[card.positive]})"
    positive = None if card.positive is None else card.classes[card.positive]
    tables.show(
        console.out,
        [
            Column("image", _relative([a.path for a in answers], images), words=True, path=True),
            Column(title, [f"{a.probability:.3f}" for a in answers], short="P"),
            Column("prediction", [(a.decision, "bold" if a.decision == positive else "") for a in answers], words=True),
        ],
        notes={i: (f"unlike the training images: {a.unusual}", "dim") for i, a in enumerate(answers) if a.unusual},
    )
    counts = Counter(a.decision for a in answers)
    flagged = sum(bool(a.unusual) for a in answers)
    said = [f"{counts[c]} {c}" for c in card.classes if counts[c]]
    said += [f"{counts[WORD]} referred"] if counts[WORD] else []
    said += [f"{flagged} unlike the training images (don't trust these)"] if flagged else []
    said += [f"{len(skipped)} skipped"] if skipped else []
    console.out.say(f"{', '.join(said)}.", style="bold")
    console.out.say(f"{stated.rule(model)} {NOTICE}", style="dim")


def _relative(paths: Sequence[str], images: Sequence[Path]) -> list[str]:
    """The paths below the one folder that was given; as they are where it was anything else."""
    if len(images) != 1 or not images[0].is_dir():
        return list(paths)
    return [str(Path(path).relative_to(images[0])) for path in paths]


if __name__ == "__main__":
    console.run(main, examples=EXAMPLES)
