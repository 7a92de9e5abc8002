"""How fast this machine really runs a frozen backbone: sixty-four images through it, once a backbone and host.

Counting operations says what one size costs against another; what the operations cost differs from backbone to
backbone and from machine to machine. So each backbone that a search may cut is timed on 64 images at 64 px with the
threads that a worker has, in a process of its own, and the rate is kept in the cache. Called by `spaces.narrowing`.
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

IMAGES, SIZE, ROUNDS = 64, 64, 3
PATIENCE = 120.0
"""Seconds after which a machine that does not answer is taken for what counting operations says."""


def prefix_rates(backbones: Iterable[str], folder: Path) -> dict[str, float]:
    """Operations a second of one core in each backbone's forward pass; those that could not be measured are left out.

    Args:
        backbones: which are wanted.
        folder: where rates are kept, by host.
    """
    kept = folder / f"rates-{platform.node()}.json"
    try:
        known: dict[str, float] = dict(json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        known = {}
    wanted = sorted(set(backbones))
    if missing := [name for name in wanted if name not in known]:
        known |= _measure(missing)
        artifacts.write_json(kept, known)
    return {name: known[name] for name in wanted if name in known}


def _measure(backbones: list[str]) -> dict[str, float]:
    environment = os.environ | {"XRAYTUNE_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, *backbones],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, ValueError, IndexError):
        return {}
    return {name: IMAGES * backbone_operations(name, SIZE) / taken for name, taken in seconds.items()}


def _time(backbone: str) -> float:
    """Seconds that `IMAGES` images take, the best of some rounds, tracing not counted."""
    import keras
    import numpy as np

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


if __name__ == "__main__":
    from xraytune.machine import configure_threads

    configure_threads()
    print(json.dumps({name: _time(name) for name in sys.argv[1:]}))
