"""The images that a model is evaluated on: classes as the model has them, without those that its study has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.cli.shared import Source
from search.external.options import EvaluationOptions
from search.external.saved_model import SavedModel
from xraytune import data
from xraytune.data import spelling
from xraytune.data.dataset import Dataset, Recorded
from xraytune.data.images import Images
from xraytune.data.problems import Progress
from xraytune.data.sources import open_source
from xraytune.data.sources.label_tables import Finding
from xraytune.errors import InputError

NEAR = 4
"""Bits of the perceptual hash by which an image and a training image differ at most to be taken for copies: an image
saved again differed in 4 at most (`data.verification.near_copies`). Of 313 other images of the same hospital 9 are that
near to one of 5,232 training images by chance; leaving them out costs less than keeping a copy."""


@dataclass(frozen=True)
class Labelled:
    """One data set, ready to be evaluated on."""

    dataset: Dataset
    images: Images
    columns: Mapping[str, Sequence[str]]
    """Subgroups of a manifest, one value an image."""
    split: str
    """`test` where the data have a test set, else `all`."""
    same: int
    """Images with the content of one that the study trained or validated on."""
    near: int
    """Images that look like one of those to the perceptual hash."""
    seen_known: bool
    """Whether the study's images are known; else none could be looked for."""
    included: bool
    """Whether those that were seen are among the images all the same."""
    own_test: int
    """Images of the study's own test set among them."""


def matched(source: str, found: Sequence[str], classes: Sequence[str], names: Mapping[str, str]) -> dict[str, str]:
    """The model's class for each class of the data.

    Args:
        source: the data, for the message.
        found: the data's classes.
        classes: the model's.
        names: `--map`.

    Raises:
        InputError: they don't fit; the message names both sides.
    """
    by_key = {spelling.class_key(name): name for name in classes}
    out = {name: names.get(name) or by_key.get(spelling.class_key(name), name) for name in found}
    wrong = [f"{name}={to}" for name, to in names.items() if to not in classes]
    if wrong or set(out.values()) != set(classes):
        hint = f"--map {wrong[0]!r} names no class of the model." if wrong else (
            f"Translate each class: --map {next((n for n in found if out[n] not in classes), found[0])!r}=…"
            .replace("'=…", f"={classes[0]}'")
        )  # fmt: skip
        raise InputError(
            f"The classes of {source} ({', '.join(found)}) are not those of the model ({', '.join(classes)}). {hint}"
        )
    return out


def load(source: str, model: SavedModel, how: EvaluationOptions, progress: Progress | None = None) -> Labelled:
    """Read and verify one data set, and leave out what the study has seen.

    Raises:
        DataError: the data can't be used.
        InputError: the classes don't fit, or no image is left.
    """
    finding = Finding(how.label, how.negative, how.uncertain)
    listing = open_source.open_source(
        source, patient_regex=how.patient_regex, finding=finding, site=how.site, progress=progress
    )
    found = sorted({item.label for item in listing.items})
    if not found:
        data.load(source)  # says what is wrong with it
    rename = matched(source, found, model.classes, how.map)
    card = model.classifier.card
    dataset = data.load(
        source,
        rename=rename,
        positive=None if card.positive is None else card.classes[card.positive],
        fit=card.fit,
        channels=card.channels,
        **how.of(Source),
        progress=progress,
    )
    return _chosen(dataset, model, how)


def _chosen(dataset: Dataset, model: SavedModel, how: EvaluationOptions) -> Labelled:
    """The images to evaluate on."""
    images = dataset.images
    chosen = images.splits == "test" if dataset.has_own_test else np.ones(len(images), bool)
    trained, tested = model.images("train"), model.images("test")
    digests = np.array([image.sha256 for image in images], object)
    own = np.isin(digests, list(tested.digests)) if tested else np.zeros(len(images), bool)
    same = np.isin(digests, list(trained.digests)) if trained else np.zeros(len(images), bool)
    near = _near(dataset, trained) & ~same & ~own if trained else np.zeros(len(images), bool)
    kept = chosen if how.include_seen else chosen & ~same & ~near
    if not kept.any():
        raise InputError(
            f"No image of {dataset.name} is left: the study trained or validated on all of them. Evaluate on other "
            "images (--include-seen includes them, but such metrics say nothing about new patients)."
        )
    rows = np.flatnonzero(kept)
    return Labelled(
        dataset,
        images.where(kept),
        {name: tuple(values[row] for row in rows) for name, values in dataset.columns.items()},
        "test" if dataset.has_own_test else "all",
        int((same & chosen).sum()),
        int((near & chosen).sum()),
        trained is not None,
        how.include_seen and bool(((same | near) & chosen).any()),
        int((own & kept).sum()),
    )


def _near(dataset: Dataset, trained: Recorded) -> Any:
    """Whether each image looks like one of the study's to the perceptual hash, bool `(n,)`."""
    assert dataset.inspection is not None  # this process has just verified them
    found = dataset.inspection.rows["phash"][dataset.images.rows]
    near = np.zeros(len(found), bool)
    for start in range(0, len(found) if len(trained.hashes) else 0, 256):
        block = found[start : start + 256]
        distance = np.bitwise_count(block[:, None] ^ trained.hashes[None, :])
        near[start : start + 256] = (distance <= NEAR).any(axis=1)
    return near
