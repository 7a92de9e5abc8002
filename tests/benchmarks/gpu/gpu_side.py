"""Images a second of one family on this machine's first accelerator: ours and a plain Keras loop, in turns.

    python -m tests.benchmarks.gpu.gpu_side FAMILY IMAGES SIZE ROUNDS

Prints one JSON object: the device, and for each side the images a second of every round. Both train the same network
on the same images without augmentation. Ours is an epoch of a trial as the search trains it, without its validation;
the plain loop is `compile` with Keras's defaults and an epoch of `fit` on the array. Building and tracing come before.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import keras_tuner
import numpy as np

from tests.inputs.made_networks import config, space, trial_data, write_weights
from xraytune.framework import keras
from xraytune.models import SIZES
from xraytune.training.inputs import batches
from xraytune.training.machine import device_name
from xraytune.training.trainer import Trainer

BATCH = 32
VALIDATED = 4
"""One image in so many is judged on; the others are trained on."""


def measure(family: str, images: int, most: int, rounds: int, folder: Path) -> dict[str, object]:
    """What the module prints.

    Args:
        family: of the space `chest_xray`.
        images: an epoch's.
        most: the largest image size in pixels; the family's own largest where that is smaller.
        rounds: measured of each side.
        folder: for weights and cached features.
    """
    size = max(s for s in SIZES[family] if s <= most)
    weights = {"vgg16": str(write_weights("vgg16", folder / "vgg16.weights.h5"))} if family.startswith("vgg") else {}
    data = trial_data(folder, n=images * VALIDATED // (VALIDATED - 1), sizes=(size,))
    hypermodel = space(weights=weights, families=(family,))
    own = {"vgg_finetuned/head_epochs": 0, "vgg_finetuned/trained_blocks": 1} if family == "vgg_finetuned" else {}
    plain = {"augmentation": "none", "shape_jitter": "none", "batch_size": BATCH, "epochs": 30, "patience": 8}
    point = config(hypermodel, family=family, **{f"{family}/image_size": size}, **plain, **own)
    batches.LEAST_EPOCH = images
    trainer = Trainer(hypermodel, point, data)
    hp = keras_tuner.HyperParameters()
    hp.values = dict(point.values)
    network = hypermodel.build(hp)
    network.compile(optimizer="adam", loss="categorical_crossentropy")
    pool = np.asarray(data.pools[size])[data.train]
    targets = np.eye(2, dtype=np.float32)[data.labels[data.train]]
    trainer.step()
    network.fit(pool, targets, batch_size=BATCH, verbose=0)
    found: dict[str, list[float]] = {"ours": [], "baseline": []}
    for _ in range(rounds):
        before = trainer.clock.seconds["train"]
        trainer.step()
        trained = len(data.train) // BATCH * BATCH
        found["ours"].append(trained / (trainer.clock.seconds["train"] - before))
        begun = time.perf_counter()
        network.fit(pool, targets, batch_size=BATCH, verbose=0)
        found["baseline"].append(len(pool) / (time.perf_counter() - begun))
    return {"device": device_name(), "backend": keras.backend.backend(), "size": size, **found}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(json.dumps(measure(sys.argv[1], *map(int, sys.argv[2:5]), Path(place))))
