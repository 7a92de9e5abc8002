"""Test-time augmentation: a network's answer to an image is the mean of its answers to variants of it.

| | variants | mean of |
|---|---|---|
| `shifts` | the image, and moved by 3 % of the edge to each side | probabilities |
| `crops` | the image, and five parts of it: the corners and the middle, 80 % of the edge each | logits |

The mean of logits is that of log probabilities, normalised: both differ by a constant of each image alone. No variant
is mirrored: the heart is on the left. All of it is done on uint8 pixels, so that it holds for exported networks too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from xraytune.data.cropping import cut
from xraytune.evaluation.ensemble_selection import average

KINDS = ("shifts", "crops")

SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
"""Down and right, in units of `SHIFT`."""

SHIFT = 0.03
"""Of the edge; within what an image's positioning varies by."""

CROP = 0.8
"""Edge of a crop, a fraction of the image's: 64 % of its area, the middle of random crops from 30 % on."""

_PLACES = ((0, 0), (1, 0), (0, 1), (1, 1), (0.5, 0.5))

CROPS = (
    (0.0, 0.0, 1.0, 1.0),
    *((x * (1 - CROP), y * (1 - CROP), x * (1 - CROP) + CROP, y * (1 - CROP) + CROP) for x, y in _PLACES),
)
"""Left, top, right, bottom as fractions of the edge, the whole image first."""

Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Square images `(n, s, s, c)` in, probabilities `(n, k)` out."""


def variants(kind: str) -> int:
    """How many variants of an image a network answers to; 1 without test-time augmentation."""
    return {"": 1, "shifts": len(SHIFTS), "crops": len(CROPS)}[kind]


def answers(network: Network, images: NDArray[np.uint8], kind: str) -> NDArray[np.float32]:
    """A network's probabilities `(n, k)`, by its mean over the variants of each image.

    Args:
        network: gives probabilities.
        images: `(n, s, s, c)`, uint8, c = 1 or 3.
        kind: one of `KINDS`; empty: of the images as they are.
    """
    if kind == "crops":
        return _mean_of_logits([network(cropped(images, box)) for box in CROPS])
    if kind == "shifts":
        return average([network(shifted(images, dy, dx)) for dy, dx in SHIFTS])
    return network(images)


def shifted(images: NDArray[np.uint8], dy: int, dx: int) -> NDArray[np.uint8]:
    """Images `(n, s, s, c)` moved by `SHIFT` down and right times dy and dx; the edge is repeated."""
    if not dy and not dx:
        return images
    step = max(1, round(SHIFT * images.shape[1]))
    padded = np.pad(images, ((0, 0), (step, step), (step, step), (0, 0)), mode="edge")
    top, left = step - dy * step, step - dx * step
    return padded[:, top : top + images.shape[1], left : left + images.shape[2]]


def cropped(images: NDArray[np.uint8], box: tuple[float, float, float, float]) -> NDArray[np.uint8]:
    """That part of each image `(n, s, s, c)`, scaled to the same size."""
    if box == CROPS[0]:
        return images
    parts = [cut(image, box, images.shape[1]) for image in images]
    return np.asarray(parts, dtype=np.uint8).reshape(images.shape)


def _mean_of_logits(answers: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Probabilities `(n, k)` whose logits are the mean of these probabilities' logits."""
    logs: NDArray[np.float64] = np.mean([np.log(np.clip(p, 1e-7, 1.0).astype(np.float64)) for p in answers], axis=0)
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)
