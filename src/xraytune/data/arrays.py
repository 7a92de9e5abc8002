"""Decoded images as uint8 arrays on disk, made once and mapped by everyone.

An array's name is a digest of what is in it: every image's content in order, the size, the fit and the channels. It
is written under another name and renamed, so a half-written one is never read; a lock makes two processes that need
the same one make it once.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xraytune import artifacts, files
from xraytune.data import cache
from xraytune.data.dataset import Dataset
from xraytune.data.decoding import parallel, reading
from xraytune.data.decoding.decoded_images import DecodedImages
from xraytune.data.images import Images
from xraytune.data.problems import Progress
from xraytune.errors import FOREIGN, DataError, InputError


def pool(dataset: Dataset, size: int, progress: Progress | None = None) -> Path:
    """The training and validation images at one size.

    Returns:
        An `.npy` file, uint8 `(n, size, size, channels)`, in the order of `select("train") + select("val")`.

    Raises:
        DataError: a file changed since it was verified.
    """
    return pools(dataset, [size], progress)[size]


def pools(dataset: Dataset, sizes: Iterable[int], progress: Progress | None = None) -> dict[int, Path]:
    """Like `pool` for several sizes, each file read once."""
    paths = _make(dataset, dataset.select("train") + dataset.select("val"), sizes, "decoding images", progress)
    if dataset.decoded is not None:
        dataset.decoded.release()  # a search asks for all of its sizes at once
    return paths


def test(dataset: Dataset, size: int, progress: Progress | None = None) -> Path:  # noqa: PT028 - no test of ours
    """The held-out test images, as `pool`, in the order of `select("test")`. Only a final evaluation asks for them."""
    return _make(dataset, dataset.select("test"), [size], "decoding test images", progress)[size]


test.__test__ = False  # type: ignore[attr-defined]  # pytest must not take it for a test


def _make(
    dataset: Dataset, images: Images, sizes: Iterable[int], what: str, progress: Progress | None
) -> dict[int, Path]:
    """The arrays of these images, made where they are missing."""
    paths: dict[int, Path] = {}
    for size in sorted(set(sizes)):
        if not 8 <= size <= 2048:
            raise InputError(f"An image size of {size} can't be made: take 8 to 2048 pixels.")
        paths[size] = cache.folder("arrays") / f"{_digest(dataset, images, size)}.npy"
    shapes = {size: (len(images), size, size, dataset.channels) for size in paths}
    with ExitStack() as stack:
        for size, path in paths.items():  # always in ascending order, so that two processes can't wait for each other
            if not _usable(path, shapes[size]):
                stack.enter_context(cache.lock(path.with_suffix(".lock")))
        missing = [size for size in paths if not _usable(paths[size], shapes[size])]
        for edge in sorted({reading.bucket(size) for size in missing}):
            together = [size for size in missing if reading.bucket(size) == edge]
            _write(dataset, images, edge, {size: paths[size] for size in together}, what, progress)
    return paths


def _write(
    dataset: Dataset,
    images: Images,
    edge: int,
    paths: dict[int, Path],
    what: str,
    progress: Progress | None,
) -> None:
    """Decode every image once, at a shorter edge of `edge` or more, into the arrays of these sizes."""
    with ExitStack() as stack:
        made = {size: stack.enter_context(artifacts.atomic_write(path)) for size, path in paths.items()}
        arrays = [
            cache.mapped(temporary, (len(images), size, size, dataset.channels)) for size, temporary in made.items()
        ]
        decoded = dataset.decoded if dataset.channels == 1 and edge == reading.bucket(0) else None
        how = (dataset.channels, dataset.fit, edge)
        squarer = _Squarer(str(dataset.root), list(images.keys), images.digests, images.rows, *how, made, decoded)
        parallel.spread(squarer, len(images), what, progress, files=decoded.files if decoded else ())
        for array in arrays:
            array.flush()
        arrays.clear()


@dataclass(frozen=True)
class _Squarer:
    """Decodes files into arrays; every process that helps has one."""

    root: str
    keys: list[str]
    """Of each image, its path below `root`."""

    digests: NDArray[np.uint8]
    """`(n, 32)`: the sha256 of each file when it was verified."""

    rows: NDArray[np.int32]
    """Of each image in `decoded`."""

    channels: int
    fit: str
    edge: int
    paths: dict[int, Path]
    """The array of each size, being written."""

    decoded: DecodedImages | None
    """What verification decoded a moment ago, at this scale."""

    def __call__(self, piece: range) -> None:
        arrays = {size: np.load(path, mmap_mode="r+") for size, path in self.paths.items()}
        for row in piece:
            path = os.path.join(self.root, self.keys[row])  # noqa: PTH118 - a Path is ten times slower
            image = self.decoded.get(int(self.rows[row]), path) if self.decoded else None
            image = image or self._decoded(path, row)
            for size, array in arrays.items():
                array[row] = reading.square(image, size, self.fit)

    def _decoded(self, path: str, row: int) -> Image.Image:
        """The image of a row, decoded from its file."""
        try:
            content = files.read_named(path, reading.MOST_BYTES)
        except OSError as error:
            raise DataError(f"{path} can no longer be read: {error.strerror}.") from None
        if hashlib.sha256(content).digest() != self.digests[row].tobytes():
            raise DataError(f"{path} changed since it was verified. Start again when nothing writes to the data.")
        try:
            return reading.decode(content, self.channels, self.edge).image
        except reading.Unreadable as error:
            raise DataError(f"{path}: {error}.") from None


def _usable(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether the file is a whole array of this shape; a header alone or a cut file is not."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, *FOREIGN):
        return False
    expected = math.prod(shape)
    return bool(array.shape == shape and array.dtype == np.uint8 and path.stat().st_size >= expected)


def _digest(dataset: Dataset, images: Images, size: int) -> str:
    digest = hashlib.sha256(f"{size} {dataset.fit} {dataset.channels} {reading.DECODERS}".encode())
    for content in images.digests:
        digest.update(content.tobytes().hex().encode())
    return f"{digest.hexdigest()[:32]}-{size}"
