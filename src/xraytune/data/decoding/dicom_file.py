"""The bytes of a DICOM file: recognised by content, opened with a limit on what unpacks.

Recognised are files with preamble and mark (PS3.10, 7.1), file meta information without preamble, and plain data sets
without either, which older devices and some archives write.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom import Dataset

DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT = "1.2.840.10008.1.2.1"

HEAD = 512
"""Bytes at the beginning of a file that `is_dicom` needs; fewer do for a file with the mark (132)."""

_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS"}
    | {b"ST", b"TM", b"UI", b"UL", b"US"}
)
_MARK = b"DICM"
_ROOM = 16 << 20  # bytes that the elements beside the pixels may take


class DicomError(Exception):
    """A DICOM file that can't be used; the message says why."""


def is_dicom(content: bytes) -> bool:
    """Whether a file's bytes, or the first `HEAD` of them, are DICOM: by its mark, or by two elements in order."""
    return content[128:132] == _MARK or content[:4] == _MARK or _is_bare(content)


def _is_bare(content: bytes) -> bool:
    """Whether the bytes begin with elements of group 2 or 8, in ascending order, of plausible lengths.

    The first two elements are looked at; of a longer first element, that it has a value representation of DICOM.
    """
    for order in "<>":
        if len(content) < 8 or struct.unpack_from(order + "H", content)[0] not in {2, 8}:
            continue
        first = _element(content, 0, order)
        if first is None:
            continue
        tag, vr, at, length = first
        if at + length + 8 > len(content):
            return bool(vr) and length < HEAD
        second = _element(content, at + length, order)
        return second is not None and tag < second[0] and second[0][0] < 0x100
    return False


def _element(content: bytes, at: int, order: str) -> tuple[tuple[int, int], bytes, int, int] | None:
    """Tag, value representation (empty where implicit), where the value begins and its length; None if it is none."""
    if len(content) < at + 8:
        return None
    group, number, vr = struct.unpack_from(order + "HH2s", content, at)
    if vr in _LONG:
        if len(content) < at + 12:
            return None
        return (group, number), vr, at + 12, struct.unpack_from(order + "I", content, at + 8)[0]
    if vr in _SHORT:
        return (group, number), vr, at + 8, struct.unpack_from(order + "H", content, at + 6)[0]
    length = struct.unpack_from(order + "I", content, at + 4)[0]
    return ((group, number), b"", at + 8, length) if length < 1 << 16 and length % 2 == 0 else None


def _deflated(content: bytes) -> int:
    """Where the deflated data set begins, 0 if the file isn't deflated."""
    at = 132 if content[128:132] == _MARK else 0
    deflated = False
    while (found := _element(content, at, "<")) and found[0][0] == 2:
        tag, _, start, length = found
        at = start + length
        if tag == (2, 0x10):
            deflated = content[start:at].rstrip(b"\0 ") == DEFLATED.encode()
    return at if deflated else 0


def _inflate(content: bytes, most: int) -> bytes:
    """What a raw deflate stream unpacks to.

    Raises:
        DicomError: it is more than `most` bytes, is damaged, or ends too early.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        unpacked = stream.decompress(content, most + 1)
    except zlib.error as error:
        raise DicomError(f"deflated DICOM that is damaged: {error}") from None
    if len(unpacked) > most:
        raise DicomError(f"deflated DICOM that unpacks to more than {most >> 20} MiB, more than any radiograph")
    if not stream.eof:
        raise DicomError("deflated DICOM that is truncated")
    return unpacked


def open_dicom(content: bytes, most_pixels: int) -> Dataset:
    """The data set of a file's bytes, with a transfer syntax in its `file_meta`.

    Args:
        content: the file's bytes.
        most_pixels: a deflated file may unpack to two bytes a pixel of this many, and 16 MiB beside.

    Raises:
        DicomError: it unpacks beyond the limit, or is damaged.
        Exception: whatever pydicom raises on a damaged data set.
    """
    import pydicom
    from pydicom.dataset import FileMetaDataset

    if content[:4] == _MARK:
        content = bytes(128) + content
    if start := _deflated(content):
        opened: Any = pydicom.dcmread(io.BytesIO(_inflate(content[start:], 2 * most_pixels + _ROOM)), force=True)
        syntax = EXPLICIT
    else:
        opened = pydicom.dcmread(io.BytesIO(content), force=True)
        syntax = str(opened.file_meta.get("TransferSyntaxUID", "") or "")
    if not hasattr(opened, "file_meta"):
        opened.file_meta = FileMetaDataset()
    if not syntax:
        implicit, little = opened.original_encoding
        syntax = "1.2.840.10008.1.2" if implicit else EXPLICIT if little else "1.2.840.10008.1.2.2"
    opened.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    return opened


def check_pixels(header: Dataset, shape: tuple[int, int]) -> None:
    """Compare what compressed pixels say of themselves with the header, before they are decoded.

    Args:
        header: the data set.
        shape: height and width by the header, pixels.

    Raises:
        DicomError: the sizes differ, or a run-length stream unpacks to more than the image.
    """
    from pydicom.encaps import generate_frames

    syntax = header.file_meta.TransferSyntaxUID
    if not syntax.is_compressed or syntax == DEFLATED or "PixelData" not in header:
        return
    if (frame := next(generate_frames(header.PixelData, number_of_frames=1), None)) is None:
        raise DicomError("DICOM whose compressed pixels are missing")
    if syntax.name.startswith("RLE"):
        _check_runs(frame, shape[0] * shape[1])
        return
    found = _frame_size(frame)
    if found is not None and found[0] and found != shape:
        raise DicomError(
            f"DICOM whose header says {shape[1]} x {shape[0]} pixels and whose compressed image {found[1]} x {found[0]}"
        )


def _frame_size(frame: bytes) -> tuple[int, int] | None:
    """Height and width that a JPEG, JPEG-LS or JPEG 2000 stream gives for itself, None if it gives none."""
    if (at := frame[:512].find(b"\xff\x4f\xff\x51")) >= 0:  # JPEG 2000: SOC and SIZ, ISO/IEC 15444-1, A.5.1
        if len(frame) < at + 24:
            return None
        right, bottom, left, top = struct.unpack_from(">4I", frame, at + 8)
        return bottom - top, right - left
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:  # JPEG: markers up to the frame's, ISO/IEC 10918-1, B.2.2
        marker = frame[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}):
            height, width = struct.unpack_from(">HH", frame, at + 5)
            return height, width
        else:
            at += 2 + int(struct.unpack_from(">H", frame, at + 2)[0])
    return None


def _check_runs(frame: bytes, pixels: int) -> None:
    """Count what each run-length segment (PS3.5, annex G) unpacks to, which is one byte a pixel.

    Raises:
        DicomError: it is more than a byte a pixel and one of padding.
    """
    starts = struct.unpack_from("<16I", frame) if len(frame) >= 64 else (0,)
    count = min(starts[0], 15)
    for start, end in zip(starts[1 : count + 1], (*starts[2 : count + 1], len(frame)), strict=True):
        at, made = start, 0
        while at < end:
            code = frame[at] if at < len(frame) else 128
            made += code + 1 if code < 128 else 257 - code if code > 128 else 0
            at += code + 2 if code < 128 else 2 if code > 128 else 1
            if made > pixels + 128:
                raise DicomError("DICOM whose run-length pixels unpack to more than the image")
