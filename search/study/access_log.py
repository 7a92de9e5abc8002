"""The test-set access log of a study: one JSON line for each evaluation of the test set, written before it.

The evaluation's metrics follow in a line of their own, so that no line is ever rewritten: the metrics of the first
evaluation stay when `winner/` is replaced.
"""

from __future__ import annotations

import datetime
import errno
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xraytune import artifacts
from xraytune.errors import FOREIGN, FULL, FatalError

NAME = "ledger.jsonl"

AGAIN = "Free disk space (or restore the folder) and call the same command again."

FIGURES = ("accuracy", "sensitivity", "specificity", "f2", "auc")
"""Metrics that are kept of each evaluation, with intervals."""

ROOM = 8 << 20
"""Bytes that must be free before an evaluation. Report, figures and example images take about 4 MB, and 200 bytes more
for each test image."""

_FIGURES_OF = '{"figures_of"'


def append(study_folder: Path, entry: Mapping[str, Any]) -> int:
    """Record an evaluation; how often the test set was evaluated, this time included.

    Args:
        study_folder: `results/<study>`.
        entry: which configuration, what for.

    Raises:
        FatalError: it can't be recorded, or there is no room for its results; the test set must then not be evaluated.
    """
    _check_room(study_folder)
    _write(study_folder, {"when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), **entry})
    return len(read(study_folder))


def keep_figures(study_folder: Path, opening: int, overall: Mapping[str, Sequence[float | None]]) -> None:
    """Record the metrics of an evaluation.

    Args:
        study_folder: `results/<study>`.
        opening: which evaluation, from 1.
        overall: [value, low, high] by name; those of `FIGURES` are kept.

    Raises:
        FatalError: they can't be kept.
    """
    found = {name: [None if v is None else round(v, 4) for v in overall[name]] for name in FIGURES}
    _write(study_folder, {"figures_of": opening, "figures": found})


def _check_room(study_folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=study_folder) as file:
            os.posix_fallocate(file.fileno(), 0, ROOM)
    except OSError as error:
        if error.errno in {*FULL, errno.EFBIG}:  # others: a file system that can't reserve
            raise FatalError(
                f"{study_folder} has no {ROOM >> 20} MB left for the test results ({error.strerror}), so the test set "
                f"was not evaluated. {AGAIN}"
            ) from None


def _write(study_folder: Path, entry: Mapping[str, Any]) -> None:
    path = study_folder / NAME
    line = json.dumps(entry) + "\n"
    try:
        torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" + line if torn else line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        what = "The test metrics can't be recorded" if "figures_of" in entry else "The evaluation can't be recorded"
        why = "." if "figures_of" in entry else ", so the test set was not evaluated."
        raise FatalError(f"{what} in {path} ({error.strerror}){why} {AGAIN}") from None


def read(study_folder: Path) -> list[dict[str, Any]]:
    """Every evaluation so far, with its `figures` where they were kept.

    A line cut off by a full disk counts as an evaluation, since the test set may have been evaluated.
    """
    path = study_folder / NAME
    if not path.exists():
        return []
    entries: list[dict[str, Any]] = []
    for line in artifacts.read_text(path).splitlines():
        if not line.strip():
            continue
        try:
            entry = dict(json.loads(line))
        except FOREIGN:
            if not line.startswith(_FIGURES_OF):
                entries.append({"when": "", "what": "an entry that was cut off"})
            continue
        if "figures_of" not in entry:
            entries.append(entry)
        elif entry["figures_of"] in range(1, len(entries) + 1) and "figures" in entry:
            entries[entry["figures_of"] - 1]["figures"] = entry["figures"]
    return entries


def openings(results: Path, fingerprint: str) -> dict[str, int]:
    """How often each study of a results folder has evaluated the test set of this fingerprint.

    Args:
        results: holds the studies' folders.
        fingerprint: of the held-out test images.
    """
    found = {}
    for path in sorted(results.glob(f"*/{NAME}")):
        count = sum(entry.get("test_fingerprint") == fingerprint for entry in read(path.parent))
        if count:
            found[path.parent.name] = count
    return found
