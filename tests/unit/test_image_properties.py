"""Each image property says what it is named for, whatever the size of the image."""

from __future__ import annotations

import numpy as np
import pytest

from xraytune.data import image_properties
from xraytune.data.image_properties import FEATURES, measure


def of(image):
    return dict(zip(FEATURES, measure(np.asarray(image, np.uint8)[None])[0].tolist(), strict=True))


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
