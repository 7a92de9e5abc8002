"""Training on classes that are not equally frequent: what each choice does to what a network answers."""

import dataclasses

import numpy as np
import pytest

from tests.inputs.made_networks import Toy, config, space, toy, trial_data
from xraytune.training.inputs import batches
from xraytune.training.optimization.compiling import LogitAdjusted, adjusted, loss_of
from xraytune.training.optimization.fitting import fit_plainly
from xraytune.training.optimization.settings import IMBALANCE, TrainingSettings
from xraytune.training.trainer import Trainer

BALANCING = ("class_weights", "balanced_batches", "logit_adjusted")


@pytest.fixture(scope="module")
def rare(tmp_path_factory):
    """Images that say nothing, four of five of them positive: the answer is the prevalence that a network assumes."""
    made = trial_data(tmp_path_factory.mktemp("cache"), n=160, sizes=(28,))
    labels = (np.arange(160) % 5 > 0).astype(np.int32)
    return dataclasses.replace(made, labels=labels, pools={28: np.full((160, 28, 28, 1), 120, np.uint8)})


@pytest.mark.parametrize("imbalance", IMBALANCE)
def test_a_balanced_training_answers_at_equal_prevalence_and_others_lean_to_the_frequent_class(rare, imbalance):
    point = toy(imbalance=imbalance, epochs=1, head_epochs=0, optimizer="adam", learning_rate=0.02)
    training = Trainer(Toy(), point, rare)
    while not training.step().done:
        pass
    training.finish()
    answer = float(training.validation_predictions()[:, 1].mean())
    if imbalance in BALANCING:
        assert answer == pytest.approx(0.5, abs=0.1)
    else:
        assert answer > 0.6
    assert not isinstance(training.model.loss, LogitAdjusted)  # what is saved names no class of ours


@pytest.mark.parametrize(
    ("imbalance", "augmentation"),
    [*((imbalance, "none") for imbalance in (*BALANCING, "none")), ("balanced_batches", "light")],
)
def test_keras_tuners_own_fit_balances_as_a_trial_does(rare, imbalance, augmentation):
    values = toy(imbalance=imbalance, optimizer="adam", learning_rate=0.02, augmentation=augmentation).values
    model = Toy().build(type("Values", (), {"values": dict(values)}))
    fit_plainly(model, TrainingSettings.of(values), 2, rare.pools[28], rare.labels, epochs=8, verbose=0)
    answer = float(model.predict(rare.pools[28][:8], verbose=0)[:, 1].mean())
    assert answer == pytest.approx(0.5, abs=0.12) if imbalance in BALANCING else answer > 0.65


def test_a_balanced_order_shows_every_class_once_in_each_run_and_every_image_of_the_rare_one_equally_often():
    labels = np.repeat([0, 1, 2], [5, 20, 50]).astype(np.int32)
    order = batches.balanced_order(labels, 75, epoch=2, seed=3)
    assert len(order) == 75
    assert (np.sort(labels[order].reshape(25, 3), axis=1) == [0, 1, 2]).all()
    assert (np.bincount(order, minlength=75)[:5] == 5).all()
    assert (order == batches.balanced_order(labels, 75, epoch=2, seed=3)).all()
    assert (order != batches.balanced_order(labels, 75, epoch=3, seed=3)).any()


@pytest.mark.parametrize("single", [False, True])
def test_the_adjusted_loss_is_that_of_probabilities_at_the_training_prevalence(single):
    labels, shares = np.array([0, 1, 1, 1]), np.array([0.25, 0.75])
    p = np.array([0.2, 0.4, 0.5, 0.9], np.float32)
    moved = p * 3 / (p * 3 + 1 - p)  # the odds times 0.75 / 0.25
    wanted = -np.log(np.where(labels == 1, moved, 1 - moved)).mean()
    if single:
        loss = LogitAdjusted("binary_crossentropy", shares)
        found = loss(labels[:, None].astype(np.float32), p[:, None])
    else:
        loss = adjusted(loss_of(TrainingSettings(28)), TrainingSettings(28, imbalance="logit_adjusted"), labels, 2)
        found = loss(np.eye(2, dtype=np.float32)[labels], np.stack([1 - p, p], axis=1))
    assert float(found) == pytest.approx(wanted, rel=1e-4)


def test_the_space_and_its_starting_points_balance_unless_a_recipe_says_otherwise():
    assert config(space(), family="cnn").values["imbalance"] == IMBALANCE[0]
    assert IMBALANCE[0] in BALANCING


def test_an_unknown_choice_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="balanced_batches"):
        loss_of(TrainingSettings(28, imbalance="oversampling"))
