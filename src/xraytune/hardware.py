"""What this process may use of the machine: cores and GPUs, counted without importing a framework."""

from __future__ import annotations

import os
from itertools import takewhile
from pathlib import Path

MOST_WORKERS = 8
"""Trials or trainings at once on CPUs by default: beyond, threads grow instead, since every worker costs memory (1 to
1.6 GiB with TensorFlow) and a sampler learns nothing from trials that run together."""

THREADS = (
    "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "XRAYTUNE_THREADS",
)  # fmt: skip
"""Variables for the threads that a process computes with; a worker is given all of them, whatever the shell says."""

_NVIDIA = Path("/proc/driver/nvidia/gpus")
_PROCESSOR = Path("/proc/cpuinfo")
_IDENTIFIERS = ("GPU-", "MIG-")


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu_names() -> tuple[str, ...]:
    """NVIDIA GPUs of this machine that `CUDA_VISIBLE_DEVICES` leaves visible, as it names them, without starting CUDA.

    As CUDA has it: a number that no GPU has, or what is no name, ends the list; identifiers are taken at their word.
    """
    found = len(list(_NVIDIA.glob("*")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return tuple(map(str, range(found)))
    named = (name.strip() for name in visible.split(","))
    there = takewhile(lambda name: int(name) < found if name.isdecimal() else name.startswith(_IDENTIFIERS), named)
    return tuple(there) if found else ()


def gpus() -> int:
    """How many `gpu_names` there are."""
    return len(gpu_names())


def instructions() -> frozenset[str]:
    """The instructions that the processor has, as Linux names them (`avx2`, `avx512_bf16`, `asimd`); none elsewhere."""
    try:
        lines = _PROCESSOR.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith(("flags", "Features"))), "").split()[2:])
