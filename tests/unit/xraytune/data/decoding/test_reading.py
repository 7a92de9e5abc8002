"""Every kind of image becomes the same upright 8-bit image, and what can't be decoded to the last pixel is refused."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.inputs.made_dicom import dicom
from tests.inputs.made_radiographs import encoded, radiograph
from xraytune.data.decoding import jpeg, reading
from xraytune.data.decoding.reading import Unreadable, decode, read_image, square


def gray(content):
    return np.asarray(decode(content).image).astype(int)


def test_modes_that_hold_one_picture_give_one_image():
    original = radiograph(1)
    expected = np.asarray(original).astype(int)
    rgba = original.convert("RGBA")
    palette = original.convert("P")
    for image in (original, original.convert("RGB"), rgba, palette, original.convert("LA")):
        found = decode(encoded(image))
        assert found.image.mode == "L"
        assert np.abs(np.asarray(found.image).astype(int) - expected).max() <= 1
        assert np.asarray(decode(encoded(image), channels=3).image).shape == (32, 40, 3)


def test_transparent_parts_are_black():
    image = Image.new("RGBA", (16, 16), (255, 255, 255, 0))
    assert gray(encoded(image)).max() == 0


@pytest.mark.parametrize(("bits", "brightest"), [(10, 1023), (12, 4095), (14, 16383), (16, 65535)])
def test_sixteen_bit_images_of_any_real_depth_use_all_of_the_eight_bits(bits, brightest):
    levels = np.linspace(0, brightest, 32 * 40).reshape(32, 40).astype(np.uint16)
    found = gray(encoded(Image.fromarray(levels)))
    assert found.min() == 0
    assert found.max() == 255
    assert np.abs(found - np.linspace(0, 255, 32 * 40).reshape(32, 40)).max() <= 1


def test_exif_orientation_is_obeyed():
    original = radiograph(3, 48, 32)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter
    found = decode(encoded(original, "JPEG", exif=exif, quality=95))
    assert (found.width, found.height) == (32, 48)
    upright = np.rot90(np.asarray(original), -1).astype(int)
    assert np.abs(np.asarray(found.image).astype(int) - upright).mean() < 4


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 20}])
def test_a_plain_jpeg_decoded_in_one_call_is_the_image_that_pillow_makes_of_it(monkeypatch, mode, options):
    content = encoded(radiograph(5, 211, 300).convert(mode), "JPEG", **options)
    assert jpeg.decode(content, 256, reading.MOST_PIXELS) is not None
    fast = decode(content)
    monkeypatch.setattr(jpeg, "decode", lambda *_: None)
    slow = decode(content)
    assert np.array_equal(np.asarray(fast.image), np.asarray(slow.image))
    assert fast[1:] == slow[1:] == (211, 300, mode, "", 0)


def test_what_is_more_or_less_than_a_plain_jpeg_is_left_to_pillow():
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = encoded(radiograph(6, 64, 48), "JPEG")
    contents = [
        encoded(radiograph(6, 64, 48), "JPEG", exif=exif),
        encoded(radiograph(6, 64, 48).convert("CMYK"), "JPEG"),
        encoded(radiograph(6, 64, 48), "PNG"),
        encoded(radiograph(6, 600, 512), "JPEG"),
        whole[: len(whole) // 2],
        whole[:-2],
        whole[:200] + b"\xff\xd8" + whole[200:],
    ]
    assert jpeg.decode(whole, 256, reading.MOST_PIXELS) is not None
    assert [jpeg.decode(content, 256, reading.MOST_PIXELS) for content in contents] == [None] * len(contents)


def test_a_large_jpeg_is_decoded_smaller_but_reported_whole():
    found = decode(encoded(radiograph(4, 2000, 1600), "JPEG"))
    assert (found.width, found.height) == (2000, 1600)
    assert 256 <= min(found.image.size) < 512


def test_the_image_of_a_size_does_not_depend_on_other_sizes_made_with_it(tmp_path):
    path = tmp_path / "a.jpeg"
    path.write_bytes(encoded(radiograph(5, 1000, 900), "JPEG"))
    assert reading.bucket(64) == reading.bucket(256) == 256
    assert reading.bucket(300) == 512
    assert read_image(path, 64).shape == (64, 64, 1)


def test_crop_takes_the_centre_on_the_shorter_edge():
    wide = Image.fromarray(np.tile(np.arange(90, dtype=np.uint8)[None] * 2, (30, 1)))
    found = square(wide, 30, "crop")[..., 0]
    assert np.array_equal(found, np.asarray(wide)[:, 30:60])


def test_pad_keeps_all_of_the_image_between_black_borders():
    tall = Image.new("L", (20, 40), 200)
    found = square(tall, 40, "pad")[..., 0]
    assert (found[:, 10:30] == 200).all()
    assert found[:, :10].max() == found[:, 30:].max() == 0


def test_squash_keeps_all_of_the_image_and_gives_its_shape_up():
    wide = Image.fromarray(np.tile(np.linspace(0, 255, 80, dtype=np.uint8)[None], (20, 1)))
    found = square(wide, 20, "squash")[..., 0]
    assert found[0, 0] < 10
    assert found[0, -1] > 245


@pytest.mark.parametrize("fit", reading.FITS)
@pytest.mark.parametrize("shape", [(41, 97), (97, 41), (50, 50)])
def test_every_fit_gives_squares_of_images_of_any_shape(fit, shape):
    assert square(radiograph(6, *shape), 24, fit).shape == (24, 24, 1)
    assert square(radiograph(6, *shape, mode="RGB"), 24, fit).shape == (24, 24, 3)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b"patient,label\n1,2\n", "a text file"),
        (b"  <!DOCTYPE html>\n<html>", "a web page"),
        (b"%PDF-1.7\n\x80", "a PDF"),
        (b"PK\x03\x04\xff\xff", "a zip archive"),
        (bytes(range(256)) * 3, "not an image"),
        (encoded(radiograph(7), "GIF"), "a GIF image"),
        (encoded(radiograph(7), "BMP"), "a BMP image"),
        (encoded(radiograph(7), "TIFF"), "a TIFF image"),
        (encoded(radiograph(7), "JPEG")[:-100], "truncated"),
        (encoded(radiograph(7), "PNG")[:-100], "truncated"),
        (encoded(Image.new("L", (4, 400))), "too small"),
    ],
)
def test_what_is_no_whole_image_is_refused_in_words(content, why):
    with pytest.raises(Unreadable, match=why):
        decode(content)


def test_a_wrong_extension_does_not_matter(tmp_path):
    path = tmp_path / "really_a_png.jpeg"
    path.write_bytes(encoded(radiograph(8)))
    assert read_image(path, 16, channels=3).shape == (16, 16, 3)


def test_a_png_that_claims_to_be_enormous_is_refused_by_its_header():
    content = bytearray(encoded(radiograph(9)))
    content[16:24] = struct.pack(">II", 200_000, 200_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    with pytest.raises(Unreadable, match="million"):
        decode(bytes(content))


def test_thumbnails_hash_as_the_imagehash_library_does():
    import imagehash

    from xraytune.data.decoding import perceptual_hash

    thumbnails = np.stack([np.asarray(radiograph(seed, 32, 32)) for seed in range(20)])
    ours = perceptual_hash.hashes(thumbnails)
    for value, thumbnail in zip(ours.tolist(), thumbnails, strict=True):
        theirs = imagehash.phash(Image.fromarray(thumbnail))
        assert f"{value:016x}" == str(theirs)


pydicom = pytest.importorskip("pydicom")


RAMP = np.linspace(0, 4095, 32 * 32).reshape(32, 32).astype(np.uint16)


def test_dicom_is_read_with_its_patient_hidden_behind_a_digest(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))
    found, look = reading.measured(dicom(RAMP, PatientID="Doe^Jane"))
    assert found.mode == "DICOM"
    assert len(found.patient) == 16
    assert "Doe" not in found.patient
    pixels = np.asarray(look.image).astype(int)
    assert (pixels[0, 0], pixels[-1, -1]) == (0, 255)


def test_monochrome1_is_inverted():
    assert gray(dicom(RAMP, PhotometricInterpretation="MONOCHROME1"))[0, 0] == 255


def test_the_window_is_applied_after_the_rescale():
    windowed = gray(dicom(RAMP, RescaleSlope="2", RescaleIntercept="-1000", WindowCenter="3095", WindowWidth="2000"))
    low, high = (2095 + 1000) / 2, (4095 + 1000) / 2  # stored levels at the window's ends
    assert windowed[low - 10 > RAMP].max() == 0
    assert windowed[high + 10 < RAMP].min() == 255
    assert abs(windowed.flat[np.abs(RAMP - (low + high) / 2).argmin()] - 128) < 2


def test_dicom_without_one_image_is_refused():
    with pytest.raises(Unreadable, match="DICOM"):
        decode(dicom(RAMP)[:-500])
    with pytest.raises(Unreadable, match="several frames"):
        decode(dicom(RAMP, NumberOfFrames="2"))


def test_without_pydicom_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(Unreadable, match=r"xraytune\[dicom\]"):
        decode(dicom_file_bytes())


def dicom_file_bytes():
    return b"\0" * 128 + b"DICM" + b"\0" * 64
