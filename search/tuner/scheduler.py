"""Tune's trial scheduler: reports to the conductor and does what it says.

The scheduler sees every result, the one that stops a trial too, before anything else of Tune does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayError
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.tuner.orchestrator import Orchestrator, SearchEnded, past_tune
from xraytune.errors import out_of_memory
from xraytune.records import FailureCause

NO_MEMORY = ("memory pressure", "running low on memory")
"""What Ray writes where it ended a worker itself for want of memory."""


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]
    """Runs trials in the order of their suggestion; the conductor decides which stop early."""

    unknown = (FailureCause.WORKER_LOST, "its worker process ended")

    def __init__(self, conductor: Orchestrator) -> None:
        super().__init__()
        self._metric = "value"
        self._conductor = conductor
        self.numbers: dict[str, int] = {}
        """The study's number of each Tune trial."""
        self.causes: dict[int, tuple[FailureCause, str]] = {}
        """Why a trial's worker was lost, until the searcher records it."""

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Report, decide."""
        with past_tune():
            decision = self._conductor.heard(self.numbers[trial.trial_id], result.pop("outcome"))
        if decision == "conclude":
            trial.temporary_state.ray_actor.conclude.remote()
        return str(TrialScheduler.STOP if decision == "stop" else TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """A worker was lost: keep why, for the searcher, who is told next."""
        number = self.numbers[trial.trial_id]
        self.causes[number] = why_lost(_error_of(trial))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the only record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a search is resumed from the study."""


def _error_of(trial: Trial) -> Any:
    """What Tune kept of the error, None where it kept nothing readable (it does not hand it on)."""
    try:
        return ray.cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    except Exception:  # whatever a pickle raises; the cause is then told without its detail
        return None


def why_lost(error: Any) -> tuple[FailureCause, str]:
    """The cause of a lost worker, from Ray's error."""
    text = str(error or "").strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    detail = next((line for line in lines if "exit" in line.lower() or "killed" in line.lower()), "".join(lines[:1]))
    if isinstance(
        error, RayError
    ):  # it names the OOM killer as a possible reason of every loss: only its verdict counts
        memory = isinstance(error, OutOfMemoryError) or any(words in text for words in NO_MEMORY)
    else:
        memory = error is not None and out_of_memory(error)
    if memory:
        return FailureCause.OOM, f"the machine ran out of memory and its worker was ended. {detail[:300]}".strip()
    if error is not None and not isinstance(error, RayError):
        return FailureCause.ERROR, f"{type(error).__name__}: {detail[:300]}"
    return FailureCause.WORKER_LOST, f"its worker process ended unexpectedly. {detail[:300]}".strip()


class Heartbeat(Callback):  # type: ignore[misc]
    """Called by Tune in each turn of its loop: a safe point to end at."""

    def __init__(self, conductor: Orchestrator, scheduler: StudyScheduler, asked_to_end: list[int]) -> None:
        self._conductor = conductor
        self._scheduler = scheduler
        self._asked_to_end = asked_to_end

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Leave if asked to; kill the workers of trials that hang."""
        if self._asked_to_end:
            raise SearchEnded
        with past_tune():
            hanging = self._conductor.tick()
        for number in hanging:
            for trial in trials:
                if self._scheduler.numbers.get(trial.trial_id) == number and trial.temporary_state.ray_actor:
                    ray.kill(trial.temporary_state.ray_actor)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tell that a worker took the trial."""
        with past_tune():
            self._conductor.started(self._scheduler.numbers[trial.trial_id])
