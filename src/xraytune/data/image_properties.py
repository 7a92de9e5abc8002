"""What can be measured on an image without looking at the lungs: each property has one definition, this module's.

The shortcut audit measures the classes by them, a shifted view moves one of them, and a model says by them that an
image is unlike its training images. `PROPERTIES` lists those that are kept of every image, each with its words and the
augmentation that removes it. All functions take gray images, uint8 `(n, h, w)`, and give float64 `(n,)` unless they say
otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Gray = NDArray[np.uint8]
Values = NDArray[np.float64]

FRAMING = ("chest_middle", "chest_height", "chest_width", "sides")
"""What `framing` returns, in this order."""

THUMBNAIL = 32
"""Edge of the thumbnail that framing is measured on; the perceptual hash is defined on 32 x 32 pixels too."""

RING = 1 / 16
"""Width of the outer ring in which black borders are looked for, a fraction of the edge."""

BLACK = 16
"""Gray levels below this are black: collimated, not exposed. JPEG's rounding leaves black at up to about 10."""

CORNER = 0.18
"""Edge of the squares in the corners, a fraction of the image's: markers and letters stand there."""

EDGES = 0.08
"""Width of the strips along the edges, a fraction of the image's edge."""

_TENTH = 0.1  # of a gray level: keeps the ratios of an empty image finite


def gray(images: NDArray[np.uint8]) -> Gray:
    """Images `(n, h, w, c)` with one channel, the rounded mean of theirs."""
    if images.shape[-1] == 1:
        return np.asarray(images[..., 0])
    return np.asarray(np.rint(images.mean(axis=-1, dtype=np.float32)).astype(np.uint8))


def brightness(images: Gray) -> Values:
    """Mean gray level, 0–255."""
    return np.asarray(images.mean(axis=(1, 2), dtype=np.float64))


def contrast(images: Gray) -> Values:
    """Standard deviation of the gray levels."""
    return np.asarray(images.std(axis=(1, 2), dtype=np.float32).astype(np.float64))


def gradient_ratio(images: Gray) -> Values:
    """Log of mean horizontal over mean vertical gradient: falls as an image is widened."""
    return np.asarray(np.log((_gradient(images, 2) + _TENTH) / (_gradient(images, 1) + _TENTH)))


def sharpness(images: Gray) -> Values:
    """Log of the mean gradient relative to the image's own contrast."""
    gradients = _gradient(images, 1) + _gradient(images, 2)
    return np.asarray(np.log((gradients + _TENTH) / (contrast(images) + _TENTH)))


def border_black(images: Gray) -> Values:
    """Share of black pixels in the outer ring, 0–1."""
    n, edge = len(images), max(1, round(RING * images.shape[1]))
    sides = (images[:, :edge], images[:, -edge:], images[:, edge:-edge, :edge], images[:, edge:-edge, -edge:])
    return np.asarray((np.concatenate([side.reshape(n, -1) for side in sides], axis=1) < BLACK).mean(axis=1))


def corner_brightness(images: Gray) -> Values:
    """How much brighter the brightest pixel of the corners is than the image, gray levels."""
    edge = max(1, round(CORNER * images.shape[1]))
    ends = (slice(None, edge), slice(-edge, None))
    brightest = np.max([images[:, rows, columns].max(axis=(1, 2)) for rows in ends for columns in ends], axis=0)
    return np.asarray(brightest - brightness(images))


def edge_brightness(images: Gray) -> Values:
    """How much brighter each edge is than the image, `(n, 4)`: top, bottom, left, right; gray levels."""
    edge = max(1, round(EDGES * images.shape[1]))
    sides = (images[:, :edge], images[:, -edge:], images[:, :, :edge], images[:, :, -edge:])
    return np.stack([brightness(side) for side in sides], axis=1) - brightness(images)[:, None]


def thumbnail(image: Image.Image) -> Gray:
    """A gray image as `(THUMBNAIL, THUMBNAIL)`, squashed."""
    small = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR, reducing_gap=1.0)
    return np.frombuffer(small.tobytes(), np.uint8).reshape(THUMBNAIL, THUMBNAIL)


def thumbnails(images: Gray) -> Gray:
    """`(n, THUMBNAIL, THUMBNAIL)`, squashed."""
    return np.stack([thumbnail(Image.fromarray(image)) for image in images])


def chest_box(small: Gray) -> Values:
    """Where the chest lies: top of the lungs, diaphragm, left and right side of the trunk.

    The diaphragm is the step from dark to bright that a quarter of the columns over both lungs exceed, so that one lung
    that is still dark shows it; the top is the step from bright to dark between the lungs' middles; a side is the step
    from dark to bright of half the rows between. Beyond the image lies bright tissue above and below and black to the
    sides, so that a part of the chest which is cut off is found at the image's edge.

    Args:
        small: thumbnails `(n, THUMBNAIL, THUMBNAIL)`.

    Returns:
        `(n, 4)`: top, bottom, left, right, fractions of the edge. An image that shows no chest gets some box too.
    """
    level, deviation = small.mean((1, 2), dtype=np.float32), small.std((1, 2), dtype=np.float32) + 4
    x = (small - level[:, None, None]) / deviation[:, None, None]
    black, edge = (-level / deviation)[:, None, None], THUMBNAIL
    over_lungs = np.concatenate([x[:, :, 5:13], x[:, :, 19:27]], axis=2)
    bottom = _place(_steps(over_lungs, 4, 0.0, _TISSUE), 0.75, 14, edge, 4)
    top = _place(-_steps(x[:, :, 9:23], 3, _TISSUE, 0.0), 0.6, 0, 13, 4)
    across = x[:, 10:24].swapaxes(1, 2)
    left = _place(_steps(across, 2, black, 0.0), 0.5, 0, 12, 3)
    right = edge - _place(_steps(across[:, ::-1], 2, black, 0.0), 0.5, 0, 12, 3)
    return np.stack([top, bottom, left, right], axis=1) / edge


def framing(small: Gray) -> Values:
    """How an image is framed: `(n, len(FRAMING))` of thumbnails `(n, THUMBNAIL, THUMBNAIL)`.

    The chest's vertical middle (0 is the image's top edge), its height and its width as fractions of the edge, and how
    much brighter the sides (an eighth of the width each) are than the image, in its standard deviations.
    """
    top, bottom, left, right = chest_box(small).T
    eighth = THUMBNAIL // 8
    sides = (brightness(small[:, :, :eighth]) + brightness(small[:, :, -eighth:])) / 2
    brighter = (sides - brightness(small)) / (contrast(small) + 1)
    return np.stack([(top + bottom) / 2, bottom - top, right - left, brighter], axis=1)


def chest_middle(images: Gray) -> Values:
    """How far below the image's top edge the middle of the chest lies, a fraction of the edge."""
    return np.asarray(framing(thumbnails(images))[:, 0])


def chest_size(images: Gray) -> Values:
    """Geometric mean of the chest's height and width, a fraction of the edge."""
    _, height, width, _ = framing(thumbnails(images)).T
    return np.asarray(np.sqrt(height * width))


def measure(images: Gray, small: Gray) -> NDArray[np.float32]:
    """All properties that are kept of an image, float32 `(n, len(FEATURES))`, named by `FEATURES`.

    Args:
        images: `(n, h, w)`.
        small: thumbnails of them, `(n, THUMBNAIL, THUMBNAIL)`.
    """
    measured = (prop.measure(images) for prop in PROPERTIES if prop.measure)
    made: NDArray[np.float32] = np.column_stack([*measured, framing(small)])
    return made.astype(np.float32)


@dataclass(frozen=True)
class Property:
    """One number of an image or of its file, and what a reader is told of it."""

    name: str

    words: str
    """In tables and lists."""

    title: str
    """In sentences."""

    why: str
    """Why it may differ between the classes without a cause in the lungs."""

    cure: str
    """What removes it, as a sentence."""

    countermeasures: tuple[str, ...] = ()
    """The augmentation's hyperparameters that make a network blind to it (`augmentation.COUNTERMEASURES`)."""

    measure: Callable[[Gray], Values] | None = None
    """Its definition; None for a property of the file, and for the numbers of `framing`."""


SHAPE = "Shape jitter in the augmentation removes it.", ("shape_jitter",)
"""How the properties that follow an image's shape are removed."""

_LIGHT = "Exposure jitter in the augmentation removes it.", ("exposure_jitter",)
_FRAME = (
    "it follows how an image is framed",
    "Random resized crops and shape jitter in the augmentation remove it.",
    ("crop", "shape_jitter"),
)

PROPERTIES = (
    Property("mean", "brightness", "the mean brightness", "it follows exposure and positioning", *_LIGHT, brightness),
    Property(
        "spread", "contrast", "the contrast (standard deviation)", "it follows exposure and processing", *_LIGHT,
        contrast,
    ),
    Property(
        "border_black", "black borders", "how much of the border is black", "it follows collimation and cropping",
        "Masking borders in the augmentation, or a tighter crop, removes it.", ("masking",), border_black,
    ),
    Property(
        "gradient_ratio", "direction of gradients", "the ratio of horizontal to vertical gradients",
        "it follows an image's shape", *SHAPE, gradient_ratio,
    ),
    Property(
        "sharpness", "sharpness", "the share of fine detail", "it follows focus, resolution and compression",
        "Focus jitter in the augmentation removes it.", ("focus_jitter",), sharpness,
    ),
    Property(
        "corner", "bright corners", "a bright corner", "it follows markers and labels burnt into the image",
        "Look at the corners of some images; masking in the augmentation, or a tighter crop, removes it.", ("masking",),
        corner_brightness,
    ),
    Property("chest_middle", "position of the chest", "how low the chest lies in the image", *_FRAME),
    Property("chest_height", "height of the chest", "the height of the chest in the image", *_FRAME),
    Property("chest_width", "width of the chest", "the width of the chest in the image", *_FRAME),
    Property("sides", "brightness at the sides", "the brightness at the image's sides", *_FRAME),
)  # fmt: skip
"""What is kept of every image, in the order of `measure`; `FRAMING` comes last."""

FRAMED = Property("framing", "framing", "where the chest lies in the image", *_FRAME)
"""The numbers of `FRAMING` together: each alone says little of a crop."""

FEATURES = tuple(prop.name for prop in PROPERTIES)
"""What `measure` returns, in this order."""


_TISSUE = 0.5  # standard deviations above the image's mean: the gray of a belly or a neck


def _steps(x: NDArray[np.float32], reach: int, before: Any, after: Any) -> NDArray[np.float32]:
    """Mean of `reach` values after each boundary less that before it, along axis 1: `(n, l + 1, c)` of `(n, l, c)`.

    `before` and `after` are the values beyond the ends.
    """
    n, length, columns = x.shape
    total = np.zeros((n, length + 2 * reach + 1, columns), np.float32)
    total[:, 1 : reach + 1], total[:, reach + 1 : -reach], total[:, -reach:] = before, x, after
    np.cumsum(total, axis=1, out=total)
    steps = total[:, 2 * reach :] - 2 * total[:, reach:-reach] + total[:, : -2 * reach]
    return np.asarray(steps / reach)


def _place(steps: NDArray[np.float32], share: float, first: int, last: int, power: int) -> Values:
    """The boundary between `first` and `last` where the steps `(n, l, c)` are steepest, `(n,)`; a mean near ties.

    A step counts by what `share` of the columns do not exceed.
    """
    near = steps[:, first : last + 1]
    rank = round(share * (near.shape[2] - 1))
    found = np.partition(near, rank, axis=2)[:, :, rank].clip(0).astype(np.float64)
    weight = (found / (found.max(axis=1, keepdims=True) + 1e-9)) ** power + 1e-3
    return np.asarray((weight @ np.arange(first, last + 1)) / weight.sum(axis=1))


def _gradient(images: Gray, axis: int) -> Values:
    """Mean absolute difference of neighbours along an axis, in bytes all the way for speed."""
    first, second = (images[:, :, :-1], images[:, :, 1:]) if axis == 2 else (images[:, :-1], images[:, 1:])
    difference = np.maximum(first, second)
    difference -= np.minimum(first, second)
    total: Values = difference.sum((1, 2), dtype=np.uint32) / difference[0].size
    return total
