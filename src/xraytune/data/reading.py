"""One image file: its bytes read once, decoded fully, measured, and made square.

JPEG, PNG and PGM/PPM are read with Pillow (plain JPEGs by `jpeg`, faster), DICOM with pydicom (extra `dicom`). What
can't be decoded to its last pixel raises `Unreadable`, whose message is for a person.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from xraytune.data import dicom, image_properties, jpeg

FORMATS = ("JPEG", "PNG", "PPM")
"""What Pillow may decode here; a JPEG that carries further pictures (MPO) counts as one."""

DECODERS = f"Pillow {PIL.__version__}, simplejpeg {simplejpeg.__version__}"
"""What decodes: another version may give other gray levels, so what is kept of them is kept under these names."""

MOST_PIXELS = 50_000_000
"""Larger than any radiograph (a 43 x 43 cm film at 0.1 mm has 18.5 million pixels); guards the memory."""

FITS = ("crop", "pad", "squash")
"""How a film becomes a square: its centre on the shorter edge, black borders on the longer, or aspect given up."""

MEASURED = 112
"""Edge of the squashed copy that the file's make-up is measured on. The gradient ratio of the Kermany films tells
classes apart with AUC 0.79 at 32 px, 0.85 at 64 px, 0.87 at 112 px and 0.88 at 224 px. Common films (224, 448, 1,024
px) shrink to 112 px by whole factors or nearly, for a quarter of what other edges cost."""

_BUCKET = (
    256  # smallest shorter edge that JPEGs are decoded at; one scale for all sizes below keeps arrays reproducible
)
_ORIENTATION = 0x0112  # the EXIF tag
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
    """Pixels of the whole film, after EXIF orientation."""

    size: int = 0
    """Bytes."""

    mode: str = ""
    """Pillow's mode as stored: L, RGB, RGBA, P, I;16, 1, CMYK; `DICOM` for DICOM."""

    patient: str = ""
    """A digest of the DICOM header's PatientID, empty elsewhere."""

    problem: str = ""
    """Why the file can't be used, empty if it can."""


class Film(NamedTuple):
    """A decoded film."""

    image: Image.Image
    width: int
    height: int
    mode: str
    patient: str


@contextmanager
def silenced() -> Iterator[None]:
    """Hold back warnings: Pillow's and pydicom's on large pictures, odd EXIF and odd headers; all are judged here.

    Once around many films, not around each: to set filters costs more than a small film.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def decode(content: bytes, channels: int = 1, least: int = _BUCKET) -> Film:
    """Decode a file's content fully.

    JPEGs are decoded at the coarsest of libjpeg's scales (1/2, 1/4, 1/8) that leaves the shorter edge at `least` pixels
    or more; every byte of the stream is still decoded, so damage is still found.

    Args:
        content: the file's bytes.
        channels: 1 for gray, 3 for RGB.
        least: the shorter edge that is needed, pixels.

    Returns:
        The film as an image of mode L or RGB, upright, with its full width and height in pixels.

    Raises:
        Unreadable: it is empty, no image, of another format, truncated, damaged, or larger than `MOST_PIXELS`.
    """
    if not content:
        raise Unreadable("the file is empty")
    if channels == 1 and (plain := jpeg.decode(content, least, MOST_PIXELS)):
        height, width = plain.pixels.shape
        image = Image.frombuffer("L", (width, height), plain.pixels, "raw", "L", 0, 1)
        return Film(image, width, height, plain.mode, "")
    if dicom.is_dicom(content):
        try:
            pixels, patient = dicom.decode(content, MOST_PIXELS)
        except dicom.DicomError as error:
            raise Unreadable(str(error)) from None
        image = Image.fromarray(pixels)
        return Film(_colour(image, channels), image.width, image.height, "DICOM", patient)
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        width, height = image.size
        mode = image.mode
        if width * height > MOST_PIXELS:
            raise Unreadable(f"{width} x {height} pixels, more than {MOST_PIXELS // 1_000_000} million")
        if min(width, height) < 8:
            raise Unreadable(f"{width} x {height} pixels: too small to be a film")
        if mode in {"L", "RGB", "YCbCr"}:  # what libjpeg can turn into gray by itself
            image.draft("L" if channels == 1 else "RGB", (least, least))
        image.load()
        if "exif" in image.info and image.getexif().get(_ORIENTATION, 1) != 1:
            turned = image.getexif()[_ORIENTATION] >= 5
            width, height = (height, width) if turned else (width, height)
            image = ImageOps.exif_transpose(image)
        return Film(_colour(image, channels), width, height, mode, "")
    except Unreadable:
        raise
    except Image.DecompressionBombError:
        raise Unreadable(f"more than {MOST_PIXELS // 1_000_000} million pixels") from None
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, ValueError, struct.error, IndexError …
        raise Unreadable(_why(content, error)) from None


class Look(NamedTuple):
    """A film that was measured, in three sizes."""

    film: Image.Image
    """As `decode` gives it by default: gray, upright."""

    copy: Pixels
    """`(MEASURED, MEASURED)`, squashed."""

    thumbnail: Pixels
    """As `image_properties.thumbnail` makes it of the copy."""


def measured(content: bytes) -> tuple[Reading, Look | None]:
    """What a file is, and its film; None instead of the film if the file can't be used."""
    digest = hashlib.sha256(content).hexdigest()
    try:
        film = decode(content)
    except Unreadable as error:
        return Reading(digest, size=len(content), problem=str(error)), None
    bilinear = Image.Resampling.BILINEAR
    copy = film.image.resize((MEASURED, MEASURED), bilinear, reducing_gap=1.0)  # whole factors by plain means first
    look = Look(film.image, _pixels(copy), image_properties.thumbnail(copy))
    return Reading(digest, film.width, film.height, len(content), film.mode, film.patient), look


def _pixels(image: Image.Image) -> Pixels:
    """An image of mode L as `(h, w)`; twice as fast as asking numpy to convert it."""
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width)


def bucket(size: int) -> int:
    """The shorter edge that a film is decoded at for arrays of this size: 256, 512, 1024 … pixels."""
    edge = _BUCKET
    while edge < size:
        edge *= 2
    return edge


def square(image: Image.Image, size: int, fit: str) -> Pixels:
    """A film as a square.

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
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise Unreadable(str(error.strerror)) from None
    with silenced():
        return square(decode(content, channels, bucket(size)).image, size, fit)


def _colour(image: Image.Image, channels: int) -> Image.Image:
    """An 8-bit gray or RGB image from whatever a file held; transparency lies on black."""
    if image.mode.startswith(("I", "F")):
        image = _from_deep(image)
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        opaque = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", opaque.size, (0, 0, 0, 255)), opaque).convert("RGB")
    wanted = "L" if channels == 1 else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def _from_deep(image: Image.Image) -> Image.Image:
    """8-bit gray from 16 bit: the depth is the smallest of 8, 10, 12, 14 and 16 bit that holds the brightest pixel.

    Radiographs of 10 to 14 bit are commonly stored in 16; divided by 257 they would be nearly black.
    """
    deep = np.asarray(image).astype(np.float32)
    brightest = float(deep.max(initial=0.0))
    full = next((f for f in (255, 1023, 4095, 16383) if brightest <= f), 65535)
    return Image.fromarray(np.clip(deep * (255.0 / full), 0, 255).round().astype(np.uint8))


_SIGNATURES = (
    (b"GIF8", "a GIF picture"), (b"BM", "a BMP picture"), (b"II*\0", "a TIFF picture"), (b"MM\0*", "a TIFF picture"),
    (b"%PDF", "a PDF document"), (b"PK\x03\x04", "a zip archive"), (b"\x1f\x8b", "a gzip archive"),
)  # fmt: skip


def _why(content: bytes, error: Exception) -> str:
    """Why Pillow gave up, for a person."""
    head = content[:512].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "a web page (HTML), not an image"
    for signature, what in _SIGNATURES:
        if content.startswith(signature):
            return f"{what}; only JPEG, PNG, PGM and DICOM are read"
    if isinstance(error, UnidentifiedImageError):
        if not any(byte > 127 or (byte < 32 and byte not in b"\t\r\n\f") for byte in content[:512]):
            return "a text file, not an image"
        return "not an image, or its beginning is damaged"
    text: Any = str(error).strip().rstrip(".") or type(error).__name__
    if "truncated" in text or isinstance(error, EOFError):
        return f"truncated: the file ends before the image does ({len(content)} bytes)"
    return f"damaged: {text}"
