"""What the caches of a search will cost, and whether the disk has room for it: said before it begins."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import keras_tuner

from spaces.narrowing.choices import points
from spaces.narrowing.narrow import offered_choices
from spaces.narrowing.prefixes import ARRAY
from spaces.space import Feature
from xraytune.errors import InputError
from xraytune.models.cost import cost
from xraytune.training.inputs import feature_store


def cache_size(
    found: Mapping[str, Feature], *, images: int, channels: int, sizes: tuple[int, ...], cache: Path, limit: int = 0
) -> str:
    """One line on the decoded images and the frozen backbone features that a search may write to the cache.

    Args:
        found: the features that trials may keep, from `Space.cached_features`.
        images: training and validation images.
        channels: of a decoded image.
        sizes: the edges they are decoded at, pixels.
        cache: the cache folder.
        limit: bytes that features may take together; 0 leaves it to `feature_store.limit_bytes`.

    Raises:
        InputError: the largest single array of features does not fit the limit.
    """
    folder = cache / "prefixes"
    folder.mkdir(parents=True, exist_ok=True)
    allowed = limit or feature_store.limit_bytes(folder)
    decoded = sum(images * size**2 * channels for size in sizes)
    line = f"cache {cache}: decoded images {_gb(decoded)}"
    if found:
        kept = {name: images * feature.image_bytes for name, feature in found.items()}
        name, largest = max(kept.items(), key=lambda item: item[1])
        if largest > allowed:
            bound = "--cache-limit" if limit else f"--cache-limit allows more, but only half of the free disk {cache}"
            raise InputError(
                f"Cached features of {name} take {_gb(largest)}, and all together may take {_gb(allowed)} "
                f"({bound}). Allow more, choose another --cache, or leave such choices out with --fix or --families."
            )
        together = sum(kept[name] * (1 + feature.copies) for name, feature in found.items())
        line += (
            f"; cached features {_gb(together)} with their "
            f"copies under one augmentation, {_gb(allowed)} at most (the least recently used are deleted)"
        )
    return f"{line}; {_gb(shutil.disk_usage(cache).free)} of the disk are free"


def features(space: keras_tuner.HyperModel) -> dict[str, Feature]:
    """The frozen features that a space of `xraytune.models`' families may draw, by what they are of."""
    offered = offered_choices(space)
    found: dict[str, Feature] = {}
    for family in map(str, offered["family"]):
        own = {n: v for n, v in offered.items() if n.startswith(f"{family}/")} | {"family": (family,)}
        for point in points(own, ARRAY):
            if each := (drawn := cost(point)).kept:
                backbone, size, how = (point[f"{family}/{n}"] for n in ("backbone", "image_size", "normalization"))
                copies = max(map(int, offered.get(f"{family}/augmentation_copies", (0,))))
                found[f"{backbone} at {size} px, {how} ({drawn.prefix / 1e9:.2g} GFLOP)"] = Feature(each, copies)
    return found


def _gb(count: float) -> str:
    return f"{count / 1e9:.2g} GB"
