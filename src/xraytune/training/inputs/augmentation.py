"""Augmentation: a strength and two choices of their own → Keras layers that run on the backend, a batch at a time.

| | light | medium | strong |
|---|---|---|---|
| rotation, degrees either way | 5 | 10 | 20 |
| shift, fraction of the edge, each way | 0.03 | 0.07 | 0.12 |
| zoom, either way | 5 % | 10 % | 20 % |
| shear, degrees | 3 | 6 | 12 |
| brightness, gray values | 10 | 20 | 40 |
| contrast, factor | ± 10 % | ± 20 % | ± 40 % |
| noise, gray values (deviation, at most) | 2 | 5 | 10 |

Ranges are those that published work on this data set uses (rotations of 10–20°, shifts, shear and zoom of 0.1–0.2), the
strong ones at its upper end. The left-right flip mirrors the heart, so it is a choice of its own; nothing is ever
turned upside down. What comes in at an edge repeats the nearest pixel.

Five more choices each make a network blind to one property of an image that may tell the classes apart in one hospital
and not in the next. The shortcut audit decides which of them a search offers (`COUNTERMEASURES`).

| | light | strong | blind to |
|---|---|---|---|
| shape jitter: height and width scaled independently, either way | 15 % | 30 % | an image's aspect ratio |
| exposure jitter: brightness, gray values; contrast | 25; ± 20 % | 60; ± 40 % | exposure, processing |
| focus jitter: towards a blur of 1/48 of the edge, or as far away from it | half | whole | focus, resolution |
| masking: half the images' borders black or gray, half their corners gray; of the edge | 6; 12 % | 12; 20 % | markers |

| | 0.5 | blind to |
|---|---|---|
| crop: random resized crops, the smallest area; aspect ratio 3/4 to 4/3 | 50 % | where the chest lies |

In Kermany's data an image's aspect ratio alone separates the classes of the training set with AUC 0.88.

Crops are cut from a larger array before the batch reaches the network, shape jitter with them in one resampling
(`random_crops`). All other geometry is one matrix and one bilinear resampling an image: a tenth of the cost of a chain
of Keras's layers, and blurred once instead of five times.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytune.framework import keras, ops
from xraytune.training.inputs.random_crops import CroppedPool

STRENGTHS = ("none", "light", "medium", "strong")
SHAPE_JITTERS = {"none": 0.0, "light": 0.15, "strong": 0.30}
EXPOSURE_JITTERS = {"none": (0.0, 0.0), "light": (25.0, 0.20), "strong": (60.0, 0.40)}
FOCUS_JITTERS = {"none": 0.0, "light": 0.5, "strong": 1.0}
CROPS = {"none": 1.0, "0.5": 0.5, "0.3": 0.3, "0.08": 0.08}
"""The smallest area of a random resized crop, a fraction of the image's. Of these the spaces offer 0.5: smaller crops
were worse on folds of the X-rays and no better where framing was planted (docs/evidence/crops.md)."""

MASKINGS = {"none": (0.0, 0.0), "light": (0.06, 0.12), "strong": (0.12, 0.20)}
COUNTERMEASURES: dict[str, tuple[str, ...]] = {
    "shape_jitter": tuple(SHAPE_JITTERS),
    "exposure_jitter": tuple(EXPOSURE_JITTERS),
    "focus_jitter": tuple(FOCUS_JITTERS),
    "masking": tuple(MASKINGS),
    "crop": ("none", "0.5"),
}
"""The hyperparameters that each make a network blind to one kind of shortcut, and their values, the weakest first."""

CHOICES: dict[str, tuple[Any, ...]] = {"augmentation": STRENGTHS, "flip": (False, True), **COUNTERMEASURES}
"""Every hyperparameter of an augmentation, and its values."""

BLUR = 1 / 48
"""Deviation of the focus jitter's blur as a fraction of the edge: a little more than the view `blurred` comes to on
Kermany's images (1/66, `views.plan`), so that training meets what validation will show."""


@dataclass(frozen=True)
class Amounts:
    """The ranges of one strength; the module's table."""

    rotation: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    shear: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    noise: float = 0.0


AMOUNTS = {
    "none": Amounts(),
    "light": Amounts(5, 0.03, 0.05, 3, 10, 0.10, 2),
    "medium": Amounts(10, 0.07, 0.10, 6, 20, 0.20, 5),
    "strong": Amounts(20, 0.12, 0.20, 12, 40, 0.40, 10),
}


@dataclass(frozen=True)
class Augmentation:
    """What is done to a training image."""

    strength: str = "none"
    """One of `STRENGTHS`."""

    flip: bool = False
    """Left-right, one image in two."""

    shape_jitter: str = "none"
    """One of `SHAPE_JITTERS`: independent scaling of height and width."""

    exposure_jitter: str = "none"
    """One of `EXPOSURE_JITTERS`; the strength's own brightness and contrast hold where they are more."""

    focus_jitter: str = "none"
    """One of `FOCUS_JITTERS`: softer or sharper."""

    masking: str = "none"
    """One of `MASKINGS`: borders and corners."""

    crop: str = "none"
    """One of `CROPS`: random resized crops."""

    def __post_init__(self) -> None:
        if self.strength not in AMOUNTS:
            raise ValueError(f"unknown augmentation {self.strength!r}: {', '.join(STRENGTHS)}")
        for name, values in {**COUNTERMEASURES, "crop": tuple(CROPS)}.items():
            if getattr(self, name) not in values:
                raise ValueError(f"unknown {name.replace('_', ' ')} {getattr(self, name)!r}: {', '.join(values)}")

    def __bool__(self) -> bool:
        """Whether anything is done at all."""
        return self.strength != "none" or self.flip or any(getattr(self, name) != "none" for name in COUNTERMEASURES)

    @property
    def cropping(self) -> bool:
        """Whether images are cropped, and their shape jittered with it, before they reach the layers."""
        return self.crop != "none"

    def crops_of(self, pool: NDArray[np.uint8], size: int, *seed: int) -> CroppedPool:
        """Random resized crops of these images: what batches are gathered from.

        Args:
            pool: square images `(n, e, e, c)`, uint8, larger than `size` where there is more detail.
            size: edge of the network's input, pixels.
            seed: the same numbers give the same crops.
        """
        return CroppedPool(pool, size, CROPS[self.crop], SHAPE_JITTERS[self.shape_jitter], seed)

    def layers(self, seed: int) -> list[keras.layers.Layer]:
        """The layers, in order, seeded; none where nothing is left to do once images were cropped."""
        made: list[keras.layers.Layer] = []
        amounts = AMOUNTS[self.strength]
        jitter = 0.0 if self.cropping else SHAPE_JITTERS[self.shape_jitter]
        if self.strength != "none" or self.flip or jitter:
            made.append(RandomGeometry(amounts, self.flip, jitter, seed=seed))
        if self.focus_jitter != "none":
            made.append(RandomFocus(FOCUS_JITTERS[self.focus_jitter], seed=seed + 2))
        brightness, contrast = EXPOSURE_JITTERS[self.exposure_jitter]
        exposure = dataclasses.replace(
            amounts, brightness=max(amounts.brightness, brightness), contrast=max(amounts.contrast, contrast)
        )
        if self.strength != "none" or self.exposure_jitter != "none":
            made.append(RandomExposure(exposure, seed=seed + 1))
        if self.masking != "none":
            made.append(RandomMasking(*MASKINGS[self.masking], seed=seed + 3))
        return made


class RandomLayer(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """A layer that changes images in training only.

    Args:
        name: its name.
        seed: of its own generator.
    """

    def __init__(self, name: str, seed: int) -> None:
        super().__init__(name=name)
        self.generator = keras.random.SeedGenerator(seed)

    def changed(self, images: Any) -> Any:
        """Images `(n, h, w, c)` of pixels 0–255, float, as training sees them."""
        raise NotImplementedError

    def call(self, images: Any, training: bool = False) -> Any:
        """Images `(n, h, w, c)` of pixels 0–255, float; as they are where not training."""
        return self.changed(images) if training else images

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """As it came."""
        return shape


class RandomGeometry(RandomLayer):
    """Rotation, shift, zoom, shear, shape jitter and flip as one affine resampling an image, in training only.

    Args:
        amounts: the ranges.
        flip: whether one image in two is mirrored left to right.
        jitter: height and width are each scaled by a factor within 1 ± jitter (uniform in its logarithm).
        seed: of the layer's own generator.
    """

    def __init__(self, amounts: Amounts, flip: bool, jitter: float, *, seed: int) -> None:
        super().__init__("random_geometry", seed)
        self.amounts, self.flip, self.jitter = amounts, flip, jitter

    def _uniform(self, n: Any, reach: float) -> Any:
        return keras.random.uniform((n,), -reach, reach, seed=self.generator)

    def changed(self, images: Any) -> Any:
        """Images `(n, h, w, c)` of pixels 0–255, float."""
        a, n, (height, width) = self.amounts, ops.shape(images)[0], images.shape[1:3]
        angle, shear = self._uniform(n, a.rotation * 0.0174533), ops.tan(self._uniform(n, a.shear * 0.0174533))
        zoom = ops.exp(self._uniform(n, a.zoom))
        scale_x = zoom * ops.exp(self._uniform(n, self.jitter))
        scale_y = zoom * ops.exp(self._uniform(n, self.jitter))
        if self.flip:
            scale_x = scale_x * ops.sign(self._uniform(n, 1.0) + 1e-9)
        # output pixel → input pixel about the centre: rotate, shear along x, scale
        cos, sin = ops.cos(angle), ops.sin(angle)
        a0, a1 = scale_x * (cos + shear * sin), scale_x * (shear * cos - sin)
        b0, b1 = scale_y * sin, scale_y * cos
        cx, cy = (width - 1) / 2, (height - 1) / 2
        a2 = cx - a0 * cx - a1 * cy + self._uniform(n, a.shift) * width
        b2 = cy - b0 * cx - b1 * cy + self._uniform(n, a.shift) * height
        zero = ops.zeros_like(a0)
        matrix = ops.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1)
        return ops.image.affine_transform(images, matrix, interpolation="bilinear", fill_mode="nearest")


class RandomExposure(RandomLayer):
    """Brightness, contrast about the image's mean, and noise, in training only; clipped to 0–255."""

    def __init__(self, amounts: Amounts, *, seed: int) -> None:
        super().__init__("random_exposure", seed)
        self.amounts = amounts

    def changed(self, images: Any) -> Any:
        """Images `(n, h, w, c)` of pixels 0–255, float."""
        a, n = self.amounts, ops.shape(images)[0]

        def draw(low: float, high: float) -> Any:
            return keras.random.uniform((n, 1, 1, 1), low, high, seed=self.generator)

        mean = ops.mean(images, axis=(1, 2, 3), keepdims=True)
        out = (images - mean) * draw(1 - a.contrast, 1 + a.contrast) + mean + draw(-a.brightness, a.brightness)
        noise = keras.random.normal(ops.shape(images), seed=self.generator)
        return ops.clip(out + noise * draw(0.0, a.noise), 0.0, 255.0)


class RandomFocus(RandomLayer):
    """Softer or sharper, in training only: towards the image's blurred copy or away from it; clipped to 0–255.

    Args:
        reach: 1 goes as far as the blurred copy itself, or as far the other way.
        seed: of the layer's own generator.
    """

    def __init__(self, reach: float, *, seed: int) -> None:
        super().__init__("random_focus", seed)
        self.reach = reach

    def _blurred(self, images: Any) -> Any:
        """A Gaussian in two passes, edges repeated: two matrix products, a tenth of what convolving costs on a core."""
        height, width, channels = (int(edge) for edge in images.shape[1:])
        down, across = (ops.cast(ops.convert_to_tensor(blurring(edge)), images.dtype) for edge in (height, width))
        rows = ops.matmul(down, ops.reshape(images, (-1, height, width * channels)))
        by_channel = ops.swapaxes(ops.reshape(rows, (-1, height, width, channels)), 2, 3)
        return ops.swapaxes(ops.matmul(by_channel, ops.transpose(across)), 2, 3)

    def changed(self, images: Any) -> Any:
        """Images `(n, h, w, c)` of pixels 0–255, float."""
        share = keras.random.uniform((ops.shape(images)[0], 1, 1, 1), -self.reach, self.reach, seed=self.generator)
        return ops.clip(images + share * (self._blurred(images) - images), 0.0, 255.0)


def blurring(edge: int) -> np.ndarray:
    """What a line of so many pixels is multiplied by to be blurred by `BLUR`, `(edge, edge)`, float32.

    A Gaussian that ends after two deviations; what lies beyond the line is its mirror image.
    """
    deviation = max(BLUR * edge, 0.4)
    radius = math.ceil(2 * deviation)
    reach = np.arange(-radius, radius + 1)
    weight = np.exp(-0.5 * (reach / deviation) ** 2)
    taken = (np.arange(edge)[:, None] + reach) % (2 * edge)
    matrix = np.zeros((edge, edge), np.float32)
    np.add.at(matrix, (np.arange(edge)[:, None], np.minimum(taken, 2 * edge - 1 - taken)), weight / weight.sum())
    return matrix


class RandomMasking(RandomLayer):
    """Borders black or the image's mean gray in half the images, corners that gray in half of them, in training only.

    Args:
        border: each side loses up to this fraction of the edge, on its own.
        corner: all four corners lose a square of up to this fraction of the edge.
        seed: of the layer's own generator.
    """

    def __init__(self, border: float, corner: float, *, seed: int) -> None:
        super().__init__("random_masking", seed)
        self.border, self.corner = border, corner

    def changed(self, images: Any) -> Any:
        """Images `(n, h, w, c)` of pixels 0–255, float."""
        n, (height, width) = ops.shape(images)[0], images.shape[1:3]

        def draw(high: float) -> Any:
            amount = keras.random.uniform((n, 1, 1, 1), 0.0, high, seed=self.generator)
            return amount * ops.cast(chosen, amount.dtype)

        def place(edge: int, axis: int) -> Any:
            line = (np.arange(edge, dtype=np.float32) + 0.5) / edge
            return ops.convert_to_tensor(line.reshape([-1 if i == axis else 1 for i in range(4)]))

        rows, columns = place(height, 1), place(width, 2)
        chosen = keras.random.uniform((n, 1, 1, 1), seed=self.generator) < 0.5
        corner = draw(self.corner)
        at_corner = ops.logical_and(
            ops.logical_or(rows < corner, rows > 1 - corner), ops.logical_or(columns < corner, columns > 1 - corner)
        )
        gray = ops.mean(images, axis=(1, 2, 3), keepdims=True)
        images = ops.where(at_corner, gray, images)
        chosen = keras.random.uniform((n, 1, 1, 1), seed=self.generator) < 0.5
        top, bottom, left, right = (draw(self.border) for _ in range(4))
        inside_rows = ops.logical_and(rows >= top, rows <= 1 - bottom)
        inside = ops.logical_and(inside_rows, ops.logical_and(columns >= left, columns <= 1 - right))
        black = keras.random.uniform((n, 1, 1, 1), seed=self.generator) < 0.5
        return ops.where(inside, images, ops.where(black, 0.0, gray) * ops.ones_like(images))


def apply(augmentation: Augmentation, images: Any, seed: int, size: int = 0) -> Any:
    """Augment one batch outside a network: the same batch with the same seed gives the same pixels.

    Args:
        augmentation: what is done.
        images: `(n, h, w, c)`, pixels 0–255; uint8 and square where they are cropped.
        seed: of this batch.
        size: edge of the result where images are cropped, pixels; 0: that of `images`.

    Returns:
        float32 numpy array `(n, h, w, c)`, or `(n, size, size, c)` where images are cropped.
    """
    if augmentation.cropping:
        images = augmentation.crops_of(images, size or images.shape[1], seed)[np.arange(len(images))]
    x = ops.cast(images, "float32")
    for layer in augmentation.layers(seed):
        x = layer(x, training=True)
    return ops.convert_to_numpy(x)
