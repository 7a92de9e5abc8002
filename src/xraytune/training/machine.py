"""What a trial runs on: threads to hold it to; versions, device, host and memory, recorded with every result."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytune.framework import keras


def configure_threads(n: int | None = None) -> None:
    """Hold the backend to `n` threads, or to `XRAYTUNE_THREADS`; call it before the first operation of a process.

    With neither, the backend takes every core. JAX reads its threads from the environment at import, so there it only
    works where the engine sets `XLA_FLAGS` before.
    """
    wanted = n or int(os.environ.get("XRAYTUNE_THREADS", "0"))
    if wanted and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(wanted)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def milliseconds_an_image(network: Any, images: NDArray[Any]) -> float:
    """What a network needs for one of these images, in batches of 32: the best of three after a first one."""
    batch = np.resize(images, (32, *images.shape[1:]))
    network.predict_on_batch(batch)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        network.predict_on_batch(batch)
        times.append(time.perf_counter() - start)
    return 1000 * min(times) / len(batch)


def versions() -> dict[str, str]:
    """Versions of everything that a result depends on."""
    found = {"python": platform.python_version(), "backend": keras.backend.backend()}
    for package in ("keras", keras.backend.backend(), "numpy", "xraytune"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a backend installed under another name (tensorflow-cpu)
            found[package] = "unknown"
    return found


def device_name() -> str:
    """`cpu`, or the first accelerator's name as the backend knows it."""
    if keras.backend.backend() == "jax":
        import jax

        device = jax.devices()[0]
        return "cpu" if device.platform == "cpu" else str(device.device_kind)
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", gpus[0].name)) if gpus else "cpu"


def forget_peak_memory() -> None:
    """Begin to count the peak anew, where the kernel can (Linux): a worker trains one trial after another."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_mb() -> float:
    """The process's peak resident memory since it was last forgotten, MiB; since its start where that can't be."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024
