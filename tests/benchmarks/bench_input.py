"""The input never starves the network: an epoch of the `cnn` family against bare steps and Keras's reader.

All sides train one network (three blocks, width 16, 64 px), batches of 32, two cores; tracing is not counted.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from tests.benchmarks.harness import Benchmark, in_process, real_data

NETWORK = """
import sys, tempfile, time
from pathlib import Path
import keras, keras_tuner, numpy as np
import spaces
from tests.inputs.made_networks import config
from xraytune.training.optimization.compiling import compile_network
from xraytune.training.optimization.settings import TrainingSettings
space = spaces.get("chest_xray", spaces.SpaceContext(families=("cnn",)))
point = config(space, family="cnn", augmentation="medium", epochs=10, patience=8, **{"cnn/image_size": 64})
hp = keras_tuner.HyperParameters(); hp.values = dict(point.values)
"""

OURS = (
    NETWORK
    + """
from xraytune import data as data_package
from xraytune.data import arrays
from xraytune.training.trainer import Trainer
from xraytune.training.inputs.trial_data import TrialData
dataset = data_package.load(sys.argv[1])
train = dataset.select("train")
labels = np.array([i.label for i in (*train, *dataset.select("val"))], np.int32)
data = TrialData({64: arrays.pool(dataset, 64)}, labels, np.arange(len(labels)).astype(str),
    np.random.default_rng(0).permutation(len(train))[:2048],
    np.arange(len(train), len(train) + 64), dataset.classes, dataset.positive, dataset.channels, "bench",
    Path(tempfile.mkdtemp()))
training = Trainer(space, point, data)
training.step()
before = training.clock.seconds["train"]
training.step()
print(training.clock.seconds["train"] - before)
"""
)
"""An epoch of 2,048 images: gathered from the mapped array, augmented, trained."""

BARE = (
    NETWORK
    + """
from xraytune.training.optimization.fitting import augmented
from xraytune.training.optimization.fused_batch_norm import fuse
network = space.build(hp)
if sys.argv[2] == "fused":
    fuse(network)
plan = TrainingSettings.of(point.values)
shell = augmented(network, plan.augmentation.layers(0))
shell.compile(optimizer=network.optimizer, loss=network.loss, jit_compile=False)
x = np.random.default_rng(0).integers(0, 255, (32, 64, 64, 1)).astype(np.uint8)
y = np.eye(2, dtype=np.float32)[np.arange(32) % 2]
shell.train_on_batch(x, y)
began = time.perf_counter()
for _ in range(64):
    shell.train_on_batch(x, y)
print(time.perf_counter() - began)
"""
)
"""The same 64 steps, augmentation layers included, on one batch that is at hand: no input at all. Batch normalisations
fused, as a trial trains them, or as Keras has them."""

CROPPED = (
    NETWORK
    + """
import dataclasses
from xraytune import data as data_package
from xraytune.data import arrays
from xraytune.training.trainer import Trainer
from xraytune.training.inputs.trial_data import TrialData
dataset = data_package.load(sys.argv[1])
train = dataset.select("train")
labels = np.array([i.label for i in (*train, *dataset.select("val"))], np.int32)
data = TrialData(arrays.pools(dataset, [64, 224]), labels, np.arange(len(labels)).astype(str),
    np.random.default_rng(0).permutation(len(train))[:2048],
    np.arange(len(train), len(train) + 64), dataset.classes, dataset.positive, dataset.channels, "bench",
    Path(tempfile.mkdtemp()), crop_size=224)
chosen = dict(augmentation="light", shape_jitter="strong")
both = [Trainer(space, dataclasses.replace(point, values=point.values | chosen | {"crop": crop}), data)
    for crop in ("none", sys.argv[2])]
for training in both:
    training.step()
before = [training.clock.seconds["train"] for training in both]
for _ in range(3):
    for training in both:
        training.step()
plain, cropped = (t.clock.seconds["train"] - b for t, b in zip(both, before))
print(cropped / plain)
"""
)
"""How much longer training steps take with random resized crops than without, three epochs of each in turns."""

OUR_LAYERS = "layers = plan.augmentation.layers(0)"
KERAS_LAYERS = """
from xraytune.training.inputs.augmentation import AMOUNTS
a, k = AMOUNTS["medium"], keras.layers
near = {"fill_mode": "nearest"}
layers = [k.RandomRotation(a.rotation / 360, **near), k.RandomTranslation(a.shift, a.shift, **near),
    k.RandomZoom(a.zoom, **near), k.RandomShear(a.shear / 90, **near), k.RandomBrightness(a.brightness / 255),
    k.RandomContrast(a.contrast, value_range=(0, 255)), k.Rescaling(1 / 255), k.GaussianNoise(a.noise / 255),
    k.Rescaling(255)]
"""
"""The same augmentation as Keras's users put it together: a layer for each change."""

DIRECTORY = (
    NETWORK
    + """
import tensorflow as tf
network = space.build(hp)
plan = TrainingSettings.of(point.values)
radiographs = keras.utils.image_dataset_from_directory(
    sys.argv[1], image_size=(64, 64), color_mode="grayscale", label_mode="categorical", batch_size=32,
    verbose=False)
exec(sys.argv[2])
def moved(x, y):
    for layer in layers:
        x = layer(x, training=True)
    return x, y
radiographs = radiographs.map(moved, num_parallel_calls=tf.data.AUTOTUNE).take(64).prefetch(2)
network.compile(optimizer="adam", loss=network.loss, jit_compile=False)
network.fit(radiographs.take(1), verbose=0)
began = time.perf_counter()
network.fit(radiographs, verbose=0)
print(time.perf_counter() - began)
"""
)
"""64 batches read from the folder by Keras's own reader, through these layers."""


def _run(code: str, *arguments: str) -> float:
    return in_process(code, str(real_data("chest_xray")), *arguments)


def _from_directory(layers: str) -> float:
    return in_process(DIRECTORY, str(real_data("chest_xray") / "train"), layers)


def _from_originals(layers: str) -> float:
    """As `_from_directory`, on the 16 images of `val`, which have their original size, each linked 128 times."""
    originals = real_data("chest_xray") / "val"
    with tempfile.TemporaryDirectory() as name:
        for radiograph in originals.glob("*/*.jpeg"):
            folder = Path(name) / radiograph.parent.name
            folder.mkdir(exist_ok=True)
            for copy in range(128):
                (folder / f"{radiograph.stem}-{copy}.jpeg").symlink_to(radiograph.resolve())
        return in_process(DIRECTORY, name, layers)


def benchmarks() -> list[Benchmark]:
    """Those of this module."""
    return [
        Benchmark(
            "input.cnn_epoch", "s", "lower", partial(_run, OURS), partial(_run, BARE, "fused"),
            "an epoch of cnn at 64 px with medium augmentation from the mapped array, against the same steps, "
            "including augmentation layers, on one batch in memory",
            target=1 / 1.3,
        ),
        Benchmark(
            "input.cnn_against_directory", "s", "lower", partial(_run, OURS), partial(_from_directory, OUR_LAYERS),
            "the same epoch, against image_dataset_from_directory with xraytune's layers, on images of 224 px",
            target=3,
        ),
        Benchmark(
            "input.cnn_against_originals", "s", "lower", partial(_run, OURS), partial(_from_originals, OUR_LAYERS),
            "the same, on images of their original size (16 of 592 to 1,776 px, each 128 times); xraytune reads the "
            "mapped array for images of any size",
            target=3,
        ),
        Benchmark(
            "input.cnn_against_keras", "s", "lower", partial(_run, OURS), partial(_from_directory, KERAS_LAYERS),
            "the same epoch, against image_dataset_from_directory with Keras's layers of the same strengths",
            target=3,
        ),
        Benchmark(
            "input.crops", "of the time without", "lower", partial(_run, CROPPED, "0.5"), lambda: 1.0,
            "training steps of cnn at 64 px with random resized crops cut from 224 px, light augmentation and shape "
            "jitter, against the same steps without crops, epochs in turns in one process",
            target=1 / 1.1,
        ),
        Benchmark(
            "input.fused_norm", "s", "lower", partial(_run, BARE, "fused"), partial(_run, BARE, "as Keras has them"),
            "64 such steps with batch normalisation by the fused kernel, against Keras's kernel",
        ),
    ]  # fmt: skip
