"""What counting operations does not say of this machine: timed once a host, in a process of its own, one thread.

What the operations of a frozen backbone cost differs from backbone to backbone and from machine to machine: each that a
search may cut is timed on 64 images at 64 px. Whether bfloat16 is faster than float32 depends on the processor: a step
of a small convolutional network is timed in both. What is found is kept in the cache.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from xraytune import artifacts
from xraytune.models.cost import backbone_operations
from xraytune.records import Value

IMAGES, SIZE, ROUNDS = 64, 64, 3
STEPS, STEP_ROUNDS = 10, 5
CNN: dict[str, Value] = {
    "family": "cnn", "cnn/image_size": 64, "cnn/normalization": "unit", "cnn/blocks": 3, "cnn/convolutions": 2,
    "cnn/width": 16, "cnn/growth": 2.0, "cnn/batch_norm": True, "cnn/pooling": "max", "cnn/dropout": 0.0,
    "head/pool": "avg", "head/layers": 1, "head/units": 64, "head/dropout": 0.0, "head/batch_norm": False,
}  # fmt: skip
"""Whose step is timed: a middling network of the family that trains most of a search's time."""

CLEARLY = 1.05
"""How many times as fast bfloat16 must be: below, two timings of the same thing differ as much."""

PATIENCE = 120.0
"""Seconds after which a machine that does not answer is taken for what counting operations says."""


def prefix_rates(backbones: Iterable[str], folder: Path) -> dict[str, float]:
    """Operations a second of one core in each backbone's forward pass; those that could not be measured are left out.

    Args:
        backbones: which are wanted.
        folder: where rates are kept, by host.
    """
    wanted = sorted(set(backbones))
    seconds = _kept(folder / f"backbones-{platform.node()}.json", "backbones", wanted)
    return {name: IMAGES * backbone_operations(name, SIZE) / taken for name, taken in seconds.items()}


def bfloat16_speed(folder: Path) -> float | None:
    """How many times as fast as in float32 a training step is in bfloat16, on one core; None if it can't be measured.

    Args:
        folder: where what was measured is kept, by host and backend.
    """
    backend = os.environ["KERAS_BACKEND"]
    seconds = _kept(folder / f"steps-{platform.node()}-{backend}.json", "steps", ["float32", "bfloat16"])
    return seconds["float32"] / seconds["bfloat16"] if len(seconds) == 2 else None


def _kept(path: Path, what: str, wanted: list[str]) -> dict[str, float]:
    """Seconds by name: those that are kept there, the others measured now; without those that could not be."""
    try:
        known: dict[str, float] = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        known = {}
    if missing := [name for name in wanted if name not in known]:
        known |= _measure(what, missing)
        artifacts.write_json(path, known)
    return {name: known[name] for name in wanted if name in known}


def _measure(what: str, names: list[str]) -> dict[str, float]:
    environment = os.environ | {"XRAYTUNE_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, what, *names],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except (subprocess.SubprocessError, OSError, ValueError, IndexError):
        return {}


def _forward(backbone: str) -> float:
    """Seconds that `IMAGES` images take through a backbone, the best of some rounds, tracing not counted."""
    import numpy as np

    from xraytune.framework import keras
    from xraytune.models.backbones import BACKBONES

    network = getattr(keras.applications, BACKBONES[backbone])(
        include_top=False, weights=None, input_shape=(SIZE, SIZE, 3)
    )
    images = np.random.default_rng(0).integers(0, 255, (IMAGES, SIZE, SIZE, 3)).astype(np.uint8)
    network.predict_on_batch(images)
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        network.predict_on_batch(images)
        taken.append(time.perf_counter() - begun)
    return min(taken)


def _steps(precisions: list[str]) -> dict[str, float]:
    """Seconds of `STEPS` training steps in each, the best of rounds in turn, tracing not counted."""
    import numpy as np

    from xraytune.models import network
    from xraytune.training.optimization.compiling import compile_network, computing_in
    from xraytune.training.optimization.fused_batch_norm import fuse
    from xraytune.training.optimization.settings import TrainingSettings

    networks = {}
    images = np.random.default_rng(0).integers(0, 255, (32, SIZE, SIZE, 1)).astype(np.uint8)
    targets = np.eye(2, dtype=np.float32)[np.arange(32) % 2]
    for precision in precisions:
        with computing_in(precision):
            networks[precision] = network(CNN, 1, 2, {})
        fuse(networks[precision])
        compile_network(networks[precision], TrainingSettings.of(CNN))
        networks[precision].train_on_batch(images, targets)
    taken: dict[str, list[float]] = {precision: [] for precision in precisions}
    for _ in range(STEP_ROUNDS):
        for precision in precisions:
            begun = time.perf_counter()
            for _ in range(STEPS):
                networks[precision].train_on_batch(images, targets)
            taken[precision].append(time.perf_counter() - begun)
    return {precision: min(seconds) for precision, seconds in taken.items()}


if __name__ == "__main__":
    from xraytune.training.machine import configure_threads

    configure_threads()
    what, *names = sys.argv[1:]
    print(json.dumps(_steps(names) if what == "steps" else {name: _forward(name) for name in names}))
