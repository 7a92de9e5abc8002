"""`model.json`: what a saved model needs in order to be used, with the digests of its files."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xraytune import artifacts
from xraytune.data.decoding.reading import FITS
from xraytune.errors import FOREIGN, ArtifactError
from xraytune.inference import test_time_augmentation
from xraytune.records import Record

FORMAT = 2
"""Of `model.json`; a reader refuses what it does not know. 1 had a sha256 of its values, not of its bytes."""


CARD = "model.json"

FORMER = {"makeup": "outliers"}
"""Fields by names that earlier saved models have."""

MOST_EDGE = 1 << 14
"""Pixels; a network that asks for more is not loaded."""


_SEAL = re.compile(rb'"sha256": "([0-9a-f]{64})"\n}\n\Z')
"""How `model.json` ends: with the sha256 of all bytes before it."""


@dataclass(frozen=True)
class Member(Record):
    """One network of a model."""

    file: str
    """Its name in the model's folder."""
    sha256: str
    image_size: int
    """Edge of its square input, pixels."""
    weight: float = 1.0
    """Of its probabilities in the mean."""
    backbone: Mapping[str, Any] = field(default_factory=dict)
    """A `FileBackbone` as JSON, its path that in the model's folder: the network takes its features. Empty: the network
    takes images."""

    def __post_init__(self) -> None:
        if Path(self.file).name != self.file or self.file in {"", "..", "."} or "\0" in self.file:
            raise ValueError(f"{self.file!r} does not lie in the model's own folder")
        if not 1 <= self.image_size <= MOST_EDGE:
            raise ValueError(f"{self.file}: image_size can't be {self.image_size}")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(f"{self.file}: weight can't be {self.weight}")


@dataclass(frozen=True)
class ModelCard(Record):
    """Everything that a model's use needs, beside the networks."""

    classes: tuple[str, ...]
    positive: int | None
    """The class that the threshold decides on; None: the likeliest class is the answer."""
    channels: int
    fit: str
    """How an image becomes a square: crop, pad or squash."""
    threshold: float
    """Operating threshold of the calibrated probability of the positive class."""
    policy: str
    """How the threshold was chosen."""
    calibration: Mapping[str, Any]
    """A `Calibration` as JSON, with the prevalence that the probabilities are stated for."""
    outliers: Mapping[str, Any]
    """An `OutlierDetector` of the training images as JSON; empty: unusual images are not told."""
    members: tuple[Mapping[str, Any], ...]
    """`Member`s as JSON."""
    onnx: tuple[Mapping[str, Any], ...] = ()
    """The same networks exported, in the same order."""
    tta: str = ""
    """Test-time augmentation, one of `test_time_augmentation.KINDS`; empty: none."""
    referral: Mapping[str, Any] = field(default_factory=dict)
    """A `Referral` as JSON: the two thresholds between which an image is referred; empty: every image is answered."""
    demonstration: bool = False
    """Trained on synthetic images, not on X-rays."""
    made: Mapping[str, Any] = field(default_factory=dict)
    """Where it comes from: study, trials, configuration, versions, when."""
    sample: str = ""
    """sha256 of `training_sample.FILE`; empty: images without labels can't be compared with training images."""
    format: int = FORMAT

    def __post_init__(self) -> None:
        known = {
            "classes": len(self.classes) > 1 and len(set(self.classes)) == len(self.classes),
            "positive": self.positive is None or 0 <= self.positive < len(self.classes),
            "channels": self.channels in {1, 3},
            "fit": self.fit in FITS,
            "threshold": math.isfinite(self.threshold),
            "tta": self.tta in {"", *test_time_augmentation.KINDS},
        }
        if wrong := [name for name, right in known.items() if not right]:
            raise ValueError(", ".join(f"{name} can't be {getattr(self, name)!r:.40}" for name in wrong))


def write_card(folder: Path, card: ModelCard) -> None:
    """Write `model.json` with the sha256 of its own bytes."""
    before, quote, end = json.dumps({**card.to_json(), "sha256": ""}, indent=2, ensure_ascii=False).rpartition('"')
    artifacts.write_text(folder / CARD, f"{before}{hashlib.sha256(before.encode()).hexdigest()}{quote}{end}\n")


def folder_of(path: Path) -> Path:
    """The folder of a model that is named by it or by a file in it.

    Raises:
        ArtifactError: it does not exist.
    """
    if not artifacts.restored(path).exists():
        raise ArtifactError(f"{path} does not exist. Give a model's folder, e.g. results/<study>/winner.")
    return path if path.is_dir() else path.parent


def read_card(folder: Path) -> ModelCard:
    """The card of a model's folder.

    Raises:
        ArtifactError: it is missing, was changed, is of another version, or says what no model has: a file outside the
            folder, say.
    """
    path = artifacts.restored(folder) / CARD
    if not path.exists():
        raise ArtifactError(
            f"{folder} holds no model ({CARD} is missing). Give the folder that `python -m search.retrain` wrote, "
            "e.g. results/<study>/winner."
        )
    content = artifacts.read_bytes(path)
    plain = artifacts.parsed_json(path, content)
    known = plain.pop("format", None) if isinstance(plain, dict) else FORMAT
    if known != FORMAT:
        raise ArtifactError(
            f"{path} has format {known}; this version reads {FORMAT}. Restore the file if it was changed; else call "
            "search.retrain again: finished networks are kept."
        )
    seal = _SEAL.search(content)
    if not seal or hashlib.sha256(content[: seal.start(1)]).hexdigest() != seal[1].decode():
        raise ArtifactError(f"{path} was changed after it was saved (its sha256 differs): it is not loaded.")
    del plain["sha256"]
    plain = {FORMER.get(name, name): value for name, value in plain.items()}
    try:
        card = ModelCard.from_json(plain)
        for member in (*card.members, *card.onnx):
            Member.from_json(member)
        return card
    except FOREIGN as error:
        raise ArtifactError(f"{path} can't be read: {error}.") from None
