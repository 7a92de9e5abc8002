"""The export of a model of two networks: on which images it is compared, and that it is whole or not there."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from xraytune import artifacts
from xraytune.errors import FatalError
from xraytune.evaluation import calibration
from xraytune.evaluation.referral.pair import Referral
from xraytune.inference import onnx_export, test_time_augmentation
from xraytune.inference.classifier import load_model
from xraytune.inference.model_card import Member, ModelCard, read_card, write_card
from xraytune.models import inputs, linear

pytest.importorskip("tf2onnx")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, when it saves


def network(path, size, odd=False):
    start = keras.Input((size, size, 1))
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(size // 2)(keras.layers.Rescaling(1 / 255)(start)))
    if odd:
        x = keras.ops.erfinv(x)  # TensorFlow has it, ONNX has not
    keras.Model(start, keras.layers.Dense(2, activation="softmax")(x)).save(path)
    return Member(path.name, artifacts.sha256(path), size, 0.5).to_json()


def saved(folder, odd=False):
    keras.utils.set_random_seed(3)
    members = (network(folder / "model-1.keras", 28), network(folder / "model-2.keras", 32, odd))
    card = ModelCard(("a", "b"), 1, 1, "crop", 0.5, "0.5", calibration.none(2).to_json(), {}, members)
    write_card(folder, card)
    return folder


def test_two_networks_are_exported_and_compared_on_a_hundred_images_the_given_ones_among_them(tmp_path, monkeypatch):
    seen = []
    squares = onnx_export._squares
    monkeypatch.setattr(onnx_export, "_squares", lambda *given: seen.append(squares(*given)) or seen[-1])
    radiograph = np.random.default_rng(0).integers(0, 256, (70, 60), dtype=np.uint8)
    files, worst = onnx_export.export(saved(tmp_path), [radiograph])
    assert worst <= onnx_export.TOLERANCE
    assert [path.name for path in files] == ["model-1.onnx", "model-2.onnx"]
    assert [s.shape for s in seen] == [(100, 28, 28, 1), (100, 32, 32, 1)]
    model = load_model(tmp_path)
    assert all((s[0] == model.prepare(radiograph)[s.shape[1]]).all() for s in seen)
    assert len({s[i].tobytes() for s in seen for i in range(100)}) == 200  # the others are drawn, each another
    exported = load_model(files[0])
    assert np.abs(exported.predict([radiograph]) - model.predict([radiograph])).max() <= onnx_export.TOLERANCE


def test_an_export_refers_the_same_images(tmp_path):
    folder = saved(tmp_path)
    radiographs = np.random.default_rng(1).integers(0, 256, (6, 70, 70), dtype=np.uint8)
    radiographs //= np.array([1, 2, 3, 4, 8, 16], np.uint8)[:, None, None]
    low, high = np.quantile(load_model(folder).predict(radiographs)[:, 1].astype(float), [0.3, 0.7])
    pair = Referral(float(low), float(high), 0.95, 0.9, 0.05, 300, 200)
    write_card(folder, replace(read_card(folder), referral=pair.to_json()))
    (exported, _), _ = onnx_export.export(folder)
    one, other = load_model(folder), load_model(exported)
    assert one.referral == other.referral == pair
    answers = one.answer(one.predict(radiographs))
    assert set(answers.tolist()) == {-1, 0, 1}
    assert answers.tolist() == other.answer(other.predict(radiographs)).tolist()


@pytest.mark.parametrize("kind", test_time_augmentation.KINDS)
def test_a_model_with_test_time_augmentation_applies_it_as_keras_and_as_onnx(tmp_path, kind):
    folder = saved(tmp_path)
    plain, radiographs = load_model(folder), np.random.default_rng(1).integers(0, 256, (3, 70, 70), dtype=np.uint8)
    write_card(folder, replace(read_card(folder), tta=kind))
    (exported, _), _ = onnx_export.export(folder)
    one, other = load_model(folder), load_model(exported)
    assert one.card.tta == other.card.tta == kind
    squares = {size: np.stack([one.prepare(radiograph)[size] for radiograph in radiographs]) for size in one.sizes}
    each = [test_time_augmentation.answers(plain.networks[i], squares[s], kind) for i, s in enumerate((28, 32))]
    np.testing.assert_allclose(one.predict(radiographs), np.mean(each, axis=0), atol=1e-6)
    np.testing.assert_allclose(other.predict(radiographs), one.predict(radiographs), atol=onnx_export.TOLERANCE)
    assert not np.allclose(one.predict(radiographs), plain.predict(radiographs), atol=1e-5)


@pytest.mark.parametrize(
    ("style", "channels", "normalization"),
    [("caffe", 1, "imagenet"), ("caffe", 3, "imagenet"), ("torch", 1, "imagenet"), ("caffe", 1, "standardized")],
)
def test_a_networks_own_normalisation_goes_with_it(tmp_path, style, channels, normalization):
    start = keras.Input((28, 28, channels))
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs.for_backbone(start, normalization, style))
    x = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(start, x).save(tmp_path / "model.keras")
    member = Member("model.keras", artifacts.sha256(tmp_path / "model.keras"), 28, 1.0).to_json()
    card = ModelCard(("a", "b"), 1, channels, "crop", 0.5, "0.5", calibration.none(2).to_json(), {}, (member,))
    write_card(tmp_path, card)
    [file], worst = onnx_export.export(tmp_path)
    assert worst <= onnx_export.TOLERANCE
    radiograph = np.random.default_rng(0).integers(0, 256, (40, 40, 3)[: 2 if channels == 1 else 3], dtype=np.uint8)
    expected = load_model(tmp_path).predict([radiograph])
    assert np.abs(load_model(file).predict([radiograph]) - expected).max() <= onnx_export.TOLERANCE


def test_an_export_that_can_not_be_run_is_refused_in_one_line(tmp_path, monkeypatch):
    before = sorted(path.name for path in saved(tmp_path).iterdir())
    monkeypatch.setattr(onnx_export, "_write", lambda model, path: path.write_bytes(b"no network"))
    with pytest.raises(FatalError, match=r"ONNX export of model-1\.keras can't be run: .*Nothing was kept"):
        onnx_export.export(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_network_that_onnx_can_not_say_leaves_no_file_of_the_others(tmp_path):
    before = sorted(path.name for path in saved(tmp_path, odd=True).iterdir())
    with pytest.raises(FatalError):
        onnx_export.export(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert read_card(tmp_path).onnx == ()


def test_an_export_that_answers_differently_is_refused_with_all_others(tmp_path, monkeypatch):
    export, before = onnx_export._write, sorted(path.name for path in saved(tmp_path).iterdir())

    def altered(model, path):
        """The second network with other weights, as a faulty conversion would leave it."""
        if model.input_shape[1] == 32:
            model = keras.models.clone_model(model)
        export(model, path)

    monkeypatch.setattr(onnx_export, "_write", altered)
    with pytest.raises(FatalError, match=r"model-2\.keras differs from Keras by .* nothing was kept"):
        onnx_export.export(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_linear_family_is_exported_like_any_network(tmp_path):
    keras.utils.set_random_seed(3)
    values = {"family": "linear", "linear/image_size": 64, "linear/cells": 16}
    model = linear.network(values, 1, 2, {})
    model.save(tmp_path / "model-1.keras")
    member = Member("model-1.keras", artifacts.sha256(tmp_path / "model-1.keras"), 64, 1.0).to_json()
    card = ModelCard(("a", "b"), 1, 1, "crop", 0.5, "0.5", calibration.none(2).to_json(), {}, (member,))
    write_card(tmp_path, card)
    _, worst = onnx_export.export(tmp_path)
    assert worst <= onnx_export.TOLERANCE
