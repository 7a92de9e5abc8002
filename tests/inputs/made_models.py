"""A saved model that needs no training: the brighter an image, the likelier is the positive class."""

from __future__ import annotations

import functools
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from tests.inputs.made_radiographs import encoded, write
from xraytune import artifacts
from xraytune.data import image_properties, property_table
from xraytune.data.decoding import reading
from xraytune.evaluation import calibration
from xraytune.inference import outliers, training_sample
from xraytune.inference.model_card import Member, ModelCard, write_card
from xraytune.inference.training_sample import TrainingSample

CLASSES = ("NORMAL", "PNEUMONIA")
SIZE = 28


def brightness_model(folder: Path, **made: object) -> Path:
    """Write the model; `made` is what its card says of its origin."""
    folder.mkdir(parents=True, exist_ok=True)
    start = keras.Input((SIZE, SIZE, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(start))
    dense = keras.layers.Dense(2, activation="softmax")
    network = keras.Model(start, dense(pooled))
    dense.set_weights([np.array([[-20.0, 20.0]], np.float32), np.array([10.0, -10.0], np.float32)])
    network.save(folder / "model.keras")
    member = Member("model.keras", artifacts.sha256(folder / "model.keras"), SIZE).to_json()
    rng = np.random.default_rng(0)
    known = outliers.fit(np.stack([np.asarray(image(rng, i % 2, SIZE))[..., None] for i in range(100)]))
    settled = calibration.none(2, (0.5, 0.5)).to_json()
    write_card(
        folder,
        ModelCard(CLASSES, 1, 1, "crop", 0.5, "0.5", settled, known.to_json(), (member,), made=made,
                  sample=training_sample.save(folder, sample())),
    )  # fmt: skip
    return folder


@functools.cache
def sample(images: int = 400) -> TrainingSample:
    """What the model folder keeps of training images, two of a patient: answers with some noise, as out of fold."""
    rng = np.random.default_rng(5)
    labels = np.arange(images) // 2 % 2
    looks = [reading.measured(encoded(image(rng, int(label)))) for label in labels]
    rows = np.zeros(images, property_table.ROW)
    for row, (found, look) in zip(rows, looks, strict=True):
        row["width"], row["height"], row["size"], row["mode"] = found.width, found.height, found.size, found.mode
        row["features"] = image_properties.measure(look.copy[None], look.thumbnail[None])[0]
    table = property_table.table(rows)
    bright = table[:, property_table.NAMES.index("mean")] / 255
    p = 1 / (1 + np.exp(20 - 40 * (bright + rng.normal(0, 0.02, images))))
    return training_sample.draw(table, labels, np.column_stack([1 - p, p]), np.arange(images) // 2)


def image(rng: np.random.Generator, label: int, size: int = 48) -> Image.Image:
    """An image that the model classifies right: smooth, brighter where the label is 1."""
    coarse = Image.fromarray(rng.uniform(-60, 60, (12, 12)).astype(np.float32)).resize((size, size), 3)
    level = rng.normal(110 + 35 * label, 6)
    return Image.fromarray(np.clip(np.asarray(coarse) + level, 0, 255).astype(np.uint8))


def hospital(
    root: Path, each: int = 40, *, right: float = 1.0, seed: int = 0, names: tuple[str, ...] = CLASSES
) -> Path:
    """Class folders with NIH's file names, two images a patient; a share of the labels is right, the others chance."""
    rng = np.random.default_rng(seed)
    for c, name in enumerate(names):
        for i in range(each):
            shown = c if rng.random() < right else int(rng.integers(2))
            write(root / name / f"{1000 * (c + 1) + i // 2 + 100_00 * seed:08d}_{i % 2:03d}.png", image(rng, shown))
    return root
