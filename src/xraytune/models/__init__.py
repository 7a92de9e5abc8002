"""The families as Keras networks, made from a trial's values.

`network` is what a space's `build` calls; each family's file opens with what it is, costs and comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from xraytune.framework import keras
from xraytune.models import cnn, dense, densenet, linear, vgg
from xraytune.models.family import Family
from xraytune.models.file_backbones import network as file_network
from xraytune.models.file_backbones.backbone import FileBackbone
from xraytune.records import Value

BY_NAME: dict[str, Family] = {
    "linear": linear.LINEAR,
    "dense": dense.DENSE,
    "cnn": cnn.CNN,
    "vgg_frozen": vgg.FROZEN,
    "vgg_finetuned": vgg.FINETUNED,
    "densenet": densenet.DENSENET,
}
FAMILIES = tuple(BY_NAME)
SIZES = {name: family.sizes for name, family in BY_NAME.items()}


def network(
    values: Mapping[str, Value],
    channels: int,
    classes: int,
    weights: Mapping[str, str | Path],
    files: Mapping[str, FileBackbone] | None = None,
) -> keras.Model:
    """The uncompiled network of one point of the space.

    Args:
        values: every active hyperparameter by name; `family` chooses.
        channels: of the images, 1 or 3.
        classes: how many there are.
        weights: backbone → file.
        files: the user's backbones by name, which is their family's. The network is then a head that takes features.

    Raises:
        ValueError: the family is unknown.
        WeightsError: a backbone's weights can't be used.
    """
    family = values["family"]
    if files and family in files:
        return file_network.head_network(files[str(family)], values, classes)
    if family not in BY_NAME:
        raise ValueError(f"unknown family {family!r}: {', '.join(FAMILIES)}")
    return BY_NAME[str(family)].network(values, channels, classes, weights)
