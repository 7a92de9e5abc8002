"""What lives in a worker: a Tune trainable that serves one trial after another in one process.

It drives the job's running trial and reports one `Outcome` a call. It never touches the study. An error of the trial is
an outcome, not an exception, so that the process lives on; an exception here means that the worker itself is lost.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.tune import Trainable

from search.tuner.checkpoint import Checkpoint
from search.tuner.job import Job, RunningTrial
from search.tuner.messages import Assignment, TrialOutcome
from search.tuner.worker_process import die_with_parent, limit_threads, log_into, machine, memory_limit, share_gpu
from xraytune.errors import FatalError, TrialError, classify, full_disk
from xraytune.records import EpochReport, TrialConfig


class TrialTrainable(Trainable):  # type: ignore[misc]
    """Serves trials; Tune's `reuse_actors` keeps the process (and its one import of TensorFlow) between them."""

    def setup(self, config: dict[str, Any], assignment: Assignment | None = None) -> None:
        """Prepare the process for its first trial."""
        assert assignment is not None
        self._given = assignment
        os.environ.update(assignment.environment)
        die_with_parent()
        log_into(Path(assignment.logs))
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
        self._deadline = None if config["left"] is None else time.monotonic() + float(config["left"])
        self._running: RunningTrial | None = None
        self._concluding = False
        self._checkpoint = Checkpoint(Path(self._given.scratch) / f"{self._number:04d}")

    def conclude(self) -> None:
        """The next call of `step` ends the trial with what it has."""
        self._concluding = True

    def step(self) -> dict[str, Any]:
        """One epoch, or the end; always one outcome."""
        with memory_limit(self._given.memory):
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
        running = self._job.start(self._config, self._deadline)
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
