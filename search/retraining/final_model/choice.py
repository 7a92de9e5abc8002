"""From confirmed finalists to a model that stands: final networks, calibration, threshold, the sealed test set, files.

Everything is made in a hidden folder beside `winner/` and renamed when whole, so that nothing half-written is ever
under `winner/`.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.retraining.records import Choice, Confirmed, OperatingPoint, shared_views
from xraytune import artifacts
from xraytune.data import Dataset
from xraytune.evaluation import (
    calibration,
    ensemble_selection,
    evaluate,
    generalization_gap,
    metrics,
    prevalences,
    published,
    subgroups,
)
from xraytune.evaluation.predictions import Predictions
from xraytune.records import Objective

DRAWS_OUT_OF_FOLD = 500
"""Bootstrap draws of out-of-fold figures: thousands of images, and an interval's ends are only looked at."""


def choose(
    confirmed: Sequence[Confirmed],
    kind: str,
    labels: NDArray[np.int32],
    *,
    objective: str = Objective.CLEAN,
    positive: int | None = None,
    beta: float = 2.0,
    refits: int = 1,
) -> Choice:
    """Which finalists the final model is made of: the confirmed best, or a greedy ensemble of them.

    Args:
        confirmed: best first.
        kind: one of `KINDS`.
        labels: of train and validation images.
        objective: under `robust` the ensemble is chosen by its robust score over all views, out of fold; under `clean`
            by its cross-entropy.
        positive: the positive class or None.
        beta: of F-beta.
        refits: networks of a refit.
    """
    if kind != "ensemble":
        return Choice(kind, ((confirmed[0], 1.0),), confirmed[0], refits)
    by_number = {str(c.trial.number): c for c in confirmed}
    indices, each = shared_views(confirmed)
    if objective == Objective.ROBUST and each[0]:
        names = list(each[0])
        stacked = {name: np.stack([views[n] for n in names]) for name, views in zip(by_number, each, strict=True)}
        loss = ensemble_selection.robust_loss(labels[indices], names, positive, beta)
        weights = ensemble_selection.select(labels[indices], stacked, loss=loss)
    else:
        weights = ensemble_selection.select(labels, {name: c.out_of_fold() for name, c in by_number.items()})
    ranked = sorted(weights, key=lambda name: -weights[name])
    return Choice(kind, tuple((by_number[name], weights[name]) for name in ranked), confirmed[0])


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
"""AUC of a property between training and test films from which it is told as a shift."""


def _largest_shift(audit: Mapping[str, Any] | None) -> str:
    """What the audit found of how the test films differ, for beside the gap; empty where it was not run."""
    if not audit or not audit["shifts"]:
        return ""
    largest = max(audit["shifts"], key=lambda shift: shift["auc"])
    if largest["auc"] >= SHIFTED:
        return f"The audit sees the largest shift here: {largest['sentence']}"
    return (
        f"The files' make-up does not explain it: no property tells a class's test films from its training films "
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


def write_predictions(path: Path, dataset: Dataset, tested: Predictions) -> None:
    """`predictions.csv`: path, patient, truth, decision and one calibrated probability a class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "patient", "truth", "decision", *(f"probability_{c}" for c in dataset.classes)])
    columns = (tested.labels, tested.probabilities, tested.decided)
    for image, label, row, answer in zip(dataset.select("test"), *columns, strict=True):
        numbers = [f"{v:.6f}" for v in row]
        writer.writerow([image.key, image.patient, dataset.classes[label], dataset.classes[int(answer)], *numbers])
    artifacts.write_text(path, text.getvalue())
