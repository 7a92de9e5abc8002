"""Every file read once: hashed, decoded fully, measured; and what was found kept for the next start.

The kept table trusts a file's kernel record: as long as size, modification time, change time and inode are those of
the time it was read, it is not read again (a start takes a fraction of a second then). A change time can't be set by
a program, so a file that is edited, replaced or given an old date is read again; damage below the file system (a bad
disk) is not seen by this, which is what `rehash` is for. A file changed in the last two seconds before it was read
is not trusted either, since a second change could carry the same time (git calls such entries racily clean).
Called by verify and audit.
"""

from __future__ import annotations

import hashlib
import json
import operator
import os
import secrets
import time
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from xraytune import artifacts
from xraytune.data import cache, reading
from xraytune.data.problems import Progress
from xraytune.data.reading import Reading

_columns = operator.attrgetter(*(f.name for f in fields(Reading)))
_LAYOUT = 3  # of the kept table; raised when what is measured changes
_RACY_NS = 2_000_000_000
_MOST_BYTES = 256 << 20  # a film of 50 megapixels at 16 bit, uncompressed, is 100 MB


@dataclass(frozen=True)
class Inspection:
    """What all files turned out to be; row i belongs to `keys[i]`."""

    keys: tuple[str, ...]
    readings: tuple[Reading, ...]
    features: NDArray[np.float32]
    """`(n, len(reading.FEATURES))`; zeros where the file can't be used."""

    thumbnails: NDArray[np.uint8]
    """`(n, 32, 32)`, mapped from the disk; zeros where the file can't be used."""

    read: int
    """How many files were read this time; the others were known."""


def inspect(root: Path, keys: Sequence[str], *, rehash: bool = False, progress: Progress | None = None) -> Inspection:
    """Read every file that is not known yet.

    Args:
        root: keys are relative to it.
        keys: files to read, each once.
        rehash: read all of them, whatever is known.
        progress: told about the files read.

    Returns:
        The findings in the order of `keys`. Files that can't be read are findings too, not errors.
    """
    home = cache.folder("inspected", hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:24])
    known = None if rehash else _Table.load(home)
    paths = [os.path.join(root, key) for key in keys]  # noqa: PTH118 - a Path a file is ten times slower
    table = _Table.empty(list(keys))
    fresh = list(range(len(keys)))
    if known is not None:
        fresh = table.adopt(known, [_stat(path) for path in paths])
        if not fresh and known.keys == table.keys:
            return Inspection(tuple(keys), tuple(known.readings), known.features, known.thumbnails, 0)
    thumbnails = home / f"thumbnails-{secrets.token_hex(6)}.npy"
    with artifacts.atomic_write(thumbnails) as temporary:
        shape = (len(keys), reading.THUMBNAIL, reading.THUMBNAIL)
        mapped = cache.mapped(temporary, shape)
        if known is not None:
            for rows in cache.in_chunks(list(table.adopted), 4096):
                mapped[list(rows)] = known.thumbnails[[table.adopted[row] for row in rows]]

        def work(batch: range) -> None:
            rows, films = [], []
            for row in (fresh[i] for i in batch):
                table.stats[row], table.readings[row], pixels = _read(paths[row])
                if pixels is not None:
                    rows.append(row)
                    films.append(pixels)
            if rows:
                copies, small = (np.stack(part) for part in zip(*films, strict=True))
                table.features[rows] = reading.measure(copies, small)
                mapped[rows] = small

        cache.spread(work, len(fresh), "reading and checking images", progress)
        mapped.flush()
    table.save(home, thumbnails)
    return Inspection(
        tuple(keys), tuple(table.readings), table.features, np.load(thumbnails, mmap_mode="r"), len(fresh)
    )


def _stat(path: str) -> tuple[int, int, int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return (-1, 0, 0, 0)
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _read(path: str) -> tuple[tuple[int, int, int, int], Reading, tuple[reading.Pixels, reading.Pixels] | None]:
    """One file's kernel record (zeros if it must not be trusted), reading and small copies."""
    began = time.time_ns()
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            found = os.fstat(file.fileno())
            if found.st_size > _MOST_BYTES:
                problem = f"{found.st_size >> 20} MB, more than any radiograph ({_MOST_BYTES >> 20} MB)"
                return (0, 0, 0, 0), Reading(size=found.st_size, problem=problem), None
            content = file.read()
    except FileNotFoundError:
        return (0, 0, 0, 0), Reading(problem="the file does not exist"), None
    except OSError as error:
        return (0, 0, 0, 0), Reading(problem=f"can't be opened: {error.strerror}"), None
    result, copy = reading.measured(content)
    racy = max(found.st_mtime_ns, found.st_ctime_ns) > began - _RACY_NS
    stat = (0, 0, 0, 0) if racy else (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    return stat, result, copy


class _Table:
    """The kept findings of one root."""

    def __init__(
        self,
        keys: list[str],
        stats: NDArray[np.int64],
        readings: list[Reading],
        features: NDArray[np.float32],
        thumbnails: NDArray[np.uint8],
    ) -> None:
        self.keys, self.stats, self.readings = keys, stats, readings
        self.features, self.thumbnails = features, thumbnails
        self.adopted: dict[int, int] = {}

    @classmethod
    def empty(cls, keys: list[str]) -> _Table:
        n = len(keys)
        features = np.zeros((n, len(reading.FEATURES)), np.float32)
        return cls(keys, np.zeros((n, 4), np.int64), [Reading()] * n, features, np.zeros((0, 0, 0), np.uint8))

    def adopt(self, known: _Table, stats: list[tuple[int, int, int, int]]) -> list[int]:
        """Take over every row whose file is as it was; return the rows that have to be read."""
        rows = {key: row for row, key in enumerate(known.keys)}
        then = [tuple(row) for row in known.stats.tolist()]
        fresh = []
        for row, (key, now) in enumerate(zip(self.keys, stats, strict=True)):
            old = rows.get(key)
            if old is None or then[old] != now:
                fresh.append(row)
            else:
                self.adopted[row] = old
                self.readings[row] = known.readings[old]
        mine, theirs = list(self.adopted), list(self.adopted.values())
        self.stats[mine], self.features[mine] = known.stats[theirs], known.features[theirs]
        return fresh

    @classmethod
    def load(cls, home: Path) -> _Table | None:
        """What is kept, None if nothing usable is."""
        try:
            with (home / "table.npz").open("rb") as file, np.load(file) as kept:
                head = json.loads(kept["head"].tobytes())
                if head["made_by"] != _maker():
                    return None
                thumbnails = np.load(home / head["thumbnails"], mmap_mode="r")
                readings = [Reading(*row) for row in head["readings"]]
                return cls(head["keys"], kept["stats"], readings, kept["features"], thumbnails)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, home: Path, thumbnails: Path) -> None:
        """Keep the findings; a full disk only costs time at the next start."""
        head = {
            "made_by": _maker(),
            "thumbnails": thumbnails.name,
            "keys": self.keys,
            "readings": [_columns(r) for r in self.readings],
        }
        text = np.frombuffer(json.dumps(head).encode(), np.uint8)
        with artifacts.atomic_write(home / "table.npz") as temporary:
            np.savez(temporary, head=text, stats=self.stats, features=self.features)
        for old in home.glob("thumbnails-*.npy"):
            if old != thumbnails:
                with suppress(OSError):
                    old.unlink()


def _maker() -> list[Any]:
    return [_LAYOUT, PIL.__version__, list(reading.FEATURES), reading.MEASURED]
