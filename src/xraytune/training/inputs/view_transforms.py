"""What a shifted view does to images, by the view's kind: `(n, s, s, c)` uint8 with c = 1 or 3, and an amount.

All give new images of the same shape and type. Amounts are in the kind's own unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Images = NDArray[np.uint8]

MARKER = 0.08
"""Edge of the squares that the view `corners marked` puts into the corners, half of it away from each side."""


def _each(images: Images, change: Callable[[Image.Image], Image.Image], edge: int) -> Images:
    """Every image changed by Pillow into one of that edge."""
    changed = np.empty((len(images), edge, edge, images.shape[-1]), np.uint8)
    shown, given = (changed[..., 0], images[..., 0]) if images.shape[-1] == 1 else (changed, images)
    for i, image in enumerate(given):
        shown[i] = np.asarray(change(Image.fromarray(image)))
    return changed


def _resample(images: Images, width: float, height: float, dx: float = 0.0, dy: float = 0.0) -> Images:
    """The part of each image of that width and height about its shifted centre, resized back.

    All are fractions of the edge, above 1 beyond it. What lies beyond the edge repeats it ("nearest"), as the
    augmentation does.

    Args:
        images: any number.
        width: of the part.
        height: of the part.
        dx: how far right of the image's centre the part's lies.
        dy: how far below it.
    """
    edge = images.shape[1]
    reach = max(width, height, 1.0) - 1.0 + 2 * max(abs(dx), abs(dy))
    pad = math.ceil(edge * reach / 2) + 1
    padded = np.pad(images, [(0, 0), (pad, pad), (pad, pad), (0, 0)], mode="edge")
    x, y = pad + edge * (0.5 + dx), pad + edge * (0.5 + dy)
    box = (x - edge * width / 2, y - edge * height / 2, x + edge * width / 2, y + edge * height / 2)
    return _each(padded, lambda image: image.resize((edge, edge), Image.Resampling.BILINEAR, box=box), edge)


def _shape(images: Images, factor: float) -> Images:
    """Width to height times `factor`, area kept."""
    return _resample(images, 1 / math.sqrt(factor), math.sqrt(factor))


def _levels(values: NDArray[np.floating]) -> Images:
    """Gray levels of numbers."""
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _brightness(images: Images, offset: float) -> Images:
    return np.asarray(_levels(np.arange(256) + offset)[images])


def _contrast(images: Images, factor: float) -> Images:
    means = images.mean(axis=(1, 2, 3))
    return np.stack([_levels(m + (np.arange(256) - m) * factor)[i] for m, i in zip(means, images, strict=True)])


def _blur(images: Images, radius: float) -> Images:
    """Radius as a fraction of the edge."""
    blur = ImageFilter.GaussianBlur(radius * images.shape[1])
    return _each(images, lambda image: image.filter(blur), images.shape[1])


def _sharpen(images: Images, percent: float) -> Images:
    mask = ImageFilter.UnsharpMask(radius=max(0.5, images.shape[1] / 64), percent=round(percent), threshold=0)
    return _each(images, lambda image: image.filter(mask), images.shape[1])


def _crop(images: Images, factor: float) -> Images:
    return _resample(images, 1 / factor, 1 / factor)


def _shift(images: Images, fraction: float) -> Images:
    return _resample(images, 1.0, 1.0, dx=fraction, dy=fraction)


def _raise(images: Images, fraction: float) -> Images:
    """The content higher by a fraction of the edge; lower where it is negative."""
    return _resample(images, 1.0, 1.0, dy=fraction)


def _framed(images: Images, edge: int, gray: Images | int) -> Images:
    """Strips of that width along all edges in one gray level, or in each image's own."""
    framed = images.copy()
    if edge:
        framed[:, :edge] = framed[:, -edge:] = gray
        framed[:, :, :edge] = framed[:, :, -edge:] = gray
    return framed


def _mean_gray(images: Images) -> Images:
    """Each image's mean gray level, `(n, 1, 1, 1)`."""
    return _levels(images.mean(axis=(1, 2, 3), keepdims=True))


def _border(images: Images, fraction: float) -> Images:
    return _framed(images, round(fraction * images.shape[1]), 0)


def _edges(images: Images, fraction: float) -> Images:
    return _framed(images, max(1, round(fraction * images.shape[1])), _mean_gray(images))


def _in_corners(images: Images, start: int, stop: int, gray: Images | int) -> Images:
    """Squares in the corners, between these distances from the sides."""
    marked, edge = images.copy(), images.shape[1]
    for rows in (slice(start, stop), slice(edge - stop, edge - start)):
        for columns in (slice(start, stop), slice(edge - stop, edge - start)):
            marked[:, rows, columns] = gray
    return marked


def _corners(images: Images, fraction: float) -> Images:
    return _in_corners(images, 0, max(1, round(fraction * images.shape[1])), _mean_gray(images))


def _marker(images: Images, gray: float) -> Images:
    edge = images.shape[1]
    inset = round(MARKER * edge / 2)
    return _in_corners(images, inset, inset + max(2, round(MARKER * edge)), round(gray))


TRANSFORMS: dict[str, Callable[[Images, float], Images]] = {
    "clean": lambda images, _amount: images,
    "shape": _shape,
    "brightness": _brightness,
    "contrast": _contrast,
    "blur": _blur,
    "sharpen": _sharpen,
    "crop": _crop,
    "shift": _shift,
    "raise": _raise,
    "border": _border,
    "corners": _corners,
    "marker": _marker,
    "edges": _edges,
}
