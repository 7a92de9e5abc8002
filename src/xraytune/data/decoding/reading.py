"""One image file: its bytes read once, decoded fully, measured, and made square.

JPEG, PNG and PGM/PPM are read with Pillow (plain JPEGs by `jpeg`, faster), DICOM with pydicom (extra `dicom`). What
can't be decoded to its last pixel raises `Unreadable`, whose message is for a person.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from xraytune import files
from xraytune.data import identity, image_properties, spelling
from xraytune.data.decoding import dicom, jpeg, raster
from xraytune.data.decoding.dicom_file import DicomError, is_dicom

DECODERS = f"Pillow {PIL.__version__}, simplejpeg {simplejpeg.__version__}, {dicom.decoders()}"
"""What decodes: another version may give other gray levels, so what is kept of them is kept under these names."""

MOST_PIXELS = 50_000_000
"""Larger than any radiograph (a 43 x 43 cm detector at 0.1 mm has 18.5 million pixels); guards the memory."""

MOST_BYTES = 256 << 20
"""Of a file: an image of 50 megapixels at 16 bit, uncompressed, is 100 MB."""

FITS = ("crop", "pad", "squash")
"""How an image becomes a square: its centre on the shorter edge, black borders on the longer, or aspect given up."""

MEASURED = 112
"""Edge of the squashed copy that the image's properties are measured on. The gradient ratio of the Kermany images tells
classes apart with AUC 0.79 at 32 px, 0.85 at 64 px, 0.87 at 112 px and 0.88 at 224 px. Common images (224, 448, 1,024
px) shrink to 112 px by whole factors or nearly, for a quarter of what other edges cost."""

_BUCKET = (
    256  # smallest shorter edge that JPEGs are decoded at; one scale for all sizes below keeps arrays reproducible
)
Pixels = NDArray[np.uint8]


class Unreadable(Exception):  # noqa: N818 - a finding about a file, like KeyboardInterrupt no error of the program
    """A file that can't be used as an image; the message says why."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one file turned out to be."""

    sha256: str = ""
    """Of the file's bytes; empty where they could not be read."""

    width: int = 0
    height: int = 0
    """Pixels of the whole image, after EXIF orientation."""

    size: int = 0
    """Bytes."""

    mode: str = ""
    """Pillow's mode as stored: L, RGB, RGBA, P, I;16, 1, CMYK; `DICOM` for DICOM."""

    patient: str = ""
    """A digest of the DICOM header's PatientID (`identity.keyed`), empty elsewhere."""

    remark: int = 0
    """Bits of `dicom_levels.REMARKS`."""

    problem: str = ""
    """Why the file can't be used, empty if it can."""


class DecodedImage(NamedTuple):
    """A decoded image."""

    image: Image.Image
    width: int
    height: int
    mode: str
    patient: str = ""
    """The DICOM header's PatientID as it is, not to be kept."""
    remark: int = 0
    """Bits of `dicom_levels.REMARKS`."""


@contextmanager
def silenced() -> Iterator[None]:
    """Hold back warnings: Pillow's and pydicom's on large pictures, odd EXIF and odd headers; all are judged here.

    Once around many images, not around each: to set filters costs more than a small image.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def decode(content: bytes, channels: int = 1, least: int = _BUCKET) -> DecodedImage:
    """Decode a file's content fully.

    JPEGs are decoded at the coarsest of libjpeg's scales (1/2, 1/4, 1/8) that leaves the shorter edge at `least` pixels
    or more; every byte of the stream is still decoded, so damage is still found.

    Args:
        content: the file's bytes.
        channels: 1 for gray, 3 for RGB.
        least: the shorter edge that is needed, pixels.

    Returns:
        The image in mode L or RGB, upright, with its full width and height in pixels.

    Raises:
        Unreadable: it is empty, no image, of another format, truncated, damaged, or larger than `MOST_PIXELS`.
    """
    if not content:
        raise Unreadable("the file is empty")
    if channels == 1 and (plain := jpeg.decode(content, least, MOST_PIXELS)):
        height, width = plain.pixels.shape
        image = Image.frombuffer("L", (width, height), plain.pixels, "raw", "L", 0, 1)
        return DecodedImage(image, width, height, plain.mode)
    if is_dicom(content):
        try:
            found = dicom.decode(content, MOST_PIXELS)
        except DicomError as error:
            raise Unreadable(str(error)) from None
        image = Image.fromarray(found.pixels)
        colour = raster.as_colour(image, channels)
        return DecodedImage(colour, image.width, image.height, "DICOM", found.patient, found.remark)
    try:
        image, width, height, mode = raster.decode(content, channels, least, MOST_PIXELS)
    except raster.UndecodableError as error:
        raise Unreadable(str(error)) from None
    return DecodedImage(image, width, height, mode)


class Look(NamedTuple):
    """An image that was measured, in three sizes."""

    image: Image.Image
    """As `decode` gives it by default: gray, upright."""

    copy: Pixels
    """`(MEASURED, MEASURED)`, squashed."""

    thumbnail: Pixels
    """As `image_properties.thumbnail` makes it of the copy."""


def measured(content: bytes) -> tuple[Reading, Look | None]:
    """What a file is, and its image; None instead of the image if the file can't be used."""
    digest = hashlib.sha256(content).hexdigest()
    try:
        decoded = decode(content)
    except Unreadable as error:
        return Reading(digest, size=len(content), problem=str(error)), None
    bilinear = Image.Resampling.BILINEAR
    copy = decoded.image.resize((MEASURED, MEASURED), bilinear, reducing_gap=1.0)  # whole factors by plain means first
    look = Look(decoded.image, _pixels(copy), image_properties.thumbnail(copy))
    patient = identity.keyed(spelling.patient(decoded.patient))
    return Reading(digest, decoded.width, decoded.height, len(content), decoded.mode, patient, decoded.remark), look


def _pixels(image: Image.Image) -> Pixels:
    """An image of mode L as `(h, w)`; twice as fast as asking numpy to convert it."""
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width)


def bucket(size: int) -> int:
    """The shorter edge that an image is decoded at for arrays of this size: 256, 512, 1024 … pixels."""
    edge = _BUCKET
    while edge < size:
        edge *= 2
    return edge


def square(image: Image.Image, size: int, fit: str) -> Pixels:
    """An image as a square.

    Args:
        image: mode L or RGB.
        size: edge, pixels.
        fit: `crop` (centre, on the shorter edge, as MedMNIST does), `pad` (black borders) or `squash`.

    Returns:
        uint8 `(size, size, 1)` or `(size, size, 3)`.
    """
    width, height = image.size
    bilinear = Image.Resampling.BILINEAR  # Pillow widens its support when it shrinks, so nothing aliases
    if fit == "crop" and width != height:
        edge = min(width, height)
        left, top = (width - edge) / 2, (height - edge) / 2
        small = image.resize((size, size), bilinear, box=(left, top, left + edge, top + edge))
    elif fit == "pad" and width != height:
        scale = size / max(width, height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = Image.new(image.mode, (size, size))
        small.paste(image.resize(inner, bilinear), ((size - inner[0]) // 2, (size - inner[1]) // 2))
    else:
        small = image.resize((size, size), bilinear)
    pixels = np.asarray(small)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def read_image(path: str | Path, size: int, *, fit: str = "crop", channels: int = 1) -> Pixels:
    """One file as a network takes it, decoded exactly as the arrays of a data set are.

    Returns:
        uint8 `(size, size, channels)`.

    Raises:
        Unreadable: the file can't be opened or decoded; the message says why, without the path.
    """
    return image_of(read_content(path), size, fit=fit, channels=channels)


def read_content(path: str | Path) -> bytes:
    """A file's bytes, at most `MOST_BYTES`.

    Raises:
        Unreadable: it can't be opened, or has more; the message says why, without the path.
    """
    try:
        return files.read_named(path, MOST_BYTES)
    except OSError as error:
        raise Unreadable(str(error.strerror)) from None


def image_of(content: bytes, size: int, *, fit: str = "crop", channels: int = 1) -> Pixels:
    """A file's content as `read_image` gives it.

    Raises:
        Unreadable: it can't be decoded; the message says why.
    """
    with silenced():
        return square(decode(content, channels, bucket(size)).image, size, fit)
