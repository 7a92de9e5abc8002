"""An epoch is judged by averaged weights and statistics that fit them; training goes on as if nobody had looked."""

import keras
import numpy as np
import pytest

from xraytune.training.optimization import weight_averaging


@pytest.fixture
def trained():
    """A small network with batch normalisation, some steps into its training; and its images."""
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(0)
    images = rng.normal(5.0, 2.0, (64, 8, 8, 1)).astype(np.float32)
    labels = np.eye(2, dtype=np.float32)[(images.mean((1, 2, 3)) > 5).astype(int)]
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=weight_averaging.optimizer(keras.optimizers.SGD(0.5), steps=4), loss="categorical_crossentropy"
    )
    history = []
    for start in range(0, 64, 8):
        model.train_on_batch(images[start : start + 8], labels[start : start + 8])
        history.append([v.numpy() for v in model.trainable_variables])
    return model, images, history


def test_inside_the_weights_are_the_average_of_the_steps_that_half_an_epoch_back_count_most(trained):
    model, images, history = trained
    expected = history[0]
    for step in history[1:]:
        expected = [0.5 * a + 0.5 * b for a, b in zip(expected, step, strict=True)]  # four steps: half of it is two
    with weight_averaging.averaged(model, lambda: images):
        inside = [v.numpy() for v in model.trainable_variables]
    for found, wanted in zip(inside, expected, strict=True):
        assert np.allclose(found, wanted, atol=1e-5)
    assert not np.allclose(inside[0], history[-1][0], atol=1e-3)


def test_inside_the_statistics_are_those_of_the_averaged_weights(trained):
    model, images, _ = trained
    convolution, norm = model.layers[0], model.layers[1]
    with weight_averaging.averaged(model, lambda: images):
        features = convolution(images).numpy()
        assert np.allclose(norm.moving_mean.numpy(), features.mean((0, 1, 2)), atol=1e-4)
        assert np.allclose(norm.moving_variance.numpy(), features.var((0, 1, 2)), rtol=1e-3)


def test_afterwards_all_is_as_it_was_also_after_an_error(trained):
    model, images, history = trained
    statistics = [v.numpy() for v in model.non_trainable_variables]
    average = [v.numpy() for v in model.optimizer.variables]

    def look():
        with weight_averaging.averaged(model, lambda: images):
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        look()
    for now, before in zip(model.trainable_variables, history[-1], strict=True):
        assert np.allclose(now.numpy(), before, atol=1e-6)
    for now, before in zip(model.non_trainable_variables, statistics, strict=True):
        assert np.array_equal(now.numpy(), before)
    for now, before in zip(model.optimizer.variables, average, strict=True):
        assert np.allclose(now.numpy(), before, atol=1e-6)
    assert model.layers[1].momentum == keras.layers.BatchNormalization().momentum


def test_frozen_statistics_stay_and_no_image_is_read_for_them(trained):
    model, _, _ = trained
    model.layers[1].trainable = False
    before = model.layers[1].moving_mean.numpy()

    with weight_averaging.averaged(model, lambda: pytest.fail("images were asked for")):
        assert np.array_equal(model.layers[1].moving_mean.numpy(), before)


def test_an_optimiser_that_averages_by_itself_keeps_its_own_settings():
    own = keras.optimizers.Adam(1e-4, use_ema=True, ema_momentum=0.7)
    assert weight_averaging.optimizer(own, steps=100).ema_momentum == 0.7
    assert weight_averaging.optimizer(keras.optimizers.Adam(1e-4), steps=100).ema_momentum == pytest.approx(0.98)
