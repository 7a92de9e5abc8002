"""Test-time augmentation: what a network's answers to variants of an image are made into."""

import numpy as np
import pytest

from xraytune.data.cropping import cut
from xraytune.inference import test_time_augmentation as tta


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 40, 40, 1)).astype(np.uint8)


def network(images):
    """Softmax of three numbers of each image."""
    parts = images[..., 0] / 255.0
    logits = 8 * np.stack([parts[:, :20].mean((1, 2)), parts[:, 20:].mean((1, 2)), parts.mean((1, 2))], axis=1)
    powers = np.exp(logits)
    return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


def test_with_crops_the_answer_is_that_of_the_mean_of_the_logits_of_the_whole_image_and_its_crops(images):
    boxes = [(0, 0, 1, 1), (0, 0, 0.8, 0.8), (0.2, 0, 1, 0.8), (0, 0.2, 0.8, 1), (0.2, 0.2, 1, 1), (0.1, 0.1, 0.9, 0.9)]
    variants = [np.stack([cut(image, box, 40) for image in images]) for box in boxes]
    logits = np.mean([np.log(network(v).astype(np.float64)) for v in variants], axis=0)
    powers = np.exp(logits)
    expected = powers / powers.sum(1, keepdims=True)
    found = tta.answers(network, images, "crops")
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(found - network(images)).max() > 1e-3
    assert tta.variants("crops") == len(boxes)


def test_the_first_crop_is_the_image_itself_and_no_crop_is_mirrored_or_leaves_the_image(images):
    assert tta.cropped(images, tta.CROPS[0]) is images
    for left, top, right, bottom in tta.CROPS:
        assert 0 <= left < right <= 1 + 1e-12
        assert 0 <= top < bottom <= 1 + 1e-12


def test_with_shifts_the_answer_is_the_mean_of_the_probabilities(images):
    moved = [tta.shifted(images, dy, dx) for dy, dx in tta.SHIFTS]
    np.testing.assert_allclose(tta.answers(network, images, "shifts"), np.mean([network(m) for m in moved], 0), 1e-5)
    np.testing.assert_array_equal(tta.shifted(images, 1, 0)[:, 1:], images[:, :-1])


def test_without_augmentation_the_answer_is_the_network_s(images):
    np.testing.assert_array_equal(tta.answers(network, images, ""), network(images))
    assert tta.variants("") == 1


def test_a_network_that_is_certain_stays_certain():
    certain = np.tile(np.array([[1.0, 0.0]], np.float32), (3, 1))
    found = tta.answers(lambda images: certain, np.zeros((3, 20, 20, 3), np.uint8), "crops")
    np.testing.assert_allclose(found, certain, atol=1e-6)
