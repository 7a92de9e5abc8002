"""When new images are told from training images, and when another mix of classes is no difference."""

import numpy as np
import pytest

from xraytune.data import property_table
from xraytune.evaluation.shift import separation

COLUMNS = property_table.NAMES


def images(seed, n=400, positive=0.5, **moved):
    """Properties of `n` images, two a patient; framing follows the class; `moved` shifts a column, in deviations."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.random(n // 2) < positive, 2)
    table = rng.normal(0, 1, (n, len(COLUMNS)))
    table[:, COLUMNS.index("chest_height")] += 2 * labels
    for name, by in moved.items():
        table[:, COLUMNS.index(name)] += by
    return separation.Known(table, np.arange(n) // 2, labels)


def compared(known, new, share=0.5):
    return separation.compare(known, new.table, new.patients.tolist(), share=share)


def test_images_of_the_same_hospital_are_alike():
    found = compared(images(0, 1000), images(1))
    assert found.alike
    assert not found.foreign
    assert found.warning == ""


@pytest.mark.parametrize("name", ["sharpness", "mean", "aspect_ratio", "border_black"])
def test_a_property_that_moved_is_named(name):
    found = compared(images(0, 1000), images(1, **{name: 1.5}))
    assert found.foreign
    assert found.differences[0].name == name
    assert found.differences[0].higher
    assert found.warning == (
        f"These images differ from the training images in {property_table.PROPERTIES[name].words}; do not use this "
        "model on them without labelled images from this hospital."
    )


def test_all_of_framing_is_one_word_and_at_most_three_differences_are_named():
    found = compared(images(0, 1000), images(1, chest_middle=2, sides=1.8, sharpness=1.5, mean=1.2, spread=1.1))
    assert found.reason == "framing, sharpness and brightness"


def test_a_difference_in_no_single_property_is_said_to_be_in_several():
    known, new = images(0, 2000), images(1)
    rng = np.random.default_rng(2)
    for table, sign in ((known.table, 0), (new.table, 1)):  # all are a little higher
        table[:, 5:15] += 0.42 * sign + rng.normal(0, 0.01, (len(table), 10))
    found = compared(known, new)
    assert found.foreign
    assert found.reason == "several image properties together"


def test_properties_that_no_network_sees_are_listed_and_refuse_nothing():
    found = compared(images(0, 1000), images(1, width=9, height=9, bytes=9, mode=9))
    assert found.alike
    assert {d.name for d in found.differences[:4]} == separation.UNSEEN
    assert not any(d.seen for d in found.differences[:4])
    assert found.differences[0].beyond == 1


def test_another_share_of_positives_is_no_difference_where_it_is_known():
    known, new = images(0, 2000), images(1, 600, positive=0.1)
    assert compared(known, new, share=0.1).alike
    assert compared(known, new, share=float("nan")).auc > separation.BOUND


def test_most_foreign_images_are_marked_and_a_folder_of_both_kinds_only_in_part():
    known = images(0, 1000)
    found = compared(known, images(1, mean=4))
    assert found.marked.mean() > 0.95
    ours, theirs = images(2, 200), images(3, 200, mean=6)
    both = separation.Known(np.concatenate([ours.table, theirs.table]), np.arange(400) // 2)
    found = compared(known, both)
    assert found.foreign
    assert found.marked[:200].mean() < 0.2
    assert found.marked[200:].mean() > 0.95


def test_few_images_are_not_compared_and_chance_among_few_is_not_called_foreign():
    known = images(0, 1000)
    few = compared(known, images(1, separation.FEWEST - 2, mean=5))
    assert np.isnan(few.auc)
    assert not few.foreign
    assert not few.alike
    assert not few.marked.any()
    for seed in range(2, 12):
        assert not compared(known, images(seed, 40)).foreign
