"""Family `linear`: an image averaged down to a few hundred cells, and one softmax layer on them.

What it is. Each image is standardised by itself and averaged over squares; logistic regression on the cells is all of
the model. The layer is not trained by gradient steps: scikit-learn solves it, its penalty chosen on held-out patients
(`training.optimization.logistic_regression`). As a network it is fixed layers and one dense layer, so that prediction,
export and ensembles use it like any other.

What it costs. Seconds on 5,000 images, whatever the machine: it is the first trial of a search of images.

Where it comes from. Logistic regression (Cox 1958). Whitened patches (Coates, Ng & Lee 2011, "An analysis of
single-layer networks in unsupervised feature learning") were compared with it and are not better on shifted views.

What to expect. The floor that deep networks have to beat: it knows where an image is bright and nothing of what moves.

Values: `linear/image_size`, `linear/cells`, `linear/solver`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from xraytune.framework import keras
from xraytune.models import heads, inputs
from xraytune.models.family import Family
from xraytune.records import Value

SIZES = (64,)
CELLS = (16,)
"""Cells along an edge that an image is averaged to; it divides every size."""


def network(values: Mapping[str, Value], channels: int, classes: int, _: Mapping[str, str | Path]) -> keras.Model:
    """The network, uncompiled and not yet solved: pixels `(n, size, size, channels)` in, softmax `(n, classes)` out."""
    size, cells = int(values["linear/image_size"]), int(values["linear/cells"])
    x = start = inputs.pixels(size, channels)
    x = inputs.normalized(x, "standardized")
    x = keras.layers.AveragePooling2D(size // cells, name="cells")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    return keras.Model(start, heads.predictions(x, classes), name="linear")


def operations(values: Mapping[str, Value]) -> float:
    """Operations an image of one step: a few per pixel, and the dense layer forward and backward."""
    return 10.0 * int(values["linear/image_size"]) ** 2 + 12.0 * int(values["linear/cells"]) ** 2


LINEAR = Family(SIZES, network, efficiency=0.3, trace_seconds=1.0, operations=operations)
