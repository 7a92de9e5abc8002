"""What a file is, by its first bytes. One rule for folders, archives, manifests and predictions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from xraytune import files
from xraytune.data.decoding.dicom_file import is_dicom
from xraytune.errors import InputError

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

_DICOMDIR = b"\x14\x001.2.840.10008.1.3.10"
"""Media Storage Directory Storage as the value (20 letters) of (0002,0002), PS3.10 7.1 and 8.6."""

_READ = ((b"\xff\xd8\xff", "a JPEG image"), (b"\x89PNG\r\n\x1a\n", "a PNG image"))
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


DISC = "a DICOMDIR, a disc's table of contents"


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
    if kind := _read_kind(head):
        return Verdict(Sort.OTHER if kind == DISC else Sort.IMAGE, kind)
    if kind := _foreign_kind(head):
        return Verdict(Sort.FOREIGN, kind)
    return Verdict(Sort.OTHER, _other_kind(head))


def _read_kind(head: bytes) -> str:
    """The format, if it is one that is read."""
    if is_dicom(head):
        return DISC if _DICOMDIR in head else "a DICOM file"
    if re.match(rb"P[1-6][\s#]", head):
        return "a PNM image"
    return next((kind for mark, kind in _READ if head.startswith(mark)), "")


def _foreign_kind(head: bytes) -> str:
    """The format, if it is one of images that are not read."""
    kinds = [kind for offset, mark, kind in _FOREIGN if head.startswith(mark, offset)]
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        kinds.append("a WebP image")
    if head[4:8] == b"ftyp" and head[8:12] in _BRANDS:
        kinds.append(_BRANDS[head[8:12]])
    if head.startswith(b"BM") and head[6:10] == b"\0\0\0\0" and head[14:15] in {b"\x0c", b"(", b"4", b"8", b"l", b"|"}:
        kinds.append("a BMP image")
    text = _text(head)
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text):
        kinds.append("an SVG image")
    if text.startswith((b"objecttype", b"ndims")):
        kinds.append("a MetaImage")
    return kinds[0] if kinds else ""


def _other_kind(head: bytes) -> str:
    """What is no image at all."""
    kinds = [kind for mark, kind in _OTHER if head.startswith(mark)]
    if not head:
        kinds.append("an empty file")
    if _text(head).startswith((b"<!doctype", b"<html", b"<?xml")):
        kinds.append("a web page (HTML)")
    if not any(byte < 32 and byte not in b"\t\r\n\f" for byte in head):
        kinds.append("a text file")
    return kinds[0] if kinds else "a file of unknown content"


def _text(head: bytes) -> bytes:
    """As text is compared: without the mark of UTF-8 and spaces before it, in small letters."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()


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
    if name == "dicomdir" and verdict.sort is Sort.IMAGE:
        return Verdict(Sort.OTHER, DISC)
    if verdict.sort is Sort.OTHER and (suffix in FOREIGN_SUFFIXES or name.endswith(".nii.gz")):
        return Verdict(Sort.FOREIGN, f"a {name[-7:] if name.endswith('.nii.gz') else suffix} image")
    return verdict


def counted(kinds: Iterable[str]) -> str:
    """Kinds with how often each occurs, the commonest first: `3 a text file, 1 an empty file`."""
    found: dict[str, int] = {}
    for kind in kinds:
        found[kind] = found.get(kind, 0) + 1
    return ", ".join(f"{kind} ({n})" for kind, n in sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def find(asked: Sequence[Path]) -> list[Path]:
    """The files named and the images in the folders named, each once, folders sorted.

    What is an image is decided by the same rule as for training data (`xraytune.data.decoding.image_files`). Images of
    formats that are not read are among them, so that whoever reads them can say so.

    Raises:
        InputError: a path does not exist, or a folder holds no image.
    """
    out: dict[Path, None] = {}
    for one in asked:
        if one.is_dir():
            inside = sorted(
                p
                for p in one.rglob("*")
                if p.is_file()
                and not any(part.startswith(".") or part == "__MACOSX" for part in p.relative_to(one).parts)
                and _image(p)
            )
            if not inside:
                raise InputError(f"{one} holds no image (JPEG, PNG, PGM/PPM, DICOM).")
            out.update(dict.fromkeys(inside))
        elif one.exists():
            out[one] = None
        else:
            raise InputError(f"{one} does not exist.")
    return list(out)


def _image(path: Path) -> bool:
    """Whether a file of a folder is an image, also of a format that is not read: decided as for training data."""
    pass
    from xraytune.files import NotRegularError

    try:
        return judge(path).sort is not Sort.OTHER
    except NotRegularError:
        return False
    except OSError:
        return True  # why it can't be opened is said where it is read
