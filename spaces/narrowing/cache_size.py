"""What the caches of a search will cost, and whether the disk has room for it: said before it begins."""

from __future__ import annotations

import shutil
from pathlib import Path

import spaces
from spaces.context import SpaceContext
from spaces.narrowing.choices import points
from spaces.narrowing.narrow import offered_choices
from spaces.narrowing.prefixes import ARRAY
from xraytune.errors import InputError
from xraytune.models.cost import cost
from xraytune.training.inputs import feature_store


def cache_size(
    space: str, context: SpaceContext, *, images: int, sizes: tuple[int, ...], cache: Path, limit: int = 0
) -> str | None:
    """One line on the decoded images and the kept prefixes that a search may write, None for a space of the user's own.

    Args:
        space: the space's name.
        context: narrowed.
        images: training and validation images.
        sizes: the edges they are decoded at, pixels.
        cache: the cache folder.
        limit: bytes that kept prefixes may take together; 0 leaves it to `prefix_store.limit_bytes`.

    Raises:
        InputError: the largest single prefix does not fit the limit.
    """
    if space not in spaces.SPACES:
        return None
    folder = cache / "prefixes"
    folder.mkdir(parents=True, exist_ok=True)
    allowed = limit or feature_store.limit_bytes(folder)
    decoded = sum(images * size**2 * context.channels for size in sizes)
    found = _prefixes(space, context)
    kept = {name: images * each for name, (each, _) in found.items()}
    line = f"cache {cache}: decoded images {_gb(decoded)}"
    if kept:
        name, largest = max(kept.items(), key=lambda item: item[1])
        if largest > allowed:
            bound = "--cache-limit" if limit else f"--cache-limit allows more, here half of what is free in {cache}"
            raise InputError(
                f"A kept prefix of {name} takes {_gb(largest)}, and kept prefixes may take {_gb(allowed)} together "
                f"({bound}). Allow more, choose another --cache, or leave such choices out with --fix or --families."
            )
        line += (
            f"; kept prefixes {_gb(sum(kept[name] * (1 + copies) for name, (_, copies) in found.items()))} with their "
            f"copies under one augmentation, {_gb(allowed)} at most (the least recently used give way)"
        )
    return f"{line}; {_gb(shutil.disk_usage(cache).free)} of the disk are free"


def _prefixes(space: str, context: SpaceContext) -> dict[str, tuple[float, int]]:
    """Bytes an image of every prefix that the space may draw, and the most copies it has, by what it is."""
    offered = offered_choices(space, context)
    found: dict[str, tuple[float, int]] = {}
    for family in map(str, offered["family"]):
        own = {n: v for n, v in offered.items() if n.startswith(f"{family}/")} | {"family": (family,)}
        for point in points(own, ARRAY):
            if each := (drawn := cost(point)).kept:
                backbone, size, how = (point[f"{family}/{n}"] for n in ("backbone", "image_size", "normalization"))
                copies = max(map(int, offered.get(f"{family}/augmentation_copies", (0,))))
                found[f"{backbone} at {size} px, {how} ({drawn.prefix / 1e9:.2g} GFLOP)"] = each, copies
    return found


def _gb(count: float) -> str:
    return f"{count / 1e9:.2g} GB"
