"""What a model folder keeps of single training images, so that images without labels can be compared with them.

A sample of the training and validation images: their properties (rounded to three significant digits, so that no file
is recognised by them), their classes, calibrated probabilities by networks that had not seen them, and a random number
for each patient. No name, no path, no pixel; the order is random.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xraytune import artifacts
from xraytune.data import property_table
from xraytune.errors import FOREIGN, ArtifactError
from xraytune.inference.model_card import ModelCard

FILE = "training_sample.npz"

MOST_BYTES = 64 << 20
"""Of all arrays of a file, unpacked: those of `MOST` images of two classes have 0.4 MiB."""

MOST = 4000
"""Images at most: of more, patients are drawn."""

MISSING = (
    "The model folder has no sample of its training images, so images without labels can't be compared with "
    "them: call search.retrain again (finished networks are kept)."
)
"""What is said of a model that was saved without one."""


@dataclass(frozen=True, eq=False)
class TrainingSample:
    """`n` training images."""

    table: NDArray[np.float64]
    """Properties, `(n, len(property_table.NAMES))`."""
    labels: NDArray[np.int64]
    """Class indices `(n,)`."""
    probabilities: NDArray[np.float64]
    """Out-of-fold, calibrated as the final model's are, `(n, k)`."""
    patients: NDArray[np.int64]
    """A number a patient, `(n,)`."""


def rounded(table: ArrayLike, digits: int = 3) -> NDArray[np.float64]:
    """Values with so many significant digits."""
    values = np.asarray(table, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** (digits - 1 - np.floor(np.log10(np.abs(values))))
        return np.asarray(np.where((values == 0) | ~np.isfinite(values), values, np.rint(values * scale) / scale))


def draw(
    table: NDArray[Any], labels: ArrayLike, probabilities: ArrayLike, patients: ArrayLike, seed: int = 0
) -> TrainingSample:
    """A sample of whole patients, at most `MOST` images, in random order.

    Args:
        table: properties of all training images, `(n, len(property_table.NAMES))`.
        labels: class indices `(n,)`.
        probabilities: out-of-fold, `(n, k)`.
        patients: who each image shows, `(n,)`; their names are not kept.
        seed: of what is drawn.
    """
    rng = np.random.default_rng(seed)
    _, codes = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    numbers = rng.permutation(int(codes.max()) + 1)[codes]
    order = np.lexsort((rng.random(len(numbers)), numbers))
    last = numbers[order[min(MOST, len(order)) - 1]]
    within = numbers <= last if len(order) <= MOST else numbers < last
    chosen = rng.permutation(np.flatnonzero(within))
    return TrainingSample(
        rounded(table)[chosen],
        np.asarray(labels, np.int64)[chosen],
        np.asarray(probabilities, np.float64)[chosen],
        numbers[chosen].astype(np.int64),
    )


def save(folder: Path, sample: TrainingSample) -> str:
    """Write `FILE`; its sha256, for the model's card."""
    with artifacts.atomic_write(folder / FILE) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            names=np.array(property_table.NAMES),
            table=sample.table.astype(np.float32),
            labels=sample.labels.astype(np.int32),
            probabilities=sample.probabilities.astype(np.float32),
            patients=sample.patients.astype(np.int32),
        )
    return artifacts.sha256(folder / FILE)


def load(folder: Path, card: ModelCard) -> TrainingSample | None:
    """The sample of a model's folder; None where the model was saved without one, or with other properties.

    Raises:
        ArtifactError: it is missing, was changed, or can't be read.
    """
    if not card.sample:
        return None
    path = folder / FILE
    artifacts.check_sha256(path, card.sample)
    try:
        with np.load(io.BytesIO(artifacts.read_bytes(path)), allow_pickle=False) as kept:
            return _parsed(kept, len(card.classes))
    except (OSError, MemoryError, *FOREIGN) as error:  # memory: a header may claim any size
        raise ArtifactError(f"{path} can't be read: {error}.") from None


def _parsed(kept: Any, classes: int) -> TrainingSample | None:
    """A file's arrays as a sample; whatever is wrong with them raises."""
    if sum(member.file_size for member in kept.zip.infolist()) > MOST_BYTES:
        raise ValueError(f"it unpacks to more than {MOST_BYTES >> 20} MiB")
    if tuple(kept["names"].tolist()) != property_table.NAMES:
        return None
    sample = TrainingSample(
        kept["table"].astype(np.float64), kept["labels"].astype(np.int64),
        kept["probabilities"].astype(np.float64), kept["patients"].astype(np.int64),
    )  # fmt: skip
    n = len(sample.labels)
    shapes = [sample.table.shape, sample.labels.shape, sample.probabilities.shape, sample.patients.shape]
    if shapes != [(n, len(property_table.NAMES)), (n,), (n, classes), (n,)]:
        raise ValueError(f"its arrays have the shapes {shapes}")
    if not np.isin(sample.labels, range(classes)).all():
        raise ValueError("it has labels that are no class")
    return sample
