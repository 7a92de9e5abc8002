"""Near-copies: one film in two splits, saved twice. Called by checks.

Candidates are pairs whose 64-bit perceptual hashes (pHash; the definition of the ImageHash library, see `hashes`)
differ in few bits; they are confirmed by the correlation of their pixels. Measured on the 313 + 5,232 Kermany films:
pHash alone flags 159 test images at distance 8, 9 at distance 4 and none at 2, all false alarms: chests look alike.
The correlation of 32 x 32 thumbnails separates: two different films reach 0.969 at most, a film saved again
(JPEG quality 30, half or 1.7 times the size, darkened by a fifth) 0.9995 or more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xraytune.data.dataset import Dataset
from xraytune.data.inspection import Inspection
from xraytune.data.problems import Problem

DISTANCE = 8
"""Bits by which candidates differ at most: a film saved again differed in 4 at most."""

CORRELATION = 0.99
"""Of thumbnails, from which two files are one film."""

_NEAREST = 8  # candidates an image that are looked at: keeps sets of films that all look alike from taking for ever
_ROWS = 256
_COSINES = np.cos(np.pi * np.arange(8)[:, None] * (np.arange(32)[None, :] + 0.5) / 32)  # DCT-II, lowest 8 frequencies


def hashes(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Perceptual hashes, equal bit for bit to `imagehash.phash` of each thumbnail.

    ImageHash transforms one image at a time (0.7 s for 5,545, and a second to import SciPy's transforms); its 64
    numbers are two small matrix products, which take a twentieth of that for all images at once.

    Args:
        thumbnails: uint8 `(n, 32, 32)`.

    Returns:
        uint64 `(n,)`: the 8 x 8 lowest frequencies of the cosine transform, each against their median.
    """
    found = np.zeros(len(thumbnails), np.uint64)
    for start in range(0, len(thumbnails), 4096):
        block = np.asarray(thumbnails[start : start + 4096], dtype=np.float64)
        low = (_COSINES @ block @ _COSINES.T).reshape(len(block), 64)
        bits = np.packbits(low > np.median(low, axis=1, keepdims=True), axis=1)
        found[start : start + len(block)] = bits.view(">u8")[:, 0]
    return found


def across_splits(dataset: Dataset, inspection: Inspection) -> tuple[list[Problem], list[str]]:
    """Films of one split that are films of another, saved again; byte-identical files are found elsewhere.

    Returns:
        A warning a pair, and a sentence on how many candidates were false alarms (none if there were none).
    """
    row = {key: index for index, key in enumerate(inspection.keys)}
    splits = np.array([image.split for image in dataset.images])
    rows = np.array([row[image.key] for image in dataset.images])
    found = hashes(inspection.thumbnails)[rows]
    pairs: list[tuple[str, str, str, str]] = []
    alarms: set[int] = set()
    for first, second in (("train", "test"), ("val", "test"), ("train", "val")):
        a, b = np.flatnonzero(splits == second), np.flatnonzero(splits == first)
        if not len(b):
            continue
        for start in range(0, len(a), _ROWS):
            block = a[start : start + _ROWS]
            distance = np.bitwise_count(found[block][:, None] ^ found[b][None, :])
            nearest = np.argpartition(distance, min(_NEAREST, len(b)) - 1, axis=1)[:, :_NEAREST]
            near = np.take_along_axis(distance, nearest, axis=1) <= DISTANCE
            i, j = np.broadcast_to(block[:, None], near.shape)[near], b[nearest[near]]
            if not len(i):
                continue
            same = _correlations(inspection, rows[i], rows[j]) >= CORRELATION
            confirmed = set(i[same].tolist())
            alarms |= set(i.tolist()) - confirmed
            for x, y in zip(i[same].tolist(), j[same].tolist(), strict=True):
                one, other = dataset.images[x], dataset.images[y]
                if one.sha256 != other.sha256:
                    pairs.append((one.key, second, other.key, first))
    cleared = (
        f"{len(alarms)} images look like one of another split to the perceptual hash; "
        "their pixels say that they are other films."
    )
    problems = [
        Problem("near copy", key, f"in {split}, is {other} of {where}, saved again (by its pixels)", warning=True)
        for key, split, other, where in sorted(pairs)
    ]
    return problems, [cleared] if alarms else []


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
