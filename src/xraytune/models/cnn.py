"""Family `cnn`: one to five blocks of convolutions, trained from nothing.

What it is. A block is one or two 3 × 3 convolutions, each with ReLU and, if asked, batch normalisation; then pooling by
two and, if asked, dropout. The width of the first block grows by a factor from block to block. A head (`heads`) ends
it.

What it costs. Two thirds of it is the first two blocks, so it grows with the square of the image size: on one core
about 1 ms an image a step (forward and backward) at 64 px with width 16, 15 ms at 224 px. `cost` estimates it per draw.

Where it comes from. LeNet (LeCun et al. 1998) by way of VGG's 3 × 3 blocks (Simonyan & Zisserman 2014); the recipes
`cnn`, `cnn_augmented`, `cnn_batchnorm`, `cnn_dropout`, `one_conv`, `mean_subtracted_cnn_224` and `cnn_mlp5` are points
of it.

What to expect. With augmentation the strongest family per second on two cores; without it, it overfits within five
epochs.

Pooling pads (`same`), so that five blocks leave a pixel of any image and no draw is impossible.

Values: `cnn/image_size`, `cnn/normalization`, `cnn/blocks`, `cnn/convolutions`, `cnn/width`, `cnn/growth`,
`cnn/batch_norm`, `cnn/pooling`, `cnn/dropout`, and the head's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from xraytune.framework import keras
from xraytune.models import heads, inputs
from xraytune.models.family import Family
from xraytune.records import Value

SIZES = (28, 48, 64, 96, 128, 160, 224)


def widths(values: Mapping[str, Value]) -> list[int]:
    """Filters of each block, multiples of 8 so that vector units are filled."""
    first, growth = int(values["cnn/width"]), float(values["cnn/growth"])
    return [max(8, round(first * growth**i / 8) * 8) for i in range(int(values["cnn/blocks"]))]


def network(values: Mapping[str, Value], channels: int, classes: int, _: Mapping[str, str | Path]) -> keras.Model:
    """The network, uncompiled: pixels `(n, size, size, channels)` in, softmax `(n, classes)` out."""
    batch_norm, dropout = bool(values["cnn/batch_norm"]), float(values["cnn/dropout"])
    pooling = keras.layers.MaxPooling2D if values["cnn/pooling"] == "max" else keras.layers.AveragePooling2D
    x = start = inputs.pixels(int(values["cnn/image_size"]), channels)
    x = inputs.normalized(x, str(values["cnn/normalization"]))
    for block, filters in enumerate(widths(values), start=1):
        for i in range(1, int(values["cnn/convolutions"]) + 1):
            name = f"block{block}_conv{i}"
            x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=not batch_norm, name=name)(x)
            if batch_norm:
                x = keras.layers.BatchNormalization(momentum=heads.NORM_MOMENTUM, name=f"block{block}_norm{i}")(x)
            x = keras.layers.ReLU(name=f"block{block}_relu{i}")(x)
        x = pooling(2, padding="same", name=f"block{block}_pool")(x)
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"block{block}_dropout")(x)
    return keras.Model(start, heads.head(x, values, classes), name="cnn")


def operations(values: Mapping[str, Value]) -> float:
    """Operations an image of one step; normalisation, ReLU and pooling count twenty an element, for their memory."""
    size, before, total = int(values["cnn/image_size"]), 1, 0.0
    for filters in widths(values):
        for _ in range(int(values["cnn/convolutions"])):
            total += size**2 * filters * (18 * before + 40)
            before = filters
        size = -(-size // 2)
    return 3 * (total + heads.operations(values, size, before))


CNN = Family(SIZES, network, efficiency=0.6, trace_seconds=1.5, operations=operations, grace=3)
