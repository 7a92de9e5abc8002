"""What the driver and a worker send each other: an assignment, its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xraytune.records import EpochReport, FailureCause, TrialResult

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class TrialOutcome:
    """What one call of a worker brought; a report, a report with the end, the end alone, or a failure."""

    report: EpochReport | None = None
    result: TrialResult | None = None
    predictions: Mapping[str, np.ndarray] | None = None
    failure: tuple[FailureCause, str] | None = None
    fatal: str = ""
    """What every trial of the search would meet: it ends."""
    machine: Mapping[str, Any] | None = None
    """On what it ran, where no result says so: `host`, and once a framework is loaded `device`, `versions`,
    `peak_memory_mb`."""


@dataclass(frozen=True)
class Assignment:
    """What every worker of a search is given once."""

    job: bytes
    """The job, pickled: unpickling imports the framework. That is left to the first trial, since Tune starts one actor
    at a time."""
    pools: Mapping[int, Any]
    """Ray object references of the job's large arrays where the cluster spans machines; else empty."""
    scratch: str
    """Folder for checkpoints of running trials, on the worker's own machine."""
    logs: str
    """Folder for what workers print, on the driver's machine."""
    threads: int
    gpus: float
    """GPUs a trial is given; Ray lets its process see no other."""
    memory: int
    """Bytes of memory a trial may take, 0 for no limit."""
    environment: Mapping[str, str]
    """What of the driver's environment decides what is computed: the machines of a joined cluster have their own."""
