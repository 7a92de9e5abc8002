"""The final model's rooms: prediction from files, ONNX on the CPU, and the bootstrap of every figure."""

from __future__ import annotations

import atexit
import functools
import os
import subprocess
import sys
import tempfile
from functools import partial

from tests.benchmarks.harness import ROOT, Benchmark, in_process

COUNT = 512

SETUP = """
import sys, tempfile, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import numpy as np
from PIL import Image
from search.cli import console
from xraytune.inference import outliers, predict_files
import keras
from xraytune.evaluation import calibration
from xraytune.artifacts import sha256
from xraytune.inference.classifier import load_model
from xraytune.inference.networks import predict_network
from xraytune.inference.model_card import Member, ModelCard, write_card
kind, radiographs = sys.argv[1], int(sys.argv[2])
folder = Path(tempfile.mkdtemp())
keras.utils.set_random_seed(0)
pixels = keras.Input((128, 128, 1))
x = keras.layers.Rescaling(1 / 255)(pixels)
for width in (16, 32, 64, 128):
    x = keras.layers.MaxPooling2D()(keras.layers.Conv2D(width, 3, padding="same", activation="relu")(x))
x = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
keras.Model(pixels, x).save(folder / "model.keras")
member = Member("model.keras", sha256(folder / "model.keras"), 128).to_json()
rng = np.random.default_rng(0)
known = outliers.fit(rng.integers(0, 256, (300, 128, 128, 1), dtype=np.uint8)).to_json()
write_card(folder, ModelCard(("a", "b"), 1, 1, "crop", 0.5, "0.5", calibration.none(2).to_json(), known, (member,)))
"""
"""A model of four convolutions at 128 px, saved and loaded as a winner is."""

FROM_FILES = (
    SETUP
    + """
paths = []
for i in range(radiographs):
    coarse = rng.integers(0, 256, (16, 16), dtype=np.uint8)
    paths.append(folder / f"{i}.jpeg")
    Image.fromarray(coarse).resize((224, 224), Image.Resampling.BICUBIC).save(paths[-1], quality=90)
model = load_model(folder)
list(predict_files.classify(model, paths[:32]))
began = time.perf_counter()
answers = list(predict_files.classify(model, paths))
print(len(answers) / (time.perf_counter() - began))
"""
)

KERAS_LOOP = (
    SETUP
    + """
network = keras.saving.load_model(folder / "model.keras")
images = rng.integers(0, 256, (radiographs, 128, 128, 1)).astype(np.float32)
network.predict(images[:32], verbose=0)
began = time.perf_counter()
for start in range(0, radiographs, 32):
    network.predict(images[start : start + 32], verbose=0)
print(radiographs / (time.perf_counter() - began))
"""
)

ON_ARRAYS = (
    SETUP
    + """
if kind == "onnx":
    from xraytune.inference.onnx_export import export
    model = load_model(export(folder)[0][0])
else:
    model = load_model(folder)
images = {128: rng.integers(0, 256, (radiographs, 128, 128, 1), dtype=np.uint8)}
model.predict_squares({128: images[128][:32]})
began = time.perf_counter()
model.predict_squares(images)
print(radiographs / (time.perf_counter() - began))
"""
)

REPORT = """
import sys, time
from pathlib import Path
from search import report
from search.study.view import open_study
began = time.perf_counter()
results = Path(sys.argv[1]) / "results"
report.write(open_study("made", results), results / "made" / "winner")
print(time.perf_counter() - began)
"""

WANTED = 20.0
"""Seconds that a report may take once the figures are there."""


@functools.cache
def retrained() -> str:
    """A folder with a retrained study of 624 test images: made once, removed with the process."""
    home = tempfile.TemporaryDirectory(prefix="bench-report-")
    atexit.register(home.cleanup)
    maker = [sys.executable, "-m", "tests.e2e.retraining.made_study", home.name, "NORMAL,PNEUMONIA", "624"]
    options = ["--results", f"{home.name}/results", "--folds", "3", "--seeds", "1", "--finalists", "1"]
    for command in (maker, [sys.executable, "-m", "search.retrain", "0", *options]):
        environment = os.environ | {"XRAYTUNE_CACHE": f"{home.name}/cache"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
    return home.name


BOOTSTRAP = """
import sys, time
import numpy as np
from xraytune.evaluation import evaluate
from xraytune.evaluation.predictions import Predictions
rng = np.random.default_rng(0)
labels = (np.arange(624) >= 234).astype(int)
score = np.clip(rng.normal(0.35 + 0.3 * labels, 0.2), 0, 1)
p, patients = np.stack([1 - score, score], 1), np.arange(624) // 2
began = time.perf_counter()
evaluate.evaluate(Predictions(labels, p, patients, ("a", "b"), 1))
print(time.perf_counter() - began)
"""

WANTED_OF_BOOTSTRAP = 2.0
"""Seconds that 2,000 draws of every figure of 624 predictions may take on two cores."""


def benchmarks() -> list[Benchmark]:
    """Those of this module."""
    return [
        Benchmark(
            "predict.throughput", "images/s", "higher",
            partial(in_process, FROM_FILES, "keras", str(COUNT)), partial(in_process, KERAS_LOOP, "keras", str(COUNT)),
            "prediction from JPEG files, including decoding, against a loop of Keras predict on decoded arrays",
            target=1.0,
        ),
        Benchmark(
            "predict.onnx", "images/s", "higher",
            partial(in_process, ON_ARRAYS, "onnx", str(COUNT)), partial(in_process, ON_ARRAYS, "keras", str(COUNT)),
            "the exported model in ONNX Runtime on the CPU, against the same model in Keras",
        ),
        Benchmark(
            "predict.bootstrap", "s", "lower",
            lambda: in_process(BOOTSTRAP), lambda: WANTED_OF_BOOTSTRAP,
            "2,000 draws of every metric on 624 predictions, overall, by class and averaged, against the limit of "
            f"{WANTED_OF_BOOTSTRAP:g} s",
            target=1.0,
        ),
        Benchmark(
            "predict.report", "s", "lower",
            lambda: in_process(REPORT, retrained()), lambda: WANTED,
            f"report and model card of 624 test images from computed metrics, against the limit of {WANTED:g} s",
            target=1.0,
        ),
    ]  # fmt: skip
