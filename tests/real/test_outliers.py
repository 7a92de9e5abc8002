"""Which images are called unlike the training images, measured on Kermany's training images alone."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from xraytune.data.decoding.reading import read_image
from xraytune.inference import outliers

FITTED, ASKED, EDGE = 1000, 400, 28


@pytest.fixture(scope="module")
def radiographs():
    folder = os.environ.get("XRAYTUNE_DATA")
    assert folder, "set XRAYTUNE_DATA to the folder that holds chest_xray"
    paths = sorted((Path(folder) / "chest_xray" / "train").rglob("*.jpeg"))
    chosen = np.random.default_rng(0).permutation(len(paths))[: FITTED + ASKED]
    return np.stack([read_image(paths[i], EDGE) for i in chosen])


@pytest.fixture(scope="module")
def known(radiographs):
    return outliers.fit(radiographs[:FITTED])


def share(known, images):
    return np.mean([bool(said) for said in known.far(np.ascontiguousarray(images))])


def test_images_of_the_same_source_are_nearly_never_called_unusual(known, radiographs):
    assert share(known, radiographs[FITTED:]) <= 0.02


def half_black(radiographs, axis):
    out = radiographs.copy()
    out[(slice(None),) * axis + (slice(EDGE // 2),)] = 0
    return out


@pytest.mark.parametrize(
    ("what", "made"),
    [
        ("inverted", lambda f: 255 - f),
        ("upside down", lambda f: f[:, ::-1]),
        ("turned by 180°", lambda f: f[:, ::-1, ::-1]),
        ("turned by 90°", lambda f: np.rot90(f, 1, (1, 2))),
        ("turned by 270°", lambda f: np.rot90(f, 3, (1, 2))),
        ("upper half black", lambda f: half_black(f, 1)),
        ("left half black", lambda f: half_black(f, 2)),
    ],
)
def test_spoiled_images_are_nearly_always_called_unusual(known, radiographs, what, made):
    assert share(known, made(radiographs[FITTED:])) >= 0.95, what


def test_flat_gray_noise_and_photographs_are_called_unusual(known):
    rng = np.random.default_rng(0)
    grays = np.stack([np.full((EDGE, EDGE, 1), level, np.uint8) for level in (0, 60, 100, 128, 150, 200, 255)])
    noise = rng.integers(0, 256, (50, EDGE, EDGE, 1)).astype(np.uint8)
    photographs = []
    for i in range(60):
        photograph = Image.fromarray(load_sample_images().images[i % 2]).convert("L")
        edge = int(rng.integers(200, 420))
        x, y = int(rng.integers(0, photograph.width - edge)), int(rng.integers(0, photograph.height - edge))
        small = photograph.crop((x, y, x + edge, y + edge)).resize((EDGE, EDGE), Image.Resampling.BILINEAR)
        photographs.append(np.asarray(small)[..., None])
    for images in (grays, noise, np.stack(photographs)):
        assert share(known, images) == 1
