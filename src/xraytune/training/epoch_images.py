"""What one trial's batches are gathered from, epoch by epoch: pixels, crops, or kept outputs of a frozen prefix."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytune.training.clock import Clock
from xraytune.training.inputs import batches
from xraytune.training.inputs.batches import Rows
from xraytune.training.inputs.frozen_features import AugmentedCopy, Prefix
from xraytune.training.inputs.random_crops import CroppedPool
from xraytune.training.inputs.trial_data import TrialData
from xraytune.training.optimization.settings import TrainingSettings

_process, _begun = Clock(), time.monotonic()
"""Seconds that this process spent on augmented copies, over all its trials, and since when it counts."""


class EpochImages:
    """The images of one trial.

    Args:
        data: of the trial.
        plan: batch size, share of an epoch, class balance, augmentation.
        seed: the trial's.
        size: of the network's input, pixels.
        clock: the trial's; computing a prefix's outputs counts as its phase `prefix` and stops at its deadline.

    Attributes:
        pool: every image at the network's size, `(n, size, size, c)`, uint8.
        prefix: whose outputs stand for the images; None: the images themselves are taken.
        labels: of the training images, `(n_train,)`.
    """

    def __init__(self, data: TrialData, plan: TrainingSettings, seed: int, size: int, clock: Clock) -> None:
        self._data, self._plan, self._seed, self._clock = data, plan, seed, clock
        self.pool = batches.mapped(data.pools[size])
        self.prefix: Prefix | None = None
        self._crop_from = data.crops_from(size)
        self._train = np.asarray(data.train)
        self._copies = 0  # of the first so many the trial has had an epoch
        self.labels: NDArray[np.int32] = np.asarray(data.labels)[self._train]

    @property
    def epoch_size(self) -> int:
        """Images that an epoch trains on."""
        return batches.epoch_size(len(self._train), self._plan.epoch_images)

    @property
    def seen_anew(self) -> int:
        """Images that the weights of an epoch have newly seen: all of them where the last layer is solved for."""
        return len(self._train) if self._plan.solver else self.epoch_size

    def rows(self, epoch: int) -> Rows:
        """Which images an epoch, counted from 1, trains on, in order."""
        if self._plan.imbalance == "balanced_batches":
            return self._train[batches.balanced_order(self.labels, self.epoch_size, epoch, self._seed)]
        return self._train[batches.epoch_order(len(self._train), self.epoch_size, epoch, self._seed)]

    def training(self, epoch: int, rows: Rows) -> NDArray[Any] | CroppedPool:
        """What `rows` are gathered from in this epoch: pixels, crops, or an augmented copy of the prefix's outputs."""
        copies = self._plan.copies if self._plan.augmentation else 0
        if self.prefix is None and self._plan.augmentation.cropping:
            return self._plan.augmentation.crops_of(self._crop_from, self.pool.shape[1], self._seed, epoch)
        if self.prefix is None or not copies:
            return self.plain(rows)
        with _process.phase("copies"):
            return self._own_features(rows, self._copy(epoch, copies, rows))

    def _copy(self, epoch: int, copies: int, rows: Rows) -> AugmentedCopy:
        """The copy whose turn it is; of those that the trial has had, while another one would take too much time."""
        one = AugmentedCopy(self._plan.augmentation, (epoch - 1) % copies, self._crop_from)
        if self._data.copies_share >= 1 or one.number < self._copies:
            return one
        new = dataclasses.replace(one, number=self._copies)
        spent, elapsed = _process.seconds.get("copies", 0.0), time.monotonic() - _begun
        if self._copies and spent > self._data.copies_share * elapsed and not self._has(rows, new):
            return dataclasses.replace(one, number=(epoch - 1) % self._copies)
        self._copies += 1
        return new

    def _has(self, rows: Rows, copy: AugmentedCopy) -> bool:
        assert self.prefix is not None
        return self.prefix.has(self.pool, rows, fingerprint=self._data.fingerprint, cache=self._data.cache, copy=copy)

    def plain(self, rows: Rows) -> NDArray[Any]:
        """What `rows` are gathered from without augmentation."""
        return self.pool if self.prefix is None else self._own_features(rows)

    def of_view(self, pool: NDArray[Any], rows: Rows, fingerprint: str) -> NDArray[Any]:
        """What `rows` of a shifted view's images are gathered from.

        Args:
            pool: the view's images, like the trial's own.
            rows: of it.
            fingerprint: of the view.
        """
        return pool if self.prefix is None else self._features(pool, rows, fingerprint)

    def _own_features(self, rows: Rows, copy: AugmentedCopy | None = None) -> NDArray[np.float16]:
        with self._clock.phase("prefix"):
            return self._features(self.pool, rows, self._data.fingerprint, copy)

    def _features(
        self, pool: NDArray[Any], rows: Rows, fingerprint: str, copy: AugmentedCopy | None = None
    ) -> NDArray[np.float16]:
        assert self.prefix is not None
        return self.prefix.features(
            pool,
            rows,
            fingerprint=fingerprint,
            cache=self._data.cache,
            copy=copy,
            limit=self._data.cache_limit,
            check=lambda: self._clock.check("computing features of the frozen backbone"),
        )
