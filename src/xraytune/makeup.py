"""What the training images look like, in a few numbers, so that a model can say "this is not what I was trained on".

Not a test for disease and not proof of fitness: a photograph of a cat, a lateral film or an inverted one stands out, a
film of another hospital usually does not. Kept inside the saved model; asked by `search.predict`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xraytune.metrics import Floats
from xraytune.records import Record
from xraytune.views import gradient_ratio, sharpness

THUMBNAIL = 8
"""Edge of the mean image that layouts are compared with."""

QUANTITIES = (
    "brightness",
    "contrast",
    "share of black",
    "share of white",
    "ratio of horizontal to vertical gradients",
    "sharpness",
    "likeness to the mean training image",
    "left-right symmetry",
)
SAMPLE = 1000
"""Images that the numbers come from: their 99.9 % point needs no more."""

SLACK = 1.5
"""How much further than the furthest training image counts as far: a new machine is not yet another kind of image."""


@dataclass(frozen=True)
class MakeUp(Record):
    """Where training images lie in the space of `QUANTITIES`."""

    mean: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    """Inverse covariance."""
    limit: float
    """Mahalanobis distance above which an image is far."""
    thumbnail: tuple[float, ...]
    """The mean training image, `THUMBNAIL` squared, standardised."""

    def far(self, images: NDArray[np.uint8]) -> list[str]:
        """For each image `(n, s, s, c)` in what it is far from the training images; empty where it is not."""
        x = quantities(images, np.asarray(self.thumbnail)) - np.asarray(self.mean)
        precision = np.asarray(self.precision)
        distances = np.sqrt(np.einsum("ij,jk,ik->i", x, precision, x))
        parts = np.abs(x) * np.sqrt(np.diag(precision))
        return [
            QUANTITIES[int(part.argmax())] if distance > self.limit else ""
            for distance, part in zip(distances, parts, strict=True)
        ]


def _thumbnails(gray: NDArray[np.float32]) -> Floats:
    n, s = gray.shape[:2]
    edges = np.linspace(0, s, THUMBNAIL + 1).astype(int)
    rows = np.add.reduceat(gray.astype(np.float64), edges[:-1], axis=1)
    cells = np.add.reduceat(rows, edges[:-1], axis=2).reshape(n, -1)
    cells /= np.outer(np.diff(edges), np.diff(edges)).ravel()
    centred = cells - cells.mean(axis=1, keepdims=True)
    return np.asarray(centred / (np.linalg.norm(centred, axis=1, keepdims=True) + 1e-9))


def quantities(images: NDArray[np.uint8], thumbnail: Floats) -> Floats:
    """`QUANTITIES` of each image, `(n, len(QUANTITIES))`.

    Args:
        images: `(n, s, s, c)` uint8.
        thumbnail: the mean training image, `(THUMBNAIL²,)`.
    """
    gray = images.mean(axis=-1, dtype=np.float32)
    flat = gray.reshape(len(gray), -1)
    small = _thumbnails(gray)
    mirrored = small.reshape(-1, THUMBNAIL, THUMBNAIL)[:, :, ::-1].reshape(small.shape)
    return np.stack(
        [
            flat.mean(axis=1),
            flat.std(axis=1),
            (flat < 8).mean(axis=1),
            (flat > 247).mean(axis=1),
            gradient_ratio(gray),
            sharpness(gray),
            small @ thumbnail,
            (small * mirrored).sum(axis=1),
        ],
        axis=1,
    )


def fit(images: NDArray[np.uint8], seed: int = 0) -> MakeUp:
    """The make-up of training images `(n, s, s, c)`, as the network sees them; at most `SAMPLE` of them are read."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(images))[:SAMPLE])
    sample = np.asarray(images[chosen])
    mean_image = _thumbnails(sample.mean(axis=-1, dtype=np.float32)).mean(axis=0)
    thumbnail = mean_image / (np.linalg.norm(mean_image) + 1e-9)
    values = quantities(sample, thumbnail)
    mean = values.mean(axis=0)
    spread = values.std(axis=0)
    # a thousandth of each quantity's variance, and never 0, keeps a constant one (no white at all) from ruling
    covariance = np.cov(values, rowvar=False) if len(values) > 1 else np.zeros((values.shape[1],) * 2)
    ridge = 1e-3 * spread**2 + (1e-2 * (np.abs(mean) + 1e-2)) ** 2
    precision = np.linalg.inv(covariance + np.diag(ridge))
    x = values - mean
    distances = np.sqrt(np.einsum("ij,jk,ik->i", x, precision, x))
    return MakeUp(
        tuple(mean.tolist()),
        tuple(tuple(row) for row in precision.tolist()),
        float(SLACK * distances.max()),
        tuple(thumbnail.tolist()),
    )
