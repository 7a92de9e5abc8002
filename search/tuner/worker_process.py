"""A worker's process: threads, share of a GPU, memory limit, log file."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from search.cli import streams
from xraytune.hardware import THREADS

_PR_SET_PDEATHSIG = 1


def machine() -> dict[str, Any]:
    """On what this process runs; a framework that no trial has loaded is not loaded for this."""
    about: dict[str, Any] = {"host": socket.gethostname()}
    if "keras" in sys.modules:
        from xraytune.training.machine import peak_memory_mb

        about |= {**_framework(), "peak_memory_mb": peak_memory_mb()}
    return about


@functools.cache
def _framework() -> dict[str, Any]:
    from xraytune.training.machine import device_name, versions

    return {"device": device_name(), "versions": versions()}


def die_with_parent() -> None:
    """Have the kernel kill this worker when Ray's raylet ends (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def log_into(folder: Path) -> None:
    """Send what this process prints to a file with the study, where this machine has the study's folder."""
    streams.settle()
    if not folder.is_dir():
        return
    with contextlib.suppress(OSError):
        log = os.open(folder / f"worker-{os.getpid()}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)


def limit_threads(threads: int) -> None:
    """As many threads as cores were given, before any library is imported that asks."""
    os.environ.update(dict.fromkeys(THREADS, str(threads)) | {"TF_NUM_INTEROP_THREADS": "1"})


def share_gpu(share: float) -> None:
    """Take no more of a GPU than a trial's share, before any library is imported that would take all of it.

    TensorFlow's memory grows with need; JAX takes a part beforehand, a tenth less than the share, since a neighbour's
    context needs room too. Without a share there is no GPU to be seen.
    """
    os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    if not share:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    elif share < 1:
        os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 * share:.3f}")


@contextlib.contextmanager
def memory_limit(limit: int) -> Any:
    """Let allocations beyond `limit` bytes of data fail (Linux: RLIMIT_DATA) while a trial computes."""
    if not limit:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
