"""Cached features: a trial on VGG16's cached features against the same trial through the whole network.

Both sides train in one process each on two cores, on 2,000 real training images; imports, reading the images and
computing the features are not counted on either side (the second trial on the same features is measured). The whole
network's ten epochs are its first, building and tracing included, and nine times its second: its epochs are alike, and
ten would take half an hour.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from tests.benchmarks.harness import Benchmark, UnavailableError, in_process, real_data

TRIAL = """
import dataclasses, os, sys, time
from pathlib import Path
import numpy as np
import spaces
from tests.inputs.made_networks import config
from xraytune import data as data_package
from xraytune.training.inputs import frozen_features
from xraytune.data import arrays
from xraytune.models import backbones
from xraytune.training.trainer import Trainer
from xraytune.training.inputs.trial_data import TrialData
radiographs, family, keep, epochs, size = sys.argv[1], sys.argv[2], sys.argv[3] == "keep", int(sys.argv[4]), 128
dataset = data_package.load(radiographs)
train = dataset.select("train")
some = (64 * np.random.default_rng(0).permutation(len(train) // 64)[:, None] + np.arange(64)).ravel()[:2000]
data = TrialData.of(dataset, {size: arrays.pool(dataset, size)}, cache=Path(os.environ["BENCH_CACHE"]))
data = dataclasses.replace(data, train=some, validation=np.arange(len(train), len(train) + 200))
weights = {n: str(p) for n, p in backbones.reachable(names=["vgg16"]).items()}
space = spaces.get("chest_xray", spaces.SpaceContext(weights=weights))
point = config(space, family=family, epochs=10, augmentation="none", shape_jitter="none", patience=8,
               **{f"{family}/image_size": size, f"{family}/cut": "block5_pool" if family == "vgg_finetuned" else
               "block4_pool"}, **({"vgg_finetuned/head_epochs": 0, "vgg_finetuned/trained_blocks": 1} if family ==
               "vgg_finetuned" else {}))
if keep:  # the first trial of the prefix builds it
    Trainer(space, point, data, max_epochs=1).step()
else:
    frozen_features.split = lambda model: None
began = time.perf_counter()
training = Trainer(space, point, data, max_epochs=epochs)
if family == "vgg_finetuned":  # an epoch is meant, not the tracing before it
    rows = some[:64]
    source = training.images.plain(rows)[rows]
    training.shell.train_on_batch(source[:32], np.eye(2, dtype=np.float32)[data.labels[rows[:32]]])
    training.shell.predict_on_batch(source)
    began = time.perf_counter()
took = []
for _ in range(epochs):
    training.step()
    took.append(time.perf_counter() - began)
print(took[-1] + float(sys.argv[5]) * (took[-1] - took[-2] if epochs > 1 else 0))
"""


def _trial(family: str, keep: bool, epochs: int, more: int) -> float:
    """Seconds of so many epochs, and of so many more as the last one."""
    if not os.environ.get("XRAYTUNE_WEIGHTS"):
        raise UnavailableError("needs VGG16's weights: set XRAYTUNE_WEIGHTS to the folder that holds them")
    radiographs = str(real_data("chest_xray"))
    cache = os.environ.get("XRAYTUNE_CACHE") or str(Path.home() / ".cache" / "xraytune")
    return in_process(
        TRIAL, radiographs, family, "keep" if keep else "whole", str(epochs), str(more), BENCH_CACHE=cache
    )


def benchmarks() -> list[Benchmark]:
    """The two of this module."""
    return [
        Benchmark(
            "features.vgg_frozen_trial", "s", "lower",
            partial(_trial, "vgg_frozen", True, 10, 0), partial(_trial, "vgg_frozen", False, 2, 8),
            "ten epochs of vgg_frozen at 128 px on 2,000 images, second trial on its cached features, against the "
            "whole network (its first epoch, and nine times its second)",
            target=30,
        ),
        Benchmark(
            "features.vgg_finetuned_epoch", "s", "lower",
            partial(_trial, "vgg_finetuned", True, 1, 0), partial(_trial, "vgg_finetuned", False, 1, 0),
            "an epoch of vgg_finetuned (last block) at 128 px on 2,000 images with cached frozen features, against "
            "without",
            target=4,
        ),
    ]  # fmt: skip
