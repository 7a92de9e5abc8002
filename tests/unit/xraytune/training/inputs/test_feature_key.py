"""Which prefixes share what is kept: builds of one network do, whatever else computes something else does not."""

import keras
import numpy as np
import pytest

from xraytune.training.inputs import frozen_features


def network(scale=1.0, add="u", order=("u", "v"), strides=1, inner=2.0):
    """A frozen beginning with everything that a foreign network may hold: constants, branches, a network inside."""
    x = start = keras.Input((8, 8, 1))
    x = x * scale
    branch = {name: keras.layers.Conv2D(2, 3, padding="same", trainable=False)(x) for name in ("w", "u", "v")}
    x = keras.layers.Add()([branch["w"], branch[add]])
    x = keras.layers.Concatenate()([x, *(branch[name] for name in order)])
    y = begin = keras.Input((8, 8, 6))
    y = keras.layers.Conv2D(2, 3, strides=strides, trainable=False)(y) * inner
    x = keras.Model(begin, y)(x)
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    whole = keras.Model(start, keras.layers.Dense(2, activation="softmax", name="predictions")(x))
    rng = np.random.default_rng(0)
    whole.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in whole.weights])
    return whole


def kept(model, tmp_path):
    """The prefix's features of eight images, as they are kept in one cache."""
    pool = np.random.default_rng(1).integers(0, 9, (8, 8, 8, 1)).astype(np.uint8)
    prefix = frozen_features.split(model)
    found = np.array(prefix.features(pool, np.arange(8), fingerprint="f", cache=tmp_path))
    computed = prefix.model.predict_on_batch(pool).astype(np.float16)
    return prefix.key, found, computed


def test_two_builds_of_a_network_share_a_key_whatever_its_layers_are_called(tmp_path):
    one, two = network(), network()
    assert {layer.name for layer in one.layers} != {layer.name for layer in two.layers}
    assert kept(one, tmp_path)[0] == kept(two, tmp_path)[0]
    assert len(list((tmp_path / "prefixes").glob("*/about.json"))) == 1


def test_other_constants_or_wiring_are_another_prefix(tmp_path):
    keys = []
    for other in ({}, {"scale": 1 / 255}, {"add": "v"}, {"order": ("v", "u")}, {"strides": 2}, {"inner": 3.0}):
        keras.backend.clear_session()  # as between trials: names alone do not tell them apart
        keys.append(frozen_features.split(network(**other)).key)
    assert keys[0] not in keys[1:]
    keras.backend.clear_session()
    kept(network(), tmp_path)
    keras.backend.clear_session()
    _, features, computed = kept(network(order=("v", "u")), tmp_path)
    np.testing.assert_allclose(features, computed, rtol=1e-2, atol=1e-2)


def test_a_network_inside_the_network_is_kept_as_any_layer():
    model = network()
    prefix = frozen_features.split(model)
    assert prefix.layer == next(layer.name for layer in model.layers if isinstance(layer, keras.Model))
    pixels = np.random.default_rng(1).integers(0, 9, (8, 8, 8, 1)).astype(np.uint8)
    tail = keras.Model(prefix.model.output, model.output)
    answers = tail.predict_on_batch(prefix.model.predict_on_batch(pixels))
    np.testing.assert_allclose(answers, model.predict_on_batch(pixels), rtol=1e-5)


class Secretive(keras.layers.Layer):
    """A layer that does not tell what it was made with."""

    def __init__(self, function):
        super().__init__(trainable=False)
        self.function = function

    def build(self, shape):
        self.scale = self.add_weight(shape=(), initializer="ones", trainable=False)

    def call(self, x):
        return self.function(x) * self.scale


def test_what_nobody_can_tell_from_another_is_not_kept():
    x = start = keras.Input((8, 8, 1))
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(Secretive(lambda x: x + 1)(x))
    model = keras.Model(start, keras.layers.Dense(2, name="predictions")(x))
    with pytest.raises(NotImplementedError):
        model.get_layer(index=1).get_config()
    assert frozen_features.split(model) is None
