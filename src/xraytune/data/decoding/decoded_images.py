"""Decoded images between verification and the arrays: a file is decoded once. Inspection fills, arrays empty them.

They lie in a file of the cache that has no name: it is gone when its arrays are made, or with the process, whatever
ends it. An image that is not there (the disk is small, the file was verified at an earlier start or changed since) is
decoded from its file again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xraytune import hardware

MOST_BYTES = 2 << 30
"""Kept at most, and never more than a quarter of what the disk has free: what the processes keep has no more room than
that together. The Kermany images in full size take 1.8 GB."""

Stat = tuple[int, int, int, int]
"""Size, modification time, change time and inode: a file is as it was while they are."""

PLACE = np.dtype([("width", "i4"), ("height", "i4"), ("stat", "i8", 4)])
"""Where an image is kept: its size, zeros where it is not, and its file's record when it was read."""

_SLOT = 1 << 20
"""Bytes from one image's place to the next, more than a decoded image takes; holes take no room on the disk."""


class DecodedImages:
    """The gray images of one inspection, each as `reading.decode` gives it by default; every process keeps a share."""

    def __init__(self, folder: Path, count: int) -> None:
        """Room for `count` images in a file of this folder; nothing is kept where none can be made."""
        self.places = np.zeros(count, PLACE)
        self._left = 0
        self._file = -1
        if not hasattr(os, "pwrite"):
            return
        try:
            self._left = min(MOST_BYTES, shutil.disk_usage(folder).free // 4) // hardware.cores()
            file, name = tempfile.mkstemp(prefix=".decoded-", dir=folder)
        except OSError:
            return
        self._file, self._close = file, weakref.finalize(self, os.close, file)
        os.unlink(name)  # noqa: PTH108

    @property
    def files(self) -> tuple[int, ...]:
        """The open file that another process needs, under the same number, to keep or get images."""
        return (self._file,) if self._file >= 0 else ()

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which leaves the closing to this one."""
        return {name: value for name, value in self.__dict__.items() if name != "_close"}

    def keep(self, row: int, image: Image.Image, stat: Stat) -> tuple[int, int, Stat] | None:
        """Keep the image of a row, read when its file was `stat`.

        Returns:
            What belongs into `places`, None if it was not kept.
        """
        size = image.width * image.height
        if self._file < 0 or size > min(self._left, _SLOT):
            return None
        self._left -= size
        try:
            whole = os.pwrite(self._file, image.tobytes(), row * _SLOT) == size
        except OSError:
            whole = False
        if not whole:  # the disk is full
            self._left = 0
            return None
        return image.width, image.height, stat

    def get(self, row: int, path: str) -> Image.Image | None:
        """The image of a row, mode L, if it is kept and its file is as it was."""
        if self._file < 0 or row < 0:
            return None
        width, height, stat = self.places[row].item()
        if not width or tuple(stat) != stat_of(path):
            return None
        content = os.pread(self._file, width * height, row * _SLOT)
        return Image.frombuffer("L", (width, height), content, "raw", "L", 0, 1)

    def release(self) -> None:
        """Give the room back."""
        if self._file >= 0:
            self._file = -1
            self._close()


def stat_of(path: str | Path) -> Stat:
    """A file's `Stat`; sizes of -1 where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return (-1, 0, 0, 0)
    return stamp(found)


def stamp(found: os.stat_result) -> Stat:
    """The parts of a file's kernel record that tell whether it changed."""
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
