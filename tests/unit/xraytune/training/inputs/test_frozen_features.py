"""Kept prefixes: the same numbers as the whole network, computed once, shared, bounded."""

import dataclasses
import errno
import json
import os
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest

import spaces
from spaces.narrowing import narrow
from tests.inputs.made_networks import Toy, config, kept_and_whole, space, toy, trial_data, write_weights
from xraytune.errors import FatalError, TrialError
from xraytune.evaluation.shortcut_audit import Audit, Finding
from xraytune.models.cost import Machine
from xraytune.records import FailureCause
from xraytune.training import epoch_images, memory
from xraytune.training.clock import Clock
from xraytune.training.inputs import augmentation, feature_store, frozen_features
from xraytune.training.inputs.augmentation import Augmentation
from xraytune.training.inputs.frozen_features import AugmentedCopy
from xraytune.training.trainer import Trainer

ROWS = np.arange(40)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return {"vgg16": str(write_weights("vgg16", folder / "vgg16_imagenet_notop.weights.h5"))}


@pytest.fixture(scope="module")
def small():
    """A tiny network with a frozen beginning, quick to run."""
    x = start = keras.Input((8, 8, 1))
    for i in range(2):
        x = keras.layers.Conv2D(4, 3, padding="same", name=f"frozen{i}", trainable=False)(x)
    y = keras.layers.Conv2D(4, 1, name="side", trainable=False)(x)
    x = keras.layers.Add(name="sum")([x, y])
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    return keras.Model(start, keras.layers.Dense(2, activation="softmax", name="predictions")(x))


@pytest.fixture(scope="module")
def pool():
    return np.random.default_rng(0).integers(0, 255, (200, 8, 8, 1)).astype(np.uint8)


def test_the_prefix_ends_where_everything_after_depends_on_one_tensor(small):
    prefix = frozen_features.split(small)
    assert prefix.layer == "sum"
    assert prefix.shape == (8, 8, 4)


def test_a_network_without_a_frozen_beginning_has_no_prefix():
    assert frozen_features.split(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])) is None


def test_features_are_the_prefixs_outputs_in_float16(small, pool, tmp_path):
    prefix = frozen_features.split(small)
    kept = prefix.features(pool, ROWS, fingerprint="f", cache=tmp_path)
    np.testing.assert_array_equal(kept[ROWS], prefix.model.predict(pool[ROWS], verbose=0).astype(np.float16))


def block_of(pool, images):
    """Which block of the pool these images are."""
    size = feature_store.BLOCK
    blocks = range(-(-len(pool) // size))
    return next(b for b in blocks if np.array_equal(pool[b * size : (b + 1) * size], images))


def test_only_what_is_needed_is_computed_and_never_twice(small, pool, tmp_path, monkeypatch):
    prefix = frozen_features.split(small)
    computed = []
    original = frozen_features.Prefix._compute
    monkeypatch.setattr(
        frozen_features.Prefix, "_compute", lambda self, x: computed.append(block_of(pool, x)) or original(self, x)
    )
    prefix.features(pool, ROWS, fingerprint="f", cache=tmp_path)
    assert computed == [0, 1, 2, 3]  # one group under one lock
    frozen_features.split(small).features(pool, ROWS, fingerprint="f", cache=tmp_path)
    assert len(computed) == 4


def test_trials_that_ask_together_share_the_work(small, pool, tmp_path, monkeypatch):
    prefix = frozen_features.split(small)
    monkeypatch.setattr(feature_store, "GROUP", 1)
    computed = []

    def fake(self, x):
        computed.append(block_of(pool, x))
        return np.full((len(x), *self.shape), computed[-1], np.float16)

    monkeypatch.setattr(frozen_features.Prefix, "_compute", fake)
    threads = [
        threading.Thread(target=lambda: prefix.features(pool, np.arange(200), fingerprint="f", cache=tmp_path))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(computed) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "other",
    [
        {"fingerprint": "g"},
        {"copy": AugmentedCopy(Augmentation("light"), 0)},
        {"copy": AugmentedCopy(Augmentation("light"), 1)},
        {"copy": AugmentedCopy(Augmentation("light", flip=True), 0)},
    ],
)
def test_whatever_it_depends_on_is_in_the_key(small, pool, tmp_path, other):
    prefix = frozen_features.split(small)
    prefix.features(pool, ROWS, **({"fingerprint": "f"} | {"cache": tmp_path}))
    prefix.features(pool, ROWS, **({"fingerprint": "f", "cache": tmp_path} | other))
    assert len([f for f in (tmp_path / "prefixes").iterdir() if f.is_dir()]) == 2


def test_other_weights_are_another_prefix(small):
    key = frozen_features.split(small).key
    copy = keras.models.clone_model(small)
    copy.set_weights(small.get_weights())
    assert frozen_features.split(copy).key == key
    copy.get_layer("frozen0").set_weights([w + 1 for w in small.get_layer("frozen0").get_weights()])
    assert frozen_features.split(copy).key != key


ONE = 200 * 8 * 8 * 4 * 2
EVERYTHING = np.arange(200)


def kept(folder):
    return {json.loads(f.read_text())["pool"][0] for f in (folder / "prefixes").glob("*/about.json")}


def test_the_least_recently_used_give_way(small, pool, tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE_LIMIT", str(2.7 * ONE / 1e9))
    for name in ("a", "b", "a", "c"):  # each a trial of its own, over before the next
        frozen_features.split(small).features(pool, EVERYTHING, fingerprint=name, cache=tmp_path)
    assert kept(tmp_path) == {"a", "c"}
    assert feature_store.used_bytes(tmp_path / "prefixes") <= 2.7 * ONE


def test_what_a_running_trial_of_another_process_uses_never_gives_way(small, pool, tmp_path):
    limit = int(1.5 * ONE)
    frozen_features.split(small).features(pool, EVERYTHING, fingerprint="a", cache=tmp_path, limit=limit)
    [store] = (tmp_path / "prefixes").glob("*/used")
    code = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_SH); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code, store], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(TrialError, match=r"beside the .* that running trials use") as caught:
            frozen_features.split(small).features(pool, EVERYTHING, fingerprint="b", cache=tmp_path, limit=limit)
        assert caught.value.cause is FailureCause.BAD_CONFIG
        assert kept(tmp_path) == {"a"}
        other.kill()
    frozen_features.split(small).features(pool, EVERYTHING, fingerprint="b", cache=tmp_path, limit=limit)
    assert kept(tmp_path) == {"b"}


@pytest.mark.parametrize(
    ("number", "raised"), [(errno.ENOSPC, FatalError), (errno.EDQUOT, FatalError), (errno.EIO, TrialError)]
)
def test_a_full_disk_ends_the_search_another_fault_of_it_the_trial(small, pool, tmp_path, monkeypatch, number, raised):
    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(raised, match=os.strerror(number)):
        frozen_features.split(small).features(pool, ROWS, fingerprint="f", cache=tmp_path)


def test_a_worker_keeps_the_last_two_traced_prefixes(small, pool, tmp_path):
    def network(seed):
        keras.utils.set_random_seed(seed)
        copy = keras.models.clone_model(small)
        copy.get_layer("frozen0").set_weights([w + seed for w in small.get_layer("frozen0").get_weights()])
        return copy

    first = frozen_features.split(network(1)).features(pool, ROWS, fingerprint="f", cache=tmp_path / "1")[ROWS]
    [key] = [k for k in frozen_features._traced if k == frozen_features.split(network(1)).key]
    traced = frozen_features._traced[key]
    step = traced.predict_function
    memory.clear()  # the next trial
    again = frozen_features.split(network(1)).features(pool, ROWS, fingerprint="f", cache=tmp_path / "2")[ROWS]
    np.testing.assert_array_equal(first, again)
    assert frozen_features._traced[key] is traced
    assert traced.predict_function is step
    for seed in (2, 3):
        frozen_features.split(network(seed)).features(pool, ROWS, fingerprint="f", cache=tmp_path)
    assert len(frozen_features._traced) == frozen_features.MOST_TRACED
    assert key not in frozen_features._traced


def test_a_deadline_is_looked_at_between_blocks(small, pool, tmp_path):
    def stop():
        raise TimeoutError

    with pytest.raises(TimeoutError):
        frozen_features.split(small).features(pool, ROWS, fingerprint="f", cache=tmp_path, check=stop)


POINTS = [
    {"family": "vgg_frozen", "vgg_frozen__image_size": 48, "vgg_frozen__cut": "block3_pool"},
    {
        "family": "vgg_finetuned",
        "vgg_finetuned__image_size": 48,
        "vgg_finetuned__cut": "block3_pool",
        "vgg_finetuned__trained_blocks": 1,
        "vgg_finetuned__head_epochs": 0,  # the block trains from the first epoch on
    },
]


@pytest.mark.parametrize("values", POINTS, ids=lambda v: v["family"])
def test_with_and_without_a_kept_prefix_a_trial_is_the_same(values, weights, tmp_path):
    full = space(weights=weights)
    copies = {f"{values['family']}__augmentation_copies": 2, "augmentation": "medium", "shape_jitter": "none"}
    # what comes out of random weights is in the hundreds: without the norm two trainings part over one rounding
    steady = {"batch_size": 16, "head__dropout": 0.0, "head__batch_norm": True, "learning_rate": 1e-4}
    point = config(full, **values, **copies, **steady)
    the_same(*kept_and_whole(full, point, trial_data(tmp_path, n=64, sizes=(48,)), epochs=2))


@pytest.mark.parametrize("copies", [pytest.param(0, marks=pytest.mark.long), 2])
def test_with_and_without_a_kept_prefix_a_trial_whose_head_is_trained_first_is_the_same(copies, tmp_path):
    point = toy(head_epochs=1, augmentation="medium" if copies else "none", augmentation_copies=copies)
    data = trial_data(tmp_path, n=320, sizes=(28,))  # of few images one pair would move the AUC by more than rounding
    data = dataclasses.replace(data, train=np.arange(64), validation=np.arange(64, 320))
    the_same(*kept_and_whole(Toy(), point, data, epochs=3))


def the_same(kept, whole):
    """Two trainings but for what float16 rounds off."""
    for one, other in zip(kept.curve, whole.curve, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-2, abs=1e-3)
        assert one["val_auc"] == pytest.approx(other["val_auc"], abs=0.005)
    np.testing.assert_allclose(kept.validation_predictions(), whole.validation_predictions(), atol=1e-2)


def test_augmented_copies_cycle_and_are_shared(weights, tmp_path):
    full = space(weights=weights)
    data = trial_data(tmp_path, n=64, sizes=(48,))
    point = config(full, **POINTS[0], vgg_frozen__augmentation_copies=2, augmentation="light", batch_size=16)
    training = Trainer(full, point, data, max_epochs=3)
    for _ in range(3):
        training.step()
    stores = [f for f in (tmp_path / "prefixes").iterdir() if f.is_dir()]
    assert len(stores) == 3  # two copies, and the plain one for validation
    again = Trainer(full, dataclasses.replace(point, seed=9), data, max_epochs=1)
    again.step()
    assert again.clock.seconds["prefix"] < training.clock.seconds["prefix"]


def test_a_trial_begins_with_one_copy_and_takes_more_as_there_is_time_for_them_or_another_trial_made_them(
    weights, tmp_path, monkeypatch
):
    full = space(weights=weights)
    data = dataclasses.replace(trial_data(tmp_path, n=64, sizes=(48,)), copies_share=0.25)
    point = config(full, **POINTS[0], vgg_frozen__augmentation_copies=3, augmentation="light", batch_size=16)
    busy = Clock()
    monkeypatch.setattr(epoch_images, "_process", busy)
    used = []
    real = frozen_features.Prefix.features

    def noted(self, *arguments, copy=None, **options):
        used.extend([copy.number] if copy else [])
        return real(self, *arguments, copy=copy, **options)

    monkeypatch.setattr(frozen_features.Prefix, "features", noted)

    def epochs(training, *spent):
        used.clear()
        for seconds in spent:
            busy.seconds["copies"] = seconds
            training.step()
        return list(used)

    never, always = 1e9, 0.0
    assert epochs(Trainer(full, point, data, max_epochs=9), never, never, always, never, never) == [0, 0, 1, 0, 1]
    assert epochs(Trainer(full, point, data, max_epochs=9), never, never, never, never) == [0, 1, 0, 0]
    planned = dataclasses.replace(data, copies_share=1.0)
    assert epochs(Trainer(full, point, planned, max_epochs=9), never, never, never, never) == [0, 1, 2, 0]


@pytest.mark.long
def test_trials_of_a_narrowed_space_share_the_copies_whatever_is_drawn(weights, tmp_path, monkeypatch):
    asked = spaces.SpaceContext(weights=weights, images=4400)
    audit = Audit(0.9, 100, (Finding("corner", 0.9, "PNEUMONIA", True, ""),), "")
    search = spaces.SearchContext(audit=audit, machine=Machine(8e10, 2), seconds=1800)
    left, _ = narrow.narrow(spaces.get("chest_xray", asked), search, {})
    narrowed = spaces.get("chest_xray", dataclasses.replace(asked, narrowed=left))
    seen = []
    real = frozen_features.Prefix.features

    def spied(self, *arguments, copy=None, **options):
        seen.append((copy.augmentation, copy.number) if copy else None)
        return real(self, *arguments, copy=copy, **options)

    monkeypatch.setattr(frozen_features.Prefix, "features", spied)
    data = trial_data(tmp_path, sizes=(64,))
    for seed, copies in enumerate((2, 0)):
        point = config(narrowed, seed, family="vgg_frozen", vgg_frozen__augmentation_copies=copies, batch_size=64)
        training = Trainer(narrowed, point, data, max_epochs=1)
        training.step()
    alike = Augmentation("medium", shape_jitter="light", masking="strong")
    assert {found for found in seen if found} == {(alike, 0)}
    assert None in seen  # validation images, and the trial without copies
    assert len([path for path in (tmp_path / "prefixes").iterdir() if path.is_dir()]) == 2  # plain, and one copy


def test_time_that_is_up_while_a_prefix_is_built_is_an_interruption(weights, tmp_path):
    full = space(weights=weights)
    training = Trainer(full, config(full, **POINTS[0]), trial_data(tmp_path, n=64, sizes=(48,)), deadline=0.0)
    with pytest.raises(TrialError, match="time was up"):
        training.step()


def test_each_kept_copy_holds_one_crop_of_every_image_cut_from_the_larger_array(weights, tmp_path, monkeypatch):
    full = space(weights=weights)
    data = dataclasses.replace(trial_data(tmp_path, n=64, sizes=(48, 96)), crop_size=96)
    seen = []
    real = augmentation.apply

    def noted(augment, images, seed, size):
        seen.append((images.shape[1:3], size, made := real(augment, images, seed, size)))
        return made

    monkeypatch.setattr(augmentation, "apply", noted)
    values = {"vgg_frozen__augmentation_copies": 2, "augmentation": "none", "shape_jitter": "none", "crop": "0.3"}
    point = config(full, **POINTS[0], **values, batch_size=16)
    training = Trainer(full, point, data, max_epochs=3)
    for _ in range(3):
        training.step()
    assert [(shape, size) for shape, size, _ in seen] == [((96, 96), 48)] * 2  # the third epoch takes the first copy
    assert seen[0][2].shape == (64, 48, 48, 1)
    assert not np.array_equal(seen[0][2], seen[1][2])
    assert len([path for path in (tmp_path / "prefixes").iterdir() if path.is_dir()]) == 3
    Trainer(full, point, dataclasses.replace(data, crop_size=48), max_epochs=1).step()
    assert seen[2][:2] == ((48, 48), 48)  # of another source it is another copy
