"""What a model folder keeps of training images: whole patients, nothing that names a file, there and back."""

from types import SimpleNamespace

import numpy as np
import pytest

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
    card = SimpleNamespace(sample=save(tmp_path, sample))
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
    card = SimpleNamespace(sample=save(tmp_path, draw(*made())))
    damage(tmp_path / training_sample.FILE)
    with pytest.raises(ArtifactError, match=r"training_sample\.npz"):
        load(tmp_path, card)


def test_a_model_without_one_or_with_other_properties_has_none(tmp_path, monkeypatch):
    assert load(tmp_path, SimpleNamespace(sample="")) is None
    card = SimpleNamespace(sample=save(tmp_path, draw(*made())))
    monkeypatch.setattr(property_table, "NAMES", (*property_table.NAMES[:-1], "another"))
    assert load(tmp_path, card) is None
