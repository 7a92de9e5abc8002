"""Files of data sets: images by their bytes, archives, manifests, names of folders."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.fuzz.harness import LETTERS, ODD_NUMBERS, answer, bounded, check_message, damaged, fuzzed, place
from tests.inputs.made_dicom import bare, deflated, dicom, encapsulated, lossless_jpeg
from tests.inputs.made_radiographs import encoded, flat, kaggle, radiograph
from xraytune.data import examine
from xraytune.data.decoding import reading
from xraytune.data.decoding.image_files import HEAD, recognise

LEVELS = np.asarray(radiograph(7)).astype(np.uint16) << 4
PNG = encoded(radiograph(1))
DEEP = encoded(radiograph(2).convert("I;16"))
JPEG = encoded(radiograph(3), "JPEG")
PROGRESSIVE = encoded(radiograph(4, mode="RGB"), "JPEG", progressive=True, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")
PGM = encoded(radiograph(5), "PPM")
IMAGES = (PNG, DEEP, JPEG, PROGRESSIVE, PGM, encoded(radiograph(6, mode="P")), encoded(radiograph(8, mode="1")))
LOSSLESS = encapsulated(LEVELS, "1.2.840.10008.1.2.4.70", lossless_jpeg(LEVELS))
DICOMS = (dicom(LEVELS), bare(LEVELS, implicit=True), bare(LEVELS, implicit=False), LOSSLESS)


def check_image(content: bytes) -> None:
    """It is measured, or refused in one message; and what is measured is a whole image."""
    with bounded():
        recognise(content[:HEAD])
        found, look = reading.measured(content)
    assert (look is None) == bool(found.problem)
    if look is None:
        check_message(found.problem)
        assert len(found.problem) < 1000
    else:
        assert look.image.size == (found.width, found.height) or look.image.width > 0
        assert found.width > 0
        assert found.height > 0


@fuzzed(content=st.sampled_from(IMAGES).flatmap(damaged))
def test_a_damaged_image_is_read_or_refused(content):
    check_image(content)


def _png(chunks: list[tuple[bytes, bytes, bool]]) -> bytes:
    """A PNG of these chunks; the last part says whether the checksum is right."""
    out = [b"\x89PNG\r\n\x1a\n"]
    for kind, body, right in chunks:
        out += [struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(kind + body) ^ (not right))]
    return b"".join(out)


_HEADER = st.builds(
    struct.pack,
    st.just(">IIBBBBB"),
    st.sampled_from([0, 1, 8, 40, 70_000, 2**31 - 1, 2**32 - 1]),
    st.sampled_from([0, 1, 8, 32, 70_000, 2**31 - 1, 2**32 - 1]),
    st.sampled_from([0, 1, 2, 4, 8, 16, 32]),
    st.sampled_from([0, 2, 3, 4, 6, 7]),
    st.integers(0, 1), st.integers(0, 1), st.integers(0, 2),
)  # fmt: skip
_BODY = st.one_of(
    st.binary(max_size=40),
    st.binary(max_size=600).map(zlib.compress),
    st.sampled_from([2_000_000, 60_000_000]).map(lambda size: zlib.compress(bytes(size))),
    st.sampled_from([b"x\0\0", b"x\0\0" + zlib.compress(bytes(3_000_000)), b"Raw profile type exif\0\0", b"icc\0\0x"]),
)
_KINDS = st.sampled_from(
    [
        b"IDAT",
        b"IDAT",
        b"PLTE",
        b"tRNS",
        b"zTXt",
        b"iTXt",
        b"tEXt",
        b"iCCP",
        b"eXIf",
        b"acTL",
        b"fcTL",
        b"fdAT",
        b"IEND",
    ]
)


@fuzzed(
    header=_HEADER,
    rest=st.lists(st.tuples(_KINDS, _BODY, st.integers(0, 5).map(bool)), max_size=5),
    closed=st.booleans(),
)
def test_any_chunks_of_a_png_are_an_image_or_refused(header, rest, closed):
    check_image(_png([(b"IHDR", header, True), *rest, *([(b"IEND", b"", True)] if closed else [])]))


def _segments(content: bytes) -> list[bytes]:
    """The segments of a JPEG, what follows the first scan's header in one piece."""
    parts, at = [content[:2]], 2
    while content[at + 1] != 0xDA:
        length = 2 + struct.unpack_from(">H", content, at + 2)[0]
        parts.append(content[at : at + length])
        at += length
    return [*parts, content[at:]]


_SEGMENT = st.builds(
    lambda marker, body: b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body,
    st.sampled_from([0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC9, 0xDB, 0xDD, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE, 0xDA]),
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([b"Exif\0\0", b"ICC_PROFILE\0\1\1", b"Adobe\0\x64\0\0\0\0\2", b"MPF\0II*\0\x08\0\0\0"]),
        st.tuples(st.sampled_from([8, 12, 16]), st.sampled_from([0, 1, 65_535]), st.sampled_from([0, 40, 65_535])).map(
            lambda v: struct.pack(">BHHB", *v, 1) + b"\1\x11\0"
        ),
    ),
)


@fuzzed(
    base=st.sampled_from([JPEG, PROGRESSIVE]),
    new=st.lists(st.tuples(st.integers(1, 12), _SEGMENT, st.booleans()), max_size=4),
    scans=st.sampled_from([1, 1, 1, 300]),
)
def test_any_segments_of_a_jpeg_are_an_image_or_refused(base, new, scans):
    parts = _segments(base)
    for at, segment, replaced in new:
        parts[at : at + replaced] = [segment]
    check_image(b"".join(parts[:-1]) + parts[-1].removesuffix(b"\xff\xd9") * scans + b"\xff\xd9")


_VALUES = st.one_of(
    ODD_NUMBERS, st.none(), st.integers(-(2**15), 2**15), st.floats(-1e9, 1e9),
    st.lists(st.integers(0, 2**15), max_size=4), st.text(max_size=12),
)  # fmt: skip
_NAMES = st.sampled_from(
    [
        "WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept", "VOILUTFunction", "BitsStored", "HighBit",
        "BitsAllocated", "PixelRepresentation", "PhotometricInterpretation", "SamplesPerPixel", "Rows", "Columns",
        "NumberOfFrames", "PixelPaddingValue", "PixelPaddingRangeLimit", "PatientID", "PatientName", "Modality",
        "PresentationLUTShape", "SpecificCharacterSet", "PlanarConfiguration", "SmallestImagePixelValue",
    ]
)  # fmt: skip


@fuzzed(header=st.dictionaries(_NAMES, _VALUES, max_size=4))
def test_any_header_of_a_dicom_file_is_an_image_or_refused(header):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of what it writes here
        try:
            content = dicom(LEVELS, **header)
        except Exception:  # it is not written: no case
            return
    check_image(content)


@fuzzed(content=st.sampled_from(DICOMS).flatmap(damaged), packed=st.booleans())
def test_a_damaged_dicom_file_is_read_or_refused(content, packed):
    check_image(deflated(content[300:]) if packed else content)


_TYPES = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE]
_CONTENTS = {"png": PNG, "jpeg": JPEG, "nothing": b"", "zeros": bytes(2_000_000)}
_MEMBER = st.sampled_from(
    ["train/NORMAL/1.png", "train/PNEUMONIA/2.png", "a/../b.png", "/etc/x.png", "C:/x.png", "..", ".", "", "a//b.png",
     "NORMAL", "NORMAL/1.png", "normal/1.png", "\\\\host\\share\\x.png", "x" * 300, "d/" * 200, "é.png", "~/x.png"]
)  # fmt: skip


@fuzzed(
    kind=st.sampled_from([".zip", ".tar", ".tar.gz"]),
    members=st.lists(st.tuples(_MEMBER | LETTERS, st.sampled_from(sorted(_CONTENTS))), max_size=6),
    type_=st.sampled_from([tarfile.REGTYPE] * 4 + _TYPES),
    data=st.data(),
)
def test_an_archive_is_read_or_refused_and_leaves_nothing(kind, members, type_, data):
    sink = io.BytesIO()
    try:
        if kind == ".zip":
            with zipfile.ZipFile(sink, "w", data.draw(st.sampled_from([0, 8, 12, 14]))) as made:
                for name, content in members:
                    made.writestr(zipfile.ZipInfo(name or "/"), _CONTENTS[content], made.compression)
        else:
            with tarfile.open(fileobj=sink, mode="w:gz" if kind.endswith("gz") else "w") as made:
                for number, (name, content) in enumerate(members):
                    info = tarfile.TarInfo(name)
                    info.size, info.type = len(_CONTENTS[content]), type_ if number == 0 else tarfile.REGTYPE
                    made.addfile(info, io.BytesIO(_CONTENTS[content]))
    except (UnicodeEncodeError, ValueError, UserWarning):  # it can't be made, or with a warning: no case
        return
    with place() as home:
        path = home / f"set{kind}"
        path.write_bytes(data.draw(damaged(sink.getvalue())))
        outside = set(home.iterdir())
        check_examined(path)
        assert set(home.iterdir()) <= outside | {home / "cache"}


def check_examined(path: Path, **options: Any) -> None:
    """A data set is examined to its end, or refused in one message; each problem is one of words."""
    found, _ = answer(lambda: examine(str(path), **options))
    for problem in found.problems if found else ():
        check_message(problem.what)
        assert 0 < len(problem.where) < 1000


_CELL = st.one_of(
    st.sampled_from(["path", "label", "patient", "split", "group", "NORMAL/IM-0000-0000.png", "../x.png", "/dev/zero"]),
    st.sampled_from(["NORMAL", "PNEUMONIA", "normal", "A|B", "['A']", "train", "test", "-1"]),
    ODD_NUMBERS, LETTERS, st.sampled_from(["fifo.png", "zero.png", ".", "NORMAL", "a\0b", '"', "=1+1"]),
)  # fmt: skip
_HEADS = [["path", "label"], ["path", "label", "patient", "split"], ["Image Index", "Finding Labels", "Patient ID"]]
_HEADS += [["Path", "Frontal/Lateral", "Pneumonia"], ["patientId", "Target"], ["subject_id", "study_id", "Pneumonia"]]
_HEADS += [[]]
_TABLE = st.lists(st.lists(_CELL, min_size=1, max_size=5), min_size=1, max_size=8)


@fuzzed(
    table=_TABLE,
    head=st.sampled_from(_HEADS),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"]),
    label=st.sampled_from([None, None, "Pneumonia", "x"]),
    quarantine=st.booleans(),
    regex=st.sampled_from([None, None, "(?P<patient>.)", "(", "(a+)+$", "", "x"]),
    data=st.data(),
)  # fmt: skip
def test_a_table_is_read_or_refused(table, head, delimiter, encoding, label, quarantine, regex, data):
    text = "\n".join(delimiter.join(row) for row in ([head] if head else []) + table)
    with place() as home:
        flat(home, {"NORMAL": 2, "PNEUMONIA": 2})
        os.mkfifo(home / "fifo.png")
        (home / "zero.png").symlink_to("/dev/zero")
        path = home / "m.csv"
        path.write_bytes(data.draw(damaged(text.encode(encoding, errors="replace"))))
        check_examined(path, label=label, quarantine=quarantine, patient_regex=regex)


_FOLDERS = st.sampled_from(["train", "test", "val", "Train", "NORMAL", "PNEUMONIA", "images", "masks", "train_set"])


@fuzzed(
    classes=st.lists(_FOLDERS | LETTERS, min_size=1, max_size=4, unique=True),
    names=st.lists(LETTERS, min_size=1, max_size=3, unique=True),
    suffix=st.sampled_from([".png", "", ".jfif", ".IMA", ".tif", ".PNG"]),
    depth=st.integers(0, 3),
    odd=st.sampled_from(["none", "loop", "fifo", "zero", "dangling", "folder", "file"]),
    positive=st.none() | LETTERS,
    quarantine=st.booleans(),
)
def test_a_folder_with_any_names_is_read_or_refused(classes, names, suffix, depth, odd, positive, quarantine):
    with place() as home:
        root = home / "data"
        below = root.joinpath(*["train"] * depth)
        made = 0
        for folder in classes:
            for name in names:
                made += 1
                try:
                    target = below / folder / f"{name}{suffix}"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(IMAGES[made % len(IMAGES)])
                except (OSError, ValueError):
                    continue
        below.mkdir(parents=True, exist_ok=True)
        _odd(below, odd)
        for deeper in [p for p in below.iterdir() if p.is_dir()][:1]:
            _odd(deeper, odd)
        check_examined(root, positive=positive, quarantine=quarantine)


def _odd(folder: Path, kind: str) -> None:
    """Something in a folder that is no ordinary file."""
    path = folder / "odd.png"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_bytes(b"")
    elif kind != "none":
        path.symlink_to({"loop": "odd.png", "zero": "/dev/zero", "dangling": "nowhere"}[kind])


@fuzzed(arrays=st.data())
def test_an_array_file_is_read_or_refused(arrays):
    shapes = st.sampled_from([(6, 28, 28), (6, 28, 28, 3), (6,), (6, 1), (0,), (6, 2), (1, 28, 28)])
    types = st.sampled_from([np.uint8, np.uint16, np.float32, np.int64, np.bool_, object, "U3"])
    names = ["train_images", "train_labels", "val_images", "val_labels", "test_images", "test_labels", "x_train"]
    made = {}
    for name in arrays.draw(st.lists(st.sampled_from(names), unique=True)):
        shape, kind = arrays.draw(shapes), arrays.draw(types)
        made[name] = (np.arange(int(np.prod(shape))).reshape(shape) % 7).astype(kind)
    sink = io.BytesIO()
    np.savez_compressed(sink, **made)
    with place() as home:
        path = home / "a.npz"
        path.write_bytes(arrays.draw(damaged(sink.getvalue())))
        check_examined(path)


@fuzzed(number=st.integers(0, 40), content=st.sampled_from(IMAGES + DICOMS).flatmap(damaged))
def test_a_data_set_with_one_damaged_file_is_read_or_refused(number, content):
    with place() as home:
        root = kaggle(home / "data", train=4, test=2)
        files = sorted(root.rglob("*.png"))
        files[number % len(files)].write_bytes(content)
        check_examined(root)
