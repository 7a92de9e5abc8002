"""A backbone's file and how its input is made: size, colours, normalisation, layout.

How pixels become its input is written in one line, the parts in any order: `224,rgb,imagenet,nchw`.

| part | means |
|---|---|
| a number | edge of the square input, pixels |
| `gray`, `rgb`, `bgr` | channels and their order |
| `nchw`, `nhwc` | layout, where the shape of the input does not say it |
| a name of `NORMALIZATIONS` | what pixel values 0–255 become |
| `mean=M`, `std=S` | or these, of pixel values 0–1: one number, or one a channel as `0.5/0.5/0.5` |
| `output=NAME` | the output that is taken, where an ONNX file has several |
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytune.errors import InputError
from xraytune.models.inputs import CAFFE_MEAN_RGB, TORCH_MEAN, TORCH_STD
from xraytune.records import Record

NORMALIZATIONS = ("imagenet", "unit", "centered", "pixels", "caffe", "xrv")
"""imagenet: ImageNet's mean and deviation of values 0–1 (torchvision, DINO); unit: 0 to 1; centered: -1 to 1; pixels: 0
to 255; caffe: ImageNet's mean colour subtracted from BGR (VGG in Keras); xrv: -1024 to 1024 (TorchXRayVision)."""

COLOURS = {"gray": 1, "rgb": 3, "bgr": 3}
LAYOUTS = ("nchw", "nhwc")

LUMINANCE = (0.299, 0.587, 0.114)
"""What a colour image becomes gray by (ITU-R BT.601), as where images are read."""

ONNX_EXTRA = "ONNX needs the extra `onnx`: pip install 'xraytune[onnx]'"


@dataclass(frozen=True)
class InputSettings:
    """What is said of a backbone's input; None and empty: nothing."""

    size: int | None = None
    colours: str = ""
    layout: str = ""
    normalization: str = ""
    output: str = ""

    def completed(self, other: InputSettings) -> InputSettings:
        """These settings; what they don't say from `other`."""
        mine = {name: value for name, value in vars(self).items() if value}
        return replace(other, **mine)


def settings(text: str, where: str) -> InputSettings:
    """Settings written as `224,rgb,imagenet`.

    Args:
        text: of that form.
        where: what it is, for messages.

    Raises:
        InputError: a part is not known, or said twice.
    """
    found: dict[str, Any] = {}
    scaling: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        key, _, value = part.partition("=")
        if part.isdecimal() and int(part):
            one: dict[str, Any] = {"size": int(part)}
        elif key == "output" and value:
            one = {"output": value}
        elif key in {"mean", "std"} and _numbers(value):
            scaling, one = scaling | {key: value}, {key: value}
        elif part.lower() in (*COLOURS, *LAYOUTS, *NORMALIZATIONS):
            word = part.lower()
            one = {"colours" if word in COLOURS else "layout" if word in LAYOUTS else "normalization": word}
        else:
            known = ", ".join((*COLOURS, *LAYOUTS, *NORMALIZATIONS))
            raise InputError(
                f"{where}: {part!r} is not known. Write a size in pixels, mean=M and std=S, output=NAME, or of {known}."
            )
        if twice := set(one) & set(found):
            raise InputError(f"{where}: {', '.join(twice)} is given twice.")
        found |= one
    for name in scaling:
        del found[name]
    if scaling and (len(scaling) < 2 or "normalization" in found):
        raise InputError(f"{where}: give mean=M and std=S together, and instead of a named normalization.")
    if scaling:
        found["normalization"] = f"mean={scaling['mean']} std={scaling['std']}"
    return InputSettings(**found)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split("/"))
    except ValueError:
        return ()
    return found if len(found) in {1, 3} and np.isfinite(found).all() else ()


@dataclass(frozen=True)
class FileBackbone(Record):
    """A network in a file, square images to features."""

    name: str
    """Of its family."""
    path: str
    sha256: str
    """Of the file."""
    image_size: int
    """Edge of its square input, pixels."""
    colours: str
    """A key of `COLOURS`."""
    normalization: str
    """One of `NORMALIZATIONS`, or `mean=M std=S`."""
    layout: str
    """One of `LAYOUTS`."""
    features: tuple[int, ...]
    """What it makes of an image, as (height, width, channels): a vector is (1, 1, f), tokens are (t, 1, f)."""
    gflop: float
    """1e9 operations an image."""
    output: str = ""
    """The ONNX output that is taken; empty: a Keras file."""
    licence: str = "unknown"

    @property
    def channels(self) -> int:
        """Of its input."""
        return COLOURS[self.colours]

    @property
    def is_onnx(self) -> bool:
        """Whether ONNX Runtime runs it; else Keras does."""
        return bool(self.output)

    @property
    def key(self) -> str:
        """sha256 of all that its features depend on: the file and how its input is made."""
        plain = {n: v for n, v in self.to_json().items() if n not in {"name", "path", "licence", "gflop"}}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @property
    def line(self) -> str:
        """What it is, for people."""
        features = " × ".join(map(str, self.features))
        return (
            f"backbone {self.name}: {self.path} (sha256 {self.sha256[:8]}…), {self.image_size} px {self.colours}, "
            f"{self.normalization}, {features} features, {self.gflop:.2g} GFLOP an image, licence {self.licence}"
        )

    def mixing(self, channels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """How pixels become its input: `pixels @ matrix + offset`, pixel values 0–255, channels last.

        Args:
            channels: of the images, 1 or 3 (RGB).

        Returns:
            float32 `(channels, c)` and `(c,)`, c the channels of its input.
        """
        scale, offset = (np.broadcast_to(np.asarray(v, np.float64), (self.channels,)) for v in self._scaling())
        if channels == 1:
            matrix = scale[None, :]
        elif self.channels == 1:
            matrix = np.asarray(LUMINANCE)[:, None] * scale
        else:
            matrix = np.eye(3)[:, self._order] * scale
        return matrix.astype(np.float32), offset.astype(np.float32)

    @property
    def _order(self) -> list[int]:
        return [2, 1, 0] if self.colours == "bgr" else list(range(self.channels))

    def _scaling(self) -> tuple[Any, Any]:
        """Factor and offset of pixel values 0–255, of each channel in the input's order."""

        def standardised(mean: Any, std: Any) -> tuple[Any, Any]:
            mean, std = (self._of_channels(np.asarray(v, np.float64)) for v in (mean, std))
            return 1 / (255 * std), -mean / std

        if self.normalization.startswith("mean="):
            mean, std = (_numbers(part.partition("=")[2]) for part in self.normalization.split())
            return standardised(mean, std)
        if self.normalization == "caffe":
            return 1.0, -self._of_channels(np.asarray(CAFFE_MEAN_RGB))
        fixed = {
            "unit": (1 / 255, 0.0),
            "centered": (2 / 255, -1.0),
            "pixels": (1.0, 0.0),
            "xrv": (2048 / 255, -1024.0),
        }
        return standardised(TORCH_MEAN, TORCH_STD) if self.normalization == "imagenet" else fixed[self.normalization]

    def _of_channels(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """One value or those of red, green and blue, as the input's channels have them; gray has their mean."""
        if self.channels == 1:
            return np.atleast_1d(values.mean())
        return np.asarray(np.broadcast_to(values, (3,))[self._order])
