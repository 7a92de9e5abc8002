"""TensorBoard: a run for each trial, one for the study, one for the final model, in the study's folder.

The files are written by tensorboardX, which Ray Tune needs anyway and which does not import TensorFlow.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from search.tracking.callbacks import Callback, Epoch, RetrainEnd, SearchEnd, TrialEnd, TrialStart
from search.tracking.figures import of_epoch, of_final_model, of_result, parameters

FOLDER = "tensorboard"
"""Of the study's folder."""
STATUS = {"FAIL": "STATUS_FAILURE", "INTERRUPTED": "STATUS_FAILURE"}
"""How TensorBoard's page of hyperparameters calls what did not end well."""


class TensorBoard(Callback):
    """Writes scalars by epoch, hyperparameters and the objective by trial."""

    def __init__(self) -> None:
        self._writers: dict[str, Any] = {}

    def on_trial_start(self, event: TrialStart) -> None:
        """Write the hyperparameters: the trial is a row of TensorBoard's table from now on."""
        from tensorboardX import summary

        # the table's columns follow from all rows: an experiment of its own would hide other families' parameters
        _, start, _ = summary.hparams(parameters(event.config), {})
        self._add(event.folder, _run(event.number), [start])

    def on_epoch(self, event: Epoch) -> None:
        """Write the metrics of the epoch."""
        self._scalars(event.folder, _run(event.number), of_epoch(event.report), event.report.epoch)

    def on_trial_end(self, event: TrialEnd) -> None:
        """Write the trial's value, its metrics at the best epoch and how it ended."""
        run = _run(event.number)
        if event.result:
            self._scalars(event.folder, run, of_result(event.result), event.result.best_epoch)
            self._scalars(event.folder, "study", {"value_by_trial": event.result.value}, event.number)
        self._add(event.folder, run, [_session_end(STATUS.get(event.state, "STATUS_SUCCESS"))])
        self._writers.pop(run).close()

    def on_search_end(self, event: SearchEnd) -> None:
        """Close all files."""
        self._close()

    def on_retrain_end(self, event: RetrainEnd) -> None:
        """Write the final model's metrics on the test set."""
        self._scalars(event.folder, "final", of_final_model(event.metrics), 0)
        self._close()

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _scalars(self, folder: Path, run: str, figures: Mapping[str, float], step: int) -> None:
        from tensorboardX import summary

        finite = {name.replace(" ", "_"): value for name, value in figures.items() if math.isfinite(value)}
        self._add(folder, run, [summary.scalar(name, value) for name, value in finite.items()], step)

    def _add(self, folder: Path, run: str, summaries: Iterable[Any], step: int = 0) -> None:
        """Append to the file of a run, which is made with the first of them."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event

        if run not in self._writers:
            place = folder / FOLDER / run
            place.mkdir(parents=True, exist_ok=True)
            self._writers[run] = EventsWriter(str(place / "events"), f".{os.getpid()}.{time.time_ns()}")
        for one in summaries:
            self._writers[run].write_event(Event(wall_time=time.time(), step=step, summary=one))
        self._writers[run].flush()


def _run(number: int) -> str:
    return f"trial-{number:04d}"


def _session_end(status: str) -> Any:
    """The summary that ends a row of the table of hyperparameters."""
    from tensorboardX.proto.api_pb2 import Status
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionEndInfo
    from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

    content = HParamsPluginData(session_end_info=SessionEndInfo(status=Status.Value(status)), version=0)
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=content.SerializeToString())
    return Summary(
        value=[Summary.Value(tag="_hparams_/session_end_info", metadata=SummaryMetadata(plugin_data=plugin))]
    )
