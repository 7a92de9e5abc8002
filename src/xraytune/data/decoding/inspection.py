"""Every file read once: hashed, decoded fully, measured; and what was found kept for the next start.

The kept table trusts a file's kernel record: as long as size, modification time, change time and inode are those of
the time it was read, it is not read again (a start takes a fraction of a second then). A change time can't be set by
a program, so a file that is edited, replaced or given an old date is read again; damage below the file system (a bad
disk) is not seen by this, which is what `rehash` is for. A file changed in the last two seconds before it was read
is not trusted either, since a second change could carry the same time (git calls such entries racily clean).
Of several starts on the same data one reads, the others wait for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xraytune import artifacts, files
from xraytune.data import cache, identity, image_properties
from xraytune.data.decoding import parallel, perceptual_hash, reading
from xraytune.data.decoding.decoded_images import PLACE, DecodedImages, Stat, stamp, stat_of
from xraytune.data.decoding.reading import Look, Reading
from xraytune.data.problems import Progress
from xraytune.errors import FOREIGN

ROW = np.dtype(
    [
        ("sha256", "u1", 32),  # of the file's bytes; zeros where they could not be read
        ("width", "i4"),  # of the whole image, upright, pixels
        ("height", "i4"),
        ("size", "i8"),  # bytes
        ("mode", "S8"),
        ("patient", f"S{identity.LENGTH}"),  # a digest of the DICOM header's PatientID
        ("remark", "u1"),  # bits of `dicom_levels.REMARKS`
        ("phash", "u8"),
        ("features", "f4", len(image_properties.FEATURES)),  # zeros where the file can't be used
        ("stat", "i8", 4),  # zeros where it must not be trusted
    ]
)
"""What is kept of a file: 153 bytes, where Python objects would take a thousand."""

_LAYOUT = 10  # of the kept table; raised when what is measured changes
_KEPT = ("rows", "thumbnails")  # arrays beside the table
_RACY_NS = 2_000_000_000
_NEVER: Stat = (0, 0, 0, 0)
MISSING = "the file does not exist"
"""The problem of a file that is not there."""


@dataclass(frozen=True)
class Inspection:
    """What all files turned out to be; row i belongs to `keys[i]`."""

    keys: Sequence[str]
    rows: NDArray[np.void]
    """`(n,)` of `ROW`, mapped from the disk."""

    problems: dict[int, str]
    """Why a file can't be used, by its row."""

    thumbnails: NDArray[np.uint8]
    """`(n, 32, 32)`, mapped from the disk; zeros where the file can't be used."""

    read: int
    """How many files were read this time; the others were known."""

    decoded: DecodedImages | None = field(default=None, compare=False)
    """The images of those that were read."""


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
    home = cache.folder("inspected", hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:24])
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
    problems = dict[int, str]()
    trusted = time.time_ns() - _RACY_NS
    if known is None:
        old = np.full(len(keys), -1)
    else:
        old = _unchanged(root, keys, known)
        adopted = np.flatnonzero(old >= 0)
        pairs = zip(adopted.tolist(), old[adopted].tolist(), strict=True)
        problems |= {row: known.problems[then] for row, then in pairs if then in known.problems}
    fresh = np.flatnonzero(old < 0)
    decoded = DecodedImages(home, len(keys))
    name = os.urandom(6).hex()
    paths = [home / f"{what}-{name}.npy" for what in _KEPT]
    with ExitStack() as stack:
        temporary = [stack.enter_context(artifacts.atomic_write(path)) for path in paths]
        rows = cache.mapped(temporary[0], (len(keys),), ROW)
        thumbnails = cache.mapped(temporary[1], (len(keys), image_properties.THUMBNAIL, image_properties.THUMBNAIL))
        if known is not None:
            for part in cache.in_chunks(adopted.tolist()):
                rows[part], thumbnails[part] = known.rows[old[part]], known.thumbnails[old[part]]

        def take(piece: range, found: _Found) -> None:
            at = fresh[piece.start : piece.stop]
            rows[at], decoded.places[at] = found.rows, found.places
            problems.update({int(at[index]): problem for index, problem in found.problems.items()})

        reader = _Reader(str(root), [keys[row] for row in fresh.tolist()], fresh, temporary[1], decoded, trusted)
        parallel.spread(reader, len(fresh), "reading and checking images", progress, take, decoded.files)
        rows.flush()
        thumbnails.flush()
    found, small = (np.load(path, mmap_mode="r") for path in paths)
    _save(home, keys, problems, name, identity.mark() if (found["patient"] != b"").any() else "")
    return Inspection(keys, found, problems, small, len(fresh), decoded)


class _Found(NamedTuple):
    """What consecutive fresh files turned out to be."""

    rows: NDArray[np.void]
    """`(n,)` of `ROW`."""

    places: NDArray[np.void]
    """`(n,)` of `decoded_images.PLACE`."""

    problems: dict[int, str]


@dataclass(frozen=True)
class _Reader:
    """Reads files; every process that helps has one."""

    root: str
    keys: list[str]
    fresh: NDArray[np.int64]
    """The row of each key."""

    thumbnails: Path
    decoded: DecodedImages
    trusted: int
    """Nanoseconds since 1970: a file changed later is read again at the next start."""

    def __call__(self, piece: range) -> _Found:
        """Read these of the keys; their thumbnails and images go to where they are kept."""
        found = _Found(np.zeros(len(piece), ROW), np.zeros(len(piece), PLACE), {})
        chosen, looks = [], []
        for index, number in enumerate(piece):
            path = os.path.join(self.root, self.keys[number])  # noqa: PTH118 - a Path is ten times slower
            stat, read, look = _read(path)
            if read.problem:
                found.problems[index] = read.problem
            if look is not None:
                chosen.append(index)
                looks.append((look.copy, look.thumbnail))
                if place := self.decoded.keep(int(self.fresh[number]), look.image, stat):
                    found.places[index] = place
            found.rows[index] = _row(read, _NEVER if max(stat[1], stat[2]) > self.trusted else stat)
        if chosen:
            copies, small = (np.stack(part) for part in zip(*looks, strict=True))
            found.rows["features"][chosen] = image_properties.measure(copies, small)
            found.rows["phash"][chosen] = perceptual_hash.hashes(small)
            np.load(self.thumbnails, mmap_mode="r+")[self.fresh[piece.start : piece.stop][chosen]] = small
        return found


def _read(path: str) -> tuple[Stat, Reading, Look | None]:
    """One file's kernel record before it was read, reading and image."""
    try:
        with files.open_named(path) as file:
            found = os.fstat(file.fileno())
            content = files.read_open(file, reading.MOST_BYTES)
    except FileNotFoundError:
        return _NEVER, Reading(problem=MISSING), None
    except files.TooLargeError as error:
        return _NEVER, Reading(problem=f"{error.strerror}: no radiograph"), None
    except OSError as error:
        return _NEVER, Reading(problem=f"can't be opened: {error.strerror}"), None
    return stamp(found), *reading.measured(content)


def _row(found: Reading, stat: Stat) -> tuple[Any, ...]:
    digest = tuple(bytes.fromhex(found.sha256)) or (0,) * 32
    measures = (0.0,) * len(image_properties.FEATURES)
    return digest, found.width, found.height, found.size, found.mode, found.patient, found.remark, 0, measures, stat


def _unchanged(root: Path, keys: Sequence[str], known: Inspection) -> NDArray[np.int64]:
    """For each key the row of the kept table that still holds, -1 where none does."""
    if known.keys == keys:
        old = np.arange(len(keys))
    else:
        place = {key: row for row, key in enumerate(known.keys)}
        old = np.array([place.get(key, -1) for key in keys], np.int64)
    for part in cache.in_chunks(range(len(keys))):
        now = np.array([stat_of(os.path.join(root, keys[row])) for row in part], np.int64)  # noqa: PTH118
        changed = (known.rows["stat"][old[part]] != now).any(1)
        old[np.asarray(part)[changed]] = -1
    return old


def _load(home: Path) -> Inspection | None:
    """What is kept of a root, None if nothing usable is."""
    try:
        with (home / "table.npz").open("rb") as file, np.load(file) as kept:
            head = json.loads(kept["head"].tobytes())
            if head["made_by"] != _maker():
                return None
            rows, thumbnails = (np.load(home / f"{what}-{head['name']}.npy", mmap_mode="r") for what in _KEPT)
            keys = kept["keys"].tobytes().decode(errors="surrogateescape").split("\0")[:-1]
            problems = {int(row): problem for row, problem in head["problems"]}
    except (OSError, *FOREIGN):
        return None
    whole = len(keys) == len(rows) == len(thumbnails) and rows.dtype == ROW
    whole = whole and (not (rows["patient"] != b"").any() or head.get("patients") == identity.mark())
    return Inspection(keys, rows, problems, thumbnails, 0) if whole else None


def _save(home: Path, keys: Sequence[str], problems: dict[int, str], name: str, patients: str) -> None:
    """Keep the findings for the next start, beside the arrays of this name and with the mark of the patients' key."""
    head = {"made_by": _maker(), "name": name, "problems": sorted(problems.items()), "patients": patients}
    joined = "".join(f"{key}\0" for key in keys).encode(errors="surrogateescape")
    text, bytes_ = (np.frombuffer(content, np.uint8) for content in (json.dumps(head).encode(), joined))
    with artifacts.atomic_write(home / "table.npz") as temporary:
        np.savez(temporary, head=text, keys=bytes_)
    for old in (path for what in _KEPT for path in home.glob(f"{what}-*.npy")):
        if old.stem.partition("-")[2] != name:
            with suppress(OSError):
                old.unlink()


def _maker() -> list[Any]:
    return [_LAYOUT, reading.DECODERS, list(image_properties.FEATURES), reading.MEASURED]
