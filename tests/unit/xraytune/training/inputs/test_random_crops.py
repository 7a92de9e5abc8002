"""Random resized crops have the area, shape and place that they say, show detail, and repeat with their seed."""

import numpy as np
import pytest
from PIL import Image

from xraytune.data.cropping import cut
from xraytune.training.inputs import augmentation, random_crops
from xraytune.training.inputs.augmentation import CROPS, Augmentation
from xraytune.training.inputs.random_crops import draw_boxes

MANY = 20_000


def sides(boxes):
    return boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]


@pytest.mark.parametrize("least", [0.08, 0.3, 0.5])
def test_a_crop_has_the_area_and_the_aspect_ratio_that_it_may_have(least):
    width, height = sides(draw_boxes(np.random.default_rng(0), MANY, least))
    area, ratio = width * height, np.log(width / height)
    assert least <= area.min() < least + 0.01
    assert 0.99 < area.max() <= 1.0
    assert abs(ratio).max() <= np.log(4 / 3) + 1e-9
    small = area < (least + 0.6) / 2  # the largest ones have room for few shapes
    assert np.quantile(ratio[small], [0.05, 0.5, 0.95]) == pytest.approx(
        np.log(4 / 3) * np.array([-0.9, 0, 0.9]), abs=0.02
    )
    assert np.quantile(area[small], 0.5) == pytest.approx((least + area[small].max()) / 2, abs=0.01)


def test_a_crop_lies_anywhere_in_the_image_and_never_beyond_it():
    boxes = draw_boxes(np.random.default_rng(1), MANY, 0.08)
    assert boxes.min() >= 0
    assert boxes.max() <= 1
    width, height = sides(boxes)
    for start, free in ((boxes[:, 0], 1 - width), (boxes[:, 1], 1 - height)):
        place = start[free > 0.2] / free[free > 0.2]
        assert np.quantile(place, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.02)


def test_shape_jitter_stretches_a_crop_about_its_middle():
    plain, jittered = (draw_boxes(np.random.default_rng(2), 1000, 0.3, jitter) for jitter in (0.0, 0.3))
    assert jittered[:, :2] + jittered[:, 2:] == pytest.approx(plain[:, :2] + plain[:, 2:])
    factors = [a / b for a, b in zip(sides(jittered), sides(plain), strict=True)]
    for factor in factors:
        assert np.log([factor.min(), factor.max()]) == pytest.approx([-0.3, 0.3], abs=0.01)
    assert abs(np.corrcoef(*factors)[0, 1]) < 0.1
    assert jittered.min() < 0


def test_a_cut_part_is_what_pillow_makes_of_it_and_beyond_the_image_the_nearest_pixel_is_repeated():
    image = np.random.default_rng(3).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    expected = Image.fromarray(image[15:45, 20:40]).resize((24, 24), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(cut(image, (0.25, 0.25, 0.5, 0.75), 24), np.asarray(expected))
    padded = np.pad(image, ((15, 15), (20, 20), (0, 0)), mode="edge")
    wide = Image.fromarray(padded).resize((24, 24), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(cut(image, (-0.25, -0.25, 1.25, 1.25), 24), np.asarray(wide))
    gray = image[..., :1]
    np.testing.assert_array_equal(cut(gray, (0.0, 0.0, 1.0, 1.0), 24)[..., 0], cut(image, (0, 0, 1, 1), 24)[..., 0])


def test_a_crop_shows_detail_that_the_whole_image_at_that_size_has_not():
    lines = np.zeros((1, 224, 224, 1), np.uint8)
    lines[:, :, ::4] = lines[:, :, 1::4] = 255  # a period of 4 px: 1.1 px at 64 px
    whole = cut(lines[0], (0, 0, 1, 1), 64).astype(float)
    small = cut(lines[0], (0.4, 0.4, 0.65, 0.65), 64).astype(float)
    assert np.abs(np.diff(small, axis=1)).mean() > 5 * np.abs(np.diff(whole, axis=1)).mean()


def test_the_same_seed_and_rows_give_the_same_crops_and_others_others():
    pool = np.random.default_rng(4).integers(0, 256, (8, 60, 60, 1)).astype(np.uint8)
    one, rows = Augmentation(crop="0.3", shape_jitter="strong"), np.array([3, 1, 3])
    first = one.crops_of(pool, 28, 7, 2)[rows]
    assert first.shape == (3, 28, 28, 1)
    np.testing.assert_array_equal(first, one.crops_of(pool, 28, 7, 2)[rows])
    assert not np.array_equal(first[0], first[2])
    for other in (one.crops_of(pool, 28, 7, 3)[rows], one.crops_of(pool, 28, 8, 2)[rows]):
        assert not np.array_equal(first, other)


@pytest.mark.parametrize("crop", [c for c in CROPS if c != "none"])
def test_a_batch_is_cropped_from_larger_images_and_otherwise_augmented_as_ever(crop):
    pool = np.random.default_rng(5).integers(0, 256, (4, 60, 60, 1)).astype(np.uint8)
    cropped = augmentation.apply(Augmentation(crop=crop), pool, 3, 28)
    np.testing.assert_array_equal(cropped, Augmentation(crop=crop).crops_of(pool, 28, 3)[np.arange(4)])
    both = augmentation.apply(Augmentation("light", flip=True, crop=crop), pool, 3, 28)
    assert both.shape == (4, 28, 28, 1)
    assert not np.array_equal(both, cropped)


def test_shape_jitter_is_part_of_the_crop_and_not_done_twice():
    assert Augmentation(crop="0.5", shape_jitter="strong").layers(0) == []
    assert [layer.jitter for layer in Augmentation("light", shape_jitter="strong", crop="0.5").layers(0)[:1]] == [0.0]
    assert [layer.jitter for layer in Augmentation("light", shape_jitter="strong").layers(0)[:1]] == [0.3]


@pytest.mark.parametrize(("shape", "edge"), [((1776, 1400), 224), ((224, 300), 224), ((28, 28), 28), ((96, 120), 96)])
def test_crops_are_cut_from_224_px_where_the_images_have_them(shape, edge):
    assert random_crops.source_edge(np.array([shape, shape, (4000, 4000)], np.int32)) == edge
