"""The study's ledger: every opening of the sealed test set, one JSON line each, written before it is opened."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xraytune.errors import FatalError

NAME = "ledger.jsonl"


def append(study_folder: Path, entry: Mapping[str, Any]) -> int:
    """Record an opening; how often the set was opened, this time included.

    Args:
        study_folder: `results/<study>`.
        entry: which configuration, what for.

    Raises:
        FatalError: it can't be recorded; the set must then stay closed.
    """
    path = study_folder / NAME
    line = json.dumps({"when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), **entry}) + "\n"
    try:
        torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" + line if torn else line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise FatalError(
            f"The opening of the test set can't be recorded in {path} ({error.strerror}), so it stays closed."
        ) from None
    return len(read(study_folder))


def read(study_folder: Path) -> list[dict[str, Any]]:
    """Every opening so far; a line torn by a full disk counts as one, since the set may have been opened."""
    path = study_folder / NAME
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip():
            continue
        try:
            entries.append(json.loads(line))
        except ValueError:
            entries.append({"when": "", "what": "an entry that was cut off"})
    return entries
