"""What every kind of source must hold: the same images give the same data set, and damage ends in one message."""

import http.server
import shutil
import threading

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.inputs.made_radiographs import encoded, kaggle, radiograph
from xraytune import data
from xraytune.data.sources import medmnist
from xraytune.errors import DataError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))


def as_folder(radiographs, target):
    return radiographs


def as_zip(radiographs, target):
    return shutil.make_archive(str(target / "set"), "zip", radiographs.parent, radiographs.name)


def as_tar_gz(radiographs, target):
    return shutil.make_archive(str(target / "set"), "gztar", radiographs.parent, radiographs.name)


def as_csv(radiographs, target):
    rows = []
    for path in sorted(radiographs.rglob("*.png")):
        split, label, name = path.relative_to(radiographs).parts
        rows.append({"path": str(path.relative_to(radiographs)), "label": label, "split": split, "patient": name[:-6]})
    pd.DataFrame(rows).to_csv(radiographs / "manifest.csv", index=False)
    return radiographs / "manifest.csv"


def as_npz(radiographs, target):
    arrays = {}
    for split in ("train", "test"):
        paths = sorted((radiographs / split).rglob("*.png"))
        arrays[f"{split}_images"] = np.stack([np.asarray(Image.open(path)) for path in paths])
        arrays[f"{split}_labels"] = np.array([[int(path.parent.name == "PNEUMONIA")] for path in paths], np.uint8)
    np.savez(target / "pneumoniamnist_made.npz", **arrays)
    return target / "pneumoniamnist_made.npz"


KINDS = [as_folder, as_zip, as_tar_gz, as_csv, as_npz]


@pytest.mark.parametrize("make", KINDS)
def test_every_kind_gives_the_same_classes_counts_and_pixels(tmp_path, make):
    radiographs = kaggle(tmp_path / "radiographs")
    plain = data.load(str(radiographs))
    steps = []
    dataset = data.load(str(make(radiographs, tmp_path)), progress=lambda *step: steps.append(step))
    assert len(dataset.classes) == 2
    assert dataset.positive == 1
    assert list(dataset.counts("test").values()) == list(plain.counts("test").values())
    assert sum(map(sum, (dataset.counts(s).values() for s in ("train", "val")))) == 40
    pixels = {p.tobytes() for p in np.load(data.arrays.pool(dataset, 24))}
    assert pixels == {p.tobytes() for p in np.load(data.arrays.pool(plain, 24))}
    assert dataset.path(dataset.images[0]).exists()
    assert steps
    assert all(done <= total for done, total, _ in steps)
    assert not dataset.demonstration


@pytest.mark.parametrize("make", KINDS)
def test_every_kind_is_the_same_the_second_time(tmp_path, make):
    source = str(make(kaggle(tmp_path / "radiographs"), tmp_path))
    assert data.load(source) == data.load(source)


@pytest.mark.parametrize("make", [as_zip, as_tar_gz, as_npz])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_a_file_that_is_cut_off_ends_in_one_message_and_leaves_nothing(tmp_path, make, share):
    from pathlib import Path

    source = Path(make(kaggle(tmp_path / "radiographs"), tmp_path))
    content = source.read_bytes()
    source.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError) as caught:
        data.load(str(source))
    assert source.name in str(caught.value)
    unpacked = tmp_path / "cache" / "unpacked"
    assert not [path for path in unpacked.iterdir() if path.is_dir()]


# -- npz --


def test_colour_arrays_and_any_size_are_read(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (40, 17, 17, 3), dtype=np.uint8)
    np.savez(tmp_path / "made.npz", train_images=images, train_labels=np.arange(40)[:, None] % 3)
    dataset = data.load(str(tmp_path / "made.npz"), channels=3)
    assert dataset.classes == ("class 0", "class 1", "class 2")
    assert {p.tobytes() for p in np.load(data.arrays.pool(dataset, 17))} <= {image.tobytes() for image in images}


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"x": np.zeros(3)}, "no train_images"),
        ({"train_images": np.zeros((3, 9, 9), np.uint8)}, "only one of"),
        ({"train_images": np.zeros((3, 9, 9)), "train_labels": np.zeros(3, int)}, "uint8"),
        ({"train_images": np.zeros((3, 9, 9), np.uint8), "train_labels": np.zeros((3, 14), int)}, "several labels"),
        ({"train_images": np.array([{}], object), "train_labels": np.zeros(1, int)}, "uint8"),
    ],
)
def test_another_layout_is_refused_in_words(tmp_path, arrays, why):
    np.savez(tmp_path / "made.npz", **arrays)
    with pytest.raises(DataError, match=why):
        data.load(str(tmp_path / "made.npz"))


def test_arrays_that_lie_column_by_column_give_the_same_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (40, 17, 19), dtype=np.uint8)
    np.savez(tmp_path / "made.npz", train_images=np.asfortranarray(images), train_labels=np.arange(40) % 3)
    files = sorted(
        (path.name, path.read_bytes()[-17 * 19 :]) for path in data.load(str(tmp_path / "made.npz")).root.rglob("*.pgm")
    )
    assert [pixels for _, pixels in files] == [image.tobytes() for image in images]


def test_memory_does_not_grow_with_the_arrays(tmp_path):
    import tracemalloc

    rng = np.random.default_rng(0)
    arrays = {f"{split}_images": rng.integers(0, 255, (60, 512, 512), dtype=np.uint8) for split in ("train", "test")}
    np.savez(tmp_path / "made.npz", **arrays, train_labels=np.arange(60) % 2, test_labels=np.arange(60) % 2)
    del arrays
    tracemalloc.start()
    try:
        medmnist.open_arrays(tmp_path / "made.npz")
        assert tracemalloc.get_traced_memory()[1] < 5 << 20  # of 30 MiB; hashing takes one
    finally:
        tracemalloc.stop()


# -- manifests --


def manifest(tmp_path, text):
    for number in range(12):
        (tmp_path / f"{number}.png").write_bytes(encoded(radiograph(number)))
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    return str(tmp_path / "m.csv")


def test_patients_and_groups_of_a_manifest_are_kept_as_written(tmp_path):
    rows = "".join(f"{i}.png,{'flu' if i % 2 else 'no'},00{i // 3},site {i % 3}\n" for i in range(12))
    dataset = data.load(manifest(tmp_path, "path,label,patient,group\n" + rows), positive="flu")
    assert dataset.classes == ("flu", "no")
    assert dataset.grouped_by == "patient"
    assert {image.patient for image in dataset.images} == {"000", "001", "002", "003"}
    assert {image.group for image in dataset.images} == {"site 0", "site 1", "site 2"}


def test_further_columns_of_a_manifest_go_along_with_each_image_whatever_its_split(tmp_path):
    rows = "".join(f"{i}.png,{'flu' if i % 2 else 'no'},{'F' if i < 6 else 'M'},{i},\n" for i in reversed(range(12)))
    source = manifest(tmp_path, "path,label,Sex,age,\n" + rows)
    dataset = data.load(source, positive="flu")
    assert set(dataset.columns) == {"sex", "age"}
    for split in ("train", "val", "test"):
        found = dataset.subgroups(split)
        numbers = [int(image.key.removesuffix(".png")) for image in dataset.select(split)]
        assert list(found["age"]) == list(map(str, numbers))
        assert list(found["sex"]) == ["F" if i < 6 else "M" for i in numbers]
    text = (tmp_path / "m.csv").read_text().replace("Sex,age", "age,sex")
    (tmp_path / "m.csv").write_text(text)
    assert data.load(source, positive="flu").train_fingerprint == dataset.train_fingerprint


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("path,label,Label\n0.png,a,b\n", "two columns 'label'"),
        ("file,label\n0.png,a\n", "no column path"),
        ("path,label\n", "names no images"),
        ("path,label\n0.png,a\n0.png,b\n1.png,b\n", "names 0.png again"),
        ("path,label\n0.png,a\n99.png,b\n1.png,b\n", "does not exist"),
        ("path,label\n0.png,\n1.png,b\n", "has no label"),
        ("path,label,split\n0.png,a,holdout\n1.png,b,train\n", "none of train, val, test"),
        ("path,label,split\n0.png,a,train\n1.png,b,train\n2.png,a,test\n", "has no image of b"),
        ("path,label,split\n0.png,a,train\n1.png,b,\n", "no split"),
        ('path,label\n"0.png,a\n', "CSV"),
    ],
)
def test_a_manifest_with_a_mistake_names_the_line_or_column(tmp_path, text, why):
    with pytest.raises(DataError, match=why):
        data.load(manifest(tmp_path, text), positive="a")


# -- PneumoniaMNIST --


@pytest.fixture
def record(tmp_path, monkeypatch):
    """A local web server in the record's place."""
    served = tmp_path / "served"
    served.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(served))

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(medmnist, "RECORD", f"http://127.0.0.1:{server.server_port}")
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def test_pneumoniamnist_is_downloaded_once_checked_and_kept(tmp_path, record, monkeypatch):
    import hashlib

    as_npz(kaggle(tmp_path / "radiographs"), tmp_path)
    content = (tmp_path / "pneumoniamnist_made.npz").read_bytes()
    (record / "pneumoniamnist_64.npz").write_bytes(content)
    monkeypatch.setitem(medmnist.MD5, 64, hashlib.md5(content).hexdigest())
    steps = []
    dataset = data.load("pneumoniamnist:64", progress=lambda *step: steps.append(step[2]))
    assert dataset.classes == ("normal", "pneumonia")
    assert dataset.positive == 1
    assert any("downloading" in step for step in steps)
    (record / "pneumoniamnist_64.npz").unlink()
    assert data.load("pneumoniamnist:64") == dataset


def test_what_is_not_the_records_file_is_refused_and_not_kept(tmp_path, record):
    (record / "pneumoniamnist.npz").write_bytes(b"something else")
    with pytest.raises(DataError, match="md5"):
        data.load("pneumoniamnist")
    assert not list((tmp_path / "cache" / "downloads").iterdir())


def test_without_network_the_message_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(medmnist, "RECORD", "http://127.0.0.1:9")
    with pytest.raises(DataError) as caught:
        data.load("pneumoniamnist:128")
    assert str(tmp_path / "cache" / "downloads" / "pneumoniamnist_128.npz") in str(caught.value)
    assert "pneumoniamnist_128.npz?download=1" in str(caught.value)


def test_a_size_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(DataError, match="pneumoniamnist:224"):
        data.load("pneumoniamnist:100")


# -- DICOM --


def test_a_folder_of_dicom_files_is_dealt_by_the_patients_of_their_headers(tmp_path):
    pytest.importorskip("pydicom")
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    for number in range(40):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", f"1.2.{number}"
        made = Dataset()
        made.file_meta = meta
        made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        made.PatientID = f"Patient {number // 4}"
        made.Rows, made.Columns, made.SamplesPerPixel = 30, 40, 1
        made.BitsAllocated = made.BitsStored = 8
        made.HighBit, made.PixelRepresentation, made.PhotometricInterpretation = 7, 0, "MONOCHROME2"
        made.PixelData = np.asarray(radiograph(number, 40, 30)).tobytes()
        folder = tmp_path / "d" / ("healthy" if number % 8 < 4 else "covid")
        folder.mkdir(parents=True, exist_ok=True)
        made.save_as(folder / (f"{number}.dcm" if number % 2 else f"{number}"), enforce_file_format=True)
    dataset = data.load(str(tmp_path / "d"))
    assert dataset.grouped_by == "patient"
    assert len(dataset.images) == 40
    assert len({image.patient for image in dataset.images}) == 10
    assert not any("Patient" in image.patient for image in dataset.images)


def test_the_demonstration_keeps_the_contract_and_says_what_it_is(monkeypatch):
    from xraytune.data.sources import synthetic_images

    radiographs = synthetic_images.draw_plan(0, 30, size=32)
    monkeypatch.setattr(synthetic_images, "draw_plan", lambda **_: radiographs)
    dataset = data.load("demo")
    assert dataset.demonstration
    assert data.load(None) == dataset
    assert len(np.load(data.arrays.pool(dataset, 16))) == len(dataset.select("train")) + len(dataset.select("val"))
