"""Where decoded things are kept."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import platformdirs
from numpy.typing import DTypeLike

from xraytune.errors import FatalError, InputError

if TYPE_CHECKING:
    import filelock


def folder(*parts: str) -> Path:
    """A folder of the cache, made if it is missing: `XRAYTUNE_CACHE`, else the user's cache folder.

    Raises:
        InputError: it can't be made.
    """
    named = os.environ.get("XRAYTUNE_CACHE")
    try:
        path = (Path(named).expanduser() if named else platformdirs.user_cache_path("xraytune")).joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError, ValueError) as error:  # no home of that user's, a zero byte
        where = repr(named) if named else f"in {platformdirs.user_cache_dir()}"
        why = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        raise InputError(
            f"The cache {where} can't be made: {why}. Name another folder in the environment: XRAYTUNE_CACHE=FOLDER."
        ) from None
    return path.resolve()


def lock(path: Path) -> filelock.BaseFileLock:
    """A lock on this file between processes: what it guards is made once. Not held yet; a context manager."""
    import filelock  # a fifth of the imports of a second start, which makes nothing

    return filelock.FileLock(path)


def mapped(
    path: Path, shape: tuple[int, ...], dtype: DTypeLike = np.uint8
) -> np.memmap[tuple[int, ...], np.dtype[Any]]:
    """A new `.npy` file of this shape, mapped for writing, with its room on the disk taken at once.

    Without that, writing to a mapped file on a full disk kills the process (SIGBUS) where it should say so.

    Raises:
        FatalError: there is no room.
    """
    try:
        array: np.memmap[tuple[int, ...], np.dtype[Any]] = np.lib.format.open_memmap(
            path, mode="w+", dtype=dtype, shape=shape
        )
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        size = math.prod(shape) * np.dtype(dtype).itemsize >> 20
        raise FatalError(
            f"{size} MiB can't be stored in {path.parent}: {error.strerror}. Free disk space, or choose another "
            "folder with XRAYTUNE_CACHE."
        ) from None
    return array


def in_chunks(indices: Sequence[int]) -> Iterable[Sequence[int]]:
    """Consecutive pieces of at most 4096."""
    return (indices[start : start + 4096] for start in range(0, len(indices), 4096))
