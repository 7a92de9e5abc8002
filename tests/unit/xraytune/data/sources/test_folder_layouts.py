"""Folders and archives as people have them: layouts are read, or one message names what to do."""

import json
import tarfile
import zipfile

import pytest
from typer.testing import CliRunner

from tests.inputs.made_radiographs import encoded, flat, kaggle, radiograph, write
from xraytune import data
from xraytune.errors import SourceError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))


def named(found, kind):
    return [problem for problem in found.problems if problem.kind == kind]


# -- folders --


def test_class_folders_with_images_and_masks_are_read_and_masks_left_out_once(tmp_path):
    for name in ("COVID", "Normal"):
        for number in range(10):
            write(tmp_path / f"d/set/{name}/images/{name}-{number}.png", radiograph(number + 100 * (name == "COVID")))
            write(tmp_path / f"d/set/{name}/masks/{name}-{number}.png", radiograph(number + 900))
    write(tmp_path / "d/set/COVID.metadata.xlsx", b"PK\3\4")
    found = data.examine(str(tmp_path / "d"))
    assert found.dataset.classes == ("COVID", "Normal")
    assert found.listed == 20
    [said] = named(found, "skipped")
    assert "masks" in said.what
    assert said.where == "COVID/masks/ and 1 more"


@pytest.mark.parametrize("table", ["Data_Entry_2017.csv", "labels.xlsx"])
@pytest.mark.parametrize("folders", [["images"], ["images_001/images", "images_002/images"]])
def test_images_with_a_table_beside_them_point_to_the_table(tmp_path, table, folders):
    for folder in folders:
        write(tmp_path / "d" / folder / "0001_000.png", radiograph(len(folder)))
    write(tmp_path / "d" / table, b"Image Index,Finding Labels\n")
    errors = data.examine(str(tmp_path / "d")).errors
    assert any(table in p.what and "path,label" in p.what for p in errors) or len(folders) > 1
    assert len(errors) <= 2


def test_a_test_folder_without_classes_is_told_to_be_left_out(tmp_path):
    root = kaggle(tmp_path / "d", test=0)
    (root / "test").mkdir(exist_ok=True)
    for number in range(30):
        write(root / f"test/{number}.png", radiograph(number + 300))
    [problem] = data.examine(str(root)).errors
    assert "leave this folder out" in problem.what


@pytest.mark.parametrize("name", ["train_set", "training-set", "TrainSet", "train data", "train_images"])
def test_folders_that_look_like_splits_are_told_how_to_be_called(tmp_path, name):
    root = kaggle(tmp_path / "d")
    (root / "train").rename(root / name)
    [problem] = data.examine(str(root)).errors
    assert problem.where == f"{name}/"
    assert "rename it to train" in problem.what


def test_a_split_inside_itself_is_one_line(tmp_path):
    root = kaggle(tmp_path / "d")
    (root / "train").rename(tmp_path / "train")
    (root / "train").mkdir()
    (tmp_path / "train").rename(root / "train/train")
    [problem] = data.examine(str(root)).errors
    assert "train/" in problem.where
    assert "up into" in problem.what


@pytest.mark.parametrize("name", ["demo", "pneumoniamnist", "pneumoniamnist:64"])
def test_a_folder_that_is_there_wins_over_a_built_in_name(tmp_path, monkeypatch, name):
    flat(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    found = data.examine(name)
    assert found.root == tmp_path / name
    assert not found.dataset.demonstration
    assert any("the folder" in note for note in found.notes)


# -- archives --


@pytest.mark.parametrize("inner", ["chest_xray.zip", "images_001.tar.gz", "set.7z"])
@pytest.mark.parametrize("folder", ["", "set/"])
def test_an_archive_in_an_archive_is_named_and_not_the_cache(tmp_path, inner, folder):
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as outer:
        outer.writestr(folder + inner, b"PK\3\4")
        outer.writestr(folder + "labels.csv", b"path,label\n")
    [problem] = data.examine(str(tmp_path / "outer.zip")).errors
    assert inner in problem.what
    assert "unpack it" in problem.what
    assert "unpacked" not in problem.where


def test_a_method_that_zipfile_lacks_says_what_to_do(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("NORMAL/0.png", encoded(radiograph(0)))
    content = bytearray((tmp_path / "x.zip").read_bytes())
    central = content.index(b"PK\1\2")
    content[8], content[central + 10] = 9, 9  # Deflate64
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(SourceError, match="Unpack it yourself and give the folder"):
        data.examine(str(tmp_path / "x.zip"))


@pytest.mark.parametrize("kind", ["long name", "pax header", "link name", "many headers"])
def test_headers_that_unpack_without_limit_are_refused_in_little_memory(tmp_path, kind):
    import gzip
    import tracemalloc

    def header(name, size, type_):
        info = tarfile.TarInfo(name)
        info.size, info.type = size, type_
        return info.tobuf(tarfile.GNU_FORMAT)

    types = {
        "long name": tarfile.GNUTYPE_LONGNAME,
        "link name": tarfile.GNUTYPE_LONGLINK,
        "pax header": tarfile.XHDTYPE,
    }
    with gzip.open(tmp_path / "x.tar.gz", "wb") as sink:
        if kind == "many headers":
            for _ in range(60_000):
                sink.write(header("x", 0, tarfile.DIRTYPE))
        else:
            sink.write(header("x", 100 << 20, types[kind]))
            for _ in range(100):
                sink.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(SourceError) as caught:
            data.examine(str(tmp_path / "x.tar.gz"))
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    assert "x.tar.gz" in str(caught.value)


def test_an_array_header_that_unpacks_without_limit_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("train_images.npy", "train_labels.npy"):
            archive.writestr(name, b"\x93NUMPY\2\0" + (64 << 20).to_bytes(4, "little") + b" " * (64 << 20))
    with pytest.raises(SourceError, match="header claims"):
        data.examine(str(tmp_path / "x.npz"))


def test_json_lists_every_file(tmp_path):
    from search import verify
    from search.cli import console

    (tmp_path / "m.csv").write_text("path,label\n" + "".join(f"{n}.png,a\n" for n in range(400)))
    app = console.application(verify.main)
    said = json.loads(CliRunner().invoke(app, [str(tmp_path / "m.csv"), "--json"]).output)
    assert sum(len(error["files"]) for error in said["errors"]) == 400
