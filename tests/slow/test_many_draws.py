"""Every recipe and two hundred draws of the space build; one of each mode trains a step; memory does not grow."""

import gc
import weakref

import keras
import keras_tuner
import numpy as np
import psutil
import pytest

from spaces import recipes
from tests.inputs.made_networks import Toy, config, kept_and_whole, space, toy, trial_data, write_weights
from tests.unit.spaces.test_spaces import draw
from xraytune.models.weight_files import DENSENET_BLOCKS, VGG_CONVOLUTIONS
from xraytune.training.inputs import batches
from xraytune.training.trainer import Trainer

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    names = (*VGG_CONVOLUTIONS, *DENSENET_BLOCKS)
    return {name: str(write_weights(name, folder / f"{name}_imagenet_notop.weights.h5")) for name in names}


def build(hypermodel, values):
    keras.backend.clear_session()
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    return hypermodel.build(hp)


@pytest.mark.parametrize("part", range(10))
def test_two_hundred_draws_build(weights, part):
    full = space(weights=weights, channels=1 + 2 * (part % 2), classes=2 + part % 2)
    for seed in range(20 * part, 20 * part + 20):
        network = build(full, draw(full, seed))
        assert network.output_shape == (None, 2 + part % 2)


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_builds(weights, name):
    full = space(weights=weights)
    values, _ = recipes.point(recipes.RECIPES[name], full)
    assert build(full, values).output_shape == (None, 2)


MODES = [
    {"family": "vgg_frozen", "vgg_frozen__backbone": "vgg19", "vgg_frozen__image_size": 48},
    {
        "family": "vgg_finetuned",
        "vgg_finetuned__image_size": 48,
        "vgg_finetuned__trained_blocks": 2,
        "vgg_finetuned__head_epochs": 1,
    },
    {"family": "densenet", "densenet__mode": "frozen", "densenet__image_size": 48},
    {"family": "densenet", "densenet__mode": "last_block", "densenet__image_size": 48, "densenet__head_epochs": 1},
    {"family": "densenet", "densenet__mode": "scratch", "densenet__image_size": 48},
]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("values", MODES, ids=lambda v: v.get("densenet__mode", v["family"]))
def test_each_mode_trains_and_predicts_on_gray_and_on_rgb(weights, values, classes, tmp_path):
    channels = 1 if classes == 2 else 3
    full = space(weights=weights, channels=channels, classes=classes)
    data = trial_data(tmp_path, n=48, classes=classes, channels=channels, sizes=(48,))
    training = Trainer(full, config(full, **values, batch_size=16), data, max_epochs=2)
    later = [layer for layer in training._thaw if layer.weights]  # a head that is trained first: what joins it then
    assert bool(later) == any("head_epochs" in name for name in values)
    begun = [layer.get_weights()[0] for layer in later]
    training.step()
    assert all(np.array_equal(layer.get_weights()[0], w) for layer, w in zip(later, begun, strict=True))
    training.step()
    assert not any(np.array_equal(layer.get_weights()[0], w) for layer, w in zip(later, begun, strict=True))
    training.finish()
    images = data.pools[48][data.validation]
    np.testing.assert_allclose(training.model.predict(images, verbose=0), training.validation_predictions(), atol=2e-2)


@pytest.mark.parametrize("copies", [0, 2])
@pytest.mark.parametrize("mode", ["frozen", "last_block"])
def test_a_densenets_kept_prefix_changes_nothing(weights, mode, copies, tmp_path):
    full = space(weights=weights)
    data = trial_data(tmp_path, n=64, sizes=(48,))
    values = {"family": "densenet", "densenet__mode": mode, "densenet__image_size": 48, "head__dropout": 0.0}
    values |= {"densenet__head_epochs": 0} if mode == "last_block" else {}  # the block trains from the first epoch on
    values |= {"augmentation": "medium" if copies else "none", "densenet__augmentation_copies": copies}
    point = config(full, **values, shape_jitter="none", batch_size=16, learning_rate=1e-4)
    kept, whole = kept_and_whole(full, point, data, epochs=2)
    np.testing.assert_allclose(kept.validation_predictions(), whole.validation_predictions(), atol=1e-2)
    assert abs(kept.finish().metrics["val_auc"] - whole.finish().metrics["val_auc"]) < 0.005


def test_over_fifty_small_trials_a_third_with_a_kept_prefix_no_network_stays_alive_and_memory_does_not_grow(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(batches, "LEAST_EPOCH", 36)
    data = trial_data(tmp_path, n=48)
    smoke = space("smoke")
    used, networks = [], []
    for seed in range(50):
        family = ("dense", "cnn", "toy")[seed % 3]
        point = toy(seed=seed, head_epochs=0) if family == "toy" else config(smoke, family=family, seed=seed)
        training = Trainer(Toy() if family == "toy" else smoke, point, data, max_epochs=1)
        assert (training.prefix is not None) == (family == "toy")
        training.step()
        training.finish()
        networks.append(weakref.ref(training.model))
        del training
        gc.collect()
        used.append(psutil.Process().memory_info().rss / 2**20)
    assert all(network() is None for network in networks)
    assert used[-1] - used[14] < 35 * 0.3, used
