"""All figures of a saved model on one labelled data set."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from search.external import page
from search.external.labelled_data import Labelled
from search.external.saved_model import SavedModel
from search.study import access_log
from xraytune import artifacts
from xraytune.data.problems import Progress
from xraytune.errors import FatalError, InputError
from xraytune.evaluation import evaluate, external, subgroups
from xraytune.evaluation.predictions import Predictions
from xraytune.evaluation.referral.pair import Referral, judged
from xraytune.inference.predict_files import Answer, Stated, classify

SHOWN = 20
"""Images far from the training images that the report names; predictions.csv has all."""


@dataclass(frozen=True)
class Evaluated:
    """One data set's figures."""

    found: Mapping[str, Any]
    """What `metrics.json` holds."""
    folder: Path
    """Where it was written."""


def run(model: SavedModel, labelled: Labelled, base: Path, progress: Progress | None = None) -> Evaluated:
    """Evaluate, and write `report.html`, `metrics.json` and `predictions.csv` into a new folder below `base`.

    An evaluation that uses images of the study's own test set is recorded in the study's access log first.

    Raises:
        FatalError: the access can't be recorded, a file can't be read any more, or the folder can't be written.
    """
    opened = _record(model, labelled)
    answers = _answers(model, labelled, progress)
    card = model.classifier.card
    dataset = labelled.dataset
    index = {name: number for number, name in enumerate(card.classes)}
    labels = np.array([index[dataset.classes[image.label]] for image in labelled.images], np.int64)
    tested = Predictions(
        labels,
        np.array([answer.probabilities for answer in answers]),
        np.array([image.patient for image in labelled.images]),
        card.classes,
        card.positive,
        threshold=card.threshold,
        beta=float((model.figures or {}).get("test", {}).get("beta", 2.0)),
        prevalence=model.classifier.calibration.prevalence or None,
    )
    found = _figures(model, labelled, tested, answers)
    if opened and model.study:
        access_log.keep_figures(model.study, opened, found["test"]["overall"])
        found["opened"] = opened
    target = free(base, dataset.name)
    with artifacts.whole(target) as folder:
        artifacts.write_json(folder / "metrics.json", artifacts.finite(found))
        _write_predictions(folder / "predictions.csv", labelled, tested, answers, model.classifier.referral)
        page.write(folder / "report.html", found, tested)
    return Evaluated(found, target)


def _record(model: SavedModel, labelled: Labelled) -> int:
    """Record an access to the study's own test images; its number, 0 where it is none."""
    if not labelled.own_test or model.study is None:
        return 0
    made = model.classifier.card.made
    return access_log.append(
        model.study,
        {
            "what": f"evaluate on {labelled.dataset.name}",
            "images": labelled.own_test,
            "trials": list(made.get("trials", [])),
            "final": made.get("final", ""),
            "policy": model.classifier.card.policy,
            "test_fingerprint": made.get("test_fingerprint", ""),
        },
    )


def _answers(model: SavedModel, labelled: Labelled, progress: Progress | None) -> list[Answer]:
    """What the model says of each image, in their order."""
    paths = [labelled.dataset.path(image) for image in labelled.images]
    answers = []
    for answer, path, problem in classify(model.classifier, paths, stated=Stated(refer=False)):
        if answer is None:
            raise FatalError(f"{path} could be read a moment ago and can't be now: {problem}.")
        answers.append(answer)
        if progress:
            progress(len(answers), len(paths), "classifying")
    return answers


def _figures(model: SavedModel, labelled: Labelled, tested: Predictions, answers: Sequence[Answer]) -> dict[str, Any]:
    """Everything as plain values."""
    card, dataset = model.classifier.card, labelled.dataset
    test = evaluate.evaluate(tested)
    theirs = model.figures["test"] if model.figures else None
    known = theirs["overall"] if theirs else None
    groups = subgroups.subgroups(subgroups.columns(labelled.images, labelled.columns), tested)
    far = [
        (image.key, answer.unusual) for image, answer in zip(labelled.images, answers, strict=True) if answer.unusual
    ]
    return {
        "demonstration": card.demonstration or dataset.demonstration,
        "model": {"path": str(model.path), "study": model.name, "policy": card.policy, "threshold": card.threshold},
        "data": dataset.name,
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "grouped_by": dataset.grouped_by,
        "split": labelled.split,
        "seen": {
            "known": labelled.seen_known,
            "same_content": labelled.same,
            "near_copies": labelled.near,
            "included": labelled.included,
        },
        "own_test_images": labelled.own_test,
        **external.verdict(test["overall"], known).to_json(),
        "gap": external.gap(test["overall"], known),
        "test": test,
        "study_test": known,
        "policies": _policies(model, tested),
        "referral": _referral(model, tested),
        "subgroups": groups,
        "worst_subgroup": subgroups.worst_subgroup(groups),
        "far": {
            "images": len(far),
            "told": bool(model.classifier.outliers and model.classifier.outliers.limits),
            "first": [{"image": key, "in": why} for key, why in far[:SHOWN]],
        },
        "notes": list(dataset.notes),
    }


def _policies(model: SavedModel, tested: Predictions) -> list[dict[str, Any]]:
    """The thresholds that the study compared, judged here; the model's own alone where they are not known."""
    card = model.classifier.card
    if card.positive is None:
        return []
    rows = [{"name": row["name"], "threshold": row["threshold"]} for row in (model.figures or {}).get("policies", [])]
    if not any(row["threshold"] == card.threshold for row in rows):
        rows.insert(0, {"name": card.policy, "threshold": card.threshold})
    out = []
    for row in rows:
        found = evaluate.overall(replace(tested, threshold=row["threshold"]), brief=True)
        figures = {name: found[name] for name in ("sensitivity", "specificity", "precision", "f2")}
        out.append({**row, "used": row["threshold"] == card.threshold, "here": figures})
    return out


def _referral(model: SavedModel, tested: Predictions) -> dict[str, Any] | None:
    """What the model's referral does here, beside the study's test set; None where it refers nothing."""
    pair = model.classifier.referral
    if pair is None:
        return None
    study = ((model.figures or {}).get("referral") or {}).get("test")
    return {"pair": pair.to_json(), "here": judged(tested, pair), "study_test": study}


def free(base: Path, name: str) -> Path:
    """A folder of today that is not there yet."""
    stem = Path(name).name.partition(".")[0].replace(":", "-") or "data"
    dated = f"{stem}-{datetime.date.today():%Y-%m-%d}"
    names = [dated, *(f"{dated}-{number}" for number in range(2, 1000))]
    free = next((base / one for one in names if not (base / one).exists()), None)
    if free is None:
        raise InputError(f"{base} contains a thousand evaluations of {stem} of today: give another folder with --out.")
    return free


def _write_predictions(
    path: Path, labelled: Labelled, tested: Predictions, answers: Sequence[Answer], pair: Referral | None
) -> None:
    """Path, patient, truth, decision, one calibrated probability a class, and in what an image is unusual.

    With a referral also whether an image is referred.
    """
    between = np.zeros(len(answers), dtype=bool)
    if pair is not None and tested.positive is not None:
        between = pair.between(tested.probabilities[:, tested.positive])
    more = ["referred"] if pair is not None else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    classes = tested.classes
    writer.writerow(["path", "patient", "truth", "decision", *(f"probability_{c}" for c in classes), "flag", *more])
    for image, label, answer, referred in zip(labelled.images, tested.labels, answers, between, strict=True):
        numbers = [f"{value:.6f}" for value in answer.probabilities]
        last = [int(referred)] if more else []
        writer.writerow([image.key, image.patient, classes[label], answer.decision, *numbers, answer.unusual, *last])
    artifacts.write_text(path, text.getvalue())
