"""Decoded once, mapped by everyone, never read half."""

import multiprocessing
import pickle

import numpy as np
import pytest
from PIL import Image

from tests.inputs.made_radiographs import kaggle, radiograph, write
from xraytune import data
from xraytune.data import arrays, cache
from xraytune.errors import DataError, FatalError, InputError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def dataset(tmp_path):
    return data.load(str(kaggle(tmp_path / "d")))


def test_rows_are_training_then_validation_images_in_their_order(dataset):
    pool = np.load(arrays.pool(dataset, 24), mmap_mode="r")
    images = dataset.select("train") + dataset.select("val")
    assert pool.shape == (len(images), 24, 24, 1)
    assert pool.dtype == np.uint8
    for row in (0, 7, len(images) - 1):
        assert np.array_equal(pool[row], data.read_image(dataset.path(images[row]), 24))


def test_the_test_array_holds_the_sealed_images_only(dataset):
    sealed = np.load(arrays.test(dataset, 16))
    assert len(sealed) == len(dataset.select("test")) == 16


def test_several_sizes_equal_each_alone(dataset, tmp_path, monkeypatch):
    together = {size: np.load(path) for size, path in arrays.pools(dataset, [16, 40, 24]).items()}
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "other"))
    for size, array in together.items():
        assert np.array_equal(np.load(arrays.pool(dataset, size)), array)


def test_what_verification_decoded_is_not_decoded_again_and_gives_the_same_arrays(tmp_path, monkeypatch):
    root = kaggle(tmp_path / "d")
    for number, size in enumerate([(600, 700), (300, 40), (64, 64)]):
        write(root / f"train/NORMAL/IM-07{number:02d}-0001.jpeg", radiograph(number, *size, mode="RGB"))
    dataset = data.load(str(root))
    elsewhere = pickle.loads(pickle.dumps(dataset))  # images stay behind
    with monkeypatch.context() as patch:
        patch.setattr(arrays.reading, "decode", None)
        first = {size: np.load(path) for size, path in arrays.pools(dataset, [16, 200]).items()}
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "other"))
    assert all(np.array_equal(first[size], np.load(arrays.pool(elsewhere, size))) for size in first)
    assert len(np.load(arrays.pool(dataset, 24))) == len(first[16])  # images are released: decoded anew


def test_where_the_disk_has_no_room_for_images_their_files_are_decoded_again(tmp_path, monkeypatch):
    root, written = kaggle(tmp_path / "d"), []

    def full(file, content, offset):
        written.append(offset)
        if len(written) > 5:
            raise OSError(28, "No space left on device")
        return len(content)

    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", full)
        dataset = data.load(str(root))
    pool = np.load(arrays.pool(dataset, 24), mmap_mode="r")
    assert len(written) > 5
    assert np.array_equal(pool[3], data.read_image(dataset.path(dataset.select("train")[3]), 24))


def test_an_array_that_is_there_is_not_made_again(dataset):
    path = arrays.pool(dataset, 16)
    before = path.stat().st_mtime_ns
    steps = []
    assert arrays.pool(dataset, 16, progress=lambda *step: steps.append(step)) == path
    assert path.stat().st_mtime_ns == before
    assert not steps


@pytest.mark.parametrize("kept", [0, 40, 1000])
def test_a_half_written_array_is_made_again(dataset, kept):
    path = arrays.pool(dataset, 24)
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    assert arrays.pool(dataset, 24).read_bytes() == whole


def test_an_interrupted_writing_leaves_nothing_behind(dataset):
    def stop(done, total, what):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        arrays.pool(dataset, 32, progress=stop)
    assert not list(cache.folder("arrays").glob("*.npy"))
    assert not list(cache.folder("arrays").glob(".*.npy"))


def test_a_file_that_changed_after_verification_is_refused(dataset):
    image = dataset.select("train")[3]
    write(dataset.path(image), radiograph(999))
    with pytest.raises(DataError, match="changed since it was verified"):
        arrays.pool(dataset, 16)


def test_fit_and_channels_have_arrays_of_their_own(tmp_path):
    root = str(kaggle(tmp_path / "d"))
    paths = {
        arrays.pool(data.load(root, fit=fit, channels=channels), 16) for fit in ("crop", "pad") for channels in (1, 3)
    }
    assert len(paths) == 4
    assert {np.load(path).shape[-1] for path in paths} == {1, 3}


def test_sizes_that_make_no_sense_are_refused(dataset):
    with pytest.raises(InputError, match="8 to 2048"):
        arrays.pool(dataset, 4)


def test_the_data_set_travels_to_workers(dataset):
    assert pickle.loads(pickle.dumps(dataset)) == dataset


def _decode(dataset, queue):
    steps = []
    path = arrays.pool(dataset, 32, progress=lambda *step: steps.append(step))
    queue.put((str(path), bool(steps), int(np.load(path).sum())))


def test_two_processes_that_need_one_array_make_it_once(dataset):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_decode, args=(dataset, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert found[0][0] == found[1][0]
    assert found[0][2] == found[1][2]
    assert sorted(made for _, made, _ in found) == [False, True]


def test_images_of_varied_shape_are_fitted_as_asked(tmp_path):
    root = kaggle(tmp_path / "d")
    ramp = np.tile(np.linspace(0, 255, 120, dtype=np.uint8)[None], (40, 1))  # three times as wide as high
    write(root / "train/NORMAL/IM-0500-0001.png", Image.fromarray(ramp))

    def row(fit):
        dataset = data.load(str(root), fit=fit)
        images = dataset.select("train") + dataset.select("val")
        number = [image.key for image in images].index("train/NORMAL/IM-0500-0001.png")
        return np.load(arrays.pool(dataset, 40))[number, :, :, 0].astype(int)

    crop, pad, squash = row("crop"), row("pad"), row("squash")
    assert 80 < crop.min() < crop.max() < 175  # the middle third
    assert pad[0].max() == pad[-1].max() == 0  # borders above and below
    assert pad[20, 39] > 240
    assert squash[0, 0] < 10 < 245 < squash[0, 39]


def test_a_full_disk_is_said_and_not_a_crash(dataset, monkeypatch):
    import errno
    import os

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(FatalError, match="No space left on device"):
        arrays.pool(dataset, 16)
    assert not list(cache.folder("arrays").glob("*.npy"))


def test_a_cache_that_cannot_be_made_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match="XRAYTUNE_CACHE"):
        data.load(str(kaggle(tmp_path / "e")))
