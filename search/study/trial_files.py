"""What is too long for a column of the database: a trial's configuration and outcome, as files in its folder.

`config.json` is written before the trial's attribute `family`, `outcome.json` before its attribute `ending`, and both
before its state: what the database says is there, is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xraytune import artifacts
from xraytune.errors import ArtifactError, FatalError
from xraytune.records import Record, TrialConfig, TrialResult

CONFIG, OUTCOME, PREDICTIONS = "config.json", "outcome.json", "predictions.npz"


@dataclass(frozen=True)
class Outcome(Record):
    """How a trial ended, without what Optuna keeps of it."""

    result: Mapping[str, Any] = field(default_factory=dict)
    """`TrialResult` as plain values; empty where there is none."""

    standing: Mapping[str, float] = field(default_factory=dict)
    """The objective that it would have had if it had stopped after each epoch at which it was measured."""

    curve: Mapping[str, float] = field(default_factory=dict)
    """The objective after each of these epochs, where Optuna has none: with several objectives."""

    ran: Mapping[str, Any] = field(default_factory=dict)
    """On what machine it ran and how long, where it left no result that says so."""

    message: str = ""
    """Why it failed, or was interrupted."""


def trial_folder(study_folder: Path, number: int) -> Path:
    """`results/<study>/trials/0007`."""
    return study_folder / "trials" / f"{number:04d}"


def write_config(study_folder: Path, number: int, config: TrialConfig) -> None:
    """Write what a trial is to try.

    Raises:
        FatalError: as `write_outcome` does.
    """
    _write(study_folder, number, CONFIG, config)


def write_outcome(study_folder: Path, number: int, outcome: Outcome) -> None:
    """Write how a trial ended.

    Raises:
        FatalError: the study's folder is gone, can't be written, or the disk is full.
    """
    _write(study_folder, number, OUTCOME, outcome)


def writable_folder(study_folder: Path, number: int) -> Path:
    """A trial's folder, made where it is not there.

    Raises:
        FatalError: the study's folder is gone: it is not made anew without what it held.
        OSError: it can't be made.
    """
    if not study_folder.is_dir():
        raise FatalError(
            f"{study_folder} was removed while the study was searched. Restore it and continue with --study "
            f"{study_folder.name} --resume, or make a new study."
        )
    folder = trial_folder(study_folder, number)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write(study_folder: Path, number: int, name: str, record: Record) -> None:
    path = trial_folder(study_folder, number) / name
    try:
        artifacts.write_json(writable_folder(study_folder, number) / name, record.to_json())
    except OSError as error:
        raise FatalError(f"{path} can't be written: {error.strerror}. Continue with --resume.") from None


def read_config(study_folder: Path, number: int) -> TrialConfig:
    """What a trial was to try.

    Raises:
        ArtifactError: the file is missing or is not what was written.
    """
    config: TrialConfig = _read(study_folder, number, CONFIG, TrialConfig)
    return config


def read_outcome(study_folder: Path, number: int) -> tuple[Outcome, TrialResult | None]:
    """How a trial ended, and its result where it left one.

    Raises:
        ArtifactError: the file is missing or is not what was written.
    """
    outcome: Outcome = _read(study_folder, number, OUTCOME, Outcome)
    try:
        [int(epoch) for table in (outcome.standing, outcome.curve) for epoch in table]
        return outcome, TrialResult.from_json(outcome.result) if outcome.result else None
    except (ValueError, TypeError) as error:
        raise _damaged(trial_folder(study_folder, number) / OUTCOME, str(error)) from None


def _read(study_folder: Path, number: int, name: str, kind: type[Record]) -> Any:
    path = trial_folder(study_folder, number) / name
    try:
        return kind.from_json(artifacts.read_json(path))
    except ArtifactError as error:
        raise _damaged(path, str(error).partition(". ")[0].removeprefix(f"{path} ").rstrip(".")) from None
    except (ValueError, TypeError, RecursionError) as error:
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, cause: str) -> ArtifactError:
    study = path.parents[2].name
    return ArtifactError(
        f"Study {study!r} can't be read: {path}: {cause[:200]}. The file was removed, changed or cut off. Restore it "
        "from a copy, or give another name with --study."
    )
