"""A network whose head is trained first and its last block from then on: in trials, after a lost worker."""

import numpy as np
import pytest

from tests.inputs.made_networks import Toy, toy, trial_data
from xraytune.training.inputs import batches
from xraytune.training.trainer import Trainer

HEAD_EPOCHS = 2


@pytest.fixture(scope="module", autouse=True)
def _short_epochs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "LEAST_EPOCH", 64)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return trial_data(tmp_path_factory.mktemp("cache"), sizes=(28,))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The losses of a trial that nothing interrupts, and the folder where every epoch was saved by its number."""
    training, saved = Trainer(Toy(), toy(), data), tmp_path_factory.mktemp("saved")
    while not training.done:
        training.step()
        training.save(saved / str(training.epoch))
    return [row["loss"] for row in training.curve], saved


def weights(training, name):
    return [np.array(w) for w in training.model.get_layer(name).get_weights()]


def changed(before, after):
    return not all(np.array_equal(*pair) for pair in zip(before, after, strict=True))


@pytest.mark.parametrize("augmentation", ["none", "light"])
def test_the_head_is_trained_first_then_the_block_too_and_what_is_frozen_never(data, augmentation):
    training = Trainer(Toy(), toy(augmentation=augmentation, augmentation_copies=2), data)
    assert training.prefix.layer == "block2_conv"
    seen = []
    while not training.done:
        layers = ("block1_conv", "block2_conv", "block3_conv", "head_dense1", "predictions")
        before = [weights(training, name) for name in layers]
        training.step()
        seen.append([changed(b, weights(training, name)) for b, name in zip(before, layers, strict=True)])
    head_alone, block_too = [False, False, False, True, True], [False, False, True, True, True]
    assert seen == [head_alone] * HEAD_EPOCHS + [block_too] * (4 - HEAD_EPOCHS)


@pytest.mark.parametrize("epoch", [HEAD_EPOCHS - 1, HEAD_EPOCHS, HEAD_EPOCHS + 1])
def test_a_trial_killed_about_its_head_epochs_goes_on_where_it_was(data, whole, epoch):
    losses, saved = whole
    training = Trainer(Toy(), toy(), data)
    training.restore(saved / str(epoch))
    while not training.done:
        training.step()
    np.testing.assert_allclose([row["loss"] for row in training.curve], losses, rtol=1e-4)
    assert training.finish().epochs == 4


def test_a_trial_killed_once_its_block_was_thawed_for_an_epoch_that_time_cut_short_still_ends(data, tmp_path):
    first = Trainer(Toy(), toy(), data)
    for _ in range(HEAD_EPOCHS):
        first.step()
    first.clock.deadline = 0.0
    assert first.step().done
    first.save(tmp_path / "checkpoint")
    second = Trainer(Toy(), toy(), data)
    second.restore(tmp_path / "checkpoint")
    assert second.done
    assert second.finish().epochs == HEAD_EPOCHS
