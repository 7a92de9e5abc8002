"""The data rooms: the first start, the second start, and memory as the number of images grows."""

from __future__ import annotations

import random
import shutil
import tempfile
from functools import partial
from pathlib import Path

from tests.benchmarks.harness import Benchmark, in_process, real_data

KERAS_PASS = """
import sys, time
import keras
began, images = time.perf_counter(), 0
for split in ("train", "val", "test"):
    for batch, labels in keras.utils.image_dataset_from_directory(
        f"{sys.argv[1]}/{split}", image_size=(128, 128), color_mode="grayscale", verbose=False, shuffle=False
    ):
        images += len(labels)
print(time.perf_counter() - began)
"""
"""One pass over the same files, decoded to gray and resized; TensorFlow's import is not counted."""

START = """
import sys, time
began = time.perf_counter()
from xraytune import data
if sys.argv[2] == "without imports":
    began = time.perf_counter()
dataset = data.load(sys.argv[1])
data.arrays.pool(dataset, 128)
data.arrays.test(dataset, 128)
print(time.perf_counter() - began)
"""
"""Everything that a search does with its data before its first trial: verification in full, arrays at 128 px."""

MEMORY = """
import sys, threading, time
import psutil
me = psutil.Process()
def anonymous(process):
    try:
        found = process.memory_info()
    except psutil.Error:
        return 0.0  # it has ended
    return (found.rss - found.shared) / 2**20
def together():
    return anonymous(me) + sum(map(anonymous, me.children(recursive=True)))
from xraytune import data
peak, done = [together()], threading.Event()
def watch():
    while not done.is_set():
        peak[0] = max(peak[0], together())
        time.sleep(0.01)
thread = threading.Thread(target=watch)
thread.start()
dataset = data.load(sys.argv[1])
data.arrays.pool(dataset, 32)
done.set()
thread.join()
print(peak[0])
"""
"""Peak of the memory that is not a mapped file, MiB, of the process and of those that help it read files, together."""


def _start(*, warm: bool) -> float:
    radiographs = str(real_data("chest_xray"))
    with tempfile.TemporaryDirectory() as cache:
        if warm:
            in_process(START, radiographs, "with imports", XRAYTUNE_CACHE=cache)
            return in_process(START, radiographs, "with imports", XRAYTUNE_CACHE=cache)
        return in_process(START, radiographs, "without imports", XRAYTUNE_CACHE=cache)  # as Keras's pass is timed


def _keras_pass() -> float:
    return in_process(KERAS_PASS, str(real_data("chest_xray")))


def _peak(images: int) -> float:
    """Peak memory over made images of 32 px."""
    rng = random.Random(0)
    folder = Path(tempfile.mkdtemp())
    try:
        for number in range(images):
            name = "covid" if number % 2 else "healthy"
            target = folder / "radiographs" / name
            if number < 2:
                target.mkdir(parents=True)
            (target / f"{number:06d}.pgm").write_bytes(b"P5\n32 32\n255\n" + rng.randbytes(1024))
        return in_process(MEMORY, str(folder / "radiographs"), XRAYTUNE_CACHE=str(folder / "cache"))
    finally:
        shutil.rmtree(folder)


def benchmarks() -> list[Benchmark]:
    """The three of this module."""
    return [
        Benchmark(
            "data.cold_start", "s", "lower", partial(_start, warm=False), _keras_pass,
            "verify, hash, split, decode and cache 5,545 images at 128 px, against one Keras pass that only decodes; "
            "both without imports",
            target=1 / 3,
        ),
        Benchmark(
            "data.warm_start", "s", "lower", partial(_start, warm=True), _keras_pass,
            "the second start, including imports, against the Keras pass of every start",
        ),
        Benchmark(
            "data.memory", "MiB", "lower", partial(_peak, 50_000), partial(_peak, 5_000),
            "peak memory of all processes together with 50,000 synthetic images, against 5,000",
        ),
    ]  # fmt: skip
