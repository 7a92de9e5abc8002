"""All figures of the final model on the test set."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.cli import progress_bars
from search.retraining.confirmation.plan import ConfirmationPlan
from search.retraining.records import Choice, Confirmed, OperatingPoint
from search.study import image_names
from search.study.view import StudyView
from xraytune import artifacts
from xraytune.data.dataset import Dataset
from xraytune.evaluation import (
    calibration,
    evaluate,
    generalization_gap,
    metrics,
    prevalences,
    published,
    shortcut_audit,
    subgroups,
)
from xraytune.evaluation.predictions import Predictions

DRAWS_OUT_OF_FOLD = 500
"""Bootstrap draws of out-of-fold figures: thousands of images, and an interval's ends are only looked at."""


def judge(
    dataset: Dataset,
    fitted: OperatingPoint,
    tested: Predictions,
    raw: NDArray[np.float32],
    pooled: Predictions,
    audit: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Every figure of the test set and of the out-of-fold predictions, as plain JSON.

    Args:
        dataset: the data set; its `test` images are those predicted.
        fitted: calibration and thresholds.
        tested: calibrated predictions of the test images.
        raw: their probabilities as the networks gave them, `(n, k)`.
        pooled: calibrated out-of-fold predictions of train and validation images.
        audit: the shortcut audit as JSON, its shifts by class.
    """
    images = dataset.select("test")
    names = [Path(i.key).name for i in images]
    labels, positive = tested.labels, dataset.positive
    started = time.monotonic()
    test = evaluate.evaluate(tested)
    validation = evaluate.evaluate(pooled, fitted.crossed)
    groups = subgroups.subgroups(subgroups.columns(images, dataset.subgroups("test")), tested)
    normal = None
    if positive is not None and len(dataset.classes) == 2:
        normal = dataset.classes[1 - positive]
    area = validation["overall"]["auc"][0]
    return {
        "test": test,
        "validation": validation,
        "subgroups": groups,
        "worst_subgroup": subgroups.worst_subgroup(groups),
        "gap": generalization_gap.in_words(
            validation["overall"], test["overall"], normal, positive=positive is not None, shift=_largest_shift(audit)
        ),
        "changes": generalization_gap.changes(validation["overall"], test["overall"]),
        "folds_auc": {
            "pooled": area,
            "mean": float(np.mean(fitted.areas)),
            "warning": "" if area is None else generalization_gap.alignment(area, fitted.areas),
        },
        "calibration": _calibration(fitted, tested, raw, test["overall"]["calibration_error"][0]),
        "policies": _policies(fitted, tested),
        "published": list(published.PUBLISHED)
        if published.is_official_test(names, labels, dataset.classes, dataset.name)
        else [],
        "population": ""
        if dataset.demonstration
        else published.population(
            [Path(i.key).name for split in ("train", "val") for i in dataset.select(split)], dataset.name
        ),
        "seconds_of_figures": time.monotonic() - started,
    }


SHIFTED = 0.6
"""AUC of a property between training and test images from which it is reported as a shift."""


def _largest_shift(audit: Mapping[str, Any] | None) -> str:
    """What the audit found of how the test images differ, for beside the gap; empty where it was not run."""
    if not audit or not audit["shifts"]:
        return ""
    largest = max(audit["shifts"], key=lambda shift: shift["auc"])
    if largest["auc"] >= SHIFTED:
        return f"The audit sees the largest shift here: {largest['sentence']}"
    return (
        f"Image properties do not explain it: none tells test images from training images of the same class "
        f"(AUC {largest['auc']:.2f} at most)."
    )


def _calibration(
    fitted: OperatingPoint, tested: Predictions, raw: NDArray[np.float32], error: float | None
) -> dict[str, Any]:
    """What was fitted, and what it does on the test images; `error` is their calibration error with it."""
    without = tested.answered(raw, tested.threshold)
    before = evaluate.overall(without)["calibration_error"]
    return {
        "method": fitted.calibration.method,
        "over_views": fitted.shifted,
        "prevalence": list(fitted.calibration.prevalence),
        "cross_entropy_out_of_fold": dict(fitted.losses),
        "test_error_with": error,
        "test_error_without": before[0],
        "interval_without": before[1:],
        "reliability_without": calibration.reliability(
            *metrics.event_and_score(without.labels, raw, without.positive),
            prevalences.weights(without.labels, without.prevalence),
        ),
    }


def _policies(fitted: OperatingPoint, tested: Predictions) -> list[dict[str, Any]]:
    """Every threshold policy out of fold and, with intervals, on the test set, side by side."""
    rows = []
    for policy in fitted.policies:
        found = evaluate.overall(replace(tested, threshold=policy.threshold))
        test = {name: found[name] for name in evaluate.named(tested.beta)}
        rows.append({**policy.to_json(), "used": policy == fitted.policy, "test": test})
    return rows


def write_predictions(path: Path, dataset: Dataset, tested: Predictions, *, with_names: bool = False) -> None:
    """`predictions.csv`: image and patient by number, truth, decision and one calibrated probability a class.

    Args:
        path: the file.
        dataset: the data set; its `test` images are those predicted.
        tested: the predictions.
        with_names: add the columns `path` and `patient_name`.
    """
    images = dataset.select("test")
    header = ["image", "patient", "truth", "decision", *(f"probability_{c}" for c in dataset.classes)]
    patients = image_names.numbers([image.patient for image in images])
    rows = [
        [i, patient, dataset.classes[label], dataset.classes[int(answer)], *(f"{v:.6f}" for v in row)]
        for i, (patient, label, row, answer) in enumerate(
            zip(patients, tested.labels, tested.probabilities, tested.decided, strict=True), start=1
        )
    ]
    if with_names:
        header += ["path", "patient_name"]
        rows = [[*row, image.key, image.patient] for row, image in zip(rows, images, strict=True)]
    artifacts.write_csv(path, header, rows)


def data_card(dataset: Dataset, *, with_names: bool = False) -> dict[str, Any]:
    """How many images and patients there are in each split, what was left out and noted; names only where asked."""
    splits = {split: dataset.select(split) for split in ("train", "val", "test")}
    names = [*dataset.quarantined, *(image.key for chosen in splits.values() for image in chosen)]
    return {
        "counts": {split: dataset.counts(split) for split in splits},
        "patients": {split: len({image.patient for image in chosen}) for split, chosen in splits.items()},
        "excluded": len(dataset.quarantined),
        "fit": dataset.fit,
        "notes": [note if with_names else image_names.without_names(note, names) for note in dataset.notes],
    }


def confirmation(
    confirmed: Sequence[Confirmed], choice: Choice, plan: ConfirmationPlan, study: StudyView
) -> dict[str, Any]:
    """How each finalist fared on the folds, as plain values.

    Args:
        confirmed: best first.
        choice: what the final model is made of.
        plan: what was to be confirmed.
        study: where the finalists come from.
    """
    best = study.best().number if any(t.state == "COMPLETE" for t in study.trials()) else None
    return {
        "folds": plan.folds,
        "seeds": len({r.repeat for r in choice.winner.results}),
        "best_of_study": best,
        "winner": choice.winner.trial.number,
        "objective": study.spec.objective,
        "cut": choice.winner.cut,
        "passed_over": [
            {"trial": one.trial.number, "family": one.trial.family, "searched": one.trial.value, "seconds": one.seconds}
            for one in plan.passed_over
        ],
        "finalists": [
            {
                "trial": c.trial.number,
                "family": c.trial.family,
                "searched": c.trial.value,
                "confirmed": c.mean,
                "standard_error": c.error,
                "epochs": c.epochs,
                "values": c.values,
                "clean": c.measured("val_f_beta"),
                "robust": c.measured("robust"),
                "auc": c.measured("val_auc"),
                "by_view": c.by_view(),
                "curves": [list(r.result.curve) for r in c.results if r.repeat == 0],
            }
            for c in confirmed
        ],
        "weights": {str(c.trial.number): w for c, w in choice.finalists},
    }


def audit(dataset: Dataset) -> dict[str, Any]:
    """The shortcut audit with the test set beside it, class by class: the set is open by now."""
    with progress_bars.progress() as progress:
        return shortcut_audit.audit(dataset, compare_test=True, by_class=True, progress=progress).to_json()
