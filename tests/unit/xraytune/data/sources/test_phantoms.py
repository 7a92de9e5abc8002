"""The demonstration's images: always the same, in Kaggle's layout, with the planted shortcut on train only."""

import numpy as np
import pytest

from xraytune import data
from xraytune.data.sources import demo, synthetic_images


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))


def test_a_seed_draws_the_same_images_and_another_seed_others():
    def some(seed):
        return [pixels for _, pixels in synthetic_images.draw(seed, 6, size=48)]

    assert all(np.array_equal(a, b) for a, b in zip(some(1), some(1), strict=True))
    assert not all(a.shape == b.shape and np.array_equal(a, b) for a, b in zip(some(1), some(2), strict=False))


def test_images_have_real_varied_shapes_and_use_the_gray_levels():
    radiographs = [pixels for _, pixels in synthetic_images.draw(0, 12, size=64)]
    assert all(min(radiograph.shape) == 64 for radiograph in radiographs)
    assert len({radiograph.shape for radiograph in radiographs}) > 6
    assert all(radiograph.dtype == np.uint8 for radiograph in radiographs)
    assert np.mean([radiograph.std() for radiograph in radiographs]) > 25


def test_patients_keep_their_class_and_their_split():
    sides, labels = {}, {}
    for radiograph in synthetic_images.draw_plan(0, 200):
        assert sides.setdefault(radiograph.patient_seed, radiograph.split) == radiograph.split
        assert labels.setdefault(radiograph.patient_seed, radiograph.label) == radiograph.label
    assert {radiograph.kind for radiograph in synthetic_images.draw_plan(0, 200)} == {"", "bacteria", "virus"}


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_style_goes_with_class_in_train_as_strongly_as_asked_and_not_in_test(strength):
    radiographs = synthetic_images.draw_plan(0, 4000, strength=strength)

    def difference(split):
        share = [np.mean([f.style for f in radiographs if f.split == split and f.label == label]) for label in (0, 1)]
        return share[1] - share[0]

    assert difference("train") == pytest.approx(strength, abs=0.06)
    assert difference("test") == pytest.approx(0, abs=0.1)


def test_unknown_shortcuts_and_strengths_are_refused():
    with pytest.raises(ValueError, match="none of"):
        synthetic_images.draw_plan(shortcut="hair")
    with pytest.raises(ValueError, match="between 0 and 1"):
        synthetic_images.draw_plan(strength=2)


def test_a_folder_of_phantoms_is_a_demonstration_like_any_other_folder(tmp_path):
    demo.write(tmp_path / "radiographs", synthetic_images.draw_plan(0, 30, size=32))
    dataset = data.load(str(tmp_path / "radiographs"))
    assert dataset.demonstration
    assert dataset.grouped_by == "patient"
    assert dataset.positive == 1
    assert "NOT X-RAYS" in (tmp_path / "radiographs" / "DEMONSTRATION.txt").read_text()


def test_an_interrupted_drawing_leaves_no_folder(tmp_path):
    def stop(done, total, what):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.write(tmp_path / "radiographs", synthetic_images.draw_plan(0, 40, size=32), stop)
    assert not list(tmp_path.glob("radiographs*"))
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".making")]


def test_no_data_and_demo_are_the_phantoms_whatever_the_seed(monkeypatch):
    plan = synthetic_images.draw_plan(0, 40, size=32)
    monkeypatch.setattr(synthetic_images, "draw_plan", lambda **_: plan)
    first = data.load(None)
    assert first.name == "demo"
    assert first.demonstration
    assert data.load("demo", seed=0) == first
    other = data.load("demo", seed=5)
    assert other.train_fingerprint == first.train_fingerprint
    assert other.select("test") == first.select("test")
    assert other.select("val") != first.select("val")
