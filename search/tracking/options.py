"""Options of trackers, which a search and a retraining both take, and the trackers that they ask for."""

from __future__ import annotations

import importlib.util
import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from search.cli.options import OUTPUT, Options, option
from search.tracking.callbacks import Callback, check
from search.tracking.dispatcher import Dispatcher, Report
from xraytune.errors import InputError

ENVIRONMENT = "MLFLOW_TRACKING_URI"
"""The environment variable that counts where `--mlflow` is not given."""


@dataclass(frozen=True)
class Tracking(Options):
    """Where else trials and the final model are recorded; settings of a session, not of the study."""

    tensorboard: bool = option(
        False, "Write learning curves and hyperparameters for TensorBoard into the study's folder", OUTPUT, stored=False
    )
    mlflow: str | None = option(
        None, "Record trials, model and report in MLflow, like http://127.0.0.1:5000", OUTPUT, metavar="URI",
        envvar=ENVIRONMENT, shown="off", stored=False,
    )  # fmt: skip

    @property
    def mlflow_uri(self) -> str:
        """Of MLflow, as it was given; empty where nothing is recorded there.

        The environment variable may be meant for another program: without MLflow it counts for nothing.
        """
        if self.mlflow is not None:
            return self.mlflow
        return os.environ.get(ENVIRONMENT, "") if _is_installed() else ""

    def check_tracking(self, callbacks: Iterable[object] = ()) -> None:
        """Refuse what can be refused before anything slow is imported or read.

        Raises:
            InputError: MLflow is not installed, or an object is no callback.
        """
        check(callbacks)
        if self.mlflow_uri and not _is_installed():
            raise InputError(
                "--mlflow needs MLflow, which is not installed. Run: make setup EXTRAS=mlflow "
                "(or: pip install mlflow-skinny)."
            )

    def followed_at(self, folder: Path) -> list[str]:
        """A line for each tracker: where to look.

        Args:
            folder: the study's.
        """
        from search.study.database import shown_url

        lines = []
        if self.tensorboard:
            lines.append(f"TensorBoard: tensorboard --logdir {shlex.quote(str(folder / 'tensorboard'))}")
        if self.mlflow_uri:
            lines.append(f"MLflow: {shown_url(self.mlflow_uri)}")
        elif self.mlflow is None and os.environ.get(ENVIRONMENT):
            lines.append(f"MLflow is not installed: nothing is recorded at {ENVIRONMENT} (make setup EXTRAS=mlflow).")
        return lines

    def dispatcher(self, callbacks: Iterable[Callback], report: Report) -> Dispatcher:
        """The trackers that were asked for and the callbacks, ready to be told events.

        Args:
            callbacks: further ones.
            report: takes a line for the terminal and details for the log; passwords of the URI are in neither.
        """
        from search.study.database import hide_password

        uri, trackers = self.mlflow_uri, list(callbacks)
        if self.tensorboard:
            from search.tracking.tensorboard_tracker import TensorBoard

            trackers.append(TensorBoard())
        if uri:
            from search.tracking.mlflow_tracker import MLflow

            trackers.append(MLflow(uri))

        def without_password(line: str, details: str) -> None:
            report(hide_password(line, uri), hide_password(details, uri)) if uri else report(line, details)

        return Dispatcher(trackers, without_password)


def _is_installed() -> bool:
    return importlib.util.find_spec("mlflow") is not None
