"""Archives and arrays that are damaged, or made to do harm: refused in words, and nothing of them is unpacked."""

import io
import os
import tarfile
import zipfile

import numpy as np
import pytest

from tests.inputs.made_radiographs import encoded, kaggle, radiograph
from xraytune import data
from xraytune.data.sources import archives
from xraytune.errors import DataError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return str(path)


GOOD = {"d/train/NORMAL/a.png": encoded(radiograph(1)), "d/train/PNEUMONIA/b.png": encoded(radiograph(2))}


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "d/../../evil.png", "C:/evil.png", "..\\evil.png"])
def test_a_member_that_would_leave_the_target_rejects_the_whole_archive(tmp_path, name):
    source = zipped(tmp_path / "x.zip", GOOD | {name: b"x"})
    with pytest.raises(DataError, match="nothing was unpacked"):
        data.load(source)
    assert not list(tmp_path.rglob("evil.png"))
    assert not list((tmp_path / "cache").rglob("*.png"))


def test_a_link_in_a_zip_or_tar_rejects_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("d/train/NORMAL/link.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        for kind, name in ((tarfile.SYMTYPE, "d/a.png"), (tarfile.LNKTYPE, "d/b.png"), (tarfile.FIFOTYPE, "d/c.png")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    for name in ("x.zip", "x.tar.gz"):
        with pytest.raises(DataError, match="is a link or a device"):
            data.load(str(tmp_path / name))


def test_a_zip_bomb_is_rejected_before_it_is_unpacked(tmp_path):
    source = zipped(tmp_path / "x.zip", GOOD | {"d/train/NORMAL/z.png": b"\0" * (8 << 20)})
    with pytest.raises(DataError, match="times its size"):
        data.load(source)
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        for number in range(30):
            info = tarfile.TarInfo(f"d/train/NORMAL/{number}.png")
            info.size = 8 << 20
            archive.addfile(info, io.BytesIO(b"\0" * info.size))
    with pytest.raises(DataError, match="times its size"):
        data.load(str(tmp_path / "x.tar.gz"))


def test_a_bomb_of_members_that_are_each_small_is_rejected_before_it_is_unpacked(tmp_path):
    blank = b"P5\n1000 1000\n255\n" + bytes(1_000_000)
    source = zipped(tmp_path / "x.zip", {f"d/{name}/{i}.pgm": blank for i in range(20) for name in "ab"})
    with pytest.raises(DataError, match="times its size"):
        data.load(source)
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("d/a/sparse.pgm")
        info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": str(1 << 30)}
        info.pax_headers |= {"GNU.sparse.map": f"{1 << 30},0", "GNU.sparse.numblocks": "1"}
        archive.addfile(info)
    with pytest.raises(DataError, match="times its size"):
        data.load(str(tmp_path / "x.tar"))
    assert not list((tmp_path / "cache").rglob("*.pgm"))


def test_many_small_images_and_a_blank_one_among_them_are_no_bomb(tmp_path):
    members = {f"d/{'healthy' if i % 2 else 'covid'}/{i:03d}.png": encoded(radiograph(i, 24, 24)) for i in range(300)}
    blank = b"P5\n1000 1000\n255\n" + bytes(1_000_000)
    assert data.examine(zipped(tmp_path / "x.zip", members | {"d/covid/blank.pgm": blank})).listed == 301


def test_a_password_is_said(tmp_path):
    source = zipped(tmp_path / "x.zip", GOOD)
    content = bytearray((tmp_path / "x.zip").read_bytes())
    for at in range(len(content) - 4):  # set the "encrypted" bit of every local and central header
        if content[at : at + 4] == b"PK\x03\x04":
            content[at + 6] |= 1
        if content[at : at + 4] == b"PK\x01\x02":
            content[at + 8] |= 1
    (tmp_path / "x.zip").write_bytes(bytes(content))
    with pytest.raises(DataError, match="encrypted with a password") as refused:
        data.load(source)
    assert "ZipInfo" not in str(refused.value)


def test_kaggles_archive_with_its_litter_and_its_second_copy_is_read_once(tmp_path):
    radiographs = kaggle(tmp_path / "chest_xray")
    members = {f"chest_xray/{p.relative_to(radiographs)}": p.read_bytes() for p in radiographs.rglob("*.png")}
    members |= {f"chest_xray/{name}": content for name, content in members.items()}
    members["chest_xray/__MACOSX/chest_xray/._train"] = b"\0\5"
    members["chest_xray/train/.DS_Store"] = b"\0"
    dataset = data.load(zipped(tmp_path / "k.zip", members))
    assert len(dataset.images) == 56


def test_an_npz_bomb_is_rejected_before_it_is_unpacked(tmp_path):
    images, labels = np.zeros((200, 400, 400), np.uint8), np.arange(200) % 2
    np.savez_compressed(tmp_path / "made.npz", train_images=images, train_labels=labels)
    with pytest.raises(DataError, match="times its size"):
        data.load(str(tmp_path / "made.npz"))
    assert not list((tmp_path / "cache").rglob("*.pgm"))


@pytest.mark.parametrize("claimed", [39, 41])
def test_an_array_whose_header_claims_another_number_is_refused(tmp_path, claimed):
    images = np.random.default_rng(0).integers(0, 255, (40, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "made.npz", train_images=images, train_labels=np.arange(claimed) % 2)
    with zipfile.ZipFile(tmp_path / "made.npz") as whole:
        members = {name: whole.read(name).replace(b"(40, 28", b"(%d, 28" % claimed) for name in whole.namelist()}
    with pytest.raises(DataError, match=r"no \.npz file of images: train_images\.npy is"):
        data.load(zipped(tmp_path / "other.npz", members))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_an_archive_damaged_inside_is_refused_in_words_however_it_is_packed(tmp_path, method):
    path = tmp_path / "x.zip"
    kaggle(tmp_path / "radiographs")
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted((tmp_path / "radiographs").rglob("*.png")):
            archive.write(file, f"radiographs/{file.relative_to(tmp_path / 'radiographs')}")
    whole = path.read_bytes()
    assert len(whole) > 10_000
    for start in range(200, len(whole) // 2, len(whole) // 12):
        path.write_bytes(whole[:start] + bytes(b ^ 0xFF for b in whole[start : start + 60]) + whole[start + 60 :])
        with pytest.raises(DataError, match=r"x\.zip (is damaged|can't be unpacked)"):
            data.load(str(path))


def test_a_name_in_an_archive_that_is_no_text_is_refused_in_words(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train/NORMAL/f\u00e9.png", encoded(radiograph(0)))
    path.write_bytes(path.read_bytes().replace("\u00e9".encode(), b"\xff\xfe"))  # the flag for UTF-8 stays
    with pytest.raises(DataError, match="is damaged"):
        data.load(str(path))


def test_a_compressed_npz_with_a_changed_byte_is_refused_in_words(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (40, 28, 28), dtype=np.uint8)
    np.savez_compressed(tmp_path / "made.npz", train_images=images, train_labels=np.arange(40)[:, None] % 2)
    content = bytearray((tmp_path / "made.npz").read_bytes())
    for place in range(len(content) // 3, len(content) // 3 + 40):
        content[place] ^= 0xFF
    (tmp_path / "made.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"no \.npz file of images"):
        data.load(str(tmp_path / "made.npz"))


@pytest.mark.parametrize("mask", [0o077, 0o022, 0o007])
def test_an_unpacked_folder_follows_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        with archives.making(tmp_path / "unpacked") as root:
            (root / "a").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "unpacked").stat().st_mode & 0o777 == 0o777 & ~mask
