"""What this process may use of the machine: cores and GPUs, counted without importing a framework."""

from __future__ import annotations

import os
from pathlib import Path

MOST_WORKERS = 8
"""Trials or trainings at once on CPUs by default: beyond, threads grow instead, since every worker costs memory (1 to
1.6 GiB with TensorFlow) and a sampler learns nothing from trials that run together."""

_NVIDIA = Path("/proc/driver/nvidia/gpus")


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> int:
    """NVIDIA GPUs of this machine that `CUDA_VISIBLE_DEVICES` leaves visible, without starting CUDA."""
    found = len(list(_NVIDIA.glob("*")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    return min(found, len([device for device in visible.split(",") if device.strip() not in {"", "-1"}]))
