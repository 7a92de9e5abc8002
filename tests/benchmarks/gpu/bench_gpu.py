"""A GPU: images a second of each family against a plain Keras loop, and four trials that share one GPU.

`make gpu-check` runs those of the present backend. `XRAYTUNE_REHEARSE=1` runs the same with tiny sizes on the CPU; Ray
then hands out a GPU that there is by name alone.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from search.study.view import open_study
from tests.benchmarks.harness import ROOT, Benchmark, UnavailableError
from tests.inputs import made_radiographs
from xraytune import hardware

BACKENDS = ("tensorflow", "jax")
FAMILIES = ("dense", "cnn", "vgg_frozen", "vgg_finetuned", "densenet")
"""Those that are trained by gradient steps."""
REHEARSE = "XRAYTUNE_REHEARSE"


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    images: int
    """Of an epoch."""
    size: int
    """Pixels."""
    shared: int
    """Trials that share the GPU."""
    trials: int
    """Of a search."""
    seconds: int
    """That a search may take."""
    limit: int = 150
    """Seconds after which a family's process is ended."""


FULL = Scale(images=1024, size=224, shared=4, trials=12, seconds=80)
TINY = Scale(images=64, size=48, shared=2, trials=2, seconds=600, limit=600)


def rehearsing() -> bool:
    """Whether the CPU stands in for a GPU."""
    return os.environ.get(REHEARSE, "") not in {"", "0"}


def _scale() -> Scale:
    return TINY if rehearsing() else FULL


def environment(backend: str) -> dict[str, str]:
    """The variables of a process that measures.

    Raises:
        UnavailableError: there is no GPU, or the backend is not installed.
    """
    if not rehearsing() and not hardware.gpus():
        raise UnavailableError("needs an NVIDIA GPU")
    if find_spec(backend) is None:
        raise UnavailableError(f"needs {backend}, which is not installed")
    own = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return os.environ | own | ({"CUDA_VISIBLE_DEVICES": "0"} if rehearsing() else {})


@cache
def _measured(backend: str, family: str, rounds: int) -> dict[str, Iterator[float]]:
    """Both sides' images a second, a number a round; one process measures all rounds."""
    scale = _scale()
    numbers = map(str, (scale.images, scale.size, rounds))
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.gpu.gpu_side", family, *numbers],
        cwd=ROOT, env=environment(backend), capture_output=True, text=True, check=False, timeout=scale.limit,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found = json.loads(done.stdout.splitlines()[-1])
    if found["device"] == "cpu" and not rehearsing():
        raise RuntimeError(f"{backend} sees no GPU and computed on the CPU: is its CUDA build installed?")
    return {side: iter(found[side]) for side in ("ours", "baseline")}


def _rate(backend: str, family: str, side: str, rounds: int) -> float:
    return next(_measured(backend, family, rounds)[side])


def _utilisation() -> float | None:
    """Per cent of the last moments in which the busiest visible GPU computed; None where nobody knows."""
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    if shutil.which(command[0]) is None:
        return None
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20).stdout
    return max((float(word) for word in said.split() if word.replace(".", "").isdigit()), default=None)


@contextmanager
def _watched() -> Iterator[list[float]]:
    """Utilisations, one a second, while something runs."""
    seen: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(1.0):
            if (now := _utilisation()) is not None:
                seen.append(now)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


@cache
def _searched(backend: str, at_once: int) -> tuple[float, float | None]:
    """Trials a minute of a search whose trials share one GPU, and the GPU's mean utilisation while they ran."""
    scale, variables = _scale(), environment(backend)
    size = f"cnn/image_size={scale.size}"
    with tempfile.TemporaryDirectory() as place, _watched() as seen:
        data = made_radiographs.kaggle(Path(place) / "data", train=60, test=10)
        done = subprocess.run(
            [
                sys.executable, "-m", "search.run", "--data", str(data), "--study", "gpu", "--results", place,
                "--cache", f"{place}/cache", "--families", "cnn", "--fix", size, "--fix", "cnn/blocks=3",
                "--fix", "cnn/width=16", "--max-epochs", "2", "--sampler", "random", "--pruner", "none",
                "--trials", str(scale.trials), "--time", f"{scale.seconds}s",
                "--concurrency", str(at_once), "--gpus-per-trial", str(1 / at_once), "--cpus-per-trial", "1",
            ],
            cwd=ROOT, env=variables, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError((done.stdout + done.stderr)[-2000:])
        trials = [t for t in open_study("gpu", Path(place)).trials() if t.result and t.started and t.ended]
    check_devices(backend, trials, at_once)
    spent = max(t.ended for t in trials) - min(t.started for t in trials)
    busy = statistics.fmean(seen) if seen else None
    return 60 * len(trials) / spent.total_seconds(), busy


def check_devices(backend: str, trials: list[Any], at_once: int) -> None:
    """See that trials ran on the GPU, and that as many at once as were to share it.

    Raises:
        RuntimeError: they did not.
    """
    if not rehearsing() and "cpu" in {t.result.device for t in trials}:
        raise RuntimeError(f"trials of {backend} ran on the CPU: is its CUDA build installed?")
    together = max(sum(o.started <= t.started < o.ended for o in trials) for t in trials)
    if together != min(at_once, len(trials)):
        raise RuntimeError(f"{together} trials ran at once, where {at_once} were to share the GPU")


def _trials_a_minute(backend: str, *, shared: bool) -> float:
    return _searched(backend, _scale().shared if shared else 1)[0]


def _busy(backend: str, *, shared: bool) -> float:
    found = _searched(backend, _scale().shared if shared else 1)[1]
    if found is None:
        raise UnavailableError("needs nvidia-smi, which knows how busy the GPU is")
    return found


def benchmarks() -> list[Benchmark]:
    """Those of both backends."""
    found = []
    for backend in BACKENDS:
        for family in FAMILIES:
            ours, theirs = (partial(_rate, backend, family, side, 3) for side in ("ours", "baseline"))
            size = {"dense": 96}.get(family, FULL.size)
            found.append(
                Benchmark(
                    f"gpu.{backend}_{family}", "images/s", "higher", ours, theirs,
                    f"images a second that {family} trains on at {size} px with KERAS_BACKEND={backend}, against "
                    "compile and fit of the same network with Keras's defaults",
                )
            )  # fmt: skip
        found += [
            Benchmark(
                f"gpu.{backend}_shared", "trials/min", "higher",
                partial(_trials_a_minute, backend, shared=True), partial(_trials_a_minute, backend, shared=False),
                f"trials a minute of cnn at {FULL.size} px, {FULL.shared} trials sharing one GPU, against one at a "
                f"time (KERAS_BACKEND={backend})",
                rounds=1,
            ),
            Benchmark(
                f"gpu.{backend}_utilisation", "%", "higher",
                partial(_busy, backend, shared=True), partial(_busy, backend, shared=False),
                "the GPU's mean utilisation during these two searches, their preparation included",
                rounds=1,
            ),
        ]  # fmt: skip
    return found
