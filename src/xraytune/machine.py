"""What a trial ran on: versions, device, host, memory. Recorded with every result."""

from __future__ import annotations

import platform
import resource
import socket
import sys
from importlib.metadata import PackageNotFoundError, version

import keras


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


def host_name() -> str:
    """This machine's name."""
    return socket.gethostname()


def peak_memory_mb() -> float:
    """The process's peak resident memory so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024
