"""Random resized crops: a part of each image, cut from a larger stored array and scaled to the network's input.

Area and aspect ratio are drawn as torchvision's `RandomResizedCrop` draws them (Szegedy et al. 2015, "Going deeper with
convolutions"): the area uniformly, the ratio uniformly in its logarithm, the place uniformly. The array that crops are
cut from has more pixels than the network's input, so that a crop shows detail that the whole image at that size lacks.
Crop and shape jitter are one resampling, of uint8 pixels in Pillow, which widens its filter where it shrinks: a crop is
as free of aliasing as the images that the network is validated on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xraytune.data.cropping import cut
from xraytune.training.inputs.batches import Rows

SOURCE = 224
"""Edge of the array that crops are cut from, pixels, where the images have so many: a crop of 8 % of it has 63."""

RATIO = 4 / 3
"""The largest aspect ratio of a crop; the smallest is its inverse."""

ATTEMPTS = 10
"""Crops that are drawn for one that lies in the image; without one the whole image is taken, as in torchvision."""

Boxes = NDArray[np.float64]


def source_edge(shapes: NDArray[np.integer]) -> int:
    """The edge of the array that crops are cut from: `SOURCE`, or less where half of the images have less.

    Args:
        shapes: width and height of each image, pixels, `(n, 2)`.
    """
    return min(SOURCE, max(8, int(np.median(np.min(shapes, axis=1)))))


def draw_boxes(rng: np.random.Generator, n: int, least: float, jitter: float = 0.0) -> Boxes:
    """Random parts of square images.

    Args:
        rng: draws them.
        n: how many.
        least: the smallest area, a fraction of the image's; the largest is 1.
        jitter: width and height are then each scaled by a factor within 1 ± jitter (uniform in its logarithm) about the
            crop's middle; the box may reach beyond the image.

    Returns:
        `(n, 4)`: left, top, right, bottom as fractions of the edge.
    """
    area = rng.uniform(least, 1.0, (n, ATTEMPTS))
    ratio = np.exp(rng.uniform(-math.log(RATIO), math.log(RATIO), (n, ATTEMPTS)))
    edges = np.sqrt(np.stack([area * ratio, area / ratio], axis=-1))
    inside: NDArray[np.bool_] = np.all(edges <= 1.0, axis=-1)
    edges = np.take_along_axis(edges, inside.argmax(axis=1)[:, None, None], axis=1)[:, 0]
    edges[~np.any(inside, axis=1)] = 1.0
    corner = rng.uniform(0.0, 1.0, (n, 2)) * (1.0 - edges)
    half = edges / 2 * np.exp(rng.uniform(-jitter, jitter, (n, 2)))
    middle = corner + edges / 2
    return np.concatenate([middle - half, middle + half], axis=1)


class CroppedPool:
    """What a batch is gathered from where images are cropped: one random part of each image asked for.

    The same rows in the same order give the same crops.

    Args:
        pool: square images `(n, e, e, c)`, uint8, that crops are cut from; may be mapped.
        size: edge of a crop once scaled, pixels.
        least: the smallest area, a fraction of the image's.
        jitter: the shape jitter, as in `draw_boxes`.
        seed: of all crops, e.g. the trial's seed and the epoch.
    """

    def __init__(self, pool: NDArray[np.uint8], size: int, least: float, jitter: float, seed: Sequence[int]) -> None:
        self._pool, self._size, self._least, self._jitter, self._seed = pool, size, least, jitter, tuple(seed)

    def __getitem__(self, rows: Rows) -> NDArray[np.uint8]:
        """Crops of these images, uint8 `(len(rows), size, size, c)`."""
        rng = np.random.default_rng([*self._seed, *rows.tolist()])
        boxes = draw_boxes(rng, len(rows), self._least, self._jitter)
        out = np.empty((len(rows), self._size, self._size, self._pool.shape[-1]), np.uint8)
        for i, (row, box) in enumerate(zip(rows.tolist(), boxes.tolist(), strict=True)):
            out[i] = cut(self._pool[row], box, self._size)
        return out
