"""The plain JPEG, which nearly every image is, decoded in one call that holds no lock.

Pillow reads a JPEG's markers in Python: a third of what a small image costs, and threads share it. simplejpeg hands the
whole stream to the same libjpeg-turbo and gives the same gray levels. It is strict: whatever libjpeg so much as warns
of is left to Pillow, whose word on damage is the last, and so is every JPEG that is more than its pixels (EXIF may turn
an image), that is large enough to be decoded at a coarser scale, or that is neither gray nor YCbCr.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray

_MODES = {"Gray": "L", "YCbCr": "RGB"}
"""libjpeg's colour spaces that Pillow turns into gray by their first plane, and what Pillow calls such a file."""


class Plain(NamedTuple):
    """A decoded plain JPEG."""

    pixels: NDArray[np.uint8]
    """`(height, width)`, gray."""

    mode: str
    """Pillow's mode of the file as stored."""


def decode(content: bytes, least: int, most: int) -> Plain | None:
    """A file's content in gray, or None for whatever should be read with Pillow.

    Args:
        content: the file's bytes.
        least: the shorter edge that is needed, pixels; twice that and more is decoded at a coarser scale by Pillow.
        most: pixels, more than which are left to Pillow too.
    """
    if not content.startswith(b"\xff\xd8") or b"Exif\0" in content:
        return None
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(content, strict=True)
        if space not in _MODES or not 8 <= min(height, width) < 2 * least or height * width > most:
            return None
        pixels = simplejpeg.decode_jpeg(content, "GRAY", strict=True)
    except ValueError:
        return None
    return Plain(pixels[..., 0], _MODES[space])
