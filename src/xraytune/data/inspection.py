"""Every file read once: hashed, decoded fully, measured; and what was found kept for the next start.

The kept table trusts a file's kernel record: as long as size, modification time, change time and inode are those of
the time it was read, it is not read again (a start takes a fraction of a second then). A change time can't be set by
a program, so a file that is edited, replaced or given an old date is read again; damage below the file system (a bad
disk) is not seen by this, which is what `rehash` is for. A file changed in the last two seconds before it was read
is not trusted either, since a second change could carry the same time (git calls such entries racily clean).
Of several starts on the same data one reads, the others wait for it. Called by verify and audit.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from xraytune import artifacts
from xraytune.data import cache, phash, reading
from xraytune.data.films import Films, Stat, stamp, stat_of
from xraytune.data.problems import Progress
from xraytune.data.reading import Look, Reading

ROW = np.dtype(
    [
        ("sha256", "u1", 32),  # of the file's bytes; zeros where they could not be read
        ("width", "i4"),  # of the whole film, upright, pixels
        ("height", "i4"),
        ("size", "i8"),  # bytes
        ("mode", "S8"),
        ("patient", "S16"),  # a digest of the DICOM header's PatientID
        ("phash", "u8"),
        ("features", "f4", len(reading.FEATURES)),  # zeros where the file can't be used
        ("stat", "i8", 4),  # zeros where it must not be trusted
    ]
)
"""What is kept of a file: 136 bytes, where Python objects would take a thousand."""

_LAYOUT = 4  # of the kept table; raised when what is measured changes
_RACY_NS = 2_000_000_000
_MOST_BYTES = 256 << 20  # a film of 50 megapixels at 16 bit, uncompressed, is 100 MB
_NEVER: Stat = (0, 0, 0, 0)


@dataclass(frozen=True)
class Inspection:
    """What all files turned out to be; row i belongs to `keys[i]`."""

    keys: Sequence[str]
    rows: NDArray[np.void]
    """`(n,)` of `ROW`."""

    problems: dict[int, str]
    """Why a file can't be used, by its row."""

    thumbnails: NDArray[np.uint8]
    """`(n, 32, 32)`, mapped from the disk; zeros where the file can't be used."""

    read: int
    """How many files were read this time; the others were known."""

    films: Films | None = field(default=None, compare=False)
    """The films of those that were read."""


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
    if not rehash and (found := _as_kept(root, keys, _load(home))) is not None:
        return found
    with cache.lock(home / "lock"):  # another start on the same data waits here, and finds what was kept
        known = None if rehash else _load(home)
        return _as_kept(root, keys, known) or _read_all(home, root, keys, known, progress)


def _as_kept(root: Path, keys: Sequence[str], known: Inspection | None) -> Inspection | None:
    """What is kept, where it is of these very files and all of them are as they were."""
    if known is None or len(known.keys) != len(keys):
        return None
    return replace(known, keys=keys) if np.array_equal(_unchanged(root, keys, known), np.arange(len(keys))) else None


def _read_all(
    home: Path, root: Path, keys: Sequence[str], known: Inspection | None, progress: Progress | None
) -> Inspection:
    """Read the files that are not known, and keep what is known now; the caller holds the lock of `home`."""
    rows, problems = np.zeros(len(keys), ROW), dict[int, str]()
    began = time.time_ns()
    if known is None:
        old = np.full(len(keys), -1)
    else:
        old = _unchanged(root, keys, known)
        adopted = np.flatnonzero(old >= 0)
        rows[adopted] = known.rows[old[adopted]]
        pairs = zip(adopted.tolist(), old[adopted].tolist(), strict=True)
        problems |= {row: known.problems[then] for row, then in pairs if then in known.problems}
    fresh = np.flatnonzero(old < 0)
    films = Films(home, len(keys))
    thumbnails = home / f"thumbnails-{os.urandom(6).hex()}.npy"
    with artifacts.atomic_write(thumbnails) as temporary:
        mapped = cache.mapped(temporary, (len(keys), reading.THUMBNAIL, reading.THUMBNAIL))
        if known is not None:
            for part in cache.in_chunks(adopted.tolist(), 4096):
                mapped[part] = known.thumbnails[old[part]]

        def work(batch: range) -> None:
            chosen, looks = [], []
            for row in fresh[batch.start : batch.stop].tolist():
                stat, found, look = _read(os.path.join(root, keys[row]))  # noqa: PTH118 - a Path is ten times slower
                if found.problem:
                    problems[row] = found.problem
                if look is not None:
                    chosen.append(row)
                    looks.append((look.copy, look.thumbnail))
                    films.keep(row, look.film, stat)
                rows[row] = _row(found, _NEVER if max(stat[1], stat[2]) > began - _RACY_NS else stat)
            if chosen:
                copies, small = (np.stack(part) for part in zip(*looks, strict=True))
                rows["features"][chosen] = reading.measure(copies, small)
                rows["phash"][chosen] = phash.hashes(small)
                mapped[chosen] = small

        cache.spread(work, len(fresh), "reading and checking images", progress)
        mapped.flush()
    _save(home, keys, rows, problems, thumbnails)
    return Inspection(keys, rows, problems, np.load(thumbnails, mmap_mode="r"), len(fresh), films)


def _read(path: str) -> tuple[Stat, Reading, Look | None]:
    """One file's kernel record before it was read, reading and film."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            found = os.fstat(file.fileno())
            if found.st_size > _MOST_BYTES:
                problem = f"{found.st_size >> 20} MB, more than any radiograph ({_MOST_BYTES >> 20} MB)"
                return _NEVER, Reading(size=found.st_size, problem=problem), None
            content = file.read()
    except FileNotFoundError:
        return _NEVER, Reading(problem="the file does not exist"), None
    except OSError as error:
        return _NEVER, Reading(problem=f"can't be opened: {error.strerror}"), None
    return stamp(found), *reading.measured(content)


def _row(found: Reading, stat: Stat) -> tuple[Any, ...]:
    digest = tuple(bytes.fromhex(found.sha256)) or (0,) * 32
    measures = (0.0,) * len(reading.FEATURES)
    return digest, found.width, found.height, found.size, found.mode, found.patient, 0, measures, stat


def _unchanged(root: Path, keys: Sequence[str], known: Inspection) -> NDArray[np.int64]:
    """For each key the row of the kept table that still holds, -1 where none does."""
    if known.keys == keys:
        old = np.arange(len(keys))
    else:
        place = {key: row for row, key in enumerate(known.keys)}
        old = np.array([place.get(key, -1) for key in keys], np.int64)
    now = np.array([stat_of(os.path.join(root, key)) for key in keys], np.int64).reshape(-1, 4)  # noqa: PTH118
    old[(known.rows["stat"][old] != now).any(1)] = -1
    return old


def _load(home: Path) -> Inspection | None:
    """What is kept of a root, None if nothing usable is."""
    try:
        with (home / "table.npz").open("rb") as file, np.load(file) as kept:
            head = json.loads(kept["head"].tobytes())
            if head["made_by"] != _maker():
                return None
            thumbnails = np.load(home / head["thumbnails"], mmap_mode="r")
            keys = kept["keys"].tobytes().decode(errors="surrogateescape").split("\0")
            rows = kept["rows"].view(ROW)
            problems = {int(row): problem for row, problem in head["problems"]}
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
    return Inspection(keys, rows, problems, thumbnails, 0) if len(keys) == len(rows) == len(thumbnails) else None


def _save(home: Path, keys: Sequence[str], rows: NDArray[np.void], problems: dict[int, str], thumbnails: Path) -> None:
    """Keep the findings for the next start."""
    head = {"made_by": _maker(), "thumbnails": thumbnails.name, "problems": sorted(problems.items())}
    names = "\0".join(keys).encode(errors="surrogateescape")  # no path holds a zero byte
    text, bytes_ = (np.frombuffer(content, np.uint8) for content in (json.dumps(head).encode(), names))
    with artifacts.atomic_write(home / "table.npz") as temporary:
        np.savez(temporary, head=text, keys=bytes_, rows=rows.view(np.uint8))
    for old in home.glob("thumbnails-*.npy"):
        if old != thumbnails:
            with suppress(OSError):
                old.unlink()


def _maker() -> list[Any]:
    return [_LAYOUT, PIL.__version__, list(reading.FEATURES), reading.MEASURED]
