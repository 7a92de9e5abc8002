"""What a backbone's weights file must hold, and reading it: Keras 3's `.weights.h5` and Keras's older `.h5`.

Both formats keep layers in the network's order; neither names its network. So the list of layers and shapes that each
backbone has is computed here (a few lines of arithmetic from the papers' tables) and a file is right when its arrays
are those, in that order. No network is built for it, so the driver can check files without loading a graph.
"""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from xraytune.errors import FOREIGN, WeightsError

Shapes = tuple[tuple[int, ...], ...]
Arrays = list[NDArray[np.float32]]

VGG_CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""Convolutions a block (Simonyan & Zisserman 2014, table 1: D and E)."""

DENSENET_BLOCKS = {
    "densenet121": (6, 12, 24, 16),
    "densenet169": (6, 12, 32, 32),
    "densenet201": (6, 12, 48, 32),
}
"""Layers a dense block (Huang et al. 2017, table 1); growth 32, bottleneck 4, compression 0.5."""


def expected(name: str) -> list[tuple[str, Shapes]]:
    """The layers with weights of the network `name`, in order: Keras's layer name and the shapes of its arrays."""
    if name in VGG_CONVOLUTIONS:
        return _vgg(VGG_CONVOLUTIONS[name])
    return _densenet(DENSENET_BLOCKS[name])


def _vgg(convolutions: tuple[int, ...]) -> list[tuple[str, Shapes]]:
    layers: list[tuple[str, Shapes]] = []
    before = 3
    for block, (count, filters) in enumerate(zip(convolutions, (64, 128, 256, 512, 512), strict=True), start=1):
        for i in range(1, count + 1):
            layers.append((f"block{block}_conv{i}", ((3, 3, before, filters), (filters,))))
            before = filters
    return layers


def _densenet(blocks: tuple[int, ...]) -> list[tuple[str, Shapes]]:
    def norm(channels: int) -> Shapes:
        return ((channels,),) * 4

    layers: list[tuple[str, Shapes]] = [("conv1_conv", ((7, 7, 3, 64),)), ("conv1_bn", norm(64))]
    channels = 64
    for block, count in enumerate(blocks, start=2):
        for i in range(1, count + 1):
            stem = f"conv{block}_block{i}"
            layers += [
                (f"{stem}_0_bn", norm(channels)),
                (f"{stem}_1_conv", ((1, 1, channels, 128),)),
                (f"{stem}_1_bn", norm(128)),
                (f"{stem}_2_conv", ((3, 3, 128, 32),)),
            ]
            channels += 32
        if block < 5:
            layers += [(f"pool{block}_bn", norm(channels)), (f"pool{block}_conv", ((1, 1, channels, channels // 2),))]
            channels //= 2
    return [*layers, ("bn", norm(channels))]


def check_file(name: str, path: Path) -> None:
    """Check that a file is whole and holds the weights of `name`: every array's place, shape and extent.

    Raises:
        WeightsError: it can't be opened, is truncated, or holds another network.
    """
    read(name, path, only_shapes=True)


def read(name: str, path: Path, *, only_shapes: bool = False) -> dict[str, Arrays]:
    """A backbone's weights by layer name.

    Args:
        name: the backbone.
        path: its file, in either format.
        only_shapes: check and return nothing.

    Raises:
        WeightsError: it can't be opened, is truncated, or holds another network.
    """
    try:
        with h5py.File(path) as file:
            stored = _keras3_layers(file) if "layers" in file else _legacy_layers(file)
            wanted = expected(name)
            shapes = [tuple(array.shape for array in arrays) for arrays in stored]
            if shapes != [layer for _, layer in wanted]:
                raise WeightsError(f"{path}: these are not the weights of {name}: {_difference(wanted, shapes)}")
            if only_shapes:
                return {}
            return {layer: [a[()] for a in arrays] for (layer, _), arrays in zip(wanted, stored, strict=True)}
    except (OSError, RuntimeError, *FOREIGN) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path}: damaged or no weights file ({reason}); fetch {name} again") from error


def _keras3_layers(file: h5py.File) -> list[list[h5py.Dataset]]:
    """Groups `conv2d`, `conv2d_1`, `batch_normalization` … brought into the network's order.

    Keras 3 numbers each class on its own. In VGG there are convolutions only; in a DenseNet a convolution and a
    normalisation alternate in an order that the network's layer names give.
    """
    layers = file["layers"]

    def numbered(stem: str) -> list[list[h5py.Dataset]]:
        matches = [(m, n) for n in layers if (m := re.fullmatch(rf"{stem}(?:_(\d+))?", n))]
        ordered = sorted(matches, key=lambda pair: int(pair[0].group(1) or 0))
        return [[layers[n]["vars"][str(i)] for i in range(len(layers[n]["vars"]))] for _, n in ordered]

    convolutions, norms = numbered("conv2d"), numbered("batch_normalization")
    if not norms:
        return convolutions
    for layer_names in (expected(name) for name in DENSENET_BLOCKS):
        kinds = ["norm" if layer.endswith("bn") else "conv" for layer, _ in layer_names]
        if kinds.count("conv") == len(convolutions) and kinds.count("norm") == len(norms):
            left = {"conv": iter(convolutions), "norm": iter(norms)}
            return [next(left[kind]) for kind in kinds]
    return convolutions + norms


def _legacy_layers(file: h5py.File) -> list[list[h5py.Dataset]]:
    """One group a layer, listed in order in `layer_names`, its arrays in `weight_names`."""
    stored = file.get("model_weights", file)
    if "layer_names" not in stored.attrs:
        raise KeyError("neither Keras 3's layout nor the older one")

    def text(name: str | bytes) -> str:
        return name.decode() if isinstance(name, bytes) else name

    groups = [stored[text(name)] for name in stored.attrs["layer_names"]]
    listed = [(group, group.attrs["weight_names"]) for group in groups]
    return [[group[text(n)] for n in names] for group, names in listed if len(names)]


def _difference(wanted: list[tuple[str, Shapes]], found: list[Shapes]) -> str:
    """The first layer that differs, in words."""
    for (layer, shapes), other in zip(wanted, found, strict=False):
        if shapes != other:
            return f"{layer} should be {shapes}, is {other}"
    return f"{len(found)} layers with weights instead of {len(wanted)}"
