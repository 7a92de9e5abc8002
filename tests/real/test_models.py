"""On real X-rays with VGG16's real weights: a frozen trial learns, and the kept prefix is the network's own output,
that of a file of it too."""

import dataclasses
import os
from pathlib import Path

import keras
import numpy as np
import pytest

import spaces
from tests.inputs.made_networks import config
from xraytune import data as data_package
from xraytune.data import arrays
from xraytune.models import backbones, inputs
from xraytune.models.file_backbones import reading
from xraytune.models.file_backbones.network import Backbone
from xraytune.training.inputs.trial_data import TrialData
from xraytune.training.trainer import Trainer


@pytest.mark.parametrize("family", ["vgg_frozen", pytest.param("vgg_finetuned", marks=pytest.mark.long)])
def test_vgg16_with_its_real_weights_learns_on_four_hundred_images(family, tmp_path):
    radiographs = Path(os.environ["XRAYTUNE_DATA"]) / "chest_xray"
    weights = backbones.reachable(Path(os.environ["XRAYTUNE_WEIGHTS"]), names=["vgg16"])
    assert "vgg16" in weights
    dataset = data_package.load(str(radiographs))
    train, held = dataset.select("train"), dataset.select("val")
    rng = np.random.default_rng(0)
    data = dataclasses.replace(
        TrialData.of(dataset, {48: arrays.pool(dataset, 48)}, cache=tmp_path),
        # whole blocks of the prefix's 64 rows: single rows would have nearly every block computed
        train=np.sort((64 * rng.permutation(len(train) // 64)[:6, None] + np.arange(64)).ravel()),
        validation=np.arange(len(train), len(train) + len(held), 5),
    )
    space = spaces.get("chest_xray", spaces.SpaceContext(weights={n: str(p) for n, p in weights.items()}))
    values = {
        "family": family,
        f"{family}/image_size": 48,
        "augmentation": "none",
        "shape_jitter": "none",
        "patience": 8,
    }
    training = Trainer(space, config(space, **values), data, max_epochs=15 if family == "vgg_frozen" else 5)
    assert training.prefix is not None
    while not training.done:
        training.step()
    # the epoch that F2 chooses may be an early one: what is asked here is whether the network learns
    assert max(row["val_auc"] for row in training.finish().curve) > 0.9, training.curve
    np.testing.assert_allclose(
        training.model.predict(np.asarray(training.images.pool[data.validation]), verbose=0),
        training.validation_predictions(),
        atol=2e-2,
    )


@pytest.mark.filterwarnings("ignore")  # tf2onnx speaks of numpy's and its own future
@pytest.mark.parametrize("suffix", [".onnx", ".keras"])
def test_vgg16_by_file_has_the_features_of_vgg16_within_half_precision(suffix, tmp_path):
    weights = backbones.reachable(Path(os.environ["XRAYTUNE_WEIGHTS"]), names=["vgg16"])
    start, gray = keras.Input((64, 64, 3)), inputs.pixels(64, 1)
    body = backbones.body("vgg16", start, weights)
    body(np.zeros((1, 64, 64, 3), np.float32))  # Keras exports only what was called once
    file = tmp_path / f"vgg16{suffix}"
    body.save(file) if suffix == ".keras" else body.export(str(file), format="onnx", verbose=False)
    found = reading.read({"vgg": str(file)}, {"vgg": "caffe"}, {}, ())["vgg"]
    dataset = data_package.load(str(Path(os.environ["XRAYTUNE_DATA"]) / "chest_xray"))
    images = np.load(arrays.pool(dataset, 64), mmap_mode="r")[:32]
    whole = keras.Model(gray, body(inputs.for_backbone(gray, "imagenet", "caffe")))
    wanted = whole.predict_on_batch(images)
    got = Backbone(found, 1).predict_on_batch(images)
    assert np.abs(got - wanted).max() <= np.abs(wanted).max() * 2.0**-11
