"""Family `densenet`: densely connected networks, frozen, with the last block trained, or from scratch.

What it is. In a dense block every layer sees the outputs of all before it; transitions halve the resolution. Three
modes: `frozen` at a searched transition (pool3, pool4, or the top) under a head; `last_block`, where the fourth dense
block is trained after the head has been, at a lower rate; `scratch`, which needs no weights.

What it costs. DenseNet121 has 8 million weights and a hundred and twenty convolutions: its first step takes half a
minute to trace on two cores, and an epoch of 5,000 images at 64 px from scratch 90 s on one. `densenet33` is the same
network with blocks of 3, 4, 4 and 3 layers: a fifth of the tracing and a third of the arithmetic. Frozen prefixes are
computed once (`xraytune.training.inputs.frozen_features`).

Where it comes from. Huang et al. 2017; CheXNet (Rajpurkar et al. 2017) made DenseNet121 the usual network for chest
X-rays; Doerrich et al. 2024 report 89.8 % on this data set at 128 px. The recipe `densenet201_mlp5` is a point of it.

Frozen batch normalisation stays in inference mode, and that of a trained last block of a pretrained network too:
batches of 16–64 images are too small to re-estimate what ImageNet estimated (Keras's fine-tuning guide says the same).

Values: `densenet/mode`, `densenet/image_size`, the head's; `densenet/backbone` and `densenet/normalization` where it is
pretrained, `densenet/cut` (frozen), `densenet/head_epochs` and `densenet/rate_factor` (last_block), `densenet/variant`
and `densenet/own_normalization` (scratch).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from xraytune.framework import keras
from xraytune.models import backbones, heads, inputs
from xraytune.models.family import Family
from xraytune.models.weight_files import DENSENET_BLOCKS
from xraytune.records import Value

SIZES = (48, 64, 96, 128, 160, 224)
CUTS = {"pool3": "pool3_pool", "pool4": "pool4_pool", "top": "relu"}
VARIANTS = {"densenet33": (3, 4, 4, 3), **DENSENET_BLOCKS}
"""Layers of the four dense blocks; depth is twice their sum and five. `densenet33` is ours, the others the paper's."""

GROWTH = 32
"""Feature maps a layer adds."""


def network(values: Mapping[str, Value], channels: int, classes: int, weights: Mapping[str, str | Path]) -> keras.Model:
    """The network, uncompiled: pixels `(n, size, size, channels)` in, softmax `(n, classes)` out.

    Raises:
        WeightsError: the backbone's file is missing, damaged or another network's.
    """
    mode = str(values["densenet/mode"])
    start = inputs.pixels(int(values["densenet/image_size"]), channels)
    if mode == "scratch":
        x = inputs.normalized(start, str(values["densenet/own_normalization"]))
        x = convolutions(x, VARIANTS[str(values["densenet/variant"])])
        return keras.Model(start, heads.head(x, values, classes), name="densenet")
    x = inputs.for_backbone(start, str(values["densenet/normalization"]), "torch")
    base = backbones.body(str(values["densenet/backbone"]), x, weights)
    cut = CUTS[str(values["densenet/cut"])] if mode == "frozen" else CUTS["top"]
    for layer in base.layers:
        layer.trainable = (
            mode == "last_block"
            and layer.name.startswith("conv5_block")
            and not isinstance(layer, keras.layers.BatchNormalization)
        )
    return keras.Model(start, heads.head(base.get_layer(cut).output, values, classes), name="densenet")


def convolutions(x: keras.KerasTensor, blocks: tuple[int, ...]) -> keras.KerasTensor:
    """The convolutional stack with random weights: DenseNet-BC, growth 32, bottleneck 4 × 32, compression a half.

    Keras's own function for other depths is not public; this one is its architecture, on any number of channels.
    """
    x = keras.layers.Conv2D(64, 7, strides=2, padding="same", use_bias=False, name="conv1_conv")(x)
    x = _norm_relu(x, "conv1")
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same", name="pool1")(x)
    for number, layers in enumerate(blocks, start=2):
        for i in range(1, layers + 1):
            stem = f"conv{number}_block{i}"
            y = _norm_relu(x, f"{stem}_0")
            y = keras.layers.Conv2D(4 * GROWTH, 1, use_bias=False, name=f"{stem}_1_conv")(y)
            y = _norm_relu(y, f"{stem}_1")
            y = keras.layers.Conv2D(GROWTH, 3, padding="same", use_bias=False, name=f"{stem}_2_conv")(y)
            x = keras.layers.Concatenate(name=f"{stem}_concat")([x, y])
        if number <= len(blocks):
            x = _norm_relu(x, f"pool{number}")
            x = keras.layers.Conv2D(x.shape[-1] // 2, 1, use_bias=False, name=f"pool{number}_conv")(x)
            x = keras.layers.AveragePooling2D(2, padding="same", name=f"pool{number}_pool")(x)
    return _norm_relu(x, "top")


def _norm_relu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.ReLU(name=f"{name}_relu")(
        keras.layers.BatchNormalization(momentum=heads.NORM_MOMENTUM, epsilon=1.001e-5, name=f"{name}_bn")(x)
    )


DENSENET = Family(SIZES, network, efficiency=0.3, trace_seconds=2.5)
