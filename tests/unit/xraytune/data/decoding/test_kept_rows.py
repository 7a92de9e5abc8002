"""What is kept by row is of the right image, whatever the seed makes of the order: prefixes and shifted views."""

import keras
import numpy as np
import pytest

from search.driver.options import StudyOptions
from search.driver.prepare import prepare
from tests.inputs.made_radiographs import kaggle
from xraytune.data import arrays, load
from xraytune.training import epoch_evaluation
from xraytune.training.inputs import frozen_features, shifted_views
from xraytune.training.inputs.trial_data import TrialData


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """One folder as searches of seed 0, 1 and again 0 see it, with one cache."""
    home = tmp_path_factory.mktemp("searched")
    radiographs = kaggle(home / "radiographs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XRAYTUNE_CACHE", str(home / "cache"))
        found = []
        for seed in (0, 1, 0):
            options = StudyOptions(data=str(radiographs), space="smoke", seed=seed)
            prepared = prepare(options, "mine", home / "cache", lambda *_: None)
            found.append((prepared.spec, prepared.make_job(lambda *_: None).data))
        yield found


@pytest.fixture(scope="module")
def prefix():
    x = start = keras.Input((28, 28, 1))
    x = keras.layers.Conv2D(4, 3, strides=2, trainable=False)(x)
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    return frozen_features.split(keras.Model(start, keras.layers.Dense(2, activation="softmax", name="predictions")(x)))


def test_two_seeds_deal_one_set_of_images_in_two_orders(searched):
    (first, one), (second, two), _ = searched
    assert first.train_fingerprint == second.train_fingerprint
    assert np.load(one.pools[28]).shape == np.load(two.pools[28]).shape
    assert not np.array_equal(np.load(one.pools[28]), np.load(two.pools[28]))


def test_a_search_with_another_seed_finds_each_rows_own_features(searched, prefix, tmp_path):
    for _, data in searched:
        pool = np.load(data.pools[28])
        kept = prefix.features(pool, np.arange(len(pool)), fingerprint=data.fingerprint, cache=tmp_path)
        computed = prefix.model.predict(pool, verbose=0).astype(np.float16)
        np.testing.assert_allclose(kept, computed, rtol=1e-2)
    assert len(list((tmp_path / "prefixes").glob("*/about.json"))) == 2  # the third finds what the first kept


def test_a_search_with_another_seed_finds_each_rows_own_views(searched, tmp_path):
    planned = (shifted_views.CLEAN, shifted_views.View("shifted", "shift", shifted_views.SHIFT))
    for _, data in searched:
        pool, rows = np.load(data.pools[28]), np.arange(4)
        drawn = epoch_evaluation.draw(
            pool, rows, data.labels, planned, per_class=4, fingerprint=data.fingerprint, cache=tmp_path
        )
        np.testing.assert_array_equal(drawn.pool[:4], pool[:4])
    assert len(list((tmp_path / "views").glob("*.npy"))) == 2


def test_a_retraining_finds_what_its_search_kept(searched):
    (spec, data), *_ = searched
    dataset = load(spec.data, seed=spec.seed)
    again = TrialData.of(dataset, arrays.pools(dataset, [28]), refit=True, cache=data.cache)
    assert again.fingerprint == data.fingerprint
    assert again.pools[28] == data.pools[28]
    np.testing.assert_array_equal(again.train, np.r_[data.train, data.validation])
    np.testing.assert_array_equal(again.labels, data.labels)
    assert not len(again.validation)
