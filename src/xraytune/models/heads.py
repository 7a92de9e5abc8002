"""What stands on top of convolutions: pooling, a few dense layers, a softmax. Shared by every family but `dense`.

Layers are named `head_…` and `predictions`: training freezes all others while it warms a head up on a backbone that is
thawed later, and the explanations find the last feature map below them.
"""

from __future__ import annotations

from collections.abc import Mapping

from xraytune.framework import keras
from xraytune.records import Value

NORM_MOMENTUM = 0.9
"""Of running means and variances, as in PyTorch. Keras's 0.99 forgets its start in some five hundred steps, which is
four epochs of five thousand images: until then the validation images see statistics of random weights."""

POOLS = ("avg", "max", "flatten", "cnn")
"""Global average or maximum, every cell, or one more small convolution before the average."""

FLATTEN_CELLS = 7
"""Flattening keeps at most so many cells along an edge: averaged down to 7 × 7 before it, what VGG at 224 px has. A
28 × 28 × 256 map flattened into 512 units would be a hundred million weights for five thousand images."""


def dense_stack(
    x: keras.KerasTensor, layers: int, units: int, dropout: float, batch_norm: bool, name: str
) -> keras.KerasTensor:
    """`layers` dense layers of `units`, each with ReLU, batch normalisation before and dropout after it if asked."""
    for i in range(1, layers + 1):
        x = keras.layers.Dense(units, use_bias=not batch_norm, name=f"{name}_dense{i}")(x)
        if batch_norm:
            x = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{name}_norm{i}")(x)
        x = keras.layers.ReLU(name=f"{name}_relu{i}")(x)
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"{name}_dropout{i}")(x)
    return x


def predictions(x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    """The softmax over `classes`, float32 whatever the precision below."""
    return keras.layers.Dense(classes, activation="softmax", dtype="float32", name="predictions")(x)


def head(x: keras.KerasTensor, values: Mapping[str, Value], classes: int) -> keras.KerasTensor:
    """From a feature map `(n, h, w, c)` to predictions `(n, classes)`.

    Args:
        x: the feature map.
        values: `head/pool`, `head/layers`, `head/units`, `head/dropout`, `head/batch_norm`.
        classes: how many classes.

    Raises:
        ValueError: an unknown pooling.
    """
    pool, dropout = str(values["head/pool"]), float(values["head/dropout"])
    units, batch_norm = int(values["head/units"]), bool(values["head/batch_norm"])
    if pool == "cnn":
        x = keras.layers.Conv2D(units, 3, padding="same", use_bias=not batch_norm, name="head_conv")(x)
        if batch_norm:
            x = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name="head_norm")(x)
        x = keras.layers.ReLU(name="head_relu")(x)
    if pool in {"avg", "cnn"}:
        x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    elif pool == "max":
        x = keras.layers.GlobalMaxPooling2D(name="head_pool")(x)
    elif pool == "flatten":
        step = -(-x.shape[1] // FLATTEN_CELLS)
        if step > 1:
            x = keras.layers.AveragePooling2D(step, padding="same", name="head_pool")(x)
        x = keras.layers.Flatten(name="head_flatten")(x)
    else:
        raise ValueError(f"unknown pooling {pool!r}: {', '.join(POOLS)}")
    if dropout:
        x = keras.layers.Dropout(dropout, name="head_dropout")(x)
    x = dense_stack(x, int(values["head/layers"]), units, dropout, batch_norm, "head")
    return predictions(x, classes)


def operations(values: Mapping[str, Value], edge: int, channels: int) -> float:
    """Forward operations of a head on a feature map of `edge` × `edge` × `channels`."""
    units, layers = int(values.get("head/units", 64)), int(values.get("head/layers", 1))
    pool, edge, total = str(values.get("head/pool", "avg")), max(edge, 1), 0.0
    if pool == "cnn":
        total, channels = edge**2 * 18.0 * channels * units, units
    elif pool == "flatten":
        step = -(-edge // FLATTEN_CELLS)
        channels *= (-(-edge // step)) ** 2
    if layers:
        total, channels = total + 2.0 * units * (channels + units * (layers - 1)), units
    return total + 4.0 * channels  # the softmax of two classes
