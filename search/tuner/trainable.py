"""What lives in a worker: a Tune trainable that serves one trial after another in one process.

It drives the job's running trial and reports one `Outcome` a call. It never touches the study. An error of the trial is
an outcome, not an exception, so that the process lives on; an exception here means that the worker itself is lost.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.tune import Trainable

from search.cli import streams
from search.job import Job, RunningTrial
from search.tuner.checkpoint import Checkpoint
from xraytune.errors import FatalError, TrialError, classify, full_disk
from xraytune.hardware import THREADS
from xraytune.records import EpochReport, FailureCause, TrialConfig, TrialResult

if TYPE_CHECKING:
    import numpy as np

_PR_SET_PDEATHSIG = 1


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
    deadline: float | None
    """When the search's time ends, in seconds since 1970."""
    memory: int
    """Bytes of memory a trial may take, 0 for no limit."""
    environment: Mapping[str, str]
    """What of the driver's environment decides what is computed: the machines of a joined cluster have their own."""


class TrialTrainable(Trainable):  # type: ignore[misc]
    """Serves trials; Tune's `reuse_actors` keeps the process (and its one import of TensorFlow) between them."""

    def setup(self, config: dict[str, Any], assignment: Assignment | None = None) -> None:
        """Prepare the process for its first trial."""
        assert assignment is not None
        self._given = assignment
        os.environ.update(assignment.environment)
        _die_with_parent()
        _log_into(Path(assignment.logs))
        limit_threads(assignment.threads)
        share_gpu(assignment.gpus)
        self._job: Job | None = None
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial."""
        self._begin(new_config)
        return True

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._config = TrialConfig.from_json(config["trial"])
        self._number = int(config["number"])
        self._running: RunningTrial | None = None
        self._concluding = False
        self._checkpoint = Checkpoint(Path(self._given.scratch) / f"{self._number:04d}")

    def conclude(self) -> None:
        """The next call of `step` ends the trial with what it has."""
        self._concluding = True

    def step(self) -> dict[str, Any]:
        """One epoch, or the end; always one outcome."""
        with _memory_limit(self._given.memory):
            outcome = self._outcome()
        value = outcome.report.value if outcome.report else float("nan")
        return {"outcome": outcome, "value": value, "number": self._number}

    def _outcome(self) -> TrialOutcome:
        try:
            if self._running is None:
                self._running = self._start()
            if self._concluding:
                return self._finish(None)
            report = self._running.step()
            if report.done:
                return self._finish(report)
            self._checkpoint.save(report.epoch, self._running)
            return TrialOutcome(report=report, machine=machine())
        except TrialError as error:
            failure = error.cause, error.message
        except FatalError as error:
            return TrialOutcome(fatal=str(error))
        except Exception as error:
            traceback.print_exc()
            if full := full_disk(error, self._given.scratch):
                return TrialOutcome(fatal=str(full))
            failure = classify(error)
        self._running = None
        self._checkpoint.forget()
        return TrialOutcome(failure=failure, machine=machine())

    def _start(self) -> RunningTrial:
        if self._job is None:
            self._job = ray.cloudpickle.loads(self._given.job)
            if self._given.pools:
                pools = {size: ray.get(pool) for size, pool in self._given.pools.items()}
                self._job = self._job.with_pools(pools)
        deadline = None
        if self._given.deadline is not None:
            deadline = time.monotonic() + self._given.deadline - time.time()
        running = self._job.start(self._config, deadline)
        if kept := self._checkpoint.last():
            print(f"trial {self._number}: going on after {kept.name}", flush=True)
            running.restore(kept)
        return running

    def _finish(self, report: EpochReport | None) -> TrialOutcome:
        assert self._running is not None
        result = self._running.finish()
        predictions = self._running.predictions()
        self._running = None
        self._checkpoint.forget()
        return TrialOutcome(report=report, result=result, predictions=predictions)


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


def _die_with_parent() -> None:
    """Have the kernel kill this worker when Ray's raylet ends (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _log_into(folder: Path) -> None:
    """Send what this process prints to a file with the study, where this machine has the study's folder."""
    streams.settle()
    if not folder.is_dir():
        return
    with contextlib.suppress(OSError):
        log = os.open(folder / f"worker-{os.getpid()}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
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
def _memory_limit(limit: int) -> Any:
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
