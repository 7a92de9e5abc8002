"""A model on images without labels: do they look like its training images, and what would it be worth on them?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xraytune.data.property_table import Measured
from xraytune.data.sources import patient_names
from xraytune.evaluation import metrics
from xraytune.evaluation.intervals import Interval
from xraytune.evaluation.shift import separation, shift_estimate
from xraytune.evaluation.shift.separation import Separation
from xraytune.evaluation.shift.shift_estimate import Answers
from xraytune.inference.model_card import ModelCard
from xraytune.inference.predict_files import Answer
from xraytune.inference.training_sample import TrainingSample, rounded


@dataclass(frozen=True, eq=False)
class Compared:
    """New images beside the training images."""

    separation: Separation
    estimate: Mapping[str, Interval] | None
    """`shift_estimate.FIGURES`; None where none is made."""
    at_home: Mapping[str, float] | None
    """Sensitivity and specificity of the out-of-fold predictions; None without a positive class."""


def patients(
    paths: Sequence[Path], folder: Path, measured: Measured, regex: str | None = None
) -> tuple[list[str], str]:
    """Who each image shows, by its name or DICOM header, and `patient` or `image`: what images are grouped by.

    Args:
        paths: the images.
        folder: their paths below it count.
        measured: of the same images.
        regex: the user's pattern instead of the known naming schemes.

    Raises:
        InputError: the pattern is no regular expression.
    """
    inside = [path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name) for path in paths]
    used = [row for row in range(len(paths)) if row not in measured.problems]  # another file's name says nothing
    named = [""] * len(paths)
    if regex:
        find = patient_names.by_regex(regex)
        named = [find(path.as_posix()).patient for path in inside]
    else:
        found = patient_names.from_names([inside[row].with_suffix("").as_posix() for row in used]).subjects
        for row, subject in zip(used, found, strict=False):
            named[row] = subject.patient
    own = [a or b for a, b in zip(named, measured.patients, strict=True)]
    return [p or f"image {i}" for i, p in enumerate(own)], "patient" if any(own) else "image"


def compare(
    card: ModelCard,
    sample: TrainingSample,
    table: NDArray[np.float64],
    probabilities: NDArray[np.floating],
    patients: Sequence[str],
    *,
    estimate: bool = True,
) -> Compared:
    """Compare new images with the training images, and estimate sensitivity and specificity where they are alike.

    Args:
        card: the model's.
        sample: of its training images.
        table: properties of the new images, `(m, len(property_table.NAMES))`.
        probabilities: calibrated, `(m, k)`.
        patients: who each new image shows.
        estimate: False leaves the estimate out.
    """
    who = np.asarray(patients)
    if card.positive is None:
        known = separation.Known(sample.table, sample.patients)
        return Compared(separation.compare(known, rounded(table), who), None, None)
    truth = sample.labels == card.positive
    ours = _answers(card, sample.probabilities, sample.patients)
    theirs = _answers(card, probabilities, who)
    share = shift_estimate.share_positive(ours, truth, theirs)
    known = separation.Known(sample.table, sample.patients, truth)
    found = separation.compare(known, rounded(table), who, share=share)
    at_home = {
        "sensitivity": float(ours.positive[truth].mean()),
        "specificity": float(1 - ours.positive[~truth].mean()),
    }
    told = estimate and found.alike and np.isfinite(share)
    return Compared(found, shift_estimate.estimate(ours, truth, theirs) if told else None, at_home)


def flagged(answers: Sequence[Answer], found: Separation) -> list[Answer]:
    """The answers, those of a foreign set of images flagged too where an image looks like the set it is in."""
    if not found.foreign:
        return list(answers)
    why = f"{found.reason} (as the other images here)"
    return [
        replace(answer, unusual=why) if marked and not answer.unusual else answer
        for answer, marked in zip(answers, found.marked, strict=True)
    ]


def _answers(card: ModelCard, probabilities: NDArray[np.floating], patients: NDArray[np.generic]) -> Answers:
    assert card.positive is not None
    p = np.asarray(probabilities, np.float64)
    decided = metrics.decide(p, card.positive, card.threshold) == card.positive
    return Answers(p[:, card.positive], decided, patients)


def warning(
    card: ModelCard, sample: TrainingSample, answers: Sequence[Answer], folder: Path, measured: Measured
) -> tuple[str, list[Answer]]:
    """For `search.predict`: one sentence where the images are foreign, else empty; and the answers with their flags.

    Args:
        card: the model's.
        sample: of its training images.
        answers: of files that could be read.
        folder: the folder that they are in.
        measured: of the same files.
    """
    if len(answers) < separation.FEWEST:
        return "", list(answers)
    who, _ = patients([Path(answer.path) for answer in answers], folder, measured)
    p = np.array([answer.probabilities for answer in answers])
    found = compare(card, sample, measured.table, p, who, estimate=False).separation
    return found.warning, flagged(answers, found)
