"""Augmentation moves what it says, keeps what it must, and repeats with its seed."""

import keras
import numpy as np
import pytest
from scipy import ndimage

from xraytune.training.inputs import augmentation
from xraytune.training.inputs.augmentation import COUNTERMEASURES, SHAPE_JITTERS, STRENGTHS, Augmentation


@pytest.fixture
def radiographs():
    y, x = np.mgrid[0:32, 0:32]
    radiograph = 255 * np.exp(-((x - 10) ** 2 + (y - 8) ** 2) / 40)
    return np.repeat(radiograph[None, ..., None], 16, axis=0).astype(np.uint8)


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("jitter", SHAPE_JITTERS)
def test_pixels_stay_pixels(radiographs, strength, jitter):
    out = augmentation.apply(Augmentation(strength, flip=True, shape_jitter=jitter), radiographs, seed=1)
    assert out.shape == radiographs.shape
    assert out.min() >= 0
    assert out.max() <= 255


def test_none_changes_nothing(radiographs):
    assert not Augmentation()
    assert Augmentation().layers(0) == []
    np.testing.assert_array_equal(augmentation.apply(Augmentation(), radiographs, 0), radiographs)


def test_stronger_moves_more(radiographs):
    def moved(strength):
        return np.abs(augmentation.apply(Augmentation(strength), radiographs, seed=3) - radiographs).mean()

    assert 0 < moved("light") < moved("medium") < moved("strong")


def test_the_same_seed_gives_the_same_pixels_and_another_others(radiographs):
    strong = Augmentation("strong", True, "strong")
    first = augmentation.apply(strong, radiographs, 5)
    np.testing.assert_array_equal(first, augmentation.apply(strong, radiographs, 5))
    assert not np.array_equal(first, augmentation.apply(strong, radiographs, 6))
    assert not np.array_equal(first[0], first[1])


def test_a_flip_mirrors_about_half_the_images_left_to_right_and_none_upside_down(radiographs):
    out = augmentation.apply(Augmentation(flip=True), np.repeat(radiographs, 8, axis=0), seed=2)
    same = np.array([np.abs(o - radiographs[0]).max() < 2 for o in out])
    mirrored = np.array([np.abs(o - radiographs[0][:, ::-1]).max() < 2 for o in out])
    assert (same | mirrored).all()
    assert 0.3 < mirrored.mean() < 0.7


def test_no_strength_flips_unless_asked(radiographs):
    columns = augmentation.apply(Augmentation("strong"), radiographs, 4)[..., 0].mean(axis=1).argmax(axis=1)
    assert (columns < 20).all()


def test_shape_jitter_scales_height_and_width_independently():
    ring = np.zeros((64, 49, 49, 1), np.uint8)
    y, x = np.mgrid[-24:25, -24:25]
    ring[:, np.hypot(x, y) < 12] = 200
    out = augmentation.apply(Augmentation(shape_jitter="strong"), ring, seed=0)[..., 0]
    width, height = (out[:, 24] > 100).sum(axis=1), (out[:, :, 24] > 100).sum(axis=1)
    assert abs(np.corrcoef(width, height)[0, 1]) < 0.35
    assert width.std() > 2
    assert width.min() > 23 / 1.4
    assert width.max() < 23 * 1.4


def test_what_comes_in_at_an_edge_repeats_the_nearest_pixel():
    bright = np.full((8, 20, 20, 1), 180, np.uint8)
    out = augmentation.apply(Augmentation(flip=True, shape_jitter="strong"), bright, seed=1)
    np.testing.assert_allclose(out, 180, atol=0.5)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="none, light, medium, strong"):
        Augmentation("wild")
    with pytest.raises(ValueError, match="shape jitter"):
        Augmentation(shape_jitter="wild")


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in COUNTERMEASURES.items() for value in values]
)
def test_each_jitter_keeps_pixels_pixels_moves_them_unless_none_and_repeats_with_its_seed(radiographs, name, value):
    radiographs = np.maximum(radiographs, 20)
    one = Augmentation(**{name: value})
    out = augmentation.apply(one, radiographs, seed=7)
    assert out.shape == radiographs.shape
    assert out.min() >= 0
    assert out.max() <= 255
    np.testing.assert_array_equal(out, augmentation.apply(one, radiographs, seed=7))
    assert np.array_equal(out, radiographs) == (value == "none") == (not one)


def test_focus_jitter_goes_both_ways_and_leaves_a_flat_image_flat(radiographs):
    radiographs = np.random.default_rng(0).integers(60, 190, radiographs.shape).astype(np.uint8)
    out = augmentation.apply(Augmentation(focus_jitter="strong"), radiographs, seed=1)
    fine = (
        np.abs(np.diff(out, axis=2)).mean(axis=(1, 2, 3))
        / np.abs(np.diff(radiographs[:1].astype(float), axis=2)).mean()
    )
    assert fine.min() < 0.8
    assert fine.max() > 1.2
    flat = np.full((4, 32, 32, 1), 90, np.uint8)
    np.testing.assert_allclose(augmentation.apply(Augmentation(focus_jitter="strong"), flat, 1), 90, atol=0.01)


@pytest.mark.parametrize("shape", [(28, 28, 1), (96, 64, 3)])
def test_a_image_is_blurred_as_scipy_does_it(shape):
    radiographs = np.random.default_rng(0).uniform(0, 255, (2, *shape)).astype(np.float32)
    expected = radiographs
    for axis in (1, 2):
        deviation = max(augmentation.BLUR * radiographs.shape[axis], 0.4)
        radius = int(np.ceil(2 * deviation))
        expected = ndimage.gaussian_filter1d(expected, deviation, axis=axis, mode="reflect", radius=radius)
    blurred = augmentation.RandomFocus(1.0, seed=0)._blurred(keras.ops.convert_to_tensor(radiographs))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(blurred), expected, atol=1e-3)


def test_masking_covers_borders_of_about_half_the_images_black_or_gray_and_never_the_middle():
    gray = np.full((400, 40, 40, 1), 100, np.uint8)
    gray[:, 20, 0] = 120
    gray[:, :4, :4] = 250
    out = augmentation.apply(Augmentation(masking="strong"), gray, seed=3)
    np.testing.assert_array_equal(out[:, 10:30, 10:30], 100)
    assert 0.35 < (out[:, 20, 0] < 120).mean() < 0.6
    assert 0.15 < (out[:, 20, 0] == 0).mean() < 0.35
    assert 0.5 < (out[:, 1, 1] < 200).mean() < 0.95


def test_an_unknown_value_is_named():
    with pytest.raises(ValueError, match="unknown focus jitter 'much': none, light, strong"):
        Augmentation(focus_jitter="much")
