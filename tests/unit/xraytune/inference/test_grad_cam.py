"""Grad-CAM: from which feature maps, of which score, over which networks, and drawn on what."""

import keras
import numpy as np
import pytest

from xraytune.inference import grad_cam
from xraytune.models import cnn, densenet, heads

HEAD = {"head/pool": "avg", "head/layers": 0, "head/units": 8, "head/dropout": 0.0, "head/batch_norm": False}


def cnn_network(**values):
    own = {
        "cnn/image_size": 32, "cnn/normalization": "unit", "cnn/blocks": 2, "cnn/convolutions": 2, "cnn/width": 8,
        "cnn/growth": 1.0, "cnn/batch_norm": True, "cnn/pooling": "max", "cnn/dropout": 0.2,
    }  # fmt: skip
    return cnn.network(own | HEAD | values, 1, 2, {})


def feature_of(model):
    """The name of the layer whose output is explained."""
    output = grad_cam._feature(model)
    return next((layer.name for layer in model.layers if layer.output is output), None)


def backbone(cut):
    base = keras.applications.VGG16(include_top=False, weights=None, input_shape=(48, 48, 3))
    return keras.Model(base.input, heads.head(base.get_layer(cut).output, HEAD, 2))


def test_maps_are_those_behind_the_last_norm_and_activation_before_pooling():
    assert feature_of(cnn_network()) == "block2_relu2"
    assert feature_of(cnn_network(**{"cnn/batch_norm": False})) == "block2_relu2"
    assert feature_of(cnn_network(**{"head/pool": "flatten"})) == "block2_relu2"
    assert feature_of(cnn_network(**{"head/pool": "cnn", "head/batch_norm": True})) == "head_relu"
    assert feature_of(backbone("block4_pool")) == "block4_conv3"
    assert feature_of(backbone("block3_pool")) == "block3_conv3"


def test_a_densenet_is_explained_at_its_last_relu_with_2_by_2_cells():
    start = keras.Input((64, 64, 1))
    model = keras.Model(start, heads.head(densenet.convolutions(start, (1, 1, 1, 1)), HEAD, 2))
    assert feature_of(model) == "top_relu"


def test_a_network_without_convolutions_has_no_maps_and_is_explained_by_its_pixels():
    start = keras.Input((28, 28, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(start))
    model = keras.Model(start, heads.predictions(x, 2))
    assert feature_of(model) is None
    heat = grad_cam.heat_maps(model, np.full((1, 28, 28, 1), 90, np.uint8), np.array([1]))
    assert heat.shape == (1, 28, 28)
    assert heat.max() == 1


def test_maps_are_called_what_they_are_made_of():
    start = keras.Input((28, 28, 1))
    dense = keras.Model(start, heads.predictions(keras.layers.Flatten()(start), 2))
    assert grad_cam.method([bright(1.0)]) == "Grad-CAM"
    assert grad_cam.method([dense]) == "Gradient of the pixels"
    assert grad_cam.method([dense, bright(1.0)]) == "Grad-CAM and gradient of the pixels"
    heat = np.ones((4, 4), np.float32)
    assert grad_cam.caption(heat, "NORMAL", grad_cam.PIXELS) == "Gradient of the pixels for NORMAL"


def bright(scale, size=32):
    """A network to which brightness speaks for class 1, and how sure that makes it."""
    start = keras.Input((size, size, 1))
    x = keras.layers.Rescaling(1 / 255)(start)
    x = keras.layers.ReLU()(keras.layers.Conv2D(1, 1, use_bias=False)(x))
    out = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(start, out)
    model.layers[2].set_weights([np.ones((1, 1, 1, 1), np.float32)])
    model.layers[-1].set_weights([np.array([[0, scale]], np.float32), np.zeros(2, np.float32)])
    return model


def test_the_surest_answers_have_a_map_too():
    radiograph = np.zeros((1, 32, 32, 1), np.uint8)
    radiograph[:, :16, :16] = 255
    for scale in (1.0, 2000.0):
        model = bright(scale)
        heat = grad_cam.heat_maps(model, radiograph, np.array([1]))[0]
        assert heat[4:12, 4:12].min() > 0.5
        assert heat[20:, 20:].max() < 0.1
    assert model.predict_on_batch(radiograph.astype(np.float32))[0, 1] == 1  # saturated


def test_the_score_is_the_log_odds_of_the_class_however_sure_the_network_is():
    logits = np.array([[2.0, 0.5, -1.0], [300.0, -300.0, 0.0]], np.float32)
    chosen = np.eye(3, dtype=np.float32)[[0, 0]]
    found = np.asarray(grad_cam.log_odds(logits, chosen))
    p = np.exp(2.0) / np.exp([2.0, 0.5, -1.0]).sum()
    assert found[0] == pytest.approx(np.log(p / (1 - p)), rel=1e-5)
    assert found[1] == pytest.approx(300)


def test_a_single_sigmoid_output_is_the_second_class():
    start = keras.Input((32, 32, 1))
    x = keras.layers.Conv2D(1, 1, use_bias=False)(keras.layers.Rescaling(1 / 255)(start))
    out = keras.layers.Dense(1, activation="sigmoid")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(start, out)
    model.layers[2].set_weights([np.ones((1, 1, 1, 1), np.float32)])
    model.layers[-1].set_weights([np.ones((1, 1), np.float32), np.zeros(1, np.float32)])
    radiograph = np.full((1, 32, 32, 1), 200, np.uint8)
    assert not grad_cam.blank(grad_cam.heat_maps(model, radiograph, np.array([1]))[0])
    assert grad_cam.blank(grad_cam.heat_maps(model, radiograph, np.array([0]))[0])


def test_a_map_without_evidence_is_blank_and_its_caption_says_so():
    radiograph = np.zeros((1, 32, 32, 1), np.uint8)
    radiograph[:, :16, :16] = 255
    heat = grad_cam.heat_maps(bright(1.0), radiograph, np.array([0]))[0]
    assert grad_cam.blank(heat)
    assert "blank" in grad_cam.caption(heat, "NORMAL")
    assert "NORMAL" in grad_cam.caption(heat, "NORMAL")
    assert "blank" not in grad_cam.caption(np.ones((4, 4), np.float32), "NORMAL")
    gray = np.full((32, 32, 1), 77, np.uint8)
    assert (grad_cam.overlay(gray, heat) == 77).all()


def test_an_ensemble_s_map_is_the_weighted_mean_of_its_members_at_one_size(monkeypatch):
    maps = {"a": np.zeros((1, 8, 8), np.float32), "b": np.zeros((1, 8, 8), np.float32)}
    maps["a"][0, :4], maps["b"][0, 4:] = 1.0, 1.0
    monkeypatch.setattr(grad_cam, "heat_maps", lambda model, images, classes, edge: maps[model])
    radiographs = [np.zeros((1, 28, 28, 1), np.uint8), np.zeros((1, 64, 64, 1), np.uint8)]
    heat = grad_cam.ensemble_heat_maps(["a", "b"], [0.75, 0.25], radiographs, np.array([1]), 8)[0]
    assert heat[:4] == pytest.approx(1)
    assert heat[4:] == pytest.approx(1 / 3)


def test_members_of_different_sizes_are_drawn_at_one_edge_smoothly():
    radiograph = np.zeros((1, 32, 32, 1), np.uint8)
    radiograph[:, :16, :16] = 255
    large = radiograph.repeat(2, axis=1).repeat(2, axis=2)
    heat = grad_cam.ensemble_heat_maps([bright(1.0), bright(1.0, 64)], [1, 1], [radiograph, large], np.array([1]), 256)
    assert heat.shape == (1, 256, 256)
    assert heat.max() == pytest.approx(1)
    assert np.abs(np.diff(heat[0], axis=1)).max() < 0.3


def test_a_caption_is_a_strip_under_the_picture():
    picture = np.full((512, 512, 3), 50, np.uint8)
    out = grad_cam.captioned(picture, ["probability of PNEUMONIA 0.930", "Grad-CAM for PNEUMONIA"])
    assert (out[:512] == picture).all()
    assert out.shape[0] > 540
    assert out[512:].max() > 200


def test_a_long_caption_is_shrunk_to_the_picture_s_width():
    out = grad_cam.captioned(
        np.zeros((300, 300, 3), np.uint8), ["a long sentence about what the map shows " * 2 + "end"]
    )
    strip = out[300:].max(axis=(0, 2))
    assert strip[-3:].max() == 0
    assert strip.max() > 150
