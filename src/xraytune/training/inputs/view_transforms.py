"""What a shifted view does to one image, by the view's kind: a square image and an amount in the kind's unit in."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

MARKER = 0.08
"""Edge of the squares that the view `corners marked` puts into the corners, half of it away from each side."""


def resample(image: Image.Image, width: float, height: float, dx: float = 0.0, dy: float = 0.0) -> Image.Image:
    """The part of the image of that width and height about its shifted centre, resized back.

    All are fractions of the edge, above 1 beyond it. What lies beyond the edge repeats it ("nearest"), as the
    augmentation does.

    Args:
        image: square, mode L or RGB.
        width: of the part.
        height: of the part.
        dx: how far right of the image's centre the part's lies.
        dy: how far below it.
    """
    edge = image.size[0]
    reach = max(width, height, 1.0) - 1.0 + 2 * max(abs(dx), abs(dy))
    pad = math.ceil(edge * reach / 2) + 1
    array = np.asarray(image)
    padded = np.pad(array, [(pad, pad), (pad, pad)] + [(0, 0)] * (array.ndim - 2), mode="edge")
    x, y = pad + edge * (0.5 + dx), pad + edge * (0.5 + dy)
    box = (x - edge * width / 2, y - edge * height / 2, x + edge * width / 2, y + edge * height / 2)
    return Image.fromarray(padded).resize((edge, edge), Image.Resampling.BILINEAR, box=box)


def _shape(image: Image.Image, factor: float) -> Image.Image:
    """Width to height times `factor`, area kept."""
    return resample(image, 1 / math.sqrt(factor), math.sqrt(factor))


def _table(image: Image.Image, mapping: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Image.Image:
    table = np.clip(np.rint(mapping(np.arange(256.0))), 0, 255).astype(int).tolist()
    return image.point(table * len(image.getbands()))


def _brightness(image: Image.Image, offset: float) -> Image.Image:
    return _table(image, lambda v: v + offset)


def _contrast(image: Image.Image, factor: float) -> Image.Image:
    mean = float(np.asarray(image).mean())
    return _table(image, lambda v: mean + (v - mean) * factor)


def _blur(image: Image.Image, radius: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius * image.size[0]))


def _sharpen(image: Image.Image, percent: float) -> Image.Image:
    return image.filter(
        ImageFilter.UnsharpMask(radius=max(0.5, image.size[0] / 64), percent=round(percent), threshold=0)
    )


def _crop(image: Image.Image, factor: float) -> Image.Image:
    return resample(image, 1 / factor, 1 / factor)


def _shift(image: Image.Image, fraction: float) -> Image.Image:
    return resample(image, 1.0, 1.0, dx=fraction, dy=fraction)


def _raise(image: Image.Image, fraction: float) -> Image.Image:
    """The content higher by a fraction of the edge; lower where it is negative."""
    return resample(image, 1.0, 1.0, dy=fraction)


def _border(image: Image.Image, fraction: float) -> Image.Image:
    array = np.array(image)
    edge = round(fraction * array.shape[0])
    if edge:
        array[:edge] = array[-edge:] = 0
        array[:, :edge] = array[:, -edge:] = 0
    return Image.fromarray(array)


def _corners(image: Image.Image, fraction: float) -> Image.Image:
    array = np.array(image)
    edge, gray = max(1, round(fraction * array.shape[0])), round(float(array.mean()))
    for rows in (slice(None, edge), slice(-edge, None)):
        array[rows, :edge] = array[rows, -edge:] = gray
    return Image.fromarray(array)


def _marker(image: Image.Image, gray: float) -> Image.Image:
    array = np.array(image)
    edge = array.shape[0]
    size, inset = max(2, round(MARKER * edge)), round(MARKER * edge / 2)
    for rows in (slice(inset, inset + size), slice(edge - inset - size, edge - inset)):
        for columns in (slice(inset, inset + size), slice(edge - inset - size, edge - inset)):
            array[rows, columns] = round(gray)
    return Image.fromarray(array)


def _edges(image: Image.Image, fraction: float) -> Image.Image:
    array = np.array(image)
    edge, gray = max(1, round(fraction * array.shape[0])), round(float(array.mean()))
    array[:edge] = array[-edge:] = gray
    array[:, :edge] = array[:, -edge:] = gray
    return Image.fromarray(array)


TRANSFORMS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "clean": lambda image, _amount: image,
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
