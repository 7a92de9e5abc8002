"""Notes and pictures that optuna-dashboard shows of a study and of its trials, in the form that it stores them in.

The form is that of `optuna_dashboard.save_note` and `optuna.artifacts.upload_artifact`. Neither is called here: to
import optuna-dashboard takes seconds, and `upload_artifact` takes only files and writes the row before the file.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import BaseStorage

from xraytune.errors import FatalError
from xraytune.records import StudySpec

if TYPE_CHECKING:
    from search.study.view import TrialRecord

PIECE = 2045
"""Characters of a note in one row, as optuna-dashboard cuts it."""

FOLDER = ".artifacts"
"""Of the pictures of all studies, in the results folder: optuna-dashboard takes them from one place."""


@dataclass(frozen=True)
class TrialPage:
    """What is shown of a trial."""

    note: str
    """Markdown."""

    pictures: Mapping[str, str] = field(default_factory=dict)
    """SVG by the name of its file."""


@dataclass(frozen=True)
class StudyState:
    """How far a search is."""

    counts: Mapping[str, int]
    """Ended trials by state: COMPLETE, PRUNED, FAIL."""

    best: TrialRecord | None
    seconds: float
    """Time of all sessions so far."""

    stopped: str
    """Why the search ended, empty while it runs."""


class Pages(Protocol):
    """Words and pictures of a study; made without its database."""

    def of_study(self, spec: StudySpec, state: StudyState) -> str:
        """The study's note."""

    def of_trial(self, spec: StudySpec, trial: TrialRecord, predictions: Mapping[str, Any]) -> TrialPage:
        """What is shown of a trial that ended.

        Args:
            spec: the study's.
            trial: as it ended.
            predictions: its arrays in `predictions.npz`; empty where it left none.
        """


def picture_store(results: Path) -> FileSystemArtifactStore:
    """Where the pictures of all studies of a results folder are."""
    return FileSystemArtifactStore(results / FOLDER)


def write_note(storage: BaseStorage, study_id: int, body: str, trial_id: int | None = None) -> None:
    """Keep a note, in the place of an earlier one.

    Args:
        storage: of the study.
        study_id: Optuna's id of it.
        body: Markdown.
        trial_id: Optuna's id of the trial; None for the note of the study.
    """
    whose = "dashboard:" if trial_id is None else f"dashboard:{trial_id}:"
    had = storage.get_study_system_attrs(study_id)
    pieces = [body[start : start + PIECE] for start in range(0, len(body), PIECE)]
    pieces += [""] * (sum(key.startswith(f"{whose}note_str:") for key in had) - len(pieces))
    for i, piece in enumerate(pieces):
        storage.set_study_system_attr(study_id, f"{whose}note_str:{i}", piece)
    storage.set_study_system_attr(study_id, f"{whose}note_ver", int(had.get(f"{whose}note_ver", 0)) + 1)


def write_picture(storage: BaseStorage, folder: Path, trial_id: int, name: str, drawing: str) -> None:
    """Keep a picture of a trial that has not ended yet; one of the same name is replaced.

    Args:
        storage: of the study.
        folder: the study's, in the results folder.
        trial_id: Optuna's id of the trial.
        name: of its file.
        drawing: SVG.

    Raises:
        FatalError: it can't be written.
    """
    number = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{folder.name}/{trial_id}/{name}"))
    store = folder.parent / FOLDER
    try:
        store.mkdir(exist_ok=True)
        (store / number).write_text(drawing, encoding="utf-8")  # not flushed: a picture is nothing that a search needs
    except OSError as error:
        raise FatalError(f"{store} can't be written: {error.strerror}. Continue with --resume.") from None
    row = {"artifact_id": number, "filename": name, "mimetype": "image/svg+xml", "encoding": None}
    storage.set_trial_system_attr(trial_id, f"artifacts:{number}", json.dumps(row))
