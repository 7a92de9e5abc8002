"""KerasTuner's `fit` trains as a trial: the head first, at its own rate; a plateau lowers rates; epochs are counted."""

import keras
import keras_tuner
import numpy as np
import pytest

from tests.inputs.made_networks import Toy, toy, trial_data
from xraytune.training.inputs import random_crops
from xraytune.training.optimization.fitting import fit_plainly
from xraytune.training.optimization.settings import PLATEAU_FACTOR, TrainingSettings

RATE = 0.01


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory):
    data = trial_data(tmp_path_factory.mktemp("cache"), n=32, sizes=(28,))
    return data.pools[28], data.labels


class Course(keras.callbacks.Callback):
    """What a tuner's callback sees of each epoch: the rate, and whether the block's weights changed in it."""

    def __init__(self):
        super().__init__()
        self.rates, self.moved = [], []

    def block(self):
        return np.array(self.model.get_layer("block3_conv").get_weights()[0])

    def on_epoch_begin(self, epoch, logs=None):
        self.before = self.block()

    def on_epoch_end(self, epoch, logs=None):
        self.rates.append(round(float(self.model.optimizer.learning_rate), 9))
        self.moved.append(bool(np.any(self.before != self.block())))


def fitted(radiographs, options=None, **values):
    """Its history and course; two epochs of the head in all that follows, half the rate from then on."""
    hp = keras_tuner.HyperParameters()
    hp.values = dict(toy(**values).values)
    model, course = Toy().build(hp), Course()
    options = {"validation_data": radiographs, "verbose": 0, "callbacks": [course]} | (options or {})
    return fit_plainly(model, TrainingSettings.of(hp.values), 2, *radiographs, **options), course, model


@pytest.mark.parametrize("augmentation", ["none", "light"])
def test_the_head_is_trained_first_at_its_own_rate_then_the_block_too(radiographs, augmentation):
    history, course, _ = fitted(radiographs, augmentation=augmentation)
    assert course.moved == [False, False, True, True]
    assert course.rates == [RATE, RATE, RATE / 2, RATE / 2]
    assert history.epoch == [0, 1, 2, 3]
    assert {len(values) for values in history.history.values()} == {4}


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_short_rung_trains_the_head_alone_for_just_its_epochs(radiographs, epochs):
    history, course, model = fitted(radiographs, {"epochs": epochs})
    assert course.moved == [False] * epochs
    assert course.rates == [RATE] * epochs
    assert len(history.history["val_loss"]) == epochs
    assert model.get_layer("block3_conv").trainable  # as it was built


def test_a_rung_that_goes_on_takes_up_where_the_last_one_ended(radiographs):
    assert fitted(radiographs, {"initial_epoch": 1, "epochs": 3})[1].moved == [False, True]
    assert fitted(radiographs, {"initial_epoch": 2, "epochs": 4})[1].moved == [True, True]


def test_schedule_plateau_lowers_the_rate_where_the_loss_stands_still(radiographs):
    still = {"learning_rate": 1e-6, "schedule": "plateau", "epochs": 6, "patience": 9}
    _, course, _ = fitted(radiographs, head_epochs=0, **still)
    lower, lowest = 1e-6 * PLATEAU_FACTOR, 1e-6 * PLATEAU_FACTOR**2
    assert course.rates == pytest.approx([1e-6] * 3 + [lower] * 2 + [lowest], rel=1e-2)
    assert fitted(radiographs, head_epochs=0, **still | {"schedule": "constant"})[1].rates == [1e-6] * 6


class Tuned(Toy):
    def build(self, hp):
        hp.values = dict(toy().values) | hp.values
        hp.Float("learning_rate", 1e-4, 1e-2, sampling="log")
        return super().build(hp)

    def fit(self, hp, model, *args, **options):
        return fit_plainly(model, TrainingSettings.of(hp.values), 2, *args, **options)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # KerasTuner 1.4.8
@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")  # Keras builds it with the first step
def test_hyperbands_score_is_what_its_best_network_reaches(radiographs, tmp_path):
    tuner = keras_tuner.Hyperband(Tuned(), "val_accuracy", max_epochs=2, factor=2, directory=tmp_path, seed=1)
    tuner.search(*radiographs, validation_data=radiographs, verbose=0)
    network = tuner.get_best_models(1)[0]
    accuracy = np.mean(network.predict(radiographs[0], verbose=0).argmax(1) == radiographs[1])
    assert accuracy == pytest.approx(tuner.oracle.get_best_trials()[0].score)


def test_crops_are_cut_from_the_images_as_they_are_given_anew_in_every_epoch(tmp_path, monkeypatch):
    data = trial_data(tmp_path, n=32, sizes=(56,))
    seen = []
    real = random_crops.CroppedPool.__getitem__

    def noted(self, rows):
        seen.append((self._pool.shape[1:], made := real(self, rows)))
        return made

    monkeypatch.setattr(random_crops.CroppedPool, "__getitem__", noted)
    for images in (data.pools[56], data.pools[56].astype(np.float32)):
        _, _, model = fitted((images, data.labels), {"epochs": 2}, crop="0.3", shape_jitter="strong")
        assert model.input_shape[1:] == (28, 28, 1)
    assert {shape for shape, _ in seen} == {(56, 56, 1)}
    assert {made.shape for _, made in seen} == {(16, 28, 28, 1)}
    first = np.concatenate([made for _, made in seen])
    assert len(np.unique(first.reshape(len(first), -1), axis=0)) == len(first) // 2  # bytes and floats alike
