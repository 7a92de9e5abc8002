"""`python -m search.predict MODEL image-or-folder…`: what a saved model predicts for images without labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from search.cli import console, tables
from search.cli.options import OBJECTIVE
from search.cli.progress_bars import bars
from search.cli.screen import name
from search.cli.shared import Json
from search.cli.tables import Column
from xraytune.data.decoding.image_files import find
from xraytune.errors import InputError
from xraytune.evaluation.referral.pair import WORD
from xraytune.inference.predict_files import Answer, Stated, classify

EXAMPLES = """
python -m search.predict results/mine/winner film.jpeg
python -m search.predict results/mine/winner folder/ --csv answers.csv
python -m search.predict results/mine/winner folder/ --overlays heat/ --json
python -m search.predict results/mine/winner folder/ --prevalence 0.1
"""

NOTICE = "Not a medical device: for research, no diagnosis may rest on it."


def main(
    model: Annotated[Path, typer.Argument(help="The folder that retrain wrote, or a .keras or .onnx file in it")],
    films: Annotated[
        list[Path], typer.Argument(help="Image files (JPEG, PNG, PGM, DICOM) or folders of them", metavar="IMAGES")
    ],
    csv_file: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            show_default="a table is printed",
            help="Write path, probability, decision, and flag: in what an image is unusual",
        ),
    ] = None,
    as_json: Json = False,
    overlays: Annotated[
        Path | None,
        typer.Option(help="Write a Grad-CAM overlay of each image here", metavar="FOLDER", show_default="none"),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            help="State probabilities for this share of the positive class, like 0.1; decisions stay",
            metavar="SHARE",
            show_default="the model's",
            rich_help_panel=OBJECTIVE,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="The positive class is predicted from this probability on; no image is referred",
            metavar="PROBABILITY",
            show_default="the model's",
            rich_help_panel=OBJECTIVE,
        ),
    ] = None,
) -> int:
    """Classify images with a saved model: class, calibrated probability, decision at the operating threshold.

    Files that can't be read are listed and skipped (exit code 1). A film that is unlike the training images is marked.
    A model that was retrained with --refer answers `refer` between its two thresholds.
    Not a medical device.
    """
    from xraytune.inference.classifier import load_model

    paths = find(films)
    loaded = load_model(model)
    stated = Stated(prevalence, threshold)
    if restated := stated.check(loaded):
        console.err.say(restated)
    if overlays and loaded.inexplicable:
        raise InputError(f"No overlays: {loaded.inexplicable}")
    if loaded.card.demonstration:
        console.err.say("DEMONSTRATION MODEL, TRAINED ON SYNTHETIC IMAGES, NOT ON X-RAYS", style="bold yellow")
    answers: list[Answer] = []
    skipped: list[tuple[str, str]] = []
    with bars() as bar:
        for answer, path, problem in classify(loaded, paths, overlays=overlays, stated=stated):
            if answer:
                answers.append(answer)
            else:
                skipped.append((str(path), problem))
            bar.show(len(answers) + len(skipped), len(paths), "classifying")
    if csv_file:
        write_csv(csv_file, answers, loaded.card.classes)
    if as_json:
        print(json.dumps(_plain(answers, skipped, loaded, stated), indent=2))
    elif not csv_file:
        _table(answers, skipped, loaded, stated, films)
    else:
        console.err.say(f"{len(answers)} images classified: {csv_file}. {NOTICE}")
    _warn(answers if as_json or csv_file else (), skipped)
    return 1 if skipped else 0


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

    `flag` is empty, or in what the film is unlike the training images.
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
        "films": [
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
    films: Sequence[Path],
) -> None:
    """A row per image with its path as it was given, the reason of a flag on its own line, counts below."""
    card = model.card
    title = "P(predicted)" if card.positive is None else f"P({card.classes[card.positive]})"
    positive = None if card.positive is None else card.classes[card.positive]
    tables.show(
        console.out,
        [
            Column("image", _relative([a.path for a in answers], films), words=True, path=True),
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
    how = "The likeliest class is predicted."
    if (pair := stated.referral(model)) and pair.low < pair.high:
        how = (
            f"{positive} is predicted when its probability is at least {pair.high:.3f}; an image from "
            f"{pair.low:.3f} to below that is referred to a radiologist."
        )
    elif positive is not None:
        at = (pair.low, "no image is referred") if pair else stated.at(model)
        how = "{} is predicted when its probability is at least {:.3f} ({}).".format(positive, *at)
    if prevalence := stated.prevalence or model.prevalence:
        how += f" Probabilities are stated for a prevalence of {100 * prevalence:.3g} %."
    console.out.say(f"{how} {NOTICE}", style="dim")


def _relative(paths: Sequence[str], films: Sequence[Path]) -> list[str]:
    """The paths below the one folder that was given; as they are where it was anything else."""
    if len(films) != 1 or not films[0].is_dir():
        return list(paths)
    return [str(Path(path).relative_to(films[0])) for path in paths]


if __name__ == "__main__":
    console.run(main, examples=EXAMPLES)
