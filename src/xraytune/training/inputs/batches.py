"""Which images an epoch trains on, and fetching a batch of them from a mapped array.

Orders are functions of (seed, epoch), so that a trial that lost its worker goes on with the order it would have had.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

LEAST_EPOCH = 1536
"""Images an epoch has at least: 48 steps of 32. A few hundred images are gone through several times an epoch, so that
budgets, rungs and patience, which count epochs, mean the same on small data as on thousands of images."""


def epoch_size(n: int, share: int) -> int:
    """Images that an epoch trains on.

    Args:
        n: training images there are.
        share: how many an epoch may take; 0 leaves it to their number.
    """
    most = max(n, LEAST_EPOCH)
    return min(share, most) if share else most


def epoch_order(n: int, share: int, epoch: int, seed: int) -> Rows:
    """Positions `0 … n-1` that an epoch trains on, in order.

    Args:
        n: training images.
        share: how many an epoch takes (`epoch_size`). Shares cut one shuffled pass after another, so that every image
            is seen equally often.
        epoch: from 1.
        seed: the trial's.
    """
    first = (epoch - 1) * share
    passes = range(first // n, (first + share - 1) // n + 1)
    shuffled = np.concatenate([np.random.default_rng([seed, p]).permutation(n) for p in passes])
    start = first - passes[0] * n
    return shuffled[start : start + share]


def balanced_order(labels: NDArray[np.int32], share: int, epoch: int, seed: int) -> Rows:
    """Positions that an epoch trains on, with each class once in every run of as many positions as there are classes.

    Args:
        labels: of the training images, `(n,)`; images of classes with few are repeated.
        share: how many an epoch takes.
        epoch: from 1.
        seed: the trial's.
    """
    members = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    each = -(-share // len(members))
    columns = [rows[epoch_order(len(rows), each, epoch, seed)] for rows in members]
    mixed = np.random.default_rng([seed, epoch, len(labels)]).permuted(np.stack(columns, axis=1), axis=1)
    return np.asarray(mixed.ravel()[:share], dtype=np.int64)


def full_batches(rows: Rows, size: int) -> Iterator[Rows]:
    """Batches of exactly `size`; what is left over is left out, since another size would be traced anew."""
    for start in range(0, len(rows) - size + 1, size):
        yield rows[start : start + size]


def padded_batches(rows: Rows, size: int) -> Iterator[tuple[Rows, int]]:
    """Batches of exactly `size`, the last filled up by repeating, each with how many of it count."""
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        yield np.resize(batch, size), len(batch)


def mapped(array: Path | str | NDArray[Any]) -> NDArray[Any]:
    """A decoded pool as an array: a path is mapped read-only."""
    return array if isinstance(array, np.ndarray) else np.load(array, mmap_mode="r")
