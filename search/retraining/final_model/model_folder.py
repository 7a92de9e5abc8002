"""The folder of the final model: its networks, their checksums and its card."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from search.retraining.final_model.refit import EnsembleMember
from search.retraining.records import Choice, OperatingPoint, image_size
from search.retraining.workers import tasks
from search.retraining.workers.tasks import PredictTask
from search.retraining.workers.worker_pool import Workers
from search.study.view import StudyView
from xraytune import artifacts
from xraytune.data import property_table
from xraytune.data.dataset import Dataset
from xraytune.data.decoding.inspection import inspect
from xraytune.errors import FatalError
from xraytune.inference import outliers, training_sample
from xraytune.inference.model_card import Member, ModelCard, write_card
from xraytune.models.file_backbones.reading import check
from xraytune.training.inputs.trial_data import TrialData

TRIED = 32
"""Images on which a saved network is tried before the test set is evaluated: a whole batch of `predict_network`."""


def save(
    folder: Path,
    networks: Sequence[EnsembleMember],
    fitted: OperatingPoint,
    dataset: Dataset,
    data: TrialData,
    *,
    tta: str,
    made: Mapping[str, Any],
) -> None:
    """Write the model's files and its card.

    Args:
        folder: to write to.
        networks: of the final model.
        fitted: calibration, threshold and referral.
        dataset: the data.
        data: the training and validation images, decoded at the networks' sizes.
        tta: test-time augmentation of its predictions; empty: none.
        made: where the model comes from, as of `provenance`.

    Raises:
        OSError: the folder can't be written.
    """
    members, sums = [], dict[str, str]()
    for i, network in enumerate(networks):
        name = "model.keras" if len(networks) == 1 else f"model-{i + 1}.keras"
        shutil.copyfile(network.path, folder / name)
        sums[name] = artifacts.sha256(folder / name)
        backbone = _with_backbone(folder, network, sums)
        members.append(Member(name, sums[name], image_size(network.trial), network.weight, backbone).to_json())
    artifacts.write_text(folder / "SHA256SUMS", "".join(f"{sha256}  {name}\n" for name, sha256 in sums.items()))
    first = tasks.pool_of(data, members[0]["image_size"])
    pair = fitted.referral.referral if fitted.referral else None
    card = ModelCard(
        classes=dataset.classes,
        positive=dataset.positive,
        channels=dataset.channels,
        fit=dataset.fit,
        threshold=fitted.threshold,
        policy=fitted.policy.name if fitted.policy else "likeliest class",
        calibration=fitted.calibration.to_json(),
        outliers=outliers.fit(first).to_json(),
        members=tuple(members),
        tta=tta,
        referral=pair.to_json() if pair else {},
        demonstration=dataset.demonstration,
        made=made,
        sample=training_sample.save(folder, _sample(fitted, dataset, data)),
    )
    write_card(folder, card)


def _sample(fitted: OperatingPoint, dataset: Dataset, data: TrialData) -> training_sample.TrainingSample:
    """Properties, classes and out-of-fold probabilities of training images, without anything that names them."""
    images = dataset.select("train") + dataset.select("val")  # the order of `TrialData.of`
    seen = dataset.inspection or inspect(dataset.root, dataset.images.keys.tolist())
    table = property_table.of_images(images, seen)
    return training_sample.draw(table, data.labels, fitted.probabilities, data.patients)


def _with_backbone(folder: Path, network: EnsembleMember, sums: dict[str, str]) -> dict[str, Any]:
    """Write the file of a network's backbone, once, add its sha256 to `sums`, and give it as the card has it."""
    if network.backbone is None:
        return {}
    name = f"backbone-{network.backbone.name}{Path(network.backbone.path).suffix.lower()}"
    if name not in sums:
        artifacts.write_bytes(folder / name, check(network.backbone, "the search read"))
        sums[name] = network.backbone.sha256
    return replace(network.backbone, path=name).to_json()


def provenance(study: StudyView, asked: str, choice: Choice, epochs: Sequence[int]) -> dict[str, Any]:
    """Where a model comes from, as plain values: study, trials, configurations, data, weights, versions.

    Args:
        study: the study.
        asked: which trials were asked for, as typed.
        choice: what the model is made of.
        epochs: of each of its networks.
    """
    trials = [c.trial for c, _ in choice.finalists]
    first = choice.winner.results[0].result
    return {
        "study": study.name,
        "asked": asked,
        "final": choice.kind,
        "trials": [t.number for t in trials],
        "configurations": [t.config.to_json() for t in trials if t.config],
        "epochs": list(epochs),
        "train_fingerprint": study.spec.train_fingerprint,
        "test_fingerprint": study.spec.test_fingerprint,
        "weights": dict(study.spec.weights),
        "backbones": {
            name: {key: value for key, value in plain.items() if key != "path"}
            for name, plain in study.spec.backbones.items()
        },
        "versions": dict(first.versions),
        "device": first.device,
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def try_out(folder: Path, pool: Workers, images: Mapping[int, Any]) -> None:
    """Load the saved model and predict images that it was trained on, a whole batch of them.

    Args:
        folder: the model's.
        pool: in whose processes the networks run.
        images: files of decoded training images by edge.

    Raises:
        FatalError: it can't be loaded, or does not return probabilities.
    """
    outcome = next(pool.run([PredictTask(folder, images, first=TRIED)]))
    if outcome.error or not np.isfinite(outcome.value).all():
        why = outcome.error or "its probabilities are not finite"
        raise FatalError(f"The saved model can't be used, so the test set was not evaluated: {why}")
