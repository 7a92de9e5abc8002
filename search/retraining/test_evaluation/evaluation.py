"""The final model's evaluation on the held-out test set: prepared, recorded in the access log, predicted, measured."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import spaces
from search.cli import progress_bars
from search.retraining.confirmation.plan import ConfirmationPlan
from search.retraining.final_model import model_folder
from search.retraining.records import Choice, Confirmed, OperatingPoint, TrainingSetup
from search.retraining.test_evaluation import comparison, example_images, published_recipes
from search.retraining.test_evaluation.published_recipes import Retrained
from search.retraining.workers.tasks import PredictTask
from search.retraining.workers.worker_pool import Workers
from search.study import access_log, image_names
from search.study.view import StudyView
from xraytune import artifacts
from xraytune.data import arrays
from xraytune.data.dataset import Dataset
from xraytune.errors import FatalError
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
from xraytune.evaluation.referral.pair import judged
from xraytune.evaluation.referral.selection import Sample
from xraytune.evaluation.sites import site_figures
from xraytune.inference.model_card import Member, read_card

DRAWS_OUT_OF_FOLD = 500
"""Bootstrap draws of out-of-fold figures: thousands of images, and an interval's ends are only looked at."""


@dataclass(frozen=True)
class FinalModel:
    """A saved model that is to be evaluated, and what it came from."""

    folder: Path
    choice: Choice
    fitted: OperatingPoint
    confirmed: Sequence[Confirmed]
    """The finalists, best first."""
    plan: ConfirmationPlan
    recipes: Sequence[Retrained] = ()
    """The study's published recipes, retrained to be compared with it."""


@dataclass(frozen=True)
class TestPredictions:
    """What the one evaluation of the test set gave."""

    __test__ = False  # pytest must not take it for a test

    number: int
    """Which evaluation of the study it is, from 1."""
    images: Mapping[int, Path]
    """Decoded test images by edge."""
    audit: Mapping[str, Any]
    """The shortcut audit with the test images beside the others."""
    raw: NDArray[np.float32]
    """Probabilities `(n, k)` before calibration."""


def predict_once(
    study: StudyView, which: str, model: FinalModel, dataset: Dataset, setup: TrainingSetup, pool: Workers
) -> TestPredictions:
    """The final model's predictions of the test images, recorded in the test-set access log beforehand.

    All that can fail for a reason of the machine comes before the record: the models are loaded and tried on training
    images, the test images are decoded and measured. Between the record and the predictions nothing else is done.

    Args:
        study: whose access log.
        which: trials that were asked for, as typed.
        model: the saved model.
        dataset: the data.
        setup: with training images decoded at every network's size.
        pool: in whose processes the networks run.

    Raises:
        FatalError: a model can't be used, the record can't be written, or the disk is full.
    """
    card = read_card(model.folder)
    members = [Member.from_json(m) for m in card.members]
    model_folder.try_out(model.folder, pool, {m.image_size: setup.data.pools[m.image_size] for m in members})
    published_recipes.answers(model.recipes, pool, setup.data.pools, study.spec.max_epochs, first=model_folder.TRIED)
    with progress_bars.progress() as progress:
        sizes = {m.image_size for m in members} | {r.image_size for r in model.recipes}
        images = {size: arrays.test(dataset, size, progress) for size in sizes}
        found = shortcut_audit.audit(dataset, compare_test=True, by_class=True, progress=progress).to_json()
    number = access_log.append(
        study.folder,
        {
            "what": f"retrain {which}",
            "final": model.choice.kind,
            "trials": [c.trial.number for c, _ in model.choice.finalists],
            "policy": card.policy,
            "sha256": [m.sha256 for m in members],
            "test_fingerprint": dataset.test_fingerprint,
            **({"compared": [r.name for r in model.recipes]} if model.recipes else {}),
        },
    )
    outcome = next(pool.run([PredictTask(model.folder, images)]))
    if outcome.error:
        raise FatalError(f"The saved model could not be used: {outcome.error}")
    return TestPredictions(number, images, found, outcome.value)


def evaluate_test_set(
    study: StudyView,
    which: str,
    model: FinalModel,
    dataset: Dataset,
    setup: TrainingSetup,
    pool: Workers,
    *,
    with_names: bool = False,
) -> dict[str, Any]:
    """Evaluate the final model on the test set, once; all of `metrics.json` but the seconds, as plain JSON.

    Predictions and example images are written beside the model; images and patients have numbers there, or with
    `with_names` their names. The other arguments and the errors are those of `predict_once`.
    """
    once = predict_once(study, which, model, dataset, setup, pool)
    fitted, images, train = model.fitted, dataset.select("test"), setup.data
    about: Any = {"classes": dataset.classes, "positive": dataset.positive, "threshold": fitted.threshold}
    about |= {"beta": study.spec.beta, "prevalence": fitted.calibration.prevalence}
    probabilities = fitted.calibration.apply(once.raw).astype(np.float32)
    labels = np.array([i.label for i in images], dtype=np.int32)
    tested = Predictions(labels, probabilities, np.array([i.patient for i in images]), **about)
    pooled = Predictions(
        np.asarray(train.labels), fitted.probabilities, np.asarray(train.patients), **about, draws=DRAWS_OUT_OF_FOLD
    )
    judged = judge(dataset, fitted, tested, once.raw, pooled, once.audit)
    access_log.keep_figures(study.folder, once.number, judged["test"]["overall"])
    others = published_recipes.answers(model.recipes, pool, once.images, study.spec.max_epochs)
    card = read_card(model.folder)
    write_predictions(model.folder / "predictions.csv", dataset, tested, with_names=with_names)
    if fitted.referred_on is not None:
        write_referral(model.folder / "referral.csv", fitted.referred_on)
    image_names.write(study.folder, [i.key for i in images], [i.patient for i in images])
    example_images.write(model.folder, pool, once.images, dataset, labels, probabilities)
    return {
        "demonstration": dataset.demonstration,
        "study": study.name,
        "data": dataset.name,
        "grouped_by": dataset.grouped_by,
        "opened": once.number,
        "openings": access_log.openings(study.folder.parent, dataset.test_fingerprint),
        "model": {"policy": card.policy, "threshold": card.threshold, **dict(card.made)},
        **judged,
        "comparisons": {
            "out_of_fold": comparison.out_of_fold(pooled, model.choice, model.confirmed),
            "recipes": comparison.on_validation(
                pooled, study, model.choice.winner.trial, spaces.offered(study.spec.space, ()).recipe_names()
            ),
            "linear": comparison.beyond_linear(pooled, study),
            "test": comparison.on_test(tested, others),
            "untrained": [{"name": r.name, "why": r.network.error} for r in model.recipes if r.network.error],
        },
        "data_card": data_card(dataset, with_names=with_names),
        "audit": once.audit,
        "confirmation": confirmation(model.confirmed, model.choice, model.plan, study),
        "sites": site_figures.by_site(pooled, fitted.crossed, dataset.sites_of("train", "val"))
        if dataset.sites
        else None,
        "views": list(fitted.views),
    }


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
        "referral": _referral(fitted, tested),
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
"""AUC of an image property between training and test images from which it is reported as a shift."""


def _largest_shift(audit: Mapping[str, Any] | None) -> str:
    """The largest difference between training and test images that the audit found; empty where it was not run."""
    if not audit or not audit["shifts"]:
        return ""
    largest = max(audit["shifts"], key=lambda shift: shift["auc"])
    if largest["auc"] >= SHIFTED:
        return f"The largest shift in the audit: {largest['sentence']}"
    return (
        "Image properties do not explain this: none separates the test images of a class from its training images "
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
    """Every threshold policy: cross-validated and, with intervals, on the test set."""
    rows = []
    for policy in fitted.policies:
        found = evaluate.overall(replace(tested, threshold=policy.threshold))
        test = {name: found[name] for name in evaluate.named(tested.beta)}
        rows.append({**policy.to_json(), "used": policy == fitted.policy, "test": test})
    return rows


def _referral(fitted: OperatingPoint, tested: Predictions) -> dict[str, Any] | None:
    """The referral, cross-validated and on the test set; None where none was asked for."""
    found = fitted.referral
    if found is None:
        return None
    on_test = judged(tested, found.referral) if found.referral else None
    return {**found.to_json(), "over_views": fitted.shifted, "test": on_test}


def write_referral(path: Path, sample: Sample) -> None:
    """`referral.csv`: the out-of-fold predictions that the referral was fitted on, patients by number."""
    numbers = image_names.numbers([str(patient) for patient in sample.patients])
    rows = [
        [patient, int(event), f"{score:.6f}"]
        for patient, event, score in zip(numbers, sample.event, sample.score, strict=True)
    ]
    artifacts.write_csv(path, ["patient", "positive", "probability"], rows)


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
    """Each finalist's results on the folds, as plain values.

    Args:
        confirmed: best first.
        choice: what the final model is made of.
        plan: what was planned.
        study: where the finalists come from.
    """
    best = study.best().number if any(t.state == "COMPLETE" for t in study.trials()) else None
    return {
        "folds": plan.request.folds,
        "seeds": len({r.repeat for r in choice.winner.results}),
        "best_of_study": best,
        "winner": choice.winner.trial.number,
        "objective": study.spec.objective,
        "by": "site" if study.spec.sites else "patient",
        "decides": plan.request.decides,
        "ensemble_gain": None if choice.gain is None else evaluate.triple(choice.gain),
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
