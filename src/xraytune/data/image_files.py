"""What a file is, by its first bytes. One rule for folders, archives, manifests and predictions."""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from xraytune.data import files
from xraytune.data.dicom import is_dicom

HEAD = 1024
"""Bytes that tell what a file is."""

SUFFIXES = frozenset(
    {
        ".jpeg", ".jpg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".png", ".apng", ".pgm", ".ppm", ".pbm", ".pnm",
        ".dcm", ".dicom", ".dcm30", ".ima",
    }
)  # fmt: skip
"""Files with these names claim to be images that are read: whatever they hold, they are never left out."""

FOREIGN_SUFFIXES = frozenset(
    {
        ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".j2c", ".j2k", ".jp2", ".jpf", ".jpx", ".jxl", ".mha",
        ".mhd", ".nii", ".nii.gz", ".npy", ".nrrd", ".nhdr", ".svg", ".tga", ".tif", ".tiff", ".webp",
    }
)  # fmt: skip
"""Files with these names claim to be images of a format that is not read."""

_DICOMDIR = b"1.2.840.10008.1.3.10"  # Media Storage Directory Storage, PS3.4 B.5

_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GIF8", "a GIF image"),
    (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (0, b"II+\0", "a TIFF image"),
    (0, b"MM\0+", "a TIFF image"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"NRRD000", "an NRRD image"),
    (344, b"n+1\0", "a NIfTI image"),
    (344, b"ni1\0", "a NIfTI image"),
)
_BRANDS = {b"avif": "an AVIF image", b"avis": "an AVIF image", b"heic": "a HEIC image", b"heix": "a HEIC image"}
_BRANDS |= {b"mif1": "a HEIF image", b"msf1": "a HEIF image", b"heif": "a HEIF image"}
_OTHER: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a rar archive"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\xd0\xcf\x11\xe0", "an Office document"),
)


class Sort(Enum):
    """What is done with a file."""

    IMAGE = "image"
    """Read: it is an image, or its name says so (reading then says what is wrong with it)."""

    FOREIGN = "foreign"
    """An image of a format that is not read: an error."""

    OTHER = "other"
    """No image: left out, and said."""


class Verdict(NamedTuple):
    """What a file is."""

    sort: Sort
    kind: str
    """In words, with an article: `a TIFF image`, `a text file`."""


def recognise(head: bytes) -> Verdict:
    """What the first `HEAD` bytes of a file say, whatever its name is."""
    if head.startswith(b"\xff\xd8\xff"):
        return Verdict(Sort.IMAGE, "a JPEG image")
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Verdict(Sort.IMAGE, "a PNG image")
    if len(head) > 2 and head[:1] == b"P" and head[1:2] in b"123456" and head[2:3] in b" \t\r\n#":
        return Verdict(Sort.IMAGE, "a PNM image")
    if is_dicom(head):
        if _DICOMDIR + b"\0" in head or head[head.find(_DICOMDIR) :].removeprefix(_DICOMDIR)[:1] == b"\x02":
            return Verdict(Sort.OTHER, "a DICOMDIR (a disc's table of contents)")
        return Verdict(Sort.IMAGE, "a DICOM file")
    for offset, mark, kind in _FOREIGN:
        if head.startswith(mark, offset):
            return Verdict(Sort.FOREIGN, kind)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Verdict(Sort.FOREIGN, "a WebP image")
    if head[4:8] == b"ftyp" and head[8:12] in _BRANDS:
        return Verdict(Sort.FOREIGN, _BRANDS[head[8:12]])
    if head.startswith(b"BM") and len(head) > 18 and head[6:10] == b"\0\0\0\0" and head[14] in {12, 40, 52, 56, 108, 124}:
        return Verdict(Sort.FOREIGN, "a BMP image")
    return _document(head)


def _document(head: bytes) -> Verdict:
    """What is no image at all."""
    if not head:
        return Verdict(Sort.OTHER, "an empty file")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text):
        return Verdict(Sort.FOREIGN, "an SVG image")
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return Verdict(Sort.OTHER, "a web page (HTML)")
    if text.startswith((b"objecttype", b"ndims")):
        return Verdict(Sort.FOREIGN, "a MetaImage")
    for mark, kind in _OTHER:
        if head.startswith(mark):
            return Verdict(Sort.OTHER, kind)
    if not any(byte < 32 and byte not in b"\t\r\n\f" for byte in head):
        return Verdict(Sort.OTHER, "a text file")
    return Verdict(Sort.OTHER, "a file of unknown content")


def judge(path: str | Path) -> Verdict:
    """What a file is: by its first bytes; where these say nothing, a name that claims an image is believed.

    A file that is named as an image that is read is never opened here: it is read anyway, and then its content decides.

    Raises:
        OSError: it can't be opened, or is no regular file (`files.NotRegularError`).
    """
    name = os.path.basename(path).lower()  # noqa: PTH119 - a Path a file costs 50,000 files a second
    suffix = os.path.splitext(name)[1]  # noqa: PTH122
    if suffix in SUFFIXES:
        return Verdict(Sort.IMAGE, "an image by its name")
    with files.open_named(path) as file:
        verdict = recognise(file.read(HEAD))
    if verdict.sort is Sort.OTHER and (suffix in FOREIGN_SUFFIXES or name.endswith(".nii.gz")):
        return Verdict(Sort.FOREIGN, f"a {name[-7:] if name.endswith('.nii.gz') else suffix} image")
    return verdict


def counted(kinds: Iterable[str]) -> str:
    """Kinds with how often each occurs, the commonest first: `3 a text file, 1 an empty file`."""
    found: dict[str, int] = {}
    for kind in kinds:
        found[kind] = found.get(kind, 0) + 1
    return ", ".join(f"{kind} ({n})" for kind, n in sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))
