"""A backbone by file in use: its features, a trial on them, and one ONNX graph of backbone and head."""

import dataclasses

import keras
import keras_tuner
import numpy as np
import onnx
import onnxruntime
import pytest

import spaces
from tests.inputs.made_backbones import FEATURES, SIZE, keras_backbone, onnx_backbone
from tests.inputs.made_networks import config, space, trial_data, write_weights
from xraytune.errors import InputError, TrialError, WeightsError
from xraytune.inference import onnx_export
from xraytune.inference.networks import predict_network
from xraytune.models import FAMILIES, backbones, cost, heads, inputs
from xraytune.models.file_backbones import network, reading
from xraytune.training.trainer import Trainer

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, when it saves

HEAD = {"head/pool": "avg", "head/layers": 1, "head/units": 8, "head/dropout": 0.0, "head/batch_norm": False}


def read(path, settings="imagenet", name="small"):
    return reading.read({name: str(path)}, {name: settings}, {}, FAMILIES)[name]


def images(channels=1, n=5, size=SIZE):
    return np.random.default_rng(0).integers(0, 256, (n, size, size, channels), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["map", "tokens", "vector"])
@pytest.mark.parametrize("channels", [1, 3])
def test_features_do_not_depend_on_the_layout_of_the_file(tmp_path, kind, channels):
    found = [
        network.Backbone(read(onnx_backbone(tmp_path / f"{layout}.onnx", kind=kind, layout=layout)), channels)
        for layout in ("nchw", "nhwc")
    ]
    first, second = (one.predict_on_batch(images(channels)) for one in found)
    assert first.shape == (5, *found[0].about.features)
    assert first == pytest.approx(second, abs=1e-5)
    assert np.ptp(first) > 0.1


@pytest.mark.filterwarnings("ignore")  # tf2onnx speaks of numpy's and its own future
def test_vgg16_in_onnx_has_the_features_of_keras_within_half_precision(tmp_path):
    weights = {"vgg16": write_weights("vgg16", tmp_path / "vgg16_imagenet_notop.weights.h5")}
    start = keras.Input((48, 48, 3))
    body = keras.Model(start, backbones.body("vgg16", start, weights).get_layer("block3_pool").output)
    body(np.zeros((1, 48, 48, 3), np.float32))  # Keras exports only what was called once
    body.export(str(tmp_path / "vgg.onnx"), format="onnx", verbose=False)
    body.save(tmp_path / "vgg.keras")
    gray = inputs.pixels(48, 1)
    whole = keras.Model(gray, body(inputs.for_backbone(gray, "imagenet", "caffe")))
    pixels = images(1, 4, 48)
    wanted = whole.predict_on_batch(pixels)
    for file in ("vgg.onnx", "vgg.keras"):
        found = read(tmp_path / file, "caffe", "mine")
        assert (found.image_size, found.colours, found.features) == (48, "bgr", (6, 6, 256))
        got = network.Backbone(found, 1).predict_on_batch(pixels)
        assert np.abs(got - wanted).max() <= np.abs(wanted).max() * 2.0**-11
        values = {"family": "vgg_frozen", "vgg_frozen/backbone": "vgg16", "vgg_frozen/image_size": 48,
                  "vgg_frozen/cut": "block3_pool"}  # fmt: skip
        assert 1e9 * found.gflop == pytest.approx(cost.cost(values).prefix, rel=0.02)


@pytest.mark.parametrize("pool", heads.POOLS)
@pytest.mark.parametrize("shape", [(1, 1, 6), (257, 1, 6), (16, 16, 6), (3, 5, 6)])
def test_every_head_takes_vectors_tokens_and_maps(tmp_path, pool, shape):
    about = dataclasses.replace(read(onnx_backbone(tmp_path / "s.onnx")), features=shape)
    head = network.head_network(about, HEAD | {"head/pool": pool}, 3)
    features = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    assert head.predict_on_batch(features).sum(axis=1) == pytest.approx(np.ones(2), abs=1e-5)
    assert network.backbone_of(head) == about


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("backbones")


@pytest.fixture(params=["s.onnx", "s.keras"])
def backbone(request, folder):
    path = folder / request.param
    if not path.exists():
        (onnx_backbone if path.suffix == ".onnx" else keras_backbone)(path)
    return read(path, "unit")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_trial_trains_a_head_on_cached_features_and_answers_for_images(tmp_path, backbone, channels):
    data = trial_data(tmp_path, sizes=(SIZE,), channels=channels)
    searched = space(files={"small": backbone}, families=("small",), channels=channels)
    point = config(searched, family="small", small__augmentation_copies=2, epochs=10, learning_rate=0.01)
    trial = Trainer(searched, point, data, max_epochs=3)
    values = [trial.step().value for _ in range(3)]
    result = trial.finish(timed=True)
    assert max(values) > 0.8  # the brighter half tells the class
    assert result.metrics["inference_ms"] > 0
    assert trial.model.input_shape == (None, 16, 16, FEATURES)
    assert len(list((tmp_path / "prefixes").glob("*/features.npy"))) == 3  # plain and two copies
    kept = trial.validation_predictions()
    assert predict_network(trial.whole, np.asarray(data.pools[SIZE])[data.validation]) == pytest.approx(kept, abs=5e-3)


def test_features_are_computed_once_for_trials_and_anew_for_another_file_or_setting(tmp_path, backbone):
    data, known = trial_data(tmp_path, sizes=(SIZE,)), []
    other = read(onnx_backbone(tmp_path / "other.onnx", seed=7), "unit")
    for one in (backbone, backbone, read(backbone.path, "centered"), other):
        searched = space(files={"small": one}, families=("small",))
        point = config(searched, family="small", small__augmentation_copies=0)
        Trainer(searched, point, data, max_epochs=1).step()
        known.append(len(list((tmp_path / "prefixes").glob("*/features.npy"))))
    assert known == [1, 1, 2, 3]


def test_a_family_of_a_file_is_searched_beside_ours(backbone):
    searched = space(files={"small": backbone})
    assert searched.families == (*(f for f in FAMILIES if not f.startswith("vgg")), "small")
    assert space(files={"small": backbone}, families=("cnn", "small")).families == ("cnn", "small")
    point = config(searched, family="small")
    assert cost.cost(point.values).prefix == pytest.approx(1e9 * backbone.gflop)
    assert cost.cost(point.values).kept == 2 * 16 * 16 * FEATURES
    assert spaces.image_sizes(space(files={"small": backbone}, families=("small",))) == (SIZE,)
    with pytest.raises(InputError, match="smoke takes no backbones by file"):
        spaces.offered("smoke", (), {"small": backbone})
    with pytest.raises(InputError, match="--families has no small"):
        spaces.offered("chest_xray", ("cnn",), {"small": backbone})


def test_a_file_that_changes_under_a_search_is_named(tmp_path):
    found = read(onnx_backbone(tmp_path / "s.onnx"))
    onnx_backbone(tmp_path / "s.onnx", seed=2)
    with pytest.raises(WeightsError, match="is not the file of backbone small"):
        network.Backbone(found, 1)
    searched = space(files={"small": found}, families=("small",))
    with pytest.raises((WeightsError, TrialError), match="is not the file"):
        Trainer(searched, config(searched, family="small"), trial_data(tmp_path, sizes=(SIZE,)), max_epochs=1)


def test_kerastuner_trains_on_features_that_are_computed_first(tmp_path, backbone, monkeypatch):
    data = trial_data(tmp_path, sizes=(48,), n=64)
    searched = space(files={"small": backbone}, families=("small",))
    hp = keras_tuner.HyperParameters()
    hp.values = {"family": "small", "epochs": 30, "learning_rate": 0.01}
    model = searched.build(hp)
    history = searched.fit(hp, model, data.pools[48], data.labels, verbose=0)
    assert history.history["accuracy"][-1] > 0.9
    given = np.zeros((64, *backbone.features), np.float32)
    monkeypatch.setattr(network.Backbone, "__init__", lambda *_: pytest.fail("features were given"))
    searched.fit(hp, model, given, data.labels, epochs=1, verbose=0)


@pytest.mark.filterwarnings("ignore")  # tf2onnx speaks of numpy's and its own future
@pytest.mark.parametrize(
    ("kind", "channels"), [("map", 1), ("map", 3), ("tokens", 1), ("vector", 1), ("nhwc", 1), ("keras", 3)]
)
def test_backbone_and_head_become_one_graph(tmp_path, kind, channels):
    if kind == "keras":
        about = read(keras_backbone(tmp_path / "s.keras"), "caffe")
    else:
        layout = "nhwc" if kind == "nhwc" else "nchw"
        path = onnx_backbone(tmp_path / "s.onnx", kind="map" if kind == "nhwc" else kind, layout=layout)
        about = read(path, "bgr,imagenet")
    head = network.head_network(about, HEAD, 2)
    joined = network.whole(head, channels)
    onnx_export._write(joined, tmp_path / "joined.onnx")
    onnx.checker.check_model(tmp_path / "joined.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "joined.onnx")
    (one,) = session.get_inputs()
    pixels = images(channels, 33)
    got = session.run(None, {one.name: pixels.astype(np.float32)})[0]
    assert got == pytest.approx(joined.predict_on_batch(pixels), abs=1e-5)
    assert np.ptp(got[:, 1]) > 1e-4
