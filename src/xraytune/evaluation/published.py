"""Published figures on the data sets that are recognised, to be shown beside a test result."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

_KERMANY = {"accuracy": 0.928, "sensitivity": 0.932, "specificity": 0.901, "auc": 0.968}


PUBLISHED: tuple[dict[str, Any], ...] = (
    {"source": "Kermany et al. 2018, Inception V3 (transfer)", **_KERMANY},
    {"source": "MedMNIST v2 (Yang et al. 2023), ResNet-18, 224 px", "accuracy": 0.864, "auc": 0.956},
    {"source": "MedMNIST v2, AutoKeras", "accuracy": 0.878, "auc": 0.947},
    {"source": "MedMNIST v2, auto-sklearn", "accuracy": 0.855, "auc": 0.942},
    {"source": "MedMNIST v2, Google AutoML Vision", "accuracy": 0.946, "auc": 0.991},
    {"source": "Doerrich et al. 2024, VGG16 end to end, 64 px", "accuracy": 0.893, "auc": 0.987},
    {"source": "Doerrich et al. 2024, DenseNet121, 128 px", "accuracy": 0.898, "auc": 0.988},
    {"source": "Doerrich et al. 2024, DINO ViT-B linear probe", "accuracy": 0.916, "auc": 0.989},
)
"""Figures on the official 624 test images of Kermany et al. 2018, as their authors give them."""


PNEUMONIAMNIST = "pneumoniamnist"


def is_official_test(names: Sequence[str], labels: ArrayLike, classes: Sequence[str], source: str = "") -> bool:
    """Whether these are the 624 official test images: 234 normal, 242 bacterial, 148 viral images.

    PneumoniaMNIST holds them without their names: there its own name and the counts of its classes tell.

    Args:
        names: file names.
        labels: class indices.
        classes: class names.
        source: what the data set is called: a path, or `pneumoniamnist:64`.
    """
    bacterial = sum("_bacteria_" in name for name in names)
    viral = sum("_virus_" in name for name in names)
    counts = dict(zip(classes, np.bincount(np.asarray(labels), minlength=len(classes)).tolist(), strict=True))
    if PurePath(source).name.lower().startswith(PNEUMONIAMNIST):
        return counts == {"normal": 234, "pneumonia": 390}
    return sorted(counts.values()) == [234, 390] and (bacterial, viral) == (242, 148)


_KERMANYS = re.compile(r"((NORMAL2-)?IM-\d+-\d+(-\d+)?|person\d+_(bacteria|virus)_\d+)\.jpe?g", re.IGNORECASE)


def population(names: Sequence[str], source: str = "") -> str:
    """Whom the images show, in one sentence, if they are the official files of Kermany et al. 2018; else empty.

    Args:
        names: file names of train and validation; all of the official ones' pattern, a thousand at least.
        source: what the data set is called.
    """
    official = len(names) >= 1000 and all(_KERMANYS.fullmatch(name) for name in names)
    if not official and not PurePath(source).name.lower().startswith(PNEUMONIAMNIST):
        return ""
    by = "By their names these are" if official else "These are"
    return (
        f"{by} the images of Kermany et al. 2018: children of one to five years, anterior-posterior chest X-rays of "
        "routine care at Guangzhou Women and Children's Medical Center. Sex and exact ages are not known."
    )
