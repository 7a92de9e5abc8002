"""Decoded films between verification and the arrays: a file is decoded once. Inspection fills, arrays empty them.

They lie in a file of the cache that has no name: it is gone when its arrays are made, or with the process, whatever
ends it. A film that is not there (the disk is small, the file was verified at an earlier start or changed since) is
decoded from its file again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
from pathlib import Path

import numpy as np
from PIL import Image

MOST_BYTES = 2 << 30
"""Kept at most, and never more than a quarter of what the disk has free. The Kermany films in full size take 1.8 GB."""

Stat = tuple[int, int, int, int]
"""Size, modification time, change time and inode: a file is as it was while they are."""

_PLACE = np.dtype([("offset", "i8"), ("width", "i4"), ("height", "i4"), ("stat", "i8", 4)])


class Films:
    """The gray films of one inspection, each as `reading.decode` gives it by default."""

    def __init__(self, folder: Path, count: int) -> None:
        """Room for `count` films in a file of this folder; nothing is kept where none can be made."""
        self._places = np.zeros(count, _PLACE)
        self._lock = threading.Lock()
        self._end = 0
        self._most = 0
        self._file = -1
        if not hasattr(os, "pwrite"):
            return
        try:
            self._most = min(MOST_BYTES, shutil.disk_usage(folder).free // 4)
            file, name = tempfile.mkstemp(prefix=".films-", dir=folder)
        except OSError:
            return
        self._file, self._close = file, weakref.finalize(self, os.close, file)
        os.unlink(name)  # noqa: PTH108

    def keep(self, row: int, image: Image.Image, stat: Stat) -> None:
        """Keep the film of a row, read when its file was `stat`."""
        if self._file < 0:
            return
        content = image.tobytes()
        with self._lock:
            offset = self._end
            if offset + len(content) > self._most:
                return
            self._end += len(content)
        try:
            whole = os.pwrite(self._file, content, offset) == len(content)
        except OSError:
            whole = False
        with self._lock:
            if not whole:  # the disk is full: its room is the arrays'
                self._most = 0
                self._places[:] = 0
                os.ftruncate(self._file, 0)
            elif self._most:
                self._places[row] = (offset, image.width, image.height, stat)

    def get(self, row: int, path: Path) -> Image.Image | None:
        """The film of a row, mode L, if it is kept and its file is as it was."""
        if self._file < 0 or row < 0:
            return None
        offset, width, height, stat = self._places[row].item()
        if not width or tuple(stat) != stat_of(path):
            return None
        content = os.pread(self._file, width * height, offset)
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
