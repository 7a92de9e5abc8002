"""DICOM files made for tests: any header, and pixels in the transfer syntaxes that can be written here."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image


def data_set(levels, **header):
    """A data set of one gray image, uint16 levels of 12 bit; header elements by keyword."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = "1.2.3"
    made.Modality = "CR"
    made.Rows, made.Columns = levels.shape
    made.SamplesPerPixel, made.BitsAllocated, made.BitsStored, made.HighBit = 1, 16, 12, 11
    made.PixelRepresentation, made.PhotometricInterpretation = 0, "MONOCHROME2"
    made.PixelData = levels.astype("<u2").tobytes()
    for name, value in header.items():
        setattr(made, name, value)
    return made


def write(made) -> bytes:
    """The file's bytes."""
    sink = io.BytesIO()
    made.save_as(sink, enforce_file_format=True)
    return sink.getvalue()


def dicom(levels, **header) -> bytes:
    """A whole uncompressed file."""
    return write(data_set(levels, **header))


def bare(levels, implicit: bool, little: bool = True, **header) -> bytes:
    """A data set without preamble and file meta information."""
    made = data_set(levels, **header)
    del made.file_meta
    if not little:
        made.PixelData = levels.astype(">u2").tobytes()
    sink = io.BytesIO()
    made.save_as(sink, implicit_vr=implicit, little_endian=little)
    return sink.getvalue()


def encapsulated(levels, syntax: str, frame: bytes, **header) -> bytes:
    """A file whose pixels are one compressed frame."""
    from pydicom.encaps import encapsulate

    made = data_set(levels, **header)
    made.file_meta.TransferSyntaxUID = syntax
    made.PixelData = encapsulate([frame])
    made["PixelData"].VR = "OB"
    return write(made)


def deflated(content: bytes) -> bytes:
    """A file of explicit little endian as a deflated one; what follows its meta information is replaced."""
    from pydicom.dataset import Dataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3"
    empty = Dataset()
    empty.file_meta = meta
    head = write(empty)
    end = head.index(b"1.2.840.10008.1.2.1.99")
    length = struct.unpack_from("<I", head, 140)[0]  # the group's, behind preamble, mark and its own head
    assert end < 144 + length
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return head[: 144 + length] + packer.compress(content) + packer.flush()


def after_meta(content: bytes) -> bytes:
    """The data set of a file with preamble, without the meta information."""
    return content[144 + struct.unpack_from("<I", content, 140)[0] :]


def lossless_jpeg(levels, precision: int = 12) -> bytes:
    """JPEG process 14 with selection value 1 (ISO/IEC 10918-1, annex H), with a code of 5 bit for each category."""
    deep = levels.astype(np.int64)
    predicted = np.empty_like(deep)
    predicted[:, 1:], predicted[1:, 0], predicted[0, 0] = deep[:, :-1], deep[:-1, 0], 1 << (precision - 1)
    bits = []
    for difference in (deep - predicted).ravel().tolist():
        size = abs(difference).bit_length()
        bits.append(format(size, "05b"))
        if size:
            bits.append(format(difference if difference > 0 else difference + (1 << size) - 1, f"0{size}b"))
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    data = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")

    def segment(marker, body):
        return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body

    frame = segment(0xC3, struct.pack(">BHHB", precision, *deep.shape, 1) + b"\1\x11\0")
    tables = segment(0xC4, b"\0" + bytes([0, 0, 0, 0, 17] + [0] * 11) + bytes(range(17)))
    return b"\xff\xd8" + frame + tables + segment(0xDA, b"\1\1\0\1\0\0") + data + b"\xff\xd9"


def picture(levels, kind: str, **options) -> bytes:
    """Levels in a file format of Pillow (`JPEG` for 8 bit, `JPEG2000`)."""
    sink = io.BytesIO()
    Image.fromarray(levels).save(sink, kind, **options)
    return sink.getvalue()
