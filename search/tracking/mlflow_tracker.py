"""MLflow: a parent run for the study, a run for each trial below it, the final model as its artifacts.

Which run belongs to what is kept in `mlflow.json` in the study's folder, so that a resumed search and a retraining go
on with the same runs. An action that the server could not be reached for is tried again at the next event.
"""

from __future__ import annotations

import logging
import math
import os
import re
import time
import urllib.parse
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from search.study.database import shown_url
from search.tracking.callbacks import Callback, Epoch, Event, RetrainEnd, SearchEnd, TrialEnd, TrialStart
from search.tracking.figures import of_epoch, of_final_model, of_result, parameters
from xraytune import artifacts
from xraytune.errors import ArtifactError

EXPERIMENT = "xraytune"
"""The experiment of all studies, where the environment variable MLFLOW_EXPERIMENT_NAME names none."""
FILE = "mlflow.json"
"""In the study's folder: by URI, which runs are the study's and its trials'."""
ARTIFACTS = "winner"
"""The folder of the final model among the artifacts of the study's run."""
STATUS = {"FAIL": "FAILED", "INTERRUPTED": "KILLED"}
"""MLflow's word for the states of trials that did not end well."""
AT_ONCE = 100
"""Parameters, and metrics, that one request may hold."""
LONGEST = 500
"""Characters of a value."""

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""Environment variables of MLflow, where the user has not set them: no usage reports, no output, no waiting of minutes
for a server that is down."""


class MLflow(Callback):
    """Records a study.

    Args:
        uri: of the tracking server, as MLflow takes it. A user and a password in it go to MLflow through its
            environment variables, so that they stand in none of its messages.
    """

    def __init__(self, uri: str) -> None:
        self._uri = _without_credentials(uri)
        self._client: Any = None
        self._experiment = ""
        self._run = ""
        self._runs: dict[int, str] = {}
        self._resumed = False
        self._todo: deque[Callable[[], None]] = deque()

    def on_trial_start(self, event: TrialStart) -> None:
        """Begin the trial's run, with its hyperparameters."""
        now = _now()
        self._do(lambda: self._begin(event, now))

    def on_epoch(self, event: Epoch) -> None:
        """Log the metrics of the epoch."""
        now = _now()
        self._do(lambda: self._log(self._runs.get(event.number), of_epoch(event.report), event.report.epoch, now))

    def on_trial_end(self, event: TrialEnd) -> None:
        """Log the trial's value, and end its run."""
        now = _now()
        self._do(lambda: self._end(event, now))

    def on_search_end(self, event: SearchEnd) -> None:
        """Log the best value, and end the study's run."""
        now = _now()
        self._do(lambda: self._end_search(event, now))

    def on_retrain_end(self, event: RetrainEnd) -> None:
        """Log the metrics on the test set; the final model and its report become artifacts."""
        now = _now()

        def record() -> None:
            run = self._study_run(event)
            self._log(run, of_final_model(event.metrics), 0, now)
            self._client.log_artifacts(run, str(event.model), ARTIFACTS)
            self._client.set_terminated(run, "FINISHED", now)
            self._run = ""

        self._do(record)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _do(self, action: Callable[[], None]) -> None:
        """Do what is left of earlier events, then this.

        Raises:
            Exception: of MLflow. Where the server refused the action it is not tried again.
        """
        self._todo.append(action)
        while self._todo:
            action = self._todo[0]
            try:
                action()
            except Exception as error:
                if not _may_pass(error):
                    self._todo.remove(action)
                raise
            self._todo.remove(action)

    def _next(self, action: Callable[[], None]) -> None:
        """Do this directly after the present action, and on its own: what that one did is not done twice."""
        self._todo.insert(1, action)

    def _begin(self, event: TrialStart, now: int) -> None:
        parent = self._study_run(event)
        if not self._resumed:
            self._resume(event)
        tags = {"mlflow.parentRunId": parent, "xraytune.trial": str(event.number)}
        run = self._runs.get(event.number) or self._create(f"trial {event.number}", tags, now)
        self._runs[event.number] = run
        self._keep(event)
        values = {**parameters(event.config), "seed": event.config.seed}
        self._next(lambda: self._parameters(run, values))

    def _resume(self, event: Event) -> None:
        """The study's run is running; what a session that was killed has left open is ended."""
        self._client.update_run(self._run, status="RUNNING")
        for run in _known(event.folder, self._uri).get("open", {}).values():
            if self._found(run):
                self._client.set_terminated(run, "KILLED")
        self._resumed = True

    def _end(self, event: TrialEnd, now: int) -> None:
        run = self._runs.get(event.number)
        if run is None:  # the server refused to begin it
            return
        if event.result:
            self._log(run, of_result(event.result), event.result.epochs, now)
        told = {"xraytune.state": event.state, "xraytune.cause": event.cause, "xraytune.message": event.message}
        for name, text in told.items():
            if text:
                self._client.set_tag(run, name, text[:LONGEST])
        self._client.set_terminated(run, STATUS.get(event.state, "FINISHED"), now)
        self._keep(event, ended=event.number)

    def _end_search(self, event: SearchEnd, now: int) -> None:
        run = self._study_run(event)
        figures = {f"trials/{state.lower()}": float(count) for state, count in event.counts.items()}
        if event.best is not None and event.best_value is not None:
            figures |= {"best_value": event.best_value, "best_trial": float(event.best)}
        self._log(run, figures, sum(event.counts.values()), now)
        self._client.set_tag(run, "xraytune.ended", event.why[:LONGEST])
        self._client.set_terminated(run, "KILLED" if event.interrupted else "FINISHED", now)
        self._run, self._resumed = "", False

    def _study_run(self, event: Event) -> str:
        """The study's run: that of earlier sessions, where the server still has it; else a new one."""
        if self._run:
            return self._run
        self._connect()
        if run := self._found(_known(event.folder, self._uri).get("run", "")):
            self._experiment, self._run = run.info.experiment_id, run.info.run_id
            return self._run
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = self._client.get_experiment_by_name(name)
        self._experiment = found.experiment_id if found else self._client.create_experiment(name)
        self._run = self._create(event.study.name, {"xraytune.study": event.study.name}, _now())
        self._keep(event)
        run, values = self._run, _of_study(event)
        self._next(lambda: self._parameters(run, values))
        return self._run

    def _connect(self) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        for logger in ("mlflow", "urllib3.connectionpool"):
            logging.getLogger(logger).setLevel(logging.ERROR)
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=self._uri)

    def _create(self, name: str, tags: Mapping[str, str], now: int) -> str:
        return str(self._client.create_run(self._experiment, now, dict(tags), name).info.run_id)

    def _found(self, run: str) -> Any:
        """A run, None where the server has none of that name or it was deleted."""
        from mlflow.exceptions import MlflowException

        if not run:
            return None
        try:
            found = self._client.get_run(run)
        except MlflowException as error:
            if _may_pass(error):
                raise
            return None
        return found if found.info.lifecycle_stage == "active" else None

    def _parameters(self, run: str, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        given = [Param(_key(name), str(value)[:LONGEST]) for name, value in values.items()]
        for part in _parts(given):
            self._client.log_batch(run, params=part)

    def _log(self, run: str | None, figures: Mapping[str, float], step: int, now: int) -> None:
        from mlflow.entities import Metric

        if run is None:
            return
        given = [Metric(_key(n), float(v), now, step) for n, v in figures.items() if math.isfinite(v)]
        for part in _parts(given):
            self._client.log_batch(run, metrics=part)

    def _keep(self, event: Event, ended: int | None = None) -> None:
        """Write down which runs are ours, those of trials that have not ended by their numbers."""
        if ended is not None:
            self._runs.pop(ended)
        path = event.folder / FILE
        runs = {"run": self._run, "open": {str(number): run for number, run in self._runs.items()}}
        artifacts.write_json(path, {**_read(event.folder), shown_url(self._uri): runs})


def _of_study(event: Event) -> dict[str, Any]:
    """The parameters of the study's run. Of the data the last part of the path alone: a path may name people."""
    spec = event.study
    return {
        "data": Path(spec.data).name,
        "classes": ", ".join(spec.classes),
        "positive": spec.positive,
        "space": spec.space,
        "families": ", ".join(spec.families),
        "objective": spec.objective,
        "objectives": ", ".join(spec.objectives),
        "beta": spec.beta,
        "sampler": spec.sampler,
        "pruner": spec.pruner,
        "seed": spec.seed,
        "train_fingerprint": spec.train_fingerprint,
        "demonstration": spec.demonstration,
    }


def _read(folder: Path) -> dict[str, Any]:
    """The runs by URI, empty where nothing is known of them."""
    try:
        found = artifacts.read_json(folder / FILE)
    except ArtifactError:
        return {}
    return found if isinstance(found, dict) else {}


def _known(folder: Path, uri: str) -> dict[str, Any]:
    """The study's run and its trials' open ones at that URI."""
    known: dict[str, Any] = _read(folder).get(shown_url(uri), {})
    return known


def _without_credentials(uri: str) -> str:
    """The URI without user and password, which MLflow is given through the environment."""
    parts = urllib.parse.urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = urllib.parse.unquote(parts.username or "")
    os.environ["MLFLOW_TRACKING_PASSWORD"] = urllib.parse.unquote(parts.password or "")
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _may_pass(error: Exception) -> bool:
    """Whether the same action may succeed later: the server was not reached, or is overloaded."""
    code = getattr(error, "error_code", "INTERNAL_ERROR" if isinstance(error, OSError) else "")
    return code in {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"}


def _key(name: str) -> str:
    """A name as MLflow takes it."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)


def _parts(items: list[Any]) -> Iterable[list[Any]]:
    return (items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))


def _now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)
