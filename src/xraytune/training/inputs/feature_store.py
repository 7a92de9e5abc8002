"""Kept arrays of prefixes on disk: shared by processes, bounded, the least recently used giving way.

A store is a folder: `features.npy`, `done.npy` (a byte a block), `about.json`, the locks of its groups, and `used`,
which everyone who works with it holds a shared kernel lock of: a store that a running trial uses is never evicted, and
a killed process holds nothing. Both arrays are sparse files: a row takes disk when it is computed, so a store in use
counts with the whole length that it may grow to.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from numpy.typing import NDArray

from xraytune.errors import TrialError, full_disk
from xraytune.records import FailureCause

BLOCK = 64
"""Rows computed at a time: enough to fill the cores, little enough to look at the clock between two."""

GROUP = 4
"""Blocks under one lock."""

DEFAULT_LIMIT_GB = 20.0
"""What prefixes may take on disk unless `--cache-limit` or `XRAYTUNE_CACHE_LIMIT` (GB) says otherwise; at most half of
what is free."""


@dataclass(frozen=True)
class Store:
    """One kept array, in use as long as this object lives."""

    folder: Path
    array: NDArray[np.float16]
    done: NDArray[np.uint8]

    @classmethod
    def open(cls, folder: Path, shape: tuple[int, ...], about: dict[str, Any], limit: int = 0) -> Store:
        """Open it, made on first use; marks it as used now.

        Args:
            folder: its own, inside the folder of all stores.
            shape: of the whole array.
            about: what it holds, for people and tests.
            limit: bytes that all stores may take together; 0 leaves it to `limit_bytes`.

        Raises:
            TrialError: it does not fit the limit beside what running trials use.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.parent / "lock"):
            if not _in_use(folder):  # else its room was taken by whoever uses it
                _make_room(folder, 2 * int(np.prod(shape)), limit)
            if not (folder / "about.json").is_file():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                np.lib.format.open_memmap(folder / "features.npy", "w+", np.float16, shape).flush()
                blocks = -(-shape[0] // BLOCK)
                np.lib.format.open_memmap(folder / "done.npy", "w+", np.uint8, (blocks,)).flush()
                (folder / "about.json").write_text(json.dumps(about, indent=1))
            os.utime(folder)
            store = cls(
                folder,
                np.load(folder / "features.npy", mmap_mode="r+"),
                np.load(folder / "done.npy", mmap_mode="r+"),
            )
            used = os.open(folder / "used", os.O_RDONLY | os.O_CREAT, 0o666)
            weakref.finalize(store, os.close, used)
            fcntl.flock(used, fcntl.LOCK_SH)
            return store

    @staticmethod
    def has(folder: Path, blocks: NDArray[Any]) -> bool:
        """Whether every block in `blocks` of the array in that folder is computed."""
        try:
            return bool(np.load(folder / "done.npy", mmap_mode="r")[blocks].all())
        except (OSError, ValueError):  # not there, or being made
            return False

    def fill(
        self, blocks: NDArray[Any], compute: Callable[[int], NDArray[np.float16]], check: Callable[[], None]
    ) -> None:
        """Have every block in `blocks` computed, by this process or by others that are at it.

        Raises:
            FatalError: the disk is full.
            TrialError: it can't be written for another reason.
        """
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
                            self._take_room(block)
                            self.array[block * BLOCK : (block + 1) * BLOCK] = compute(block)
                            self.done[block] = 1
                finally:
                    lock.release()
            if not worked:
                check()
                time.sleep(0.1)

    def _take_room(self, block: int) -> None:
        """Take a block's room on the disk before it is written: a full disk kills whoever writes to a mapped file."""
        row = self.array.nbytes // len(self.array)
        rows = min(BLOCK, len(self.array) - block * BLOCK)
        path = self.folder / "features.npy"
        header = path.stat().st_size - self.array.nbytes
        try:
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), header + block * BLOCK * row, rows * row)
        except OSError as error:
            if full := full_disk(error, self.folder.parent):
                raise full from None
            raise TrialError(
                FailureCause.ERROR,
                f"the cached features in {self.folder.parent} can't grow: {error.strerror}; choose another folder with "
                "--cache",
            ) from None


def limit_bytes(folder: Path) -> int:
    """What stores may take on disk together: `XRAYTUNE_CACHE_LIMIT` GB, and never over half of what is free."""
    asked = float(os.environ.get("XRAYTUNE_CACHE_LIMIT", DEFAULT_LIMIT_GB)) * 1e9
    return int(min(asked, used_bytes(folder) + shutil.disk_usage(folder).free / 2))


def used_bytes(folder: Path) -> int:
    """What the stores take on disk now (blocks, not lengths: the files are sparse)."""
    return sum(_on_disk(store) for store in folder.iterdir() if store.is_dir())


def _make_room(wanted: Path, needed: int, limit: int) -> None:
    """Remove the least recently used stores that nobody uses until the store `wanted` may take `needed` bytes.

    What is in use counts with its whole length, the rest with what it takes on the disk: it grows when it is next
    opened, and then comes here.
    """
    folder = wanted.parent
    limit = limit or limit_bytes(folder)
    others = sorted((s for s in folder.iterdir() if s.is_dir() and s != wanted), key=lambda s: s.stat().st_mtime)
    used = {store: _in_use(store) for store in others}
    taken = {store: _length(store) if used[store] else _on_disk(store) for store in others}
    for store in others:
        if sum(taken.values()) + needed <= limit:
            return
        if not used[store]:
            shutil.rmtree(store, ignore_errors=True)
            del taken[store]
    if (held := sum(taken.values())) + needed > limit:
        beside = f"beside the {held / 1e9:.3g} GB that running trials use " if held else ""
        raise TrialError(
            FailureCause.BAD_CONFIG,
            f"cached features of {needed / 1e9:.3g} GB do not fit {beside}into the {limit / 1e9:.3g} GB that "
            "--cache-limit allows",
        )


def _length(store: Path) -> int:
    """The bytes of a store when all of it is computed."""
    return sum(f.stat().st_size for f in store.glob("*.npy"))


def _on_disk(store: Path) -> int:
    """The bytes that a store takes on the disk now."""
    return sum(f.stat().st_blocks * 512 for f in store.glob("*.npy"))


def _in_use(store: Path) -> bool:
    """Whether some process works with it; the caller holds the folder's lock, so that nobody begins to."""
    try:
        with (store / "used").open("rb") as used:
            fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
