"""A part of an image, scaled: the one way in which random crops and those at prediction are cut."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def cut(image: NDArray[np.uint8], box: Sequence[float] | NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """One part of an image, scaled; beyond the image the nearest pixel is repeated.

    Args:
        image: `(h, w, c)`, c = 1 or 3.
        box: left, top, right, bottom as fractions of the edges.
        size: edge of the result, pixels.

    Returns:
        uint8 `(size, size, c)`.
    """
    height, width, channels = image.shape
    left, right = round(float(box[0]) * width, 6), round(float(box[2]) * width, 6)
    top, bottom = round(float(box[1]) * height, 6), round(float(box[3]) * height, 6)
    x0, y0, x1, y1 = math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)
    if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        part = np.ascontiguousarray(image[y0:y1, x0:x1])
    else:
        part = _beyond(image, x0, y0, x1, y1)
    mode = "L" if channels == 1 else "RGB"
    whole = Image.frombuffer(mode, (x1 - x0, y1 - y0), part, "raw", mode, 0, 1)
    inner = (left - x0, top - y0, right - x0, bottom - y0)
    return np.asarray(whole.resize((size, size), Image.Resampling.BILINEAR, box=inner)).reshape(size, size, channels)


def _beyond(image: NDArray[np.uint8], x0: int, y0: int, x1: int, y1: int) -> NDArray[np.uint8]:
    """Columns x0 to x1 and rows y0 to y1 of an image that they overlap; beyond it the nearest pixel is repeated."""
    height, width, channels = image.shape
    out = np.empty((y1 - y0, x1 - x0, channels), np.uint8)
    left, top, right, bottom = max(0, -x0), max(0, -y0), min(x1, width) - x0, min(y1, height) - y0
    rows = out[top:bottom]
    rows[:, left:right] = image[y0 + top : y0 + bottom, x0 + left : x0 + right]
    rows[:, :left], rows[:, right:] = rows[:, left : left + 1], rows[:, right - 1 : right]
    out[:top], out[bottom:] = out[top], out[bottom - 1]
    return out
