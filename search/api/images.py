"""Images as users have them: paths, folders, arrays, PIL images, DICOM data sets, bytes."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.api.keywords import as_path
from xraytune.errors import InputError
from xraytune.inference.classifier import Classifier

KINDS = "a path, a folder, an array, a PIL image, a pydicom data set or the bytes of an image file"


@dataclass(frozen=True)
class Held:
    """One image in memory: by its name, with its pixels or its file's bytes."""

    name: str
    pixels: Any = None
    content: bytes | None = None


def listed(images: Any) -> list[Path | Held]:
    """Each image of what was given, in its order; those of a folder are sorted.

    Args:
        images: one image or several of them: paths, folders, arrays `(h, w)`, `(h, w, 1 or 3)`, `(n, h, w)` or
            `(n, h, w, 1 or 3)`, PIL images, pydicom data sets, bytes of image files.

    Raises:
        InputError: a path does not exist, a folder holds no image, or it is none of these.
    """
    from xraytune.data.decoding.image_files import find

    out: list[Path | Held] = []
    for one in _each(images):
        if isinstance(one, str | os.PathLike):
            out += find([as_path(one)])
        else:
            out += _held(one, len(out))
    if not out:
        raise InputError(f"There is no image to look at: give {KINDS}, or several of them.")
    return out


def _each(images: Any) -> Iterable[Any]:
    """What was given as a sequence of images, paths and folders."""
    if isinstance(images, str | os.PathLike | bytes | np.ndarray) or _is_pil(images) or _is_dicom(images):
        return [images]
    if isinstance(images, Iterable):
        return list(images)
    raise InputError(f"{type(images).__name__} is no image: give {KINDS}, or several of them.")


def _held(one: Any, number: int) -> list[Held]:
    """An image in memory, or the images of an array of several."""
    name = f"image {number}"
    if isinstance(one, bytes):
        return [Held(name, content=one)]
    if _is_dicom(one):
        return [Held(name, content=_dicom_bytes(one))]
    if _is_pil(one):
        named = getattr(one, "filename", "")  # PIL has it of images that it opened itself
        return [Held(str(named) if named else name, pixels=_upright(one))]
    if isinstance(one, np.ndarray):
        single = one.ndim == 2 or (one.ndim == 3 and one.shape[2] in {1, 3})
        if not single and one.ndim in {3, 4}:
            return [Held(f"image {number + i}", pixels=each) for i, each in enumerate(one)]
        return [Held(name, pixels=one)]
    raise InputError(f"{type(one).__name__} is no image: give {KINDS}, or several of them.")


def _is_pil(one: Any) -> bool:
    from PIL import Image

    return isinstance(one, Image.Image)


def _is_dicom(one: Any) -> bool:
    return type(one).__module__.startswith("pydicom.") and hasattr(one, "save_as")


def _upright(image: Any) -> Any:
    """Turned as its EXIF data say, as image files are."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _dicom_bytes(data_set: Any) -> bytes:
    """A pydicom data set as the bytes of its file.

    Raises:
        InputError: it can't be written as a file.
    """
    into = io.BytesIO()
    try:
        data_set.save_as(into, enforce_file_format=True)
    except (AttributeError, ValueError, TypeError) as error:
        raise InputError(f"The DICOM data set can't be read as an image: {error}") from None
    return into.getvalue()


def squares(model: Classifier, image: Held, sizes: Sequence[int], channels: int) -> dict[int, NDArray[np.uint8]]:
    """An image in memory as squares uint8 `(s, s, channels)` by edge s, made as those of files are.

    Args:
        model: whose card says how an image becomes a square.
        image: in memory.
        sizes: edges, pixels.
        channels: 1 or 3.

    Raises:
        Unreadable: it can't be decoded.
        ValueError: an array has another shape, or its values are neither uint8 nor floats in 0–255.
    """
    from xraytune.data.decoding import raster, reading

    fit = model.card.fit
    if image.content is not None:
        with reading.silenced():
            sources = {size: reading.decode(image.content, channels, reading.bucket(size)).image for size in sizes}
    else:
        pil = _is_pil(image.pixels)
        picture = raster.as_colour(image.pixels, channels) if pil else model.picture(image.pixels, channels)
        sources = dict.fromkeys(sizes, picture)
    return {size: reading.square(source, size, fit) for size, source in sources.items()}
