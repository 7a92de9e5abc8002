"""A saved model with what its study left beside it: its test figures, its access log, the lists of its images."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xraytune import artifacts
from xraytune.data.dataset import Recorded, recorded
from xraytune.errors import ArtifactError, InputError
from xraytune.inference.classifier import Classifier, load_model


@dataclass(frozen=True)
class SavedModel:
    """What is evaluated."""

    path: Path
    """The folder or `.onnx` file that was given."""
    classifier: Classifier
    study: Path | None
    """The study's folder, None where the model lies elsewhere."""
    figures: Mapping[str, Any] | None
    """`metrics.json` of the retraining, None where it is missing."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The model's classes."""
        return tuple(self.classifier.card.classes)

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.classifier.card.made.get("study", self.folder.name))

    @property
    def folder(self) -> Path:
        """The model's folder."""
        return self.path if self.path.is_dir() else self.path.parent

    def images(self, which: str) -> Recorded | None:
        """The study's `train` images (with its validation images) or its `test` images; None where they are unknown."""
        fingerprint = str(self.classifier.card.made.get(f"{which}_fingerprint", ""))
        return recorded(fingerprint, self.study) if fingerprint else None


def load(path: Path) -> SavedModel:
    """Load a saved model and what lies beside it.

    Raises:
        ArtifactError: the model, or the figures beside it, can't be read.
    """
    classifier = load_model(path)
    folder = (path if path.is_dir() else path.parent).resolve()
    study = folder.parent if (folder.parent / "study.json").is_file() else None
    figures = None
    if (folder / "metrics.json").is_file():
        figures = artifacts.read_json(folder / "metrics.json")
        if not isinstance(figures, dict) or "overall" not in figures.get("test", {}):
            raise ArtifactError(f"{folder / 'metrics.json'} is not what search.retrain wrote. Restore it or remove it.")
    return SavedModel(path, classifier, study, figures)


def place(model: SavedModel, out: Path | None) -> tuple[Path, str]:
    """The folder that evaluations are written below, and a sentence where it is not the usual one.

    Args:
        model: the saved model.
        out: where the user wants them.

    Raises:
        InputError: `out` can't be written.
    """
    if out is not None:
        if why := _unwritable(out):
            raise InputError(f"--out {out} can't be written: {why}.")
        return out, ""
    usual = (model.study or model.folder) / "evaluations"
    if why := _unwritable(usual):
        here = Path("evaluations")
        if again := _unwritable(here):
            raise InputError(f"{usual} can't be written ({why}), nor can {here.absolute()} ({again}): name --out.")
        return here, f"{usual} can't be written ({why}): the evaluation is written to {here.absolute()}."
    return usual, ""


def _unwritable(folder: Path) -> str:
    """Why no folder can be made in it; empty where one can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".writable-"):
            return ""
    except OSError as error:
        return error.strerror or str(error)
