"""What every network begins with: pixels 0–255 in, normalised values out, the gray channel repeated for backbones.

A saved network holds its own normalisation, so that whoever uses it resizes an image and nothing else. Layers are
Keras's own, without weights and without code of ours.
"""

from __future__ import annotations

from xraytune.framework import keras

NORMALIZATIONS = ("unit", "centered", "standardized", "imagenet")
"""unit: 0–1; centered: the image's own mean subtracted; standardized: divided by its own deviation too; imagenet: what
the backbone was trained with. Means are each image's, not the set's: the exposure of an image says nothing about
lungs."""

CAFFE_MEAN_RGB = (123.68, 116.779, 103.939)
"""VGG's preprocessing: ImageNet's mean colour, subtracted from BGR pixels 0–255 (Simonyan & Zisserman 2014)."""

TORCH_MEAN, TORCH_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""DenseNet's preprocessing: ImageNet's mean and deviation of pixels 0–1 (Huang et al. 2017)."""


def pixels(size: int, channels: int) -> keras.KerasTensor:
    """The input `(n, size, size, channels)`, pixel values 0–255; uint8 is cast inside the graph."""
    return keras.Input((size, size, channels), name="pixels")


def normalized(x: keras.KerasTensor, how: str) -> keras.KerasTensor:
    """Pixels normalised as `how` says, channels unchanged.

    Raises:
        ValueError: `how` is not one of `NORMALIZATIONS` that work without a backbone.
    """
    x = keras.layers.Rescaling(1 / 255, name="unit")(x)
    if how == "unit":
        return x
    if how == "centered":
        mean = keras.layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)
        return keras.layers.Subtract(name="centered")([x, mean])
    if how == "standardized":
        return keras.layers.LayerNormalization(
            axis=(1, 2, 3), center=False, scale=False, epsilon=1e-4, name="standardized"
        )(x)
    raise ValueError(f"unknown normalization {how!r}: {', '.join(NORMALIZATIONS)}")


def for_backbone(x: keras.KerasTensor, how: str, style: str) -> keras.KerasTensor:
    """Pixels as three channels, normalised as `how` says.

    Args:
        x: pixels 0–255, one channel or three (RGB).
        how: one of `NORMALIZATIONS`.
        style: what `imagenet` means: `caffe` (VGG: BGR, mean subtracted) or `torch` (DenseNet: standardised).
    """
    gray = x.shape[-1] == 1
    if how != "imagenet":
        x = normalized(x, how)
    if gray:
        x = keras.layers.Concatenate(name="repeated")([x, x, x])
    if how != "imagenet":
        return x
    if style == "torch":
        mean, std = [255 * m for m in TORCH_MEAN], [255 * s for s in TORCH_STD]
        return keras.layers.Normalization(mean=mean, variance=[s * s for s in std], name="imagenet")(x)
    x = keras.layers.Normalization(mean=list(CAFFE_MEAN_RGB), variance=[1.0] * 3, name="imagenet")(x)
    return keras.ops.flip(x, axis=-1)
