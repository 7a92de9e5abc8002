"""What `--precision auto` rests on: a step in float32 against bfloat16, and what each reaches on validation.

`cnn` at 64 px, three blocks of width 16, light augmentation, batches of 32, 2,048 training images and all validation
images, by patient; five epochs from one seed a round, both precisions from the same.
"""

from __future__ import annotations

from functools import partial
from itertools import count

from tests.benchmarks.harness import Benchmark, in_process, real_data

TRIAL = """
import sys, tempfile
from pathlib import Path
import numpy as np
import spaces
from tests.inputs.made_networks import config
from xraytune import data as data_package
from xraytune.data import arrays
from xraytune.training.trainer import Trainer
from xraytune.training.inputs.trial_data import TrialData
radiographs, precision, seed, what = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
dataset = data_package.load(radiographs)
train, held = dataset.select("train"), dataset.select("val")
labels = np.array([i.label for i in (*train, *held)], np.int32)
data = TrialData({64: arrays.pool(dataset, 64)}, labels, np.array([i.patient for i in (*train, *held)]),
    np.random.default_rng(0).permutation(len(train))[:2048], np.arange(len(train), len(labels)),
    dataset.classes, dataset.positive, dataset.channels, "bench", Path(tempfile.mkdtemp()))
space = spaces.get("chest_xray", spaces.SpaceContext(families=("cnn",), narrowed={"precision": (precision,)}))
point = config(space, seed=seed, family="cnn", augmentation="light", epochs=10, patience=8, **{"cnn/image_size": 64})
training = Trainer(space, point, data, max_epochs=2 if what == "seconds" else 5)
training.step()
before = training.clock.seconds["train"]
while not training.done:
    training.step()
print(training.clock.seconds["train"] - before if what == "seconds" else training.finish().metrics["val_auc"])
"""


def _trial(precision: str, what: str, seeds: count[int]) -> float:
    return in_process(TRIAL, str(real_data("chest_xray")), precision, str(next(seeds)), what)


def _sides(what: str) -> tuple[partial[float], partial[float]]:
    return partial(_trial, "float32", what, count(1)), partial(_trial, "bfloat16", what, count(1))


def benchmarks() -> list[Benchmark]:
    """The two of this module."""
    seconds, auc = _sides("seconds"), _sides("auc")
    return [
        Benchmark(
            "precision.cnn_epoch", "s", "lower", *seconds,
            "an epoch of cnn at 64 px in float32, against bfloat16 (below 1: bfloat16 is faster)",
        ),
        Benchmark(
            "precision.cnn_auc", "AUC", "higher", *auc,
            "validation AUC by patient after five epochs in float32, against bfloat16, same seeds (above 1: bfloat16 "
            "is worse)",
        ),
    ]  # fmt: skip
