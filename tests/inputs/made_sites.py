"""Made hospitals: synthetic chests that each site exposes, focuses, crops and prints in a way of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from xraytune.data.sources import synthetic_images
from xraytune.data.sources.synthetic_images import CLASSES, Phantom


@dataclass(frozen=True)
class Site:
    """How one site takes its images; sites are drawn from one distribution, so that each may stand for another."""

    name: str
    gain: float
    """What brightness is multiplied by."""
    gamma: float
    blur: float
    """Standard deviation of the focus, pixels."""
    crop: float
    """Share of the edge that is shown."""
    low: float
    """How far the crop lies below the middle, as a share of the edge."""
    grain: float
    """Standard deviation of noise, gray levels."""


def draw_sites(seed: int, count: int, spread: float = 1.0) -> list[Site]:
    """Sites `A`, `B`, … that differ more with a larger spread; at 0 not at all."""
    rng = np.random.default_rng([seed, 31])
    found = []
    for i in range(count):
        z = spread * rng.uniform(-1, 1, 6)
        found.append(
            Site(
                chr(65 + i), float(np.exp(0.2 * z[0])), float(np.exp(0.25 * z[1])), 0.3 * (1 + float(z[2])),
                float(0.9 + 0.1 * z[3]), float(0.05 * z[4]), 5.0 + 4.0 * float(z[5]),
            )
        )  # fmt: skip
    return found


def taken_at(site: Site, pixels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """A drawn image, uint8 `(h, w)`, as the site takes it; of the same shape."""
    height, width = pixels.shape
    edge = site.crop * np.array([width, height])
    left, top = (np.array([width, height]) - edge) / 2 + [0, site.low * height]
    image = Image.fromarray(pixels).transform(
        (width, height), Image.Transform.EXTENT, (left, top, left + edge[0], top + edge[1]), Image.Resampling.BILINEAR
    )
    level = np.asarray(image.filter(ImageFilter.GaussianBlur(site.blur)), np.float32) / 255
    level = np.clip(site.gain * level**site.gamma, 0, 1) * 255
    level += np.random.default_rng([seed, 37]).normal(0, site.grain, level.shape)
    return np.clip(level, 0, 255).astype(np.uint8)


def drawn(name: str, seed: int, patients: int, size: int = 64) -> Iterator[tuple[Phantom, NDArray[np.uint8]]]:
    """The images of so many patients of a site before the site has its way; other sites have other patients."""
    own = int(np.random.default_rng([seed, ord(name)]).integers(2**31))
    for phantom in synthetic_images.draw_plan(own, patients, shortcut="none", size=size, depth=2.0):
        yield phantom, synthetic_images.pixels(phantom)


def write(root: Path, sites: list[Site], seed: int, patients: int, size: int = 64) -> Path:
    """Folders `site/class/…`; names as Kermany's, each site's patients with numbers of their own."""
    for order, site in enumerate(sites):
        for phantom, pixels in drawn(site.name, seed, patients, size):
            folder = root / site.name / CLASSES[phantom.label]
            folder.mkdir(parents=True, exist_ok=True)
            name = re.sub(r"\d+", lambda found, order=order: str(1000 * order + int(found[0])), phantom.name, count=1)
            Image.fromarray(taken_at(site, pixels, phantom.image_seed)).save(folder / f"{name}.png")
    return root
