"""The flag of images that are unlike the training images, on drawn ones (on real ones: tests/real)."""

import dataclasses

import numpy as np
import pytest

from tests.inputs.made_chests import chests
from xraytune.inference import outliers
from xraytune.training.inputs.shifted_views import View, draw


def drawn(n, size=48, seed=0):
    """Two dark lungs, the lower part of the body bright, each image with its own tone and place."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    tone, place = rng.normal(0, 8, (n, 1, 1)), rng.normal(0, 0.05, (n, 1, 1))
    chest = 150 + 40 * y - 110 * np.exp(-4 * ((np.abs(x - place) - 0.4) ** 2 + (y + 0.2) ** 2)) + tone
    return np.clip(chest + rng.normal(0, 5, (n, size, size)), 0, 255).astype(np.uint8)[..., None]


@pytest.fixture(scope="module")
def known():
    return outliers.fit(drawn(400))


def share(known, radiographs):
    return np.mean([bool(said) for said in known.far(radiographs)])


def test_images_like_the_training_images_are_nearly_never_called_unusual(known):
    assert share(known, drawn(600, seed=1)) <= 0.02


def test_inverted_turned_half_black_flat_and_noisy_images_are_called_unusual(known):
    radiographs = drawn(50, seed=2)
    half = radiographs.copy()
    half[:, :, :24] = 0
    flat = np.stack([np.full((48, 48, 1), level, np.uint8) for level in (0, 90, 150, 255)])
    noise = np.random.default_rng(0).integers(0, 256, (20, 48, 48, 1)).astype(np.uint8)
    for spoiled in (
        255 - radiographs,
        radiographs[:, ::-1],
        radiographs[:, ::-1, ::-1],
        np.rot90(radiographs, 1, (1, 2)),
        half,
        flat,
        noise,
    ):
        assert share(known, spoiled) >= 0.95


@pytest.mark.parametrize(("kind", "amount"), [("raise", 0.2), ("raise", -0.2), ("crop", 1.5), ("crop", 0.65)])
def test_images_that_are_framed_otherwise_are_called_unusual(known, kind, amount):
    assert share(known, draw(drawn(50, seed=2), View("framed otherwise", kind, amount))) == 1


def test_an_image_can_be_unusual_by_its_framing_alone():
    images, _ = chests(100, spread=0.03)
    known = outliers.fit(images)
    at = outliers.QUANTITIES.index("width of the chest")
    moved = dataclasses.replace(known, location=tuple(v - 0.5 * (i == at) for i, v in enumerate(known.location)))
    assert not any(known.far(images[:5]))
    assert any("chest" in said for said in dataclasses.replace(moved, limits=(1e9, 4.0, 1e9)).far(images[:5]))


def test_a_model_with_other_quantities_says_nothing(known):
    earlier = dataclasses.replace(
        known, location=known.location[:9], spread=known.spread[:9], precision=tuple(r[:9] for r in known.precision[:9])
    )
    assert earlier.far(255 - drawn(2)) == ["", ""]


def test_the_flag_says_that_a_image_is_upside_down(known):
    assert "orientation" in known.far(drawn(5, seed=3)[:, ::-1])


def test_the_odd_images_among_the_training_images_do_not_widen_the_limits(known):
    spoiled = drawn(400)
    spoiled[::200] = 0
    assert share(outliers.fit(spoiled), 255 - drawn(50, seed=2)) == 1


def test_a_detector_survives_json(known):
    assert outliers.OutlierDetector.from_json(known.to_json()) == known


def test_a_quantity_that_never_varies_does_not_make_every_image_unusual():
    radiographs = drawn(200)
    radiographs[:, 0] = 0
    radiographs[:, :, :12] = 0  # every image has the same black edge: no image's dark tenth varies
    others = drawn(100, seed=1)
    others[:, 0], others[:, :, :12] = 0, 0
    assert share(outliers.fit(radiographs), others) <= 0.05


def test_of_too_few_images_nothing_is_said():
    assert outliers.fit(drawn(outliers.FEWEST - 1)).far(255 - drawn(3)) == [""] * 3
    assert outliers.fit(drawn(1)).far(drawn(1)) == [""]


def test_few_images_still_mark_a_black_one():
    assert all(outliers.fit(drawn(30)).far(np.zeros((2, 48, 48, 1), np.uint8)))
