"""Do new images differ from the training images, and in what? Told by image properties alone, without labels.

A small model of image properties, cross-validated by patient, tells training images from new ones. Where it separates
them (ROC AUC above `BOUND`) a model's confidence says too little about how often it is right: nothing is estimated.
Where the ROC AUC is above the bound by more than chance explains, the images are called foreign. The training images'
classes are mixed beforehand as the new images' seem to be, so that another share of positives does not look like
another hospital.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytune.data import image_properties, property_table
from xraytune.evaluation import metrics
from xraytune.evaluation.shift import property_model

BOUND = 0.60
"""ROC AUC above which no estimate is made. Fixed on synthetic sites, see docs/evidence/shift.md."""

CHANCE = 2.0
"""Standard errors above the bound from which images are called foreign: those of a ROC AUC without any separation, the
square root of 1 / (12 new patients)."""

FEWEST = 30
"""New images below which nothing is compared: with fewer the ROC AUC is chance."""

MARKED = 1 / 20
"""Share of the training images that would be marked together with a foreign set of images."""

NOTABLE = 0.65
"""ROC AUC from which a property is named as a difference."""

UNSEEN = frozenset({"width", "height", "bytes", "mode"})
"""Properties of the file that the network does not see: listed, but no reason to refuse."""

_GROUPS = dict.fromkeys(image_properties.FRAMING, image_properties.FRAMED.words)


@dataclass(frozen=True)
class Difference:
    """One property in both sets."""

    name: str
    words: str
    training: tuple[float, float, float]
    """Median, 5th and 95th percentile of the training images."""
    here: tuple[float, float, float]
    """The same of the new images."""
    auc: float
    """With which the property alone tells them apart, 0.5 to 1."""
    higher: bool
    """Whether the new images have higher values."""
    seen: bool
    """Whether a network can see it."""
    beyond: float
    """Share of the new images outside the training images' 1st to 99th percentile."""


@dataclass(frozen=True)
class Separation:
    """How far two sets of images differ."""

    auc: float
    """Of all properties that a network can see together, cross-validated by patient; NaN where not measured."""
    differences: tuple[Difference, ...]
    """Every property, the most different first."""
    marked: NDArray[np.bool_]
    """New images that look more like the new set than 19 of 20 training images do, `(m,)`."""
    patients: int
    """New patients."""
    positive: float = float("nan")
    """The share of positives at which the training images were compared."""

    @property
    def alike(self) -> bool:
        """Whether the new images look enough like the training images for an estimate."""
        return bool(self.auc <= BOUND)

    @property
    def foreign(self) -> bool:
        """Whether the new images are other images than the model was trained on, statistically significantly."""
        return bool(self.auc > BOUND + CHANCE * (1 / (12 * self.patients)) ** 0.5)

    @property
    def reason(self) -> str:
        """In what they differ, in words: `framing and sharpness`."""
        named = [_GROUPS.get(d.name, d.words) for d in self.differences if d.seen and d.auc >= NOTABLE]
        listed = list(dict.fromkeys(named))[:3]
        if not listed:
            return "several image properties together"
        return " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)

    @property
    def warning(self) -> str:
        """The one sentence on foreign images, empty where they are not."""
        if not self.foreign:
            return ""
        return (
            f"These images differ from the training images in {self.reason}; do not use this model on them without "
            "labelled images from this hospital."
        )


@dataclass(frozen=True, eq=False)
class Known:
    """Training images that new ones are compared with."""

    table: NDArray[np.float64]
    """`(n, len(property_table.NAMES))`."""
    patients: NDArray[np.generic]
    positive: NDArray[np.bool_] | None = None
    """Whether each is of the positive class; None: the classes are taken as they are."""


def compare(
    known: Known,
    table: NDArray[np.float64],
    patients: Sequence[Any] | NDArray[np.generic],
    *,
    share: float = float("nan"),
    seed: int = 0,
) -> Separation:
    """Compare new images with training images.

    Args:
        known: the training images.
        table: properties of the new images, `(m, len(property_table.NAMES))`.
        patients: who each new image shows.
        share: of positives among the new images, as far as it is known; NaN: the training images stay as they are.
        seed: of the choice of training images.
    """
    chosen = _mixed(known, share, np.random.default_rng(seed))
    ours, theirs = known.table[chosen], np.asarray(table, np.float64)
    differences = tuple(sorted((_difference(i, ours, theirs) for i in range(ours.shape[1])), key=_rank))
    several = len(set(np.asarray(patients).tolist()))
    unknown = Separation(float("nan"), differences, np.zeros(len(theirs), bool), several, share)
    if min(len(ours), len(theirs)) < FEWEST:
        return unknown
    columns = [i for i, name in enumerate(property_table.NAMES) if name not in UNSEEN]
    labels = np.repeat([0, 1], [len(ours), len(theirs)])
    who = [f"training {p}" for p in known.patients[chosen]] + [f"new {p}" for p in patients]
    scores = property_model.out_of_fold(np.concatenate([ours, theirs])[:, columns], labels, who)
    if scores is None:
        return unknown
    new = scores[:, 1]
    limit = np.quantile(new[labels == 0], 1 - MARKED, method="higher")
    auc = float(metrics.roc_auc(labels == 1, new)[0])
    return Separation(auc, differences, new[labels == 1] > limit, several, share)


def _rank(difference: Difference) -> tuple[float, str]:
    return -difference.auc, difference.name


def _mixed(known: Known, share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """As many training images as there are of which this share is positive; all where that is not asked for."""
    rows = np.arange(len(known.table))
    if known.positive is None or not np.isfinite(share):
        return rows
    event = known.positive
    ill, well = rows[event], rows[~event]
    size = min(len(ill) / max(share, 1e-9), len(well) / max(1 - share, 1e-9))
    take = [round(size * share), round(size * (1 - share))]
    parts = [rng.permutation(part)[:count] for part, count in zip((ill, well), take, strict=True)]
    return np.sort(np.concatenate(parts))


def _difference(column: int, ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> Difference:
    name = property_table.NAMES[column]
    a, b = ours[:, column], theirs[:, column]
    auc = float(metrics.roc_auc(np.repeat([False, True], [len(a), len(b)]), np.concatenate([a, b]))[0])
    auc = auc if np.isfinite(auc) else 0.5
    low, high = np.percentile(a, [1, 99])
    beyond = float(((b < low) | (b > high)).mean())
    words = property_table.PROPERTIES[name].words
    return Difference(name, words, _spread(a), _spread(b), max(auc, 1 - auc), auc >= 0.5, name not in UNSEEN, beyond)


def _spread(values: NDArray[np.float64]) -> tuple[float, float, float]:
    middle, low, high = np.percentile(values, [50, 5, 95])
    return float(middle), float(low), float(high)
