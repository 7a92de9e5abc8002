"""Batch normalisation by the fused kernel trains, answers and is saved as Keras's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from xraytune.training.optimization.fused_batch_norm import fuse, normalisations

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX fuses by itself")

LABELS = np.eye(2, dtype=np.float32)[np.arange(16) % 2]


def images() -> np.ndarray:
    return np.random.default_rng(0).normal(3.0, 2.0, (16, 8, 8, 1)).astype(np.float32)


def network(norm: Callable[[], keras.layers.Layer]) -> keras.Model:
    """Two normalisations, one of them in a network inside, from the same seed every time."""
    keras.utils.set_random_seed(4)
    inside = keras.Sequential([keras.Input((6, 6, 4)), keras.layers.Conv2D(4, 3), norm()])
    x = start = keras.Input((8, 8, 1))
    x = norm()(keras.layers.Conv2D(4, 3)(x))
    x = keras.layers.GlobalAveragePooling2D()(inside(keras.layers.ReLU()(x)))
    model = keras.Model(start, keras.layers.Dense(2, activation="softmax", dtype="float32")(x))
    model.compile(optimizer=keras.optimizers.SGD(0.3), loss="categorical_crossentropy", jit_compile=False)
    return model


def trained(norm: Callable[[], keras.layers.Layer], *, fused: bool) -> keras.Model:
    model = network(norm)
    if fused:
        fuse(model)
    for _ in range(6):
        model.train_on_batch(images(), LABELS)
    return model


@pytest.mark.parametrize(
    "options",
    [{}, {"scale": False}, {"center": False}, {"momentum": 0.5, "epsilon": 1.1e-5}, {"axis": 3}],
    ids=["usual", "without scale", "without centre", "other momentum", "axis named"],
)
def test_it_trains_to_the_weights_and_statistics_of_keras_s_own(options: dict[str, object]) -> None:
    ours, theirs = (trained(lambda: keras.layers.BatchNormalization(**options), fused=f) for f in (True, False))
    for found, wanted in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert np.allclose(found, wanted, atol=2e-5)
    assert np.allclose(ours.predict(images(), verbose=0), theirs.predict(images(), verbose=0), atol=1e-5)


def test_the_kernel_really_is_in_the_trained_step() -> None:
    for fused in (True, False):
        model = network(keras.layers.BatchNormalization)
        if fused:
            fuse(model)
        import tensorflow as tf

        graph = tf.function(lambda x, model=model: model(x, training=True)).get_concrete_function(images()).graph
        functions = [graph, *(f.graph for f in graph._functions.values() if hasattr(f, "graph"))]
        assert any("FusedBatchNorm" in op.type for g in functions for op in g.get_operations()) is fused


def test_in_bfloat16_it_computes_in_float32_as_keras_s_own_does() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        ours, theirs = (trained(keras.layers.BatchNormalization, fused=f) for f in (True, False))
    finally:
        keras.config.set_dtype_policy("float32")
    for found, wanted in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert np.allclose(found, wanted, atol=0.05)
    assert [layer.compute_dtype for layer in normalisations(ours)] == ["bfloat16"] * 2


# Keras 3.15 reads its variables so when it saves them
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_what_is_saved_is_keras_s_own_layer(tmp_path: Path) -> None:
    model = trained(keras.layers.BatchNormalization, fused=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert np.array_equal(loaded.predict(images(), verbose=0), model.predict(images(), verbose=0))
    assert all("call" not in vars(layer) for layer in normalisations(loaded))


def test_a_frozen_one_stays_in_inference_mode() -> None:
    model = network(keras.layers.BatchNormalization)
    fuse(model)
    for layer in normalisations(model):
        layer.trainable = False
    model.compile(optimizer="sgd", loss="categorical_crossentropy")
    before = [layer.moving_mean.numpy() for layer in normalisations(model)]
    model.train_on_batch(images(), LABELS)
    for layer, mean in zip(normalisations(model), before, strict=True):
        assert np.array_equal(layer.moving_mean.numpy(), mean)


class Own(keras.layers.BatchNormalization):
    """Somebody's own."""


@pytest.mark.parametrize("norm", [Own, keras.layers.LayerNormalization])
def test_what_is_not_keras_s_own_layer_is_left_alone(norm: Callable[[], keras.layers.Layer]) -> None:
    model = network(norm)
    fuse(model)
    assert all("call" not in vars(layer) for layer in model.layers)


def test_vectors_are_normalised_as_before() -> None:
    model = keras.Sequential([keras.Input((5,)), keras.layers.BatchNormalization(), keras.layers.Dense(2)])
    fuse(model)
    model.compile(optimizer="sgd", loss="mse")
    model.train_on_batch(np.ones((16, 5), np.float32), LABELS)
    assert float(model.layers[0].moving_mean[0]) == pytest.approx(0.01)
