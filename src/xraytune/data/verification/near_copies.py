"""Near-copies: one image in two splits, saved twice.

Candidates are pairs whose 64-bit perceptual hashes (pHash; the definition of the ImageHash library, see `phash`)
differ in few bits; they are confirmed by the correlation of their pixels. Measured on the 313 + 5,232 Kermany images:
pHash alone flags 158 test images at distance 8, 9 at distance 4 and one at 2, all false alarms: chests look alike.
The correlation of 32 x 32 thumbnails separates: two different images reach 0.977 at most, an image saved again
(JPEG quality 30, half or 1.7 times the size, darkened by a fifth) 0.9995 or more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xraytune.data.dataset import Dataset
from xraytune.data.decoding.inspection import Inspection
from xraytune.data.problems import Problem

DISTANCE = 8
"""Bits by which candidates differ at most: an image saved again differed in 4 at most."""

CORRELATION = 0.99
"""Of thumbnails, from which two files are one image."""

_NEAREST = 8  # candidates an image that are looked at: keeps sets of images that all look alike from taking for ever
_ROWS = 256
_PAIRS = 1 << 18  # compared at once: 4 MB, however many images there are


def across_splits(dataset: Dataset, inspection: Inspection) -> tuple[list[Problem], list[str]]:
    """Images of one split that are images of another, saved again; byte-identical files are found elsewhere.

    Returns:
        A warning a pair, and a sentence on how many candidates were false alarms (none if there were none).
    """
    images, rows = dataset.images, dataset.images.rows.astype(np.int64)
    found = inspection.rows["phash"][rows]
    pairs: list[tuple[str, str, str, str]] = []
    alarms: set[int] = set()
    for first, second in (("train", "test"), ("val", "test"), ("train", "val")):
        a, b = np.flatnonzero(images.splits == second), np.flatnonzero(images.splits == first)
        step = max(1, _PAIRS // max(1, len(b)))
        for start in range(0, len(a) if len(b) else 0, step):
            block = a[start : start + step]
            i, j = _candidates(found[block], found[b])
            if not len(i):
                continue
            i, j = block[i], b[j]
            same = _correlations(inspection, rows[i], rows[j]) >= CORRELATION
            confirmed = set(i[same].tolist())
            alarms |= set(i.tolist()) - confirmed
            for x, y in zip(i[same].tolist(), j[same].tolist(), strict=True):
                if (images.digests[x] != images.digests[y]).any():
                    pairs.append((images.keys[x], second, images.keys[y], first))
    cleared = (
        f"{len(alarms)} images have nearly the perceptual hash of an image of another split, but different pixels: "
        "they are different images."
    )
    problems = [
        Problem("near copy", key, f"in {split}, is a re-saved copy of {other} in {where} (same pixels)", warning=True)
        for key, split, other, where in sorted(pairs)
    ]
    return problems, [cleared] if alarms else []


def _candidates(some: NDArray[np.uint64], others: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices into both of the pairs within `DISTANCE`, of each of `some` the nearest `_NEAREST` at most."""
    distance = np.bitwise_count(some[:, None] ^ others[None, :])
    crowded = np.flatnonzero((distance <= DISTANCE).sum(1) > _NEAREST)
    if len(crowded):
        far = np.argpartition(distance[crowded], _NEAREST - 1, axis=1)[:, _NEAREST:]
        distance[crowded[:, None], far] = DISTANCE + 1
    i, j = np.nonzero(distance <= DISTANCE)
    return i, j


def _correlations(inspection: Inspection, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    """Pearson correlation of the thumbnails of each pair, float64 `(pairs,)`."""
    found = np.zeros(len(one))
    for start in range(0, len(one), _ROWS):
        part = slice(start, start + _ROWS)
        x, y = (_standard(inspection.thumbnails[rows[part]]) for rows in (one, other))
        found[part] = (x * y).sum(1)
    return found


def _standard(thumbnails: NDArray[np.uint8]) -> NDArray[np.float64]:
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float64)
    flat -= flat.mean(1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    normed: NDArray[np.float64] = flat / np.maximum(norm, 1e-9)
    return normed
