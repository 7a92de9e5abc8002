"""DICOM radiographs to 8-bit gray, with pydicom and its decoders (the extra `dicom`)."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xraytune.data.decoding import dicom_levels
from xraytune.data.decoding.dicom_file import DicomError, check_pixels, open_dicom

if TYPE_CHECKING:
    from pydicom import Dataset

_EXTRA = "install the extra with `pip install 'xraytune[dicom]'`"
_PACKAGES = ("pydicom", "pylibjpeg", "pylibjpeg-libjpeg")

LONGEST = 600
"""Characters of a decoder's own message that are shown; those that name what to install have fewer."""


class Radiograph(NamedTuple):
    """A decoded DICOM file."""

    pixels: NDArray[np.uint8]
    """`(height, width)`."""

    patient: str
    """The PatientID as the header has it, empty without one; to be kept as `identity.keyed` only."""

    remark: int
    """Bits of `dicom_levels.REMARKS`."""


def decoders() -> str:
    """What decodes DICOM here, with versions, for what is kept of its gray levels."""
    found = []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    return ", ".join(found)


def decode(content: bytes, most_pixels: int) -> Radiograph:
    """Gray levels as a viewer shows them, see `dicom_levels.to_gray`.

    Args:
        content: the file's bytes.
        most_pixels: larger images are refused before they are decoded.

    Raises:
        DicomError: pydicom or a decoder is missing, or the file holds no single image that can be decoded.
    """
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise DicomError(f"DICOM needs pydicom: {_EXTRA}") from None
    header = None
    try:
        header = open_dicom(content, most_pixels)
        _check(header, most_pixels)
        gray, remark = dicom_levels.to_gray(header.pixel_array, header)
        return Radiograph(gray, str(header.get("PatientID", "") or "").strip(), remark)
    except DicomError:
        raise
    except MemoryError:
        raise DicomError("DICOM that needs more memory than is available") from None
    except Exception as error:  # pydicom raises whatever its decoders do
        text = " ".join(str(error).split()) or type(error).__name__
        if len(text) > LONGEST:  # a message may quote all of a damaged element
            text = f"{text[:LONGEST]} …"
        raise DicomError(f"DICOM that can't be decoded: {text}{_missing(header)}") from None


def _check(header: Dataset, most_pixels: int) -> None:
    """Refuse what holds no single gray image of a permitted size, before a pixel is decoded.

    What is empty and has one meaning for a gray image gets it.
    """
    height, width = _count(header, "Rows", 0), _count(header, "Columns", 0)
    if not height or not width or not any(header.get(name) for name in ("PixelData", "FloatPixelData")):
        raise DicomError("DICOM without an image")
    if height * width > most_pixels:
        raise DicomError(f"{width} x {height} pixels, more than {most_pixels // 1_000_000} million")
    header.SamplesPerPixel = _count(header, "SamplesPerPixel", 1)
    header.PhotometricInterpretation = str(header.get("PhotometricInterpretation") or "MONOCHROME2").strip()
    header.PixelRepresentation = _count(header, "PixelRepresentation", 0)
    header.BitsStored = _count(header, "BitsStored", _count(header, "BitsAllocated", 16))
    one = _count(header, "NumberOfFrames", 1) <= 1 and header.SamplesPerPixel == 1
    if not one or not header.PhotometricInterpretation.startswith("MONOCHROME"):
        raise DicomError("DICOM with several frames or colours, not one radiograph")
    if missing := _undecodable(header):
        raise DicomError(missing)
    check_pixels(header, (height, width))


def _count(header: Dataset, name: str, default: int) -> int:
    """A whole number of the header; `default` where it is missing or has no value."""
    value = header.get(name)
    try:
        return default if value is None or value == "" else int(value)
    except (TypeError, ValueError):
        raise DicomError(f"DICOM whose {name} is {str(value)[:40]!r}, not a whole number") from None


def _undecodable(header: Dataset) -> str:
    """Why no decoder can read the header's transfer syntax, empty where one can."""
    from pydicom.pixels import get_decoder

    syntax = header.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return f"DICOM of the transfer syntax {syntax.name} ({syntax}), which isn't read: save it uncompressed"
    if decoder.is_available:
        return ""
    return f"DICOM compressed as {syntax.name} ({syntax}), whose decoder is missing{_missing(header)}"


def _missing(header: Dataset | None) -> str:
    """The decoders that would read the header's transfer syntax and are not installed, as the end of a sentence."""
    try:
        import libjpeg  # noqa: F401
        import pylibjpeg  # noqa: F401
    except ImportError:
        syntax = getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", None)
        if syntax is not None and "JPEG" in syntax.name and "2000" not in syntax.name:
            return f". It needs the packages pylibjpeg and pylibjpeg-libjpeg: {_EXTRA}"
    return ""
