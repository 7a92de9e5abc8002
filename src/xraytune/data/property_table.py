"""The properties of image files as one table, by which classes are compared, and new images with training images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytune import files
from xraytune.data import image_properties
from xraytune.data.decoding import reading
from xraytune.data.decoding.inspection import Inspection
from xraytune.data.image_properties import SHAPE, Property
from xraytune.data.images import Images
from xraytune.hardware import cores

_EXPORT = "it follows the device and the export"
FILE = (
    Property("width", "width in pixels", "the image's width in pixels", _EXPORT, *SHAPE),
    Property("height", "height in pixels", "the image's height in pixels", _EXPORT, *SHAPE),
    Property("aspect_ratio", "shape", "the aspect ratio (width over height)", "it is the image's shape", *SHAPE),
    Property(
        "bytes", "file size", "the size of the file", "it follows resolution, focus and compression",
        "No network sees the file's size, but it may see the grain or blur behind it.",
    ),
    Property(
        "mode", "colours of the file", "how the file stores its colours", "it follows where the file came from",
        "All images are decoded to the same number of channels, so a network sees little of it.",
    ),
)  # fmt: skip
"""Properties of the file itself."""

NAMES = tuple(prop.name for prop in (*FILE, *image_properties.PROPERTIES))
"""The columns of a table."""

PROPERTIES = {prop.name: prop for prop in (*FILE, *image_properties.PROPERTIES, image_properties.FRAMED)}
"""Every column, and framing as a whole, by name."""

_MODES = (b"1", b"CMYK", b"DICOM", b"I;16", b"L", b"LA", b"P", b"RGB", b"RGBA")
"""How files store their colours, in the order of their codes; another one lies between its neighbours."""

_BATCH = 64


def table(rows: NDArray[np.void]) -> NDArray[np.float64]:
    """The properties of measured files, `(n, len(NAMES))`.

    Args:
        rows: `(n,)` with the fields `width`, `height`, `size`, `mode` and `features`, as of an inspection.
    """
    width, height = rows["width"].astype(np.float64), rows["height"].astype(np.float64)
    modes = np.searchsorted(np.array(_MODES), rows["mode"]).astype(np.float64)
    own = np.column_stack([width, height, width / np.maximum(height, 1), rows["size"].astype(np.float64), modes])
    return np.column_stack([own, rows["features"].astype(np.float64)])


@dataclass(frozen=True)
class Measured:
    """Files that were read for their properties; nothing of them is kept on the disk."""

    table: NDArray[np.float64]
    """`(n, len(NAMES))`; NaN where a file can't be used."""
    digests: tuple[str, ...]
    """The sha256 of each file; empty where it could not be read."""
    patients: tuple[str, ...]
    """A digest of the DICOM header's PatientID; empty elsewhere."""
    problems: dict[int, str]
    """Why a file can't be used, by its row."""


ROW = np.dtype(
    [("width", "i4"), ("height", "i4"), ("size", "i8"), ("mode", "S8"),
     ("features", "f4", len(image_properties.FEATURES))]
)  # fmt: skip
"""What `table` needs of a file."""


def of_images(images: Images, seen: Inspection) -> NDArray[np.float64]:
    """The properties of a data set's images, `(n, len(NAMES))`, as its inspection found them."""
    row = {key: index for index, key in enumerate(seen.keys)}
    return table(seen.rows[[row[key] for key in images.keys]])


class Gathered:
    """Files that were read, batch after batch, as they are measured."""

    def __init__(self) -> None:
        self._readings: list[reading.Reading] = []
        self._rows = [np.zeros(0, ROW)]

    def add(self, batch: Sequence[tuple[reading.Reading, reading.Look | None]]) -> None:
        """Measure a batch of files; None stands for an image that can't be used."""
        rows = np.array([(r.width, r.height, r.size, r.mode.encode(), 0.0) for r, _ in batch], ROW)
        looked = [(row, look.copy, look.thumbnail) for row, (_, look) in enumerate(batch) if look is not None]
        if looked:
            at, copies, small = zip(*looked, strict=True)
            rows["features"][list(at)] = image_properties.measure(np.stack(copies), np.stack(small))
        self._readings += [found for found, _ in batch]
        self._rows.append(rows)

    def measured(self) -> Measured:
        """All files so far, in the order in which they were added."""
        found = self._readings
        problems = {row: one.problem for row, one in enumerate(found) if one.problem}
        values = table(np.concatenate(self._rows))
        values[list(problems)] = np.nan
        return Measured(values, tuple(r.sha256 for r in found), tuple(r.patient for r in found), problems)


def measure(paths: Sequence[Path], progress: Callable[[int, int, str], Any] | None = None) -> Measured:
    """Measure image files, in threads.

    Args:
        paths: the files.
        progress: told about the files read.
    """
    gathered = Gathered()
    with ThreadPoolExecutor(cores()) as pool, reading.silenced():
        for start in range(0, len(paths), _BATCH):
            part = list(pool.map(_read, paths[start : start + _BATCH]))
            gathered.add(part)
            if progress:
                progress(start + len(part), len(paths), "measuring image properties")
    return gathered.measured()


def _read(path: Path) -> tuple[reading.Reading, reading.Look | None]:
    try:
        return reading.measured(files.read_named(path, reading.MOST_BYTES))
    except OSError as error:
        return reading.Reading(problem=f"can't be opened: {error.strerror}"), None
