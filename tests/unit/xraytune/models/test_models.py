"""Networks: every family takes raw pixels, gray or colour; weights files are what they say or are refused."""

import h5py
import keras
import numpy as np
import pytest

from tests.inputs.made_networks import config, space, write_weights
from xraytune.errors import WeightsError
from xraytune.models import backbones, heads
from xraytune.models.weight_files import check_file, expected, read
from xraytune.training.optimization.settings import TrainingSettings


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory):
    return write_weights("vgg16", tmp_path_factory.mktemp("weights") / "vgg16_imagenet_notop.weights.h5")


def build(hypermodel, **values):
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    hp.values = dict(config(hypermodel, **values).values)
    return hypermodel.build(hp)


def radiographs(size, channels, n=3):
    return np.random.default_rng(0).integers(0, 255, (n, size, size, channels)).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "values",
    [
        *({"family": family} for family in space().families),
        {"family": "dense", "dense__normalization": "standardized"},
        {"family": "dense", "dense__layers": 6, "dense__normalization": "centered"},
        {"family": "cnn", "cnn__image_size": 28, "cnn__blocks": 5},
        {"family": "cnn", "cnn__convolutions": 2, "cnn__pooling": "avg", "cnn__dropout": 0.25},
    ],
)
def test_networks_take_raw_pixels_and_end_in_a_softmax(values, channels):
    network = build(space(channels=channels, classes=3), **values)
    out = network.predict_on_batch(radiographs(network.input_shape[1], channels))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("pool", heads.POOLS)
def test_every_head_ends_any_feature_map(pool):
    values = {"head/pool": pool, "head/layers": 2, "head/units": 8, "head/dropout": 0.2, "head/batch_norm": True}
    x = keras.Input((28, 28, 16))
    network = keras.Model(x, heads.head(x, values, 2))
    assert network.output_shape == (None, 2)
    assert network.count_params() < 30_000  # flattening averages down to 7 × 7 first


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pool", heads.POOLS)
def test_every_head_trains_on_gray_and_rgb_with_two_and_three_classes(pool, channels, classes):
    network = build(
        space(channels=channels, classes=classes),
        family="cnn", cnn__image_size=28, cnn__blocks=1, cnn__width=8, head__pool=pool, head__layers=1, head__units=8,
        learning_rate=1e-2, optimizer="sgd",
    )  # fmt: skip
    trained = [layer for layer in network.layers if layer.name.startswith(("head_", "predictions")) and layer.weights]
    assert any(isinstance(layer, keras.layers.Conv2D) for layer in trained) == (pool == "cnn")
    before = [layer.get_weights()[0] for layer in trained]
    x, labels = radiographs(28, channels, n=12), np.arange(12) % classes
    loss, *_ = network.train_on_batch(x, np.eye(classes, dtype=np.float32)[labels])
    assert np.isfinite(loss)
    assert all(np.any(layer.get_weights()[0] != was) for layer, was in zip(trained, before, strict=True))
    np.testing.assert_allclose(network.predict_on_batch(x).sum(axis=1), np.ones(12), atol=1e-5)


@pytest.mark.parametrize("how", ["imagenet", "unit", "standardized"])
def test_a_vgg_takes_gray_images_with_each_normalization(vgg16, how):
    network = build(
        space(weights={"vgg16": str(vgg16)}),
        family="vgg_frozen",
        vgg_frozen__image_size=48,
        vgg_frozen__normalization=how,
    )
    assert network.input_shape == (None, 48, 48, 1)
    assert [layer.name for layer in network.layers if layer.trainable_weights] == ["head_dense1", "predictions"]


def test_vgg_preprocesses_as_keras_does(vgg16):
    """Our layers give what keras.applications' own preprocessing gives, on the same weights."""
    network = build(
        space(weights={"vgg16": str(vgg16)}, channels=3),
        family="vgg_frozen",
        vgg_frozen__image_size=48,
        vgg_frozen__cut="block3_pool",
    )
    reference = keras.applications.VGG16(include_top=False, weights=str(vgg16), input_shape=(48, 48, 3))
    x = radiographs(48, 3).astype(np.float32)
    ours = keras.Model(network.inputs, network.get_layer("block3_pool").output).predict_on_batch(x)
    theirs = keras.Model(reference.inputs, reference.get_layer("block3_pool").output).predict_on_batch(
        keras.applications.vgg16.preprocess_input(x.copy())
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3 * theirs.max())


def test_fine_tuning_trains_the_last_blocks_only(vgg16):
    network = build(
        space(weights={"vgg16": str(vgg16)}),
        family="vgg_finetuned",
        vgg_finetuned__image_size=48,
        vgg_finetuned__cut="block4_pool",
        vgg_finetuned__trained_blocks=1,
    )
    trained = {layer.name for layer in network.layers if layer.trainable_weights}
    assert trained == {"block4_conv1", "block4_conv2", "block4_conv3", "head_dense1", "predictions"}


def test_the_list_of_a_backbones_layers_is_kerass():
    for name, make in (("vgg19", keras.applications.VGG19),):
        model = make(include_top=False, weights=None, input_shape=(32, 32, 3))
        layers = [(la.name, tuple(tuple(w.shape) for w in la.weights)) for la in model.layers if la.weights]
        assert layers == expected(name)


def test_weights_are_found_by_our_name_and_by_kerass(tmp_path, monkeypatch, vgg16):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("XRAYTUNE_WEIGHTS", raising=False)
    assert backbones.reachable(vgg16.parent) == {"vgg16": vgg16}
    monkeypatch.setenv("XRAYTUNE_WEIGHTS", str(vgg16.parent))
    assert backbones.reachable() == {"vgg16": vgg16}
    monkeypatch.delenv("XRAYTUNE_WEIGHTS")
    assert backbones.reachable() == {}
    older = tmp_path / "none" / "models" / backbones.file_names("vgg16")[1]
    older.parent.mkdir(parents=True)
    arrays = read("vgg16", vgg16)
    with h5py.File(older, "w") as file:
        file.attrs["layer_names"] = [b"input_1", *(name.encode() for name in arrays)]
        file.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
        for name, values in arrays.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{i}".encode() for i in range(len(values))]
            for i, value in enumerate(values):
                group[f"{name}/{i}"] = value
    assert backbones.reachable() == {"vgg16": older}
    np.testing.assert_array_equal(read("vgg16", older)["block5_conv3"][0], arrays["block5_conv3"][0])


def test_a_truncated_file_and_another_networks_are_refused(tmp_path, vgg16):
    half = tmp_path / "vgg16_imagenet_notop.weights.h5"
    half.write_bytes(vgg16.read_bytes()[: vgg16.stat().st_size // 2])
    with pytest.raises(WeightsError, match=f"{half}: damaged"):
        backbones.reachable(tmp_path)
    half.write_text("not found")
    with pytest.raises(WeightsError, match="damaged or no weights file"):
        backbones.reachable(tmp_path)
    with pytest.raises(WeightsError, match="not the weights of vgg19: block3_conv4"):
        check_file("vgg19", vgg16)
    with pytest.raises(WeightsError, match="is no folder"):
        backbones.reachable(tmp_path / "nowhere")


def test_missing_weights_name_the_file_to_put_where(tmp_path):
    line = backbones.missing(["vgg16"], tmp_path)
    assert "vgg16_imagenet_notop.weights.h5" in line
    assert str(tmp_path) in line


def test_schedules():
    cosine = TrainingSettings(28, epochs=11, schedule="cosine", learning_rate=1.0)
    assert cosine.rate(0.0) < cosine.rate(0.5) < cosine.rate(1.0) == 1.0
    assert cosine.rate(6) == pytest.approx(0.5)
    assert TrainingSettings(28, schedule="plateau", learning_rate=1.0).rate(3, drops=2) == pytest.approx(0.09)
    warmed = TrainingSettings(28, head_epochs=2, rate_factor=0.1, learning_rate=1.0)
    assert (warmed.rate(1), warmed.rate(2)) == (1.0, 0.1)
