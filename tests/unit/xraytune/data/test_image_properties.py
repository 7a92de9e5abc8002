"""Each image property says what it is named for, whatever the size of the image."""

from __future__ import annotations

import numpy as np
import pytest

from tests.inputs.made_chests import chest
from xraytune.data import image_properties
from xraytune.data.image_properties import FEATURES, measure


def of(image):
    images = np.clip(image, 0, 255).astype(np.uint8)[None]
    return dict(zip(FEATURES, measure(images, image_properties.thumbnails(images))[0].tolist(), strict=True))


def box(image):
    small = image_properties.thumbnails(np.clip(image, 0, 255).astype(np.uint8)[None])
    return image_properties.chest_box(small)[0]


@pytest.mark.parametrize("edge", [28, 64, 112])
@pytest.mark.parametrize("white", ["", "left", "right"])
def test_the_chest_is_found_where_it_was_drawn_though_one_lung_is_white(edge, white):
    assert box(chest(edge, white=white)) == pytest.approx([0.2, 0.75, 0.1, 0.9], abs=0.06)


def test_a_chest_that_is_cut_off_ends_at_the_edge_of_the_image():
    assert box(chest(zoom=1.35)) == pytest.approx([0.1, 0.84, 0, 1], abs=0.06)
    assert box(chest(down=0.3))[1] == pytest.approx(1, abs=0.03)
    assert box(chest(down=-0.25))[0] == pytest.approx(0, abs=0.03)


def test_the_chest_grows_as_an_image_is_enlarged_and_sinks_as_it_is_moved_down():
    grown = [of(chest(zoom=zoom)) for zoom in (0.8, 0.9, 1.0, 1.1, 1.2)]
    for name in ("chest_height", "chest_width"):
        assert (np.diff([values[name] for values in grown]) > 0.02).all()
    lower = [of(chest(down=down))["chest_middle"] for down in (-0.15, -0.1, -0.05, 0, 0.05, 0.1, 0.15)]
    assert (np.diff(lower) > 0.02).all()


def test_sides_are_darker_where_the_background_is_in_the_image():
    assert of(chest(zoom=0.8))["sides"] < of(chest(zoom=1.2))["sides"] - 0.5
    assert of(chest(zoom=0.8))["sides"] < of(chest(zoom=0.8, side=120))["sides"] - 0.5


def test_framing_does_not_depend_on_exposure():
    image = chest()
    plain, darker = of(image), of(image * 0.6)
    for name in image_properties.FRAMING:
        assert darker[name] == pytest.approx(plain[name], abs=0.03)


def test_images_without_a_chest_are_measured_too():
    for image in (np.zeros((40, 40)), np.full((40, 40), 255), np.random.default_rng(0).integers(0, 256, (40, 40))):
        assert np.isfinite(list(of(image).values())).all()


@pytest.mark.parametrize("edge", [28, 64, 112])
def test_properties_tell_what_they_are_named_for(edge):
    plain = np.full((edge, edge), 100)
    assert of(plain)["mean"] == pytest.approx(100)
    assert of(plain)["spread"] == pytest.approx(0)
    assert of(plain)["gradient_ratio"] == pytest.approx(0)
    assert of(plain)["border_black"] == 0
    stripes = np.tile(np.linspace(0, 255, edge)[None], (edge, 1))
    assert of(stripes)["gradient_ratio"] > 1.6
    assert of(stripes.T)["gradient_ratio"] < -1.6
    framed = np.full((edge, edge), 120)
    framed[:, : edge // 14] = framed[:, -(edge // 14) :] = 0
    assert of(framed)["border_black"] > 0.4
    marked = np.full((edge, edge), 20)
    marked[: edge // 10, : edge // 10] = 255
    assert of(marked)["corner"] > 50


def test_noise_is_sharper_than_what_is_smooth_whatever_its_contrast():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (64, 64))
    smooth = np.sin(np.linspace(0, 6, 64))[None] * np.ones((64, 1))
    values = [of(128 + gain * image)["sharpness"] for image in (noise, smooth) for gain in (20, 40)]
    assert min(values[:2]) > max(values[2:]) + 1
    assert values[0] == pytest.approx(values[1], abs=0.1)


def test_colour_images_are_measured_by_the_mean_of_their_channels():
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 30, 60, 91
    assert (image_properties.gray(image) == 60).all()
    assert image_properties.gray(image[..., :1]).max() == 30
