"""What a model folder keeps of training images: whole patients, nothing that names a file, there and back."""

import io
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from xraytune import artifacts
from xraytune.data import property_table
from xraytune.errors import ArtifactError
from xraytune.inference import training_sample
from xraytune.inference.training_sample import draw, load, rounded, save


def made(n=60, seed=0):
    rng = np.random.default_rng(seed)
    table = rng.normal(0, 1, (n, len(property_table.NAMES))) * 1000
    patients = [f"person{i // 3}_bacteria" for i in range(n)]
    return table, np.arange(n) % 2, rng.dirichlet([1, 1], n), patients


def test_it_is_read_as_it_was_written(tmp_path):
    sample = draw(*made())
    card = SimpleNamespace(sample=save(tmp_path, sample), classes=("NORMAL", "PNEUMONIA"))
    again = load(tmp_path, card)
    np.testing.assert_allclose(again.table, sample.table, rtol=1e-6)
    np.testing.assert_allclose(again.probabilities, sample.probabilities, atol=1e-6)
    np.testing.assert_array_equal(again.labels, sample.labels)
    np.testing.assert_array_equal(again.patients, sample.patients)


def test_nothing_names_a_patient_or_a_file(tmp_path):
    table, *rest = made()
    save(tmp_path, draw(table, *rest))
    with np.load(tmp_path / training_sample.FILE) as kept:
        assert set(kept) == {"names", "table", "labels", "probabilities", "patients"}
        assert all(kept[name].dtype.kind in "if" for name in set(kept) - {"names"})
        assert not np.isin(np.float32(table), kept["table"]).any(), "a value was kept exactly"


def test_images_of_a_patient_keep_one_number_and_the_order_is_lost():
    table, labels, p, patients = made(300)
    table[:, 0] = np.arange(300)
    sample = draw(table, labels, p, patients)
    image = sample.table[:, 0].astype(int)
    assert not np.array_equal(image, np.sort(image))
    for number in np.unique(sample.patients):
        assert len({patients[i] for i in image[sample.patients == number]}) == 1
    np.testing.assert_array_equal(sample.labels, labels[image])
    np.testing.assert_array_equal(sample.probabilities, p[image])


def test_of_many_images_whole_patients_are_drawn(monkeypatch):
    monkeypatch.setattr(training_sample, "MOST", 100)
    sample = draw(*made(3000))
    assert 90 <= len(sample.labels) <= 100
    assert set(np.bincount(sample.patients)[np.unique(sample.patients)]) == {3}


def test_values_are_rounded_to_significant_digits():
    np.testing.assert_array_equal(rounded([0, 1234.4, -0.0123456, 255, 1e-9]), [0, 1230, -0.0123, 255, 1e-9])


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"x" + p.read_bytes()[1:])])
def test_a_file_that_is_missing_or_was_changed_is_refused(tmp_path, damage):
    card = SimpleNamespace(sample=save(tmp_path, draw(*made())), classes=("NORMAL", "PNEUMONIA"))
    damage(tmp_path / training_sample.FILE)
    with pytest.raises(ArtifactError, match=r"training_sample\.npz"):
        load(tmp_path, card)


def test_a_model_without_one_or_with_other_properties_has_none(tmp_path, monkeypatch):
    assert load(tmp_path, SimpleNamespace(sample="")) is None
    card = SimpleNamespace(sample=save(tmp_path, draw(*made())), classes=("NORMAL", "PNEUMONIA"))
    monkeypatch.setattr(property_table, "NAMES", (*property_table.NAMES[:-1], "another"))
    assert load(tmp_path, card) is None


def with_header(dtype, shape, content=b""):
    """An array's file that claims a shape, whatever content it has."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": dtype, "fortran_order": False, "shape": shape})
    return out.getvalue() + content


DAMAGED = {
    "a shape beyond the memory": ("table", with_header("<f8", (10**12,)), "Unable to allocate"),
    "much that unpacks": ("table", with_header("<f8", (9_000_000,), bytes(72_000_000)), "more than 64 MiB"),
    "objects": ("table", with_header("|O", (3,)), "pickle"),
    "no array": ("table", b"text", "can't be read"),
    "a row too few": ("labels", np.zeros(59, int), "shapes"),
    "other columns": ("table", np.zeros((60, 3)), "shapes"),
    "labels of no class": ("labels", np.full(60, 2), "no class"),
    "one class": ("probabilities", np.zeros((60, 1)), "shapes"),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_sample_of_somebody_else_is_read_within_bounds_or_refused_in_one_message(tmp_path, damage):
    part, content, words = damage
    save(tmp_path, draw(*made()))
    path = tmp_path / training_sample.FILE
    with np.load(path) as kept:
        parts = {name: kept[name] for name in kept} | {part: content}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, array in parts.items():
            out = io.BytesIO()
            np.save(out, array) if isinstance(array, np.ndarray) else out.write(array)
            file.writestr(f"{name}.npy", out.getvalue())
    card = SimpleNamespace(sample=artifacts.sha256(path), classes=("NORMAL", "PNEUMONIA"))
    with pytest.raises(ArtifactError, match=words):
        load(tmp_path, card)
