"""Frozen prefixes: what the layers that never train compute, computed once and kept for every trial.

`split` finds the prefix of a built network; `Prefix.features` gives its outputs for the rows asked for, as a mapped
float16 array, computing those that no trial has computed yet. Called by `xraytune.training`.

An array is kept beside the image cache under a key of everything it depends on: the prefix's layers, its weights'
sha256, the pool's fingerprint and size, the augmentation and which copy. Rows are computed in blocks of 64, each with
its own seed, so that it does not matter who computes what in which order; a block is computed under a kernel lock of
its group, so that trials which need the same prefix share the work, and a killed one leaves no claim behind.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import keras
import numpy as np
from numpy.typing import NDArray

from xraytune import augmentation
from xraytune.augmentation import Augmentation
from xraytune.batches import Rows

BLOCK = 64
"""Rows computed at a time: enough to fill the cores, little enough to look at the clock between two."""

GROUP = 4
"""Blocks under one lock."""

DEFAULT_LIMIT_GB = 20.0
"""What prefixes may take on disk unless `XRAYTUNE_CACHE_LIMIT` (GB) says otherwise; at most half of what is free."""

FLOAT16_MAX = 65504.0


@dataclass(frozen=True)
class Prefix:
    """The frozen first part of a network."""

    model: keras.Model
    """Pixels in, the cut tensor out; shares the network's layers."""

    key: str
    """sha256 over its layers and weights."""

    layer: str
    """The last layer of it, for messages."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image's features."""
        return tuple(int(d) for d in self.model.output_shape[1:])

    def features(
        self,
        pool: NDArray[Any],
        rows: Rows,
        *,
        fingerprint: str,
        cache: Path,
        augment: Augmentation | None = None,
        copy: int = 0,
        check: Callable[[], None] = lambda: None,
    ) -> NDArray[np.float16]:
        """The prefix's outputs, a mapped array `(n, *shape)` in which at least `rows` are computed.

        Args:
            pool: images `(n, size, size, c)`, uint8.
            rows: which are needed.
            fingerprint: of the data the pool was made from.
            cache: the cache folder.
            augment: what is done to the images first; None keeps them plain.
            copy: which seeded copy of the augmentation.
            check: called between blocks; raises to stop (a deadline).
        """
        about = {
            "prefix": self.key,
            "pool": [fingerprint, *map(int, pool.shape)],
            "augmentation": [*dataclasses.astuple(augment), copy] if augment else None,
        }
        name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
        store = _Store.open(cache / "prefixes" / name, (len(pool), *self.shape), about | {"layer": self.layer})
        seed = int(name[:7], 16)
        store.fill(np.unique(rows // BLOCK), lambda block: self._compute(pool, block, augment, seed), check)
        return store.array

    def _compute(self, pool: NDArray[Any], block: int, augment: Augmentation | None, seed: int) -> NDArray[np.float16]:
        images = np.asarray(pool[block * BLOCK : (block + 1) * BLOCK])
        n = len(images)
        x = augmentation.apply(augment, images, seed + 4 * block) if augment else images
        outputs: NDArray[np.float32] = self.model.predict_on_batch(np.resize(x, (BLOCK, *x.shape[1:])))[:n]
        return np.clip(outputs, -FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)


def split(model: keras.Model) -> Prefix | None:
    """The frozen prefix of a built functional network, or None where there is none worth keeping.

    It ends at the last single tensor that everything after depends on alone, before the first layer that is trainable,
    random or part of a head. A foreign network's pooling, which is neither, stays inside.
    """
    if not isinstance(model, keras.models.Model) or not hasattr(model, "operations"):
        return None
    operations = list(model.operations)
    position = {id(t): i for i, op in enumerate(operations) for t in _tensors(op.output)}
    last_use = dict.fromkeys(position, -1)
    for i, op in enumerate(operations):
        if not isinstance(op, keras.layers.InputLayer):
            for tensor in _tensors(op.input):
                last_use[id(tensor)] = i
    for tensor in model.outputs:
        last_use[id(tensor)] = len(operations)
    cut, open_until, weights = None, -1, False
    for i, op in enumerate(operations):
        if getattr(op, "trainable_weights", None) or _random(op) or op.name.startswith(("head", "predictions")):
            break
        weights = weights or bool(getattr(op, "weights", None))
        if open_until <= i and weights and len(_tensors(op.output)) == 1:
            cut = op
        open_until = max(open_until, *(last_use[id(t)] for t in _tensors(op.output)))
    if cut is None or len(model.inputs) != 1:
        return None
    frozen = keras.Model(model.inputs, cut.output, name="prefix")
    return Prefix(frozen, _key(frozen), cut.name)


def _tensors(tensors: Any) -> list[Any]:
    return list(tensors) if isinstance(tensors, list | tuple) else [tensors]


def _random(op: Any) -> bool:
    module = type(op).__module__
    return "regularization" in module or type(op).__name__.startswith("Random")


def _key(model: keras.Model) -> str:
    digest = hashlib.sha256()
    for op in model.operations:
        config = {k: v for k, v in op.get_config().items() if k != "name"} if hasattr(op, "get_config") else {}
        digest.update(json.dumps([type(op).__name__, config], sort_keys=True, default=str).encode())
    for weight in model.weights:
        digest.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Store:
    """One kept array on disk: `features.npy`, `done.npy` (a byte a block), `about.json`, and the locks."""

    folder: Path
    array: NDArray[np.float16]
    done: NDArray[np.uint8]

    @classmethod
    def open(cls, folder: Path, shape: tuple[int, ...], about: dict[str, Any]) -> _Store:
        """Open it, made on first use; marks it as used now."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.parent / "lock"):
            if not (folder / "about.json").is_file():
                shutil.rmtree(folder, ignore_errors=True)
                _evict(folder.parent, needed=2 * int(np.prod(shape)))
                folder.mkdir()
                # both files are sparse: a row takes disk when it is computed
                np.lib.format.open_memmap(folder / "features.npy", "w+", np.float16, shape).flush()
                blocks = -(-shape[0] // BLOCK)
                np.lib.format.open_memmap(folder / "done.npy", "w+", np.uint8, (blocks,)).flush()
                (folder / "about.json").write_text(json.dumps(about, indent=1))
            os.utime(folder)
            return cls(
                folder,
                np.load(folder / "features.npy", mmap_mode="r+"),
                np.load(folder / "done.npy", mmap_mode="r+"),
            )

    def fill(self, blocks: Rows, compute: Callable[[int], NDArray[np.float16]], check: Callable[[], None]) -> None:
        """Have every block in `blocks` computed, by this process or by others that are at it."""
        while missing := sorted({int(b) // GROUP for b in blocks if not self.done[b]}):
            worked = False
            for group in missing:
                lock = filelock.FileLock(self.folder / f"{group}.lock")
                try:
                    lock.acquire(timeout=0)
                except filelock.Timeout:
                    continue
                worked = True
                try:
                    for block in range(group * GROUP, min((group + 1) * GROUP, len(self.done))):
                        if not self.done[block]:
                            check()
                            self.array[block * BLOCK : (block + 1) * BLOCK] = compute(block)
                            self.done[block] = 1
                finally:
                    lock.release()
            if not worked:
                check()
                time.sleep(0.1)


def limit_bytes(folder: Path) -> int:
    """What prefixes may take on disk together: `XRAYTUNE_CACHE_LIMIT` GB, and never over half of what is free."""
    asked = float(os.environ.get("XRAYTUNE_CACHE_LIMIT", DEFAULT_LIMIT_GB)) * 1e9
    return int(min(asked, used_bytes(folder) + shutil.disk_usage(folder).free / 2))


def used_bytes(folder: Path) -> int:
    """What the kept prefixes take on disk now (blocks, not lengths: the files are sparse)."""
    return sum(f.stat().st_blocks * 512 for f in folder.glob("*/*.npy"))


def _evict(folder: Path, needed: int) -> None:
    """Remove the least recently used prefixes until `needed` more bytes fit; who has one mapped keeps it until done."""
    stores = sorted((s for s in folder.iterdir() if s.is_dir()), key=lambda s: s.stat().st_mtime)
    limit = limit_bytes(folder)
    while stores and used_bytes(folder) + needed > limit:
        shutil.rmtree(stores.pop(0), ignore_errors=True)
