"""How many trials run at once and what each of them gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import takewhile

import psutil

from xraytune import hardware
from xraytune.errors import InputError

WORKER_MEMORY = 1.5 * 2**30
"""Bytes a worker needs with TensorFlow loaded and a mid-sized network in training (0.9 to 1.6 GiB measured)."""


@dataclass(frozen=True)
class Resources:
    """What the trials of a search are given."""

    concurrency: int
    """Trials at once, on all machines together; 0 leaves it to the cluster."""
    cpus: float
    """CPU cores a trial; its libraries get as many threads."""
    gpus: float
    """GPUs a trial; a fraction lets trials share one."""
    total_cpus: int
    """Cores that Ray may hand out on this machine."""
    total_gpus: int
    """GPUs of this machine."""

    @property
    def threads(self) -> int:
        """Threads a trial's libraries may use."""
        return max(1, int(self.cpus))

    def joined(self, there: Mapping[str, float], gpus_per_trial: float | None) -> Resources:
        """The same on a cluster that is there anyway: a GPU a trial where it has any, unless the user says otherwise.

        Args:
            there: what all its machines have, as Ray counts it.
            gpus_per_trial: what the user says, None for nothing.
        """
        return replace(self, gpus=float(there.get("GPU", 0) >= 1)) if gpus_per_trial is None else self


def share_resources(
    concurrency: int | None = None,
    cpus_per_trial: float | None = None,
    gpus_per_trial: float | None = None,
    *,
    cores: int | None = None,
    gpus: int | None = None,
    memory: int | None = None,
    joined: bool = False,
) -> Resources:
    """Sensible shares for this machine, unless the user says otherwise.

    Two cores: two trials of one core. Sixteen: eight of two. One GPU: one trial with all cores. Eight GPUs: eight
    trials. Memory bounds the number of workers.

    Args:
        concurrency: trials at once; None to choose.
        cpus_per_trial: cores a trial; None to choose.
        gpus_per_trial: GPUs a trial, 0.25 lets four share one; None for one each where there are any.
        cores: usable cores; None to look.
        gpus: GPUs; None to look.
        memory: free bytes; None to look.
        joined: whether an existing cluster is joined, whose machines count instead of this one; `Resources.joined`
            then gives each trial a GPU where they have any.

    Raises:
        InputError: a number is not above zero, or more is asked than there is.
    """
    cores = cores or hardware.cores()
    gpus = count_gpus() if gpus is None else gpus
    memory = psutil.virtual_memory().available if memory is None else memory
    for option, value in (("--concurrency", concurrency), ("--cpus-per-trial", cpus_per_trial)):
        if value is not None and value <= 0:
            raise InputError(f"{option} must be above 0, not {value}.")
    if gpus_per_trial is not None and gpus_per_trial < 0:
        raise InputError(f"--gpus-per-trial can't be negative, as {gpus_per_trial} is.")
    if gpus_per_trial is not None and gpus_per_trial > 1 and gpus_per_trial != int(gpus_per_trial):
        raise InputError(f"--gpus-per-trial {gpus_per_trial}: above 1 only whole GPUs can be given.")
    if joined:
        return Resources(concurrency or 0, cpus_per_trial or 1.0, gpus_per_trial or 0.0, cores, gpus)
    share = (1.0 if gpus else 0.0) if gpus_per_trial is None else gpus_per_trial
    if share > gpus:
        raise InputError(f"--gpus-per-trial {share:g}: this machine has {gpus} GPUs. Use 0 to train on the CPU.")
    if concurrency is None:
        by_memory = max(1, int(memory // WORKER_MEMORY))
        by_cores = max(1, int(cores // (cpus_per_trial or 1)))
        by_gpus = int(gpus / share + 1e-9) if share else hardware.MOST_WORKERS
        concurrency = max(1, min(by_memory, by_cores, by_gpus, hardware.MOST_WORKERS if not share else by_gpus))
    cpus = cpus_per_trial or max(1.0, float(cores // concurrency))
    return Resources(concurrency, cpus, share, max(cores, int(-(-concurrency * cpus // 1))), gpus)


def count_gpus() -> int:
    """GPUs as Ray counts them, who hands them out; but -1 hides, as in CUDA, all that comes after it."""
    from ray._private.accelerators import NvidiaGPUAcceleratorManager

    visible = NvidiaGPUAcceleratorManager.get_current_process_visible_accelerator_ids()
    if visible is not None:
        return len(list(takewhile(lambda name: name.strip() not in {"", "-1"}, visible)))
    return int(NvidiaGPUAcceleratorManager.get_current_node_num_accelerators())
