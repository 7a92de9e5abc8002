"""Made data, made weights and points of the space for the tests of networks and training: drawn from seeds, tiny."""

from __future__ import annotations

from pathlib import Path

import h5py
import keras
import keras_tuner
import numpy as np
import pytest

import spaces
from xraytune.models import heads
from xraytune.models.weight_files import expected
from xraytune.records import TrialConfig
from xraytune.training.epoch_images import EpochImages
from xraytune.training.inputs import augmentation, batches, frozen_features
from xraytune.training.inputs.trial_data import TrialData
from xraytune.training.optimization.compiling import compile_network
from xraytune.training.optimization.settings import TrainingSettings
from xraytune.training.trainer import Trainer


def write_weights(name: str, path: Path, seed: int = 0) -> Path:
    """Seeded random weights of a backbone in Keras 3's format, scaled so that activations stay in range."""
    rng = np.random.default_rng(seed)
    count = {"conv2d": 0, "batch_normalization": 0}
    with h5py.File(path, "w") as file:
        for layer, shapes in expected(name):
            kind = "batch_normalization" if layer.endswith("bn") else "conv2d"
            number = count[kind]
            count[kind] += 1
            group = file.create_group(f"layers/{kind}{f'_{number}' if number else ''}/vars")
            for i, shape in enumerate(shapes):
                if kind == "batch_normalization":
                    array = np.full(shape, (1.0, 0.0, 0.0, 1.0)[i])
                elif len(shape) == 1:
                    array = np.zeros(shape)
                else:
                    array = rng.normal(0, np.sqrt(2 / np.prod(shape[:3])), shape)
                group[str(i)] = array.astype(np.float32)
    return path


def trial_data(
    folder: Path,
    *,
    n: int = 96,
    classes: int = 2,
    channels: int = 1,
    sizes: tuple[int, ...] = (28, 32, 48),
    seed: int = 0,
) -> TrialData:
    """Images whose brighter half tells the class; three in four are trained on."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % classes).astype(np.int32)
    pools = {}
    for size in sizes:
        images = rng.integers(0, 120, (n, size, size, channels)).astype(np.uint8)
        for label in range(classes):
            images[labels == label, : size // 2] += np.uint8(120 * label / (classes - 1))
        pools[size] = images
    names = tuple(f"class {i}" for i in range(classes))
    cut = 3 * n // 4
    return TrialData(
        pools=pools,
        labels=labels,
        patients=np.arange(n).astype(str),
        train=np.arange(cut),
        validation=np.arange(cut, n),
        classes=names,
        positive=1 if classes == 2 else None,
        channels=channels,
        fingerprint=f"made-{n}-{classes}-{channels}-{seed}",
        cache=folder,
    )


def config(space: keras_tuner.HyperModel, seed: int = 1, **values: object) -> TrialConfig:
    """A point of the space: the defaults with `values` in their place (`cnn__blocks` is `cnn/blocks`)."""
    hp = keras_tuner.HyperParameters()
    hp.values = {name.replace("__", "/"): value for name, value in values.items()}
    space.declare_hyperparameters(hp)
    active = {p.name: hp.values[p.name] for p in hp.space if hp.is_active(p)}
    return TrialConfig(str(active["family"]), active, seed)


def space(name: str = "chest_xray", **context: object) -> keras_tuner.HyperModel:
    """A space by name."""
    return spaces.get(name, spaces.SpaceContext(**context))  # type: ignore[arg-type]


class Toy(keras_tuner.HyperModel):
    """Three convolutions at 28 px, quick to train: two frozen ones, a block that may be thawed, and a head."""

    families = ("toy",)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The network of `hp.values`, compiled by their plan."""
        keras.utils.set_random_seed(5)  # every trial has the same pretrained weights
        x = start = keras.Input((28, 28, 1))
        x = keras.layers.Rescaling(1 / 255)(x)
        for name, trained in (("block1_conv", False), ("block2_conv", False), ("block3_conv", True)):
            x = keras.layers.Conv2D(6, 3, strides=2, activation="relu", name=name, trainable=trained)(x)
        head = {"head/pool": "avg", "head/layers": 1, "head/units": 8, "head/dropout": 0.2, "head/batch_norm": False}
        network = keras.Model(start, heads.head(x, head, 2))
        compile_network(network, TrainingSettings.of(hp.values))
        return network


def toy(seed: int = 1, **values: object) -> TrialConfig:
    """A point of `Toy`: two epochs of the head, four in all, unless `values` say otherwise."""
    usual = {"image_size": 28, "batch_size": 16, "epochs": 4, "head_epochs": 2, "rate_factor": 0.5, "optimizer": "sgd"}
    return TrialConfig("toy", usual | {"learning_rate": 0.01} | values, seed)  # type: ignore[arg-type]


def kept_and_whole(space: keras_tuner.HyperModel, point: TrialConfig, data: TrialData, epochs: int) -> list[Trainer]:
    """One trial through its kept prefix and one through the whole network, on the same images, epoch by epoch.

    Args:
        space: builds the network.
        point: with `augmentation_copies` its kept copies are what the whole network is trained on, too.
        data: trained on images of the first block of 64, no others.
        epochs: of 64 images each.
    """
    found, copies = [], []
    real = augmentation.apply
    (pool,) = data.pools.values()

    def noted(augment, images, seed, size):
        made = real(augment, images, seed, size)
        if np.array_equal(images, pool[:64]):  # others of its group are computed with it
            copies.append(made)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "LEAST_EPOCH", 64)
        patch.setattr(augmentation, "apply", noted)
        for keep in (True, False):
            if not keep:
                patch.setattr(frozen_features, "split", lambda model: None)
                patch.setattr(augmentation.Augmentation, "layers", lambda *_: [])
                if copies:
                    patch.setattr(EpochImages, "training", lambda _, epoch, rows: copies[(epoch - 1) % len(copies)])
            training = Trainer(space, point, data, max_epochs=epochs)
            assert (training.prefix is not None) == keep
            for _ in range(epochs):
                training.step()
            found.append(training)
            assert len(copies) == (training.plan.copies if training.plan.augmentation else 0)
    return found
