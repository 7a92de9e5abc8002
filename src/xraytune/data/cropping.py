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
    left, top, right, bottom = (round(float(at) * edge, 6) for at, edge in zip(box, (width, height) * 2, strict=True))
    x0, y0, x1, y1 = math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)
    if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        part = image[y0:y1, x0:x1]
    else:
        rows, columns = (np.clip(np.arange(a, b), 0, n - 1) for a, b, n in ((y0, y1, height), (x0, x1, width)))
        part = image[rows[:, None], columns]
    whole = Image.fromarray(np.ascontiguousarray(part[..., 0] if channels == 1 else part))
    inner = (left - x0, top - y0, right - x0, bottom - y0)
    return np.asarray(whole.resize((size, size), Image.Resampling.BILINEAR, box=inner)).reshape(size, size, channels)
