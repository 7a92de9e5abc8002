"""Where decoded things are kept, and how work is spread over threads. Called by inspection, arrays and the sources."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import platformdirs

from xraytune import hardware
from xraytune.data import reading
from xraytune.data.problems import Progress
from xraytune.errors import FatalError, InputError

if TYPE_CHECKING:
    import filelock

BATCH = 32
"""Files a task: enough that numpy's calls are amortised, few enough that progress moves."""


def folder(*parts: str) -> Path:
    """A folder of the cache, made if it is missing: `XRAYTUNE_CACHE`, else the user's cache folder.

    Raises:
        InputError: it can't be made.
    """
    named = os.environ.get("XRAYTUNE_CACHE")
    path = (Path(named).expanduser() if named else platformdirs.user_cache_path("xraytune")).joinpath(*parts)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The cache {path} can't be made: {error.strerror}. Choose one with XRAYTUNE_CACHE.") from None
    return path.resolve()


def lock(path: Path) -> filelock.BaseFileLock:
    """A lock on this file between processes: what it guards is made once. Not held yet; a context manager."""
    import filelock  # a fifth of the imports of a second start, which makes nothing

    return filelock.FileLock(path)


def mapped(path: Path, shape: tuple[int, ...]) -> np.memmap[tuple[int, ...], np.dtype[np.uint8]]:
    """A new uint8 `.npy` file of this shape, mapped for writing, with its room on the disk taken at once.

    Without that, writing to a mapped file on a full disk kills the process (SIGBUS) where it should say so.

    Raises:
        FatalError: there is no room.
    """
    try:
        array: np.memmap[tuple[int, ...], np.dtype[np.uint8]] = np.lib.format.open_memmap(
            path, mode="w+", dtype=np.uint8, shape=shape
        )
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        size = math.prod(shape) >> 20
        raise FatalError(
            f"{size} MiB can't be kept in {path.parent}: {error.strerror}. Free some room, or choose another place "
            "with XRAYTUNE_CACHE."
        ) from None
    return array


def spread(work: Callable[[range], None], count: int, what: str, progress: Progress | None) -> None:
    """Call `work` on consecutive ranges below `count`, in threads, with progress.

    Threads, not processes: Pillow decodes without the interpreter's lock (two threads halve the time on whole films),
    nothing has to be imported or pickled, and results go straight into shared or mapped arrays. An exception, Ctrl-C
    included, drops what has not begun.
    """
    batches = [range(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]
    done = 0
    if progress:
        progress(0, count, what)
    threads = min(hardware.cores(), max(1, len(batches)))
    pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="xraytune-data")
    try:
        with reading.silenced():
            for future in as_completed({pool.submit(_sized, work, batch) for batch in batches}):
                done += future.result()
                if progress:
                    progress(done, count, what)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _sized(work: Callable[[range], None], batch: range) -> int:
    work(batch)
    return len(batch)


def in_chunks(indices: Sequence[int], size: int) -> Iterable[Sequence[int]]:
    """Consecutive pieces of at most `size`."""
    return (indices[start : start + size] for start in range(0, len(indices), size))
