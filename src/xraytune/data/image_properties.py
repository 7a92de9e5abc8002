"""What can be measured on an image without looking at the lungs: each property has one definition, this module's.

The shortcut audit measures the classes by them, a shifted view moves one of them, and a model says by them that an
image is unlike its training images. All take gray images, uint8 `(n, h, w)`, and give float64 `(n,)` unless they say
otherwise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
Values = NDArray[np.float64]

FEATURES = ("mean", "spread", "border_black", "gradient_ratio", "sharpness", "corner")
"""What `measure` returns, in this order."""

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


def measure(images: Gray) -> NDArray[np.float32]:
    """All properties that are kept of an image, float32 `(n, len(FEATURES))`, named by `FEATURES`."""
    measured = (brightness, contrast, border_black, gradient_ratio, sharpness, corner_brightness)
    made: NDArray[np.float32] = np.stack([prop(images) for prop in measured], axis=1).astype(np.float32)
    return made


def _gradient(images: Gray, axis: int) -> Values:
    """Mean absolute difference of neighbours along an axis, in bytes all the way for speed."""
    first, second = (images[:, :, :-1], images[:, :, 1:]) if axis == 2 else (images[:, :-1], images[:, 1:])
    difference = np.maximum(first, second)
    difference -= np.minimum(first, second)
    total: Values = difference.sum((1, 2), dtype=np.uint32) / difference[0].size
    return total
