"""Views move a image by what the data say, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from tests.inputs.made_chests import chests
from xraytune.data.image_properties import brightness, chest_middle, chest_size, gradient_ratio, gray
from xraytune.evaluation import robust_score
from xraytune.training.inputs import shifted_views, view_transforms


@pytest.fixture(scope="module")
def radiographs():
    """Smooth random images whose class 1 is wider, as the real set's pneumonia images are."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(2, dtype=np.int32), 60)
    y, x = np.mgrid[0:48, 0:48] / 48
    images = np.empty((120, 48, 48, 1), np.uint8)
    for i, label in enumerate(labels):
        stretch = (1.4 if label else 1.0) * np.exp(rng.normal(0, 0.1))
        phase = rng.uniform(0, 6, 2)
        radiograph = np.sin(18 * x / stretch + phase[0]) + np.sin(18 * y + phase[1]) + rng.normal(0, 0.05, x.shape)
        images[i, ..., 0] = np.clip(128 + rng.normal(0, 6) + 45 * radiograph, 0, 255)
    return images, labels


def test_a_plan_begins_clean_and_names_each_view_once(radiographs):
    names = [v.name for v in shifted_views.plan_views(*radiographs)]
    assert names[0] == "clean"
    assert len(set(names)) == len(names) >= 10


def test_a_shape_view_moves_the_gradient_ratio_by_at_least_the_distance_of_the_classes(radiographs):
    images, labels = radiographs
    ratio = gradient_ratio(gray(images))
    distance = abs(ratio[labels == 0].mean() - ratio[labels == 1].mean())
    by_name = {v.name: v for v in shifted_views.plan_views(images, labels)}
    for name, sign in [("wider", -1), ("narrower", 1)]:
        moved = gradient_ratio(gray(shifted_views.draw(images, by_name[name])))
        assert sign * np.median(moved - ratio) > 0.7 * distance


def test_a_wider_spread_within_the_classes_makes_stronger_views(radiographs):
    images, labels = radiographs
    rng = np.random.default_rng(1)
    spread = np.clip(images + rng.normal(0, 25, (120, 1, 1, 1)), 0, 255).astype(np.uint8)
    amount = {
        n: {v.name: v for v in shifted_views.plan_views(i, labels)}["brighter"].amount
        for n, i in [("a", images), ("b", spread)]
    }
    assert amount["b"] > 2 * amount["a"]


@pytest.mark.parametrize("kind", sorted(view_transforms.TRANSFORMS))
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_keeps_shape_and_type(radiographs, kind, channels):
    images = np.repeat(radiographs[0][:3], channels, axis=-1)
    own = {
        "brightness": 20,
        "sharpen": 80,
        "blur": 0.02,
        "shift": 0.06,
        "raise": 0.06,
        "border": 0.1,
        "corners": 0.2,
        "edges": 0.1,
        "clean": 0,
    }
    amount = own.get(kind, 1.3)
    shifted = shifted_views.draw(images, shifted_views.View("v", kind, amount))
    assert shifted.shape == images.shape
    assert shifted.dtype == np.uint8
    assert (kind == "clean") == np.array_equal(shifted, images)


def test_widening_stretches_a_square_sideways_and_keeps_its_area():
    image = np.zeros((1, 64, 64, 1), np.uint8)
    image[:, 24:40, 24:40] = 255
    wide = shifted_views.draw(image, shifted_views.View("w", "shape", 1.5))[0, ..., 0] > 127
    height, width = wide.any(axis=1).sum(), wide.any(axis=0).sum()
    assert width / height == pytest.approx(1.5, rel=0.1)
    assert width * height == pytest.approx(256, rel=0.12)


def test_the_same_data_and_seed_give_the_same_plan(radiographs):
    assert shifted_views.plan_views(*radiographs) == shifted_views.plan_views(*radiographs)


def test_a_subset_is_balanced_and_ordered():
    labels = np.array([0] * 100 + [1] * 7, np.int32)
    chosen = shifted_views.subset(labels, 10)
    assert np.bincount(labels[chosen]).tolist() == [10, 7]
    assert (np.diff(chosen) > 0).all()


def test_a_property_that_tells_alone_needs_no_joint_view():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(2, dtype=np.int32), 60)
    images = np.clip(rng.normal(110 + 30 * labels[:, None, None, None], 20, (120, 48, 48, 1)), 0, 255).astype(np.uint8)
    names = [v.name for v in shifted_views.plan_views(images, labels)]
    assert {"brighter", "darker"} <= set(names)
    assert not [name for name in names if name.startswith(shifted_views.LIKE)]


def test_where_several_properties_tell_a_class_apart_one_view_moves_them_all_as_far_as_its_images_lie_away(radiographs):
    labels = radiographs[1]
    images = np.clip(radiographs[0] + 30.0 * labels[:, None, None, None], 0, 255).astype(np.uint8)
    planned = {v.name: v for v in shifted_views.plan_views(images, labels, classes=("NORMAL", "PNEUMONIA"))}
    joint = planned["like PNEUMONIA"]
    assert [part.name for part in joint.parts][:2] == ["wider", "brighter"]
    assert "narrower" in {part.name for part in planned["like NORMAL"].parts}
    moved = shifted_views.draw(images, joint)
    assert (moved.dtype, moved.shape) == (images.dtype, images.shape)
    for prop in (gradient_ratio, brightness):
        before, after = prop(gray(images)), prop(gray(moved))
        distance = before[labels == 1].mean() - before[labels == 0].mean()
        assert np.median(after - before) / distance == pytest.approx(1, abs=0.3)


def test_a_class_of_few_images_is_no_machine(radiographs):
    labels = radiographs[1].copy()
    few = np.concatenate([np.arange(60), np.arange(60, 70)])
    images = np.clip(radiographs[0] + 30.0 * labels[:, None, None, None], 0, 255).astype(np.uint8)
    assert [v for v in shifted_views.plan_views(images, labels) if v.kind == shifted_views.JOINT]
    assert not [v for v in shifted_views.plan_views(images[few], labels[few]) if v.kind == shifted_views.JOINT]


FRAMING = ("tighter", "looser", "higher", "lower")


def test_views_of_framing_move_the_chest_by_what_the_training_images_differ_in():
    images, labels = chests(40, spread=0.04)
    by_name = {v.name: v for v in shifted_views.plan_views(images, labels)}
    for name, sign in zip(FRAMING, (1, -1, -1, 1), strict=True):
        prop = chest_size if name in {"tighter", "looser"} else chest_middle
        before, after = prop(gray(images)), prop(gray(shifted_views.draw(images, by_name[name])))
        assert sign * np.median(after - before) / before.std() == pytest.approx(1, abs=0.35)
    small = {v.name: v for v in shifted_views.plan_views(chests(40, spread=0.01)[0], labels)}
    assert small["tighter"].amount < by_name["tighter"].amount
    assert small["higher"].amount < by_name["higher"].amount


def test_what_a_looser_view_lacks_repeats_the_edge():
    image = np.zeros((1, 40, 40, 1), np.uint8)
    image[:, :, :20] = 100
    looser = shifted_views.draw(image, shifted_views.View("looser", "crop", 0.8))[0, ..., 0]
    assert (looser[:, :18] == 100).all()
    assert (looser[:, 22:] == 0).all()


@pytest.mark.parametrize(("low", "large"), [((0.06, -0.06), (1, 1)), ((0, 0), (0.85, 1.1))])
def test_a_network_that_reads_framing_is_worth_what_the_trivial_answer_is_over_the_views_of_framing(low, large):
    images, labels = chests(40, low=low, large=large)
    prop = chest_middle if low[0] else chest_size
    values = prop(gray(images))
    middle = np.mean([values[labels == c].mean() for c in (0, 1)])
    steep = 8 * np.sign(values[labels == 1].mean() - middle) / values.std()

    def network(shown):
        p = 1 / (1 + np.exp(-steep * (prop(gray(shown)) - middle)))
        return np.stack([1 - p, p], axis=1).astype(np.float32)

    planned = shifted_views.plan_views(images, labels)
    answers = {v.name: network(shifted_views.draw(images, v)) for v in planned}
    others = {v.name: answers[v.name] for v in planned if v.name not in FRAMING and v.kind not in {"shift", "joint"}}
    assert len(others) >= 8
    assert robust_score.score(labels, others, 1).value > 0.93
    assert robust_score.score(labels, answers, 1).value < robust_score.trivial(2, 1) + 0.04


def test_framing_has_a_part_in_the_joint_view_where_several_properties_tell():
    images, labels = chests(60, low=(0.04, -0.04), large=(0.95, 1.05))
    images = np.clip(images + 30.0 * labels[:, None, None, None], 0, 255).astype(np.uint8)
    planned = {v.name: v for v in shifted_views.plan_views(images, labels, classes=("NORMAL", "PNEUMONIA"))}
    assert {"tighter", "higher", "brighter"} <= {part.name for part in planned["like PNEUMONIA"].parts}
    assert {"looser", "lower", "darker"} <= {part.name for part in planned["like NORMAL"].parts}


def test_a_joint_view_is_json_there_and_back(radiographs):
    images = np.clip(radiographs[0] + 30.0 * radiographs[1][:, None, None, None], 0, 255).astype(np.uint8)
    for view in shifted_views.plan_views(images, radiographs[1]):
        assert shifted_views.View.from_json(view.to_json()) == view


def test_an_unknown_kind_is_no_view():
    with pytest.raises(ValueError, match="joint"):
        shifted_views.View("nothing", shifted_views.JOINT, 0.0)
    with pytest.raises(ValueError, match="blur"):
        shifted_views.View("two at once", "blur", 0.01, (shifted_views.CLEAN,))

    with pytest.raises(ValueError, match="mirror"):
        shifted_views.View("v", "mirror", 1.0)
