"""Gray levels of a radiograph: rescale, window and padding of a DICOM header, applied where they can be.

All steps act on each stored level by itself (PS3.3, C.11), so that they are reckoned once for each level that an image
of 16 bit can have, and looked up for each pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xraytune.errors import FOREIGN

if TYPE_CHECKING:
    from pydicom import Dataset

UNUSABLE_WINDOW, UNUSABLE_RESCALE = 1, 2
"""What `to_gray` tells of an image, as bits of a number."""

REMARKS = {
    UNUSABLE_WINDOW: "the header's window (or VOI LUT) is empty, invalid or does not fit the image's levels, so the "
    "image's own darkest and brightest level became black and white",
    UNUSABLE_RESCALE: "the header's rescale (or modality LUT) is empty or invalid, so the stored levels were used",
}
"""What is to be said of images with that bit."""

INSIDE = 0.01
"""Share of an image's pixels that must lie between a window's black and white."""

SPREAD = 16 / 255
"""Least difference between the 1st and the 99th percentile of an image's gray levels under a usable window."""

Levels = NDArray[np.float64]


def to_gray(stored: NDArray[Any], header: Dataset) -> tuple[NDArray[np.uint8], int]:
    """Gray levels as a viewer shows them; MONOCHROME1 is inverted so that bone is bright, padding is black.

    A rescale that has no value, or that leaves one level, is left out; a window that has no value, can't be applied
    or shows next to nothing of the image gives way to the image's own range. Padding sets no range.

    Args:
        stored: the stored values, `(height, width)`.
        header: the data set they are from.

    Returns:
        uint8 `(height, width)`, and the bits of `REMARKS`.
    """
    padding = _padding(stored, header)
    values, places = _distinct(stored)
    counts = np.bincount((places if padding is None else places[~padding]).ravel(), minlength=len(values))
    levels, remark = _rescaled(values, header)
    here = counts > 0
    lowest, highest = float(levels[here].min()), float(levels[here].max())
    own = (levels - lowest) / ((highest - lowest) or 1.0)
    shown, asked = _windowed(levels, header)
    if asked and (shown is None or not _fits(shown, own, counts)):
        remark |= UNUSABLE_WINDOW
        shown = None
    table = np.clip(own if shown is None else shown, 0, 1)
    if str(header.get("PhotometricInterpretation", "")).strip() == "MONOCHROME1":
        table = 1 - table
    gray = (table * 255).round().astype(np.uint8)[places]
    if padding is not None:
        gray[padding] = 0
    return gray, remark


def _distinct(stored: NDArray[Any]) -> tuple[Levels, NDArray[np.intp]]:
    """The levels that may occur, and the place of each pixel's among them."""
    if stored.dtype.kind in "iu" and (lowest := int(stored.min())) >= int(stored.max()) - (1 << 16):
        levels = np.arange(lowest, int(stored.max()) + 1, dtype=np.float64)
        return levels, np.subtract(stored, lowest, dtype=np.int64).astype(np.intp)
    finite = np.nan_to_num(stored.astype(np.float64))
    found, places = np.unique(finite, return_inverse=True)
    return found, places.reshape(stored.shape)


def _numbers(header: Dataset, name: str) -> list[float]:
    """The finite numbers of an element; empty where it is missing, has no value or holds something else."""
    try:
        value: Any = header.get(name)
        if value is None or value == "":
            return []
        found = [float(one) for one in (value if hasattr(value, "__len__") and not isinstance(value, str) else [value])]
    except FOREIGN:
        return []
    return found if all(np.isfinite(found)) else []


def _padding(stored: NDArray[Any], header: Dataset) -> NDArray[np.bool_] | None:
    """Where the image is padded (PS3.3, C.7.5.1.1.2); None where nowhere, or everywhere, which is no image."""
    ends = [*_numbers(header, "PixelPaddingValue")[:1], *_numbers(header, "PixelPaddingRangeLimit")[:1]]
    if not _numbers(header, "PixelPaddingValue") or stored.dtype.kind not in "iu":
        return None
    bits = 8 * stored.dtype.itemsize
    lowest, highest = np.iinfo(stored.dtype).min, np.iinfo(stored.dtype).max
    ends = [end - 2**bits if end > highest else end + 2**bits if end < lowest else end for end in ends]  # sign lost
    found: NDArray[np.bool_] = (stored >= min(ends)) & (stored <= max(ends))
    return found if found.any() and not found.all() else None


def _rescaled(values: Levels, header: Dataset) -> tuple[Levels, int]:
    """The levels after the modality LUT or rescale, and the remark on them."""
    if (table := _table(header, "ModalityLUTSequence")) is not None:
        return _look_up(table, values), 0
    slope, intercept = _numbers(header, "RescaleSlope"), _numbers(header, "RescaleIntercept")
    asked = [name for name in ("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept") if name in header]
    usable = all(_numbers(header, name) for name in asked if name != "ModalityLUTSequence")
    factor, shift = (slope or [1.0])[0], (intercept or [0.0])[0]
    levels = values * factor + shift
    if factor == 0 or not np.isfinite(levels).all() or (len(levels) > 1 and np.ptp(levels) == 0):
        return values, UNUSABLE_RESCALE
    return levels, 0 if usable and "ModalityLUTSequence" not in asked else UNUSABLE_RESCALE


def _table(header: Dataset, name: str) -> tuple[Levels, float] | None:
    """A sequence's first look-up table that can be used, and the level of its first entry (PS3.3, C.11.1.1)."""
    try:
        for item in header.get(name) or []:
            descriptor, data = _numbers(item, "LUTDescriptor"), item.get("LUTData")
            if len(descriptor) != 3 or data is None or not hasattr(data, "__len__"):
                continue
            length = int(descriptor[0]) or 1 << 16
            if isinstance(data, bytes):
                order = "<" if header.original_encoding[1] is not False else ">"
                data = np.frombuffer(data, "u1" if len(data) in {length, length + 1} else order + "u2")
            found = np.asarray(data, np.float64)[:length]
            if len(found) == length and np.ptp(found) > 0:
                return found, descriptor[1]
    except FOREIGN:
        pass
    return None


def _look_up(table: tuple[Levels, float], levels: Levels) -> Levels:
    """What a table gives for levels; those before its first and behind its last entry take that entry."""
    entries, first = table
    found: Levels = entries[np.clip(levels - first, 0, len(entries) - 1).astype(np.intp)]
    return found


def _windowed(levels: Levels, header: Dataset) -> tuple[Levels | None, bool]:
    """The levels through the VOI LUT or the first usable window, 0 black and 1 white; and whether there is one.

    None for the levels where what the header has can't be applied (PS3.3, C.11.2.1).
    """
    asked = [name for name in ("VOILUTSequence", "WindowCenter", "WindowWidth") if name in header]
    if (table := _table(header, "VOILUTSequence")) is not None:
        return (_look_up(table, levels) - table[0].min()) / np.ptp(table[0]), True
    function = str(header.get("VOILUTFunction", "") or "LINEAR").strip().upper()
    for center, width in zip(_numbers(header, "WindowCenter"), _numbers(header, "WindowWidth"), strict=False):
        if function == "SIGMOID" and width > 0:
            return 1 / (1 + np.exp(np.clip(-4 * (levels - center) / width, -700, 700))), True
        if function == "LINEAR_EXACT" and width > 0:
            return (levels - center) / width + 0.5, True
        if width > 1:
            return (levels - (center - 0.5)) / (width - 1) + 0.5, True
    return None, bool(asked)


def _fits(shown: Levels, own: Levels, counts: NDArray[np.int64]) -> bool:
    """Whether a window shows an image: grays between black and white, and a spread of them.

    An image that has neither in its own range (of two levels, say) is no window's fault.
    """

    def seen(levels: Levels) -> tuple[float, float]:
        order = np.argsort(levels, kind="stable")
        share = np.cumsum(counts[order]) / counts.sum()
        low, high = (float(np.clip(levels[order][np.searchsorted(share, at)], 0, 1)) for at in (0.01, 0.99))
        return float(counts[(levels > 0) & (levels < 1)].sum() / counts.sum()), high - low

    (inside, spread), (best_inside, best_spread) = seen(shown), seen(own)
    return inside >= min(INSIDE, best_inside) and spread >= min(SPREAD, best_spread)
