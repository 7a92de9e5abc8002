"""A trial with random resized crops: what it trains on, that it repeats, and that it does not learn framing."""

import dataclasses

import numpy as np
import pytest

from tests.inputs.made_chests import chest
from tests.inputs.made_networks import config, space, trial_data
from xraytune.data.cropping import cut
from xraytune.training.inputs import batches
from xraytune.training.inputs.trial_data import TrialData
from xraytune.training.trainer import Trainer

SMALL = {
    "family": "cnn", "cnn/image_size": 32, "cnn/blocks": 3, "cnn/width": 8, "cnn/batch_norm": True,
    "head/pool": "avg", "head/layers": 0, "batch_size": 32, "learning_rate": 3e-3, "augmentation": "none",
    "shape_jitter": "none",
}  # fmt: skip


@pytest.fixture
def full():
    return space(families=("cnn",))


def test_a_trial_trains_on_crops_of_the_larger_array_and_is_validated_on_whole_images(tmp_path, monkeypatch, full):
    monkeypatch.setattr(batches, "LEAST_EPOCH", 64)
    data = dataclasses.replace(trial_data(tmp_path, sizes=(32, 96)), crop_size=96)
    point = config(full, **SMALL, crop="0.5")
    one = Trainer(full, point, data, max_epochs=2)
    rows = one.images.rows(1)
    source = one.images.training(1, rows)
    expected = one.plan.augmentation.crops_of(data.pools[96], 32, point.seed, 1)[rows[:32]]
    np.testing.assert_array_equal(source[rows[:32]], expected)
    assert not np.array_equal(expected, one.images.training(2, rows)[rows[:32]])
    assert one.images.plain(rows) is one.images.pool
    assert one.images.pool.shape[1] == 32
    other = Trainer(full, point, data, max_epochs=2)
    for _ in range(2):
        assert one.step().metrics["loss"] == pytest.approx(other.step().metrics["loss"], rel=1e-5)


def planted(n, seed, framed):
    """Images whose second class has a spot somewhere, and in training lies lower too; elsewhere place is by chance."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int32) % 2
    y, x = np.mgrid[0:64, 0:64]
    made = []
    for label in labels:
        low = label == 1 if framed else rng.random() < 0.5
        image = chest(64, zoom=1 + rng.normal(0, 0.03), down=(0.08 if low else -0.08) + rng.normal(0, 0.02))
        cy, cx = rng.uniform(20, 44, 2)
        image += label * 100 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 32)
        made.append(np.clip(image + rng.normal(0, 6) + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8))
    return np.stack(made)[..., None], labels


def test_a_network_trained_on_crops_keeps_more_of_its_score_where_framing_tells_nothing(tmp_path, monkeypatch, full):
    monkeypatch.setattr(batches, "LEAST_EPOCH", 512)
    (trained, first), (moved, second) = planted(256, 0, framed=True), planted(256, 1, framed=False)
    large, labels = np.concatenate([trained, moved]), np.concatenate([first, second])
    small = np.stack([cut(image, (0, 0, 1, 1), 32) for image in large])
    data = TrialData(
        {32: small, 64: large}, labels, np.arange(512).astype(str), np.arange(256), np.arange(256, 512),
        ("NORMAL", "PNEUMONIA"), 1, 1, "planted", tmp_path, crop_size=64,
    )  # fmt: skip
    reached = {}
    for crop in ("none", "0.5"):
        training = Trainer(full, config(full, **SMALL, epochs=10, crop=crop), data, max_epochs=8)
        reached[crop] = max(training.step().metrics["val_auc"] for _ in range(4))
    assert reached["none"] < 0.8
    assert reached["0.5"] > reached["none"] + 0.05
