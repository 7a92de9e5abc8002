"""Content decides what a file is: in folders, archives and predictions alike, and what is no image is said once."""

import io
import os
import shutil
import socket
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.inputs.made_radiographs import encoded, flat, kaggle, radiograph, write
from xraytune import data, files
from xraytune.data.decoding import image_files, reading
from xraytune.data.decoding.image_files import Sort, find, recognise
from xraytune.errors import DataError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))


def dicom(seed, sop="1.2.840.10008.5.1.4.1.1.1"):
    """A file with DICOM's mark, whatever pydicom would say of the rest."""
    uid = sop.encode() + b"\0" * (len(sop) % 2)
    meta = struct.pack("<HH2sH", 2, 2, b"UI", len(uid)) + uid
    return bytes(128) + b"DICM" + meta + bytes([seed])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("IM-0900-0001.jfif", encoded(radiograph(1), "JPEG")),
        ("IM-0900-0001.jpe", encoded(radiograph(1), "JPEG")),
        ("IM-0900-0001.pjpeg", encoded(radiograph(1), "JPEG")),
        ("IM-0900-0001.pnm", encoded(radiograph(1), "PPM")),
        ("IM-0900-0001.IMA", encoded(radiograph(1))),
        ("IM-0900-0001.img", encoded(radiograph(1))),
        ("IM-0900-0001.dcm30", encoded(radiograph(1), "JPEG")),
        ("IM-0900-0001", encoded(radiograph(1))),
        ("1.2.840.113619.2.5.1762583153", encoded(radiograph(1))),
        ("IM-0900-0001.txt", encoded(radiograph(1), "JPEG")),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_an_image_of_any_name_is_trained_on_and_predicted_on(tmp_path, name, content, kind):
    root = kaggle(tmp_path / "set/d")
    added = write(root / "train/NORMAL" / name, content)
    source = root if kind == "folder" else shutil.make_archive(str(tmp_path / "set"), "zip", root.parent, root.name)
    found = data.examine(str(source))
    assert not found.errors
    assert f"train/NORMAL/{name}" in {image.key for image in found.dataset.images}
    assert added in find([root / "train/NORMAL"])


@pytest.mark.parametrize("name", ["x.dcm", "1.2.840.113619.2.5", "I0000001", "IM111", "a.b.c"])
def test_dicom_of_any_name_is_listed(tmp_path, name):
    root = kaggle(tmp_path / "d")
    added = write(root / "train/NORMAL" / name, dicom(1))
    assert f"train/NORMAL/{name}" in data.examine(str(root)).inspection.keys
    assert added in find([root])


@pytest.mark.parametrize("name", ["DICOMDIR", "dicomdir", "index.000"])
def test_a_discs_table_of_contents_is_left_out_with_a_warning(tmp_path, name):
    root = kaggle(tmp_path / "d")
    added = write(root / "train/NORMAL" / name, dicom(1, "1.2.840.10008.1.3.10"))
    found = data.examine(str(root))
    assert found.dataset
    assert any("DICOMDIR" in p.what for p in found.warnings if p.kind == "skipped")
    assert added not in find([root])


def test_files_that_are_no_images_are_one_warning_with_count_example_and_kinds(tmp_path):
    root = kaggle(tmp_path / "d")
    for number in range(50):
        write(root / f"train/NORMAL/note{number:02d}.txt", b"text")
        write(root / f"train/PNEUMONIA/empty{number:02d}", b"")
    write(root / "train/NORMAL/report.pdf", b"%PDF-1.7\n\0")
    [said] = [p for p in data.examine(str(root)).warnings if p.kind == "skipped"]
    assert said.where == "train/NORMAL/note00.txt and 100 more"
    assert "a text file (50)" in said.what
    assert "an empty file (50)" in said.what
    assert "a PDF document (1)" in said.what


FOREIGN = {
    "GIF": "a GIF image",
    "BMP": "a BMP image",
    "TIFF": "a TIFF image",
    "WEBP": "a WebP image",
    "JPEG2000": "a JPEG 2000 image",
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("suffix", [".png", ".jpeg", ""])
def test_an_image_of_another_format_under_any_name_is_an_error_that_names_the_format(tmp_path, kind, suffix):
    root = kaggle(tmp_path / "d")
    key = f"train/NORMAL/IM-0900-0001{suffix}"
    write(root / key, encoded(radiograph(1), kind))
    [problem] = data.examine(str(root)).errors
    assert FOREIGN[kind] in problem.what
    assert problem.files == (key,)
    assert data.load(str(root), quarantine=True).quarantined == (key,)


def test_many_images_of_one_foreign_format_are_one_problem(tmp_path):
    root = kaggle(tmp_path / "d")
    for number in range(30):
        write(root / f"train/NORMAL/x{number}.webp", encoded(radiograph(number), "WEBP"))
    [problem] = data.examine(str(root)).errors
    assert "and 29 more" in problem.where
    assert len(problem.files) == 30


@pytest.mark.parametrize(
    ("head", "sort"),
    [
        (b"\xff\xd8\xff\xe0", Sort.IMAGE),
        (b"P5\n# made\n8 8\n255\n", Sort.IMAGE),
        (b"\x93NUMPY\1\0", Sort.FOREIGN),
        (b"\0\0\0 ftypavif", Sort.FOREIGN),
        (b"\0\0\0 ftypheic", Sort.FOREIGN),
        (b"\xff\x0a\0", Sort.FOREIGN),
        (b"NRRD0004\n", Sort.FOREIGN),
        (b"<?xml version='1.0'?><svg>", Sort.FOREIGN),
        (b"ObjectType = Image\n", Sort.FOREIGN),
        (b"", Sort.OTHER),
        (b"P5 is a gray image", Sort.IMAGE),
        (b"path,label\n", Sort.OTHER),
        (b"BM stands for bitmap, said the text file", Sort.OTHER),
        (bytes(200), Sort.OTHER),
    ],
)
def test_the_first_bytes_say_what_a_file_is(head, sort):
    assert recognise(head).sort is sort


# -- 16 bit in several channels --


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(pixels, colour, extra=b"", after=b""):
    """A 16-bit PNG of `(h, w, c)`, its filters none."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + head + extra + body + after + chunk(b"IEND", b"")


LEVELS = (np.asarray(radiograph(5, 40, 32)).astype(np.uint16) * 16)[..., None]


@pytest.mark.parametrize("full", [1000, 4000, 16000, 65535])
@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_16_bit_in_several_channels_has_the_gray_levels_of_one_channel(full, colour, channels):
    gray = (np.asarray(radiograph(5, 40, 32)).astype(np.float64) / 255 * full).astype(np.uint16)[..., None]
    several = np.repeat(gray, channels, axis=2)
    if colour in {4, 6}:
        several[..., -1] = 65535
    one, many = (reading.decode(content).image for content in (png(gray, 0), png(several, colour)))
    assert np.array_equal(np.asarray(one), np.asarray(many))
    assert len(np.unique(np.asarray(many))) > 100
    rgb = np.asarray(reading.decode(png(several, colour), channels=3).image)
    assert np.array_equal(rgb, np.repeat(np.asarray(one)[..., None], 3, axis=2))


def test_16_bit_transparency_lies_on_black_and_colours_are_kept():
    pixels = np.repeat(LEVELS, 4, axis=2)
    pixels[..., 1] = 0
    pixels[..., 3] = 65535
    pixels[:16, :, 3] = 0
    rgb = np.asarray(reading.decode(png(pixels, 6), channels=3).image)
    assert not rgb[:16].any()
    assert rgb[16:, :, 0].any()
    assert not rgb[..., 1].any()


# -- what is wrong beside the pixels --

BIG = zlib.compress(bytes(8 << 20))
BESIDE = {
    "a text over the limit": {"extra": chunk(b"zTXt", b"Comment\0\0" + BIG)},
    "a profile over the limit": {"extra": chunk(b"iCCP", b"p\0\0" + BIG)},
    "an international text": {"extra": chunk(b"iTXt", b"Comment\0\1\0\0\0" + BIG)},
    "a text behind the pixels": {"after": chunk(b"zTXt", b"Comment\0\0" + BIG)},
    "a text with a wrong sum": {"extra": struct.pack(">I", 5) + b"tEXta\0abc" + b"\0\0\0\0"},
    "odd EXIF": {"extra": chunk(b"eXIf", b"nothing of TIFF")},
    "EXIF without an end": {"extra": chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff")},
    "a short profile": {"extra": chunk(b"iCCP", b"p")},
    "a bad time": {"extra": chunk(b"tIME", b"1")},
    "a bad gamma": {"extra": chunk(b"gAMA", b"")},
    "a bad size": {"extra": chunk(b"pHYs", b"12")},
}


@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE)
def test_what_is_wrong_beside_the_pixels_of_a_png_refuses_nothing(beside):
    plain = reading.decode(png(LEVELS, 0)).image
    assert np.array_equal(np.asarray(reading.decode(png(LEVELS, 0, **beside)).image), np.asarray(plain))


def segment(marker, content):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


@pytest.mark.parametrize("edge", [40, 700])
@pytest.mark.parametrize(
    "odd",
    [
        segment(0xE1, b"Exif\0\0nothing of TIFF"),
        segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"),
        segment(0xE2, b"ICC_PROFILE\0\1\2short"),
        segment(0xE2, b"MPF\0nothing"),
        segment(0xED, b"Photoshop 3.0\x008BIM\4\4"),
        segment(0xFE, b"\xff\xfe comment"),
    ],
)
def test_what_is_wrong_beside_the_pixels_of_a_jpeg_refuses_nothing(edge, odd):
    content = encoded(radiograph(3, edge, edge), "JPEG")
    with reading.silenced():
        odd_one = reading.decode(content[:2] + odd + content[2:]).image
    assert np.array_equal(np.asarray(odd_one), np.asarray(reading.decode(content).image))


@pytest.mark.parametrize("orientation", range(10))
def test_orientation_is_obeyed_also_beside_a_text_over_the_limit(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = reading.decode(png(LEVELS, 0, chunk(b"zTXt", b"C\0\0" + BIG) + chunk(b"eXIf", exif.tobytes()[6:])))
    sink = io.BytesIO()
    radiograph(5, 40, 32).save(sink, "PNG", exif=exif)
    expected = reading.decode(sink.getvalue())
    assert turned.image.size == expected.image.size == (turned.width, turned.height)
    assert np.abs(np.asarray(turned.image).astype(int) - np.asarray(expected.image)).max() <= 1


def test_damage_of_the_pixels_is_still_named_beside_such_a_text():
    content = png(LEVELS, 0, chunk(b"zTXt", b"Comment\0\0" + BIG))
    with pytest.raises(reading.Unreadable):
        reading.decode(content[:-60])


# -- files that are no files --


def fifo(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def a_socket(path):
    here = os.getcwd()  # noqa: PTH109 - a socket's path is short
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)
    os.chdir(here)


def loop(path):
    path.symlink_to(path.name)


def dangling(path):
    path.symlink_to("nowhere")


NO_FILES = [fifo, device, a_socket, loop, dangling]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("make", NO_FILES)
def test_what_is_no_regular_file_is_named_at_once_and_can_be_quarantined(tmp_path, make):
    root = kaggle(tmp_path / "d")
    make(root / "train/NORMAL/x.png")
    [problem] = data.examine(str(root)).errors
    assert problem.where == "train/NORMAL/x.png"
    assert data.load(str(root), quarantine=True).quarantined == ("train/NORMAL/x.png",)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("make", [fifo, device, a_socket])
def test_without_an_images_name_it_is_left_out_and_said(tmp_path, make):
    root = kaggle(tmp_path / "d")
    make(root / "train/NORMAL/pipe")
    found = data.examine(str(root))
    assert found.dataset
    assert any("no regular file" in p.what for p in found.warnings)
    assert root / "train/NORMAL/pipe" not in find([root])


@pytest.mark.timeout(30)
@pytest.mark.parametrize("make", NO_FILES)
@pytest.mark.parametrize("name", ["d.csv", "d.zip", "d.tar.gz", "d.npz", "d"])
def test_data_that_are_no_regular_file_are_refused_at_once(tmp_path, make, name):
    make(tmp_path / name)
    with pytest.raises(DataError, match=name):
        data.examine(str(tmp_path / name))


@pytest.mark.timeout(30)
@pytest.mark.parametrize("make", NO_FILES)
def test_prediction_and_manifests_refuse_them_too(tmp_path, make):
    make(tmp_path / "x.png")
    with pytest.raises(reading.Unreadable):
        reading.read_image(tmp_path / "x.png", 28)
    (tmp_path / "m.csv").write_text("path,label\nx.png,a\n")
    assert any("x.png" in p.where for p in data.examine(str(tmp_path / "m.csv")).errors)


def test_a_file_that_grows_or_is_too_large_is_refused(tmp_path):
    write(tmp_path / "x", bytes(100))
    assert files.read_named(tmp_path / "x", 100) == bytes(100)
    with pytest.raises(files.TooLargeError):
        files.read_named(tmp_path / "x", 99)


def test_every_reader_of_named_files_goes_through_the_one_that_asks_what_a_path_is():
    """Whoever opens a path of a data set otherwise is found here."""
    from pathlib import Path

    import xraytune.data

    own = {
        "cache",
        "decoded_images",
        "dataset",
        "synthetic_images",
        "demo",
        "parallel",
        "files",
        "inspection",
        "arrays",
        "medmnist",
    }
    own |= {"identity"}  # the key of the installation, not a data set
    folder = Path(xraytune.data.__file__).parent
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.stem not in own:
            assert ".read_bytes(" not in text, path.name
            assert "with open(" not in text, path.name
            assert '.open("rb")' not in text, path.name


# -- what the operating system says --


@pytest.mark.parametrize("number", [13, 40, 36, 5, 116])
def test_a_class_folder_that_can_not_be_listed_is_one_problem_beside_the_others(tmp_path, monkeypatch, number):
    root = kaggle(tmp_path / "d")
    write(root / "test/NORMAL/IM-0900-0001.png", b"")
    listed = os.scandir

    def scandir(path):
        if str(path).rstrip("/").endswith("train/PNEUMONIA"):
            raise OSError(number, os.strerror(number), str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    errors = data.examine(str(root)).errors
    assert any(p.where == "train/PNEUMONIA/" and os.strerror(number) in p.what for p in errors)
    assert any(p.where == "test/NORMAL/IM-0900-0001.png" for p in errors)
    assert len(errors) == 2


def test_a_class_folder_that_links_to_itself_is_one_problem(tmp_path):
    root = flat(tmp_path / "d")
    (root / "COVID").symlink_to("COVID")
    [problem] = data.examine(str(root)).errors
    assert problem.where == "COVID"
    assert "Too many levels" in problem.what


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 3000, "nul\0"])
def test_a_name_that_no_file_can_have_is_one_message(tmp_path, name):
    with pytest.raises(DataError):
        data.examine(str(tmp_path / name))
    (tmp_path / "m.csv").write_text(f"path,label\n{name}.png,a\n")
    assert len([p for p in data.examine(str(tmp_path / "m.csv")).errors if p.kind in {"unreadable", "manifest"}]) == 1


def test_judging_reads_no_file_whose_name_says_that_it_is_read_anyway(tmp_path):
    assert image_files.judge(tmp_path / "not there.png").sort is Sort.IMAGE
