"""A saved model on images without labels: how they differ from the training images, and what it may be worth there."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.external import evaluation, shift_page
from search.external.saved_model import SavedModel
from xraytune import artifacts
from xraytune.data import property_table
from xraytune.data.decoding import image_files
from xraytune.data.problems import Progress
from xraytune.errors import InputError
from xraytune.evaluation import external, intervals
from xraytune.evaluation.intervals import Interval
from xraytune.evaluation.shift import separation, shift_estimate
from xraytune.evaluation.shift.separation import Difference
from xraytune.inference import training_sample, unlabelled
from xraytune.inference.predict_files import Answer, classify
from xraytune.inference.training_sample import TrainingSample
from xraytune.inference.unlabelled import Compared

SHOWN = 20
"""Images that the report names, of those that are unlike the training images and of those that can't be read."""

NO_POSITIVE = "The model has no positive class: sensitivity and specificity are not defined."
UNTOLD = (
    "The model hardly separates the classes of its own training images at its threshold, so no estimate is possible."
)


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """The images of one folder, measured and classified."""

    folder: Path
    paths: tuple[Path, ...]
    table: NDArray[np.float64]
    patients: tuple[str, ...]
    grouped_by: str
    """`patient`, or `image` where no name or header tells a patient."""
    answers: tuple[Answer, ...]
    skipped: tuple[tuple[str, str], ...]
    """Files that can't be used and why."""
    seen_known: bool
    """Whether the study's training images are known."""
    seen: int
    """Images of the study's training or validation set, which were left out."""


@dataclass(frozen=True)
class Reported:
    """What was found, and where it was written."""

    found: dict[str, Any]
    """What `shift.json` holds."""
    folder: Path


def read(model: SavedModel, folder: Path, regex: str | None = None, progress: Progress | None = None) -> Unlabelled:
    """Measure and classify the images of a folder. Those that the study trained or validated on are left out.

    Raises:
        InputError: it is no folder, or holds no image that is new and can be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give a folder of images without labels.")
    paths = image_files.find([folder])
    measured = property_table.measure(paths, progress)
    who, grouped_by = unlabelled.patients(paths, folder, measured, regex)
    trained = model.images("train")
    known = trained.digests if trained else ()
    seen = np.isin(np.array(measured.digests, object), list(known)) if trained else np.zeros(len(paths), bool)
    usable = np.array([row not in measured.problems for row in range(len(paths))])
    skipped = [(_below(paths[row], folder), why) for row, why in measured.problems.items()]
    rows, answers = [], []
    for row, (answer, path, problem) in zip(
        np.flatnonzero(usable & ~seen).tolist(),
        classify(model.classifier, [paths[row] for row in np.flatnonzero(usable & ~seen)]),
        strict=True,
    ):
        if answer is None:
            skipped.append((_below(path, folder), problem))
        else:
            rows.append(row)
            answers.append(answer)
        if progress:
            progress(len(rows) + len(skipped), len(paths), "classifying")
    if not rows:
        why = f"{skipped[0][0]}: {skipped[0][1]}" if skipped else "the study trained or validated on all of them"
        raise InputError(f"{folder} contains no new image that can be read ({why}).")
    return Unlabelled(
        folder, tuple(paths[row] for row in rows), measured.table[rows], tuple(who[row] for row in rows), grouped_by,
        tuple(answers), tuple(skipped), trained is not None, int((seen & usable).sum()),
    )  # fmt: skip


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def run(model: SavedModel, images: Unlabelled, base: Path) -> Reported:
    """Compare, and write `report.html`, `shift.json` and `images.csv` into a new folder below `base`.

    Raises:
        ArtifactError: the sample of training images that the model folder keeps can't be read.
        FatalError: the folder can't be written.
    """
    card = model.classifier.card
    sample = training_sample.load(model.folder, card)
    p = np.array([answer.probabilities for answer in images.answers])
    compared = None if sample is None else unlabelled.compare(card, sample, images.table, p, images.patients)
    answers = unlabelled.flagged(images.answers, compared.separation) if compared else list(images.answers)
    found = _figures(model, images, answers, compared)
    target = evaluation.free(base, f"shift-{images.folder.resolve().name}")
    with artifacts.whole(target) as folder:
        artifacts.write_json(folder / "shift.json", artifacts.finite(found))
        _write_images(folder / "images.csv", images, answers, card.classes)
        shift_page.write(folder / "report.html", artifacts.finite(found), _curves(card.positive, sample, images, p))
    return Reported(artifacts.finite(found), target)


def _figures(
    model: SavedModel, images: Unlabelled, answers: Sequence[Answer], compared: Compared | None
) -> dict[str, Any]:
    """Everything as plain values."""
    card = model.classifier.card
    verdict, reasons = _verdict(compared, len(images.answers))
    flags = [bool(answer.unusual) for answer in answers]
    decided = {c: [answer.decision == c for answer in answers] for c in card.classes}
    far = [(_below(Path(a.path), images.folder), a.unusual) for a in answers if a.unusual]
    return {
        "demonstration": card.demonstration,
        "model": {"path": str(model.path), "study": model.name, "policy": card.policy, "threshold": card.threshold},
        "data": str(images.folder),
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "images": len(answers),
        "patients": len(set(images.patients)),
        "grouped_by": images.grouped_by,
        "seen": {"known": images.seen_known, "left_out": images.seen},
        "skipped": [{"image": name, "why": why} for name, why in images.skipped],
        "verdict": verdict,
        "reasons": reasons,
        "positive": None if card.positive is None else card.classes[card.positive],
        "predicted": {c: _share(rows, images.patients) for c, rows in decided.items()},
        "outside": {
            "share": _share(flags, images.patients),
            "images": sum(flags),
            "told": bool(model.classifier.outliers and model.classifier.outliers.limits),
            "first": [{"image": key, "in": why} for key, why in far[:SHOWN]],
        },
        "comparison": _comparison(compared),
        "estimate": _estimate(compared),
        "at_home": compared.at_home if compared else None,
    }


def _verdict(compared: Compared | None, images: int) -> tuple[str, list[str]]:
    """What may be said of using the model on these images, and why."""
    if compared is None:
        return external.UNCLEAR, [training_sample.MISSING]
    found = compared.separation
    if found.foreign:
        return external.NOT_USABLE, [
            found.warning,
            "No estimate is made: the model's confidence is not reliable on such images.",
        ]
    if not np.isfinite(found.auc):
        fewest = separation.FEWEST
        return external.UNCLEAR, [f"{images} images are too few to be compared: at least {fewest} are needed."]
    if not found.alike:
        return external.UNCLEAR, [
            f"These images may differ from the training images in {found.reason} (ROC AUC {found.auc:.2f}), but they "
            "are too few to be sure: no estimate is made."
        ]
    alike = "No relevant difference from the training images was found."
    return _of_alike(compared, alike)


def _of_alike(compared: Compared, alike: str) -> tuple[str, list[str]]:
    """The verdict on images that look like the training images."""
    if compared.at_home is None:
        return external.NO_SIGN, [alike, NO_POSITIVE]
    if compared.estimate is None or not np.isfinite(compared.estimate["sensitivity"].value):
        return external.UNCLEAR, [alike, UNTOLD]
    return external.NO_SIGN, [
        alike, "The estimate is not a measurement: only images with labels show the true figures.",
    ]  # fmt: skip


def _share(rows: Sequence[bool], patients: Sequence[str]) -> list[float]:
    """A share of the images with its interval."""
    hit = np.asarray(rows, np.float64)
    found = intervals.bootstrap(lambda w: {"share": (w @ hit) / w.sum(axis=1)}, patients)["share"]
    assert isinstance(found, Interval)
    return _triple(intervals.of_share(found, len(set(patients))))


def _triple(one: Interval) -> list[float]:
    return [one.value, one.low, one.high]


def _comparison(compared: Compared | None) -> dict[str, Any] | None:
    if compared is None:
        return None
    found = compared.separation
    return {
        "auc": found.auc,
        "bound": separation.BOUND,
        "foreign": found.foreign,
        "reason": found.reason if found.foreign else "",
        "share_positive": found.positive,
        "properties": [_property(one) for one in found.differences],
    }


def _property(one: Difference) -> dict[str, Any]:
    return {
        "name": one.name, "words": one.words, "auc": one.auc, "higher": one.higher, "seen": one.seen,
        "outside": one.beyond, "training": list(one.training), "here": list(one.here),
        "notable": one.auc >= separation.NOTABLE,
    }  # fmt: skip


def _estimate(compared: Compared | None) -> dict[str, list[float]] | None:
    if compared is None or compared.estimate is None:
        return None
    return {name: _triple(compared.estimate[name]) for name in shift_estimate.FIGURES}


def _curves(
    positive: int | None, sample: TrainingSample | None, images: Unlabelled, p: NDArray[np.floating]
) -> shift_page.Curves:
    """What the page draws: values of the training images and of these, by what they are of."""
    if sample is None:
        return {}
    pairs = {name: (sample.table[:, i], images.table[:, i]) for i, name in enumerate(property_table.NAMES)}
    if positive is not None:
        pairs["probability"] = (sample.probabilities[:, positive], p[:, positive].astype(np.float64))
    return pairs


def _write_images(path: Path, images: Unlabelled, answers: Sequence[Answer], classes: Sequence[str]) -> None:
    """Path, patient, decision, one calibrated probability a class, and in what an image is unlike the training images.

    Raises:
        OSError: it can't be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "patient", "decision", *(f"probability_{c}" for c in classes), "flag"])
    for answer, patient in zip(answers, images.patients, strict=True):
        key = _below(Path(answer.path), images.folder)
        who = patient if images.grouped_by == "patient" else ""
        writer.writerow(
            [key, who, answer.decision, *(f"{value:.6f}" for value in answer.probabilities), answer.unusual]
        )
    artifacts.write_text(path, text.getvalue())
