"""What the transfer syntaxes and shapes of DICOM files promise: the same image comes out of each, within its loss."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.inputs import made_dicom
from tests.inputs.made_dicom import bare, data_set, dicom, encapsulated
from xraytune.data.decoding import reading
from xraytune.data.decoding.dicom_file import HEAD, is_dicom

pydicom = pytest.importorskip("pydicom")

RAMP = np.linspace(0, 4095, 64 * 48).reshape(64, 48).astype(np.uint16)
EIGHT = (RAMP >> 4).astype(np.uint8)
DEEP = {"BitsStored": 12, "HighBit": 11}
SHALLOW = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}


def gray(content):
    with reading.silenced():
        return np.asarray(reading.decode(content).image).astype(int)


def shipped(name):
    from pydicom.data import get_testdata_file

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"pydicom {pydicom.__version__} does not ship {name}")
    return Path(path).read_bytes()


def run_length(levels):
    made = data_set(levels)
    made.compress("1.2.840.10008.1.2.5", encoding_plugin="pydicom")
    return made_dicom.write(made)


def big_endian(levels):
    made = data_set(levels)
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.2"
    made.PixelData = levels.astype(">u2").tobytes()
    made["PixelData"].VR = "OW"
    return made_dicom.write(made)


MADE = {
    "explicit": lambda: dicom(RAMP),
    "explicit big endian": lambda: big_endian(RAMP),
    "deflated": lambda: made_dicom.deflated(made_dicom.after_meta(dicom(RAMP))),
    "RLE": lambda: run_length(RAMP),
    "JPEG Lossless SV1": lambda: encapsulated(RAMP, "1.2.840.10008.1.2.4.70", made_dicom.lossless_jpeg(RAMP)),
    "JPEG Lossless": lambda: encapsulated(RAMP, "1.2.840.10008.1.2.4.57", made_dicom.lossless_jpeg(RAMP)),
    "JPEG 2000": lambda: encapsulated(
        RAMP, "1.2.840.10008.1.2.4.90", made_dicom.picture(RAMP, "JPEG2000", irreversible=False, no_jp2=True),
        BitsStored=16, HighBit=15,
    ),
    "JPEG baseline": lambda: encapsulated(
        RAMP, "1.2.840.10008.1.2.4.50", made_dicom.picture(EIGHT, "JPEG", quality=100), **SHALLOW
    ),
    "bare implicit": lambda: bare(RAMP, implicit=True),
    "bare explicit": lambda: bare(RAMP, implicit=False),
    "bare explicit big endian": lambda: bare(RAMP, implicit=False, little=False),
    "meta without preamble": lambda: dicom(RAMP)[132:],
    "mark without preamble": lambda: dicom(RAMP)[128:],
}  # fmt: skip


@pytest.mark.parametrize("kind", MADE)
def test_one_image_comes_out_of_every_transfer_syntax_and_shape_of_file(kind):
    content = MADE[kind]()
    assert is_dicom(content[:HEAD])
    assert np.abs(gray(content) - gray(dicom(RAMP))).max() <= (3 if kind == "JPEG baseline" else 1)


@pytest.mark.parametrize(
    "name", ["MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "MR_small_expb", "MR_small_implicit",
             "MR_small_bigendian", "MR_small_padded"]
)  # fmt: skip
def test_a_shipped_lossless_file_is_the_image_of_its_uncompressed_twin(name):
    np.testing.assert_array_equal(gray(shipped(f"{name}.dcm")), gray(shipped("MR_small.dcm")))


@pytest.mark.parametrize(
    ("name", "shape"),
    [("JPGExtended.dcm", (1024, 256)), ("JPEGLSNearLossless_08.dcm", (45, 10)), ("JPEGLSNearLossless_16.dcm", (50, 10)),
     ("JPEG2000.dcm", (1024, 256)), ("693_J2KI.dcm", (512, 512)), ("image_dfl.dcm", (512, 512)),
     ("CT_small.dcm", (128, 128)), ("rtdose_rle_1frame.dcm", (10, 10))],
)  # fmt: skip
def test_a_shipped_image_of_each_compression_shows_black_white_and_much_between(name, shape):
    found = gray(shipped(name))
    assert found.shape == shape
    assert (found.min(), found.max()) == (0, 255)
    assert len(np.unique(found)) >= 7


@pytest.mark.parametrize(
    ("name", "why"),
    [("SC_rgb_jpeg.dcm", "several frames or colours"), ("examples_palette.dcm", "several frames or colours"),
     ("rtdose.dcm", "several frames or colours"), ("rtplan.dcm", "without an image"), ("MR_truncated.dcm", "bytes"),
     ("badVR.dcm", "NumberOfFrames is '1A'"), ("JPEG2000-embedded-sequence-delimiter.dcm", "3722445056 x 1024")],
)  # fmt: skip
def test_a_shipped_file_that_is_no_radiograph_is_refused_in_words(name, why):
    with pytest.raises(reading.Unreadable, match=why):
        gray(shipped(name))


def test_every_shipped_file_is_read_or_refused():
    from pydicom import data

    files = sorted((Path(data.__file__).parent / "test_files").glob("*.dcm"))
    assert len(files) > 50
    outcomes = []
    for path in files:
        try:
            outcomes.append(gray(path.read_bytes()).std() > 0)
        except reading.Unreadable as error:
            outcomes.append(str(error))
    assert all(outcomes)
    assert outcomes.count(True) >= 20


def test_what_only_looks_like_a_data_set_is_none():
    for content in (b"", b"\x08\0", b"\x08\0\x05\0", b"\x08\0\x05\0CS\xff\xff", b"\x02\0\1\0" * 40, b"\xff\xd8\xff\xe0",
                    b"\x89PNG\r\n\x1a\n" + bytes(200),
                    b"P5\n8 8\n255\n" + bytes(64), b"PK\x03\x04" + bytes(200)):  # fmt: skip
        assert not is_dicom(content)


def test_a_missing_decoder_is_named_uncut(monkeypatch):
    monkeypatch.setitem(sys.modules, "libjpeg", None)
    from pydicom.pixels.decoders import JPEGLosslessSV1Decoder

    monkeypatch.setattr(JPEGLosslessSV1Decoder, "_available", {})
    with pytest.raises(reading.Unreadable) as caught:
        gray(MADE["JPEG Lossless SV1"]())
    assert "JPEG Lossless" in str(caught.value)
    assert str(caught.value).endswith(
        "needs the packages pylibjpeg and pylibjpeg-libjpeg: install the extra with `pip install 'xraytune[dicom]'`"
    )


def test_a_transfer_syntax_of_image_clips_is_refused_by_its_name():
    with pytest.raises(reading.Unreadable, match="MPEG"):
        gray(encapsulated(RAMP, "1.2.840.10008.1.2.4.102", b"\0" * 64))


@pytest.mark.parametrize(
    "element",
    [b"\x09\0\x10\x10OB\0\0" + (300 << 20).to_bytes(4, "little"),
     b"\xe0\x7f\x10\0OW\0\0" + (300 << 20).to_bytes(4, "little")],
    ids=["private", "pixels"],
)  # fmt: skip
def test_a_deflated_file_is_refused_at_a_limit_of_memory(tmp_path, element):
    path = tmp_path / "bomb.dcm"
    path.write_bytes(made_dicom.deflated(element + bytes(300 << 20)))
    assert path.stat().st_size < 1 << 20
    code = (
        "import sys, resource\n"
        "from xraytune.data.decoding import reading\n"
        "import pydicom, pydicom.pixels\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    reading.decode(open(sys.argv[1], 'rb').read())\n"
        "except reading.Unreadable as error:\n    print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    said, grown = done.stdout.splitlines()
    assert "unpacks to more than" in said
    assert int(grown) < 300 << 10  # KiB; two copies of the limit at most


def test_compressed_pixels_larger_than_the_header_says_are_refused_before_they_are_decoded():
    large = np.zeros((512, 512), np.uint8)
    for syntax, frame in (
        ("1.2.840.10008.1.2.4.50", made_dicom.picture(large, "JPEG")),
        ("1.2.840.10008.1.2.4.70", made_dicom.lossless_jpeg(large.astype(np.uint16))),
        ("1.2.840.10008.1.2.4.90", made_dicom.picture(large, "JPEG2000")),
    ):
        with pytest.raises(reading.Unreadable, match="48 x 64 pixels and whose compressed image 512 x 512"):
            gray(encapsulated(RAMP, syntax, frame, **SHALLOW))


def test_run_length_pixels_that_unpack_to_more_than_the_image_are_refused():
    bomb = np.array([2, 64, 66, *[0] * 13], "<u4").tobytes() + b"\0\0" + b"\x81\0" * 4000
    with pytest.raises(reading.Unreadable, match="run-length pixels unpack to more"):
        gray(encapsulated(RAMP, "1.2.840.10008.1.2.5", bomb))


def test_a_damaged_or_cut_deflated_file_is_refused():
    whole = MADE["deflated"]()
    with pytest.raises(reading.Unreadable, match="truncated"):
        gray(whole[:-20])
    with pytest.raises(reading.Unreadable, match="deflated DICOM that is damaged"):
        gray(made_dicom.deflated(b"")[:-2] + b"\xff" * 50)
