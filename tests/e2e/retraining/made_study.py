"""A small study with two finished trials on drawn phantoms, made without Ray: run as a program, or by `make`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import spaces
from search.hyperparameters.declaration import declared_parameters, signature
from search.study import create
from search.study.lock import StudyLock
from xraytune import data
from xraytune.records import FailureCause, StudySpec, TrialResult

SEED = 0
CONFIGS: tuple[dict[str, Any], ...] = (
    {"family": "dense", "dense/image_size": 28, "dense/units": 32, "learning_rate": 0.01},
    {"family": "cnn", "cnn/image_size": 32, "cnn/blocks": 2, "learning_rate": 0.01},
)


def draw_radiographs(root: Path, classes: tuple[str, ...] = ("NORMAL", "PNEUMONIA"), each: int = 24) -> Path:
    """A folder in Kaggle's layout whose classes differ in a bright patch; two images a patient."""
    from PIL import Image

    rng = np.random.default_rng(SEED)
    for split, count in (("train", each), ("test", each // 2)):
        for c, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                radiograph = rng.normal(90, 25, (48, 48))
                radiograph[8 + 10 * c : 20 + 10 * c, 10:24] += 80 * c + rng.normal(0, 30)
                pixels = np.clip(radiograph, 0, 255).astype(np.uint8)
                patient = i // 2 + (500 if split == "test" else 0)
                kinds = (f"IM-{patient:04d}-{i:04d}", f"person{patient}_bacteria_{i}", f"person{patient}_virus_{i}")
                Image.fromarray(pixels).save(folder / f"{kinds[c]}.png")
    return root


def result_of(value: float, seconds: float = 2.0) -> TrialResult:
    """What a trial of that value would have left."""
    return TrialResult(
        value=value, best_epoch=2, epochs=3,
        metrics={
            "val_auc": 0.9, "val_sensitivity": 0.88, "val_specificity": 0.75, "val_trivial_f_beta": 0.83,
            "view_clean": value, "view_border hidden": value - 0.1,
        },
        curve=tuple({"epoch": float(e), "value": value - 0.01 * abs(2 - e), "val_loss": 0.5} for e in (1, 2, 3)),
        seconds={"train": seconds}, parameters=1000, peak_memory_mb=500.0, versions={"keras": "3"}, device="cpu",
        host="h",
    )  # fmt: skip


def make(
    results: Path, radiographs: Path, name: str = "made", *, complete: bool = True, positive: str | None = None
) -> Any:
    """Write a study of `CONFIGS` into `results`; returns its view."""
    dataset = data.load(str(radiographs), seed=SEED, positive=positive)
    context = spaces.SpaceContext(classes=len(dataset.classes), images=len(dataset.select("train")))
    space = spaces.get("smoke", context)
    spec = StudySpec(
        name=name, data=str(radiographs), train_fingerprint=dataset.train_fingerprint,
        test_fingerprint=dataset.test_fingerprint, classes=dataset.classes, positive=dataset.positive, space="smoke",
        space_signature=signature(declared_parameters(space.declare_hyperparameters)), families=("dense", "cnn"),
        seed=SEED,
        demonstration=dataset.demonstration,
    )  # fmt: skip
    lock = StudyLock(results, name)
    study = create.create(spec, space.declare_hyperparameters, lock, resume=False)

    begun = time.time()
    labels = np.array([image.label for image in dataset.select("train") + dataset.select("val")], np.int32)
    held = np.arange(len(dataset.select("train")), len(labels))
    for i, values in enumerate(CONFIGS):
        study.enqueue(values, origin=f"recipe {values['family']}", recipe=values["family"])
        asked = study.ask()
        if complete:
            guesses = np.random.default_rng(i).random((len(held), len(dataset.classes)))
            hits = guesses + np.eye(len(dataset.classes))[labels[held]]
            probabilities = np.asarray(hits / hits.sum(axis=1, keepdims=True), np.float32)
            study.keep_predictions(asked.number, probabilities=probabilities, labels=labels[held], indices=held)
            study.complete(asked.number, result_of(0.8 + 0.05 * i))
    for number in () if complete else range(len(CONFIGS)):
        study.failed(number, FailureCause.INTERRUPTED, "stopped")
    study.begin(begun - 90)
    study.close()
    return study.view()


if __name__ == "__main__":
    where = Path(sys.argv[1])
    names = tuple(sys.argv[2].split(",")) if len(sys.argv) > 2 else ("NORMAL", "PNEUMONIA")
    each = int(sys.argv[3]) if len(sys.argv) > 3 else 24
    made = make(where / "results", draw_radiographs(where / "radiographs", names, each))
    print(made.name, [t.number for t in made.trials()])
