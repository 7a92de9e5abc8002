"""A CSV manifest: `path,label`, optionally `patient,split,group,site`, and any further columns to judge a model by."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from xraytune.data import spelling
from xraytune.data.problems import Problem
from xraytune.data.sources import csv_table
from xraytune.data.sources.csv_table import Table
from xraytune.data.sources.folder import SPLITS
from xraytune.data.sources.listing import SITE, Item, Listing
from xraytune.errors import InputError

_NEEDED = ("path", "label")
_KNOWN = (*_NEEDED, "patient", "split", "group")
_UNCERTAIN = frozenset({"-1", "-1.0"})


@dataclass
class _Counts:
    """What was noticed while the rows were read."""

    causes: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))
    """What is wrong → the lines in which it is, with the key of the image where there is one."""

    repeated: int = 0
    """Rows that are there twice, word for word."""

    unknown: int = 0
    """Patients that are `nan`, `unknown` or the like."""

    floats: int = 0
    """Patients written as 12.0."""


def open_manifest(path: Path, site: str | None = None) -> Listing:
    """List the images that a manifest names; paths are relative to its folder.

    Cells are separated by commas, semicolons, tabs or `|` (a first line `sep=;` says so itself), in UTF-8 or in UTF-16.

    Args:
        path: the `.csv` file.
        site: the column that names the site; `site` by default.

    Raises:
        SourceError: it can't be parsed, or a column or the rows are missing.
        InputError: there is no column `site`, where one was named.
    """
    table = csv_table.read_table(path, _NEEDED)
    listing, counts = Listing(path.parent), _Counts()
    seen = _read_rows(listing, table, counts)
    _report_rows(listing, table, counts)
    _check_labels(listing, table)
    _check_splits(listing)
    named = sum(bool(item.patient) for item in listing.items)
    listing.patients_known = named > 0
    if 0 < named < len(listing.items) or counts.unknown:
        what = f"{len(listing.items) - named} images have no patient"
        what += f" ({counts.unknown} of them have nan, unknown or similar)" if counts.unknown else ""
        listing.warn("no patient", path.name, f"{what}: each counts as a patient of its own")
    if counts.floats:
        listing.notes.append(f"{counts.floats} patients are written like 12.0 in {path.name}: read as 12.")
    for item in listing.items:
        listing.folders.setdefault(item.split or "train", set()).add(item.label)
    _keep_columns(listing, table, seen)
    if site is not None:
        _name_sites(listing, table, seen, site)
    listing.items.sort(key=lambda item: item.key)
    return listing


def _read_rows(listing: Listing, table: Table, counts: _Counts) -> dict[str, int]:
    """Add the images; the number of each one's row, by its key."""
    place = [table.columns.index(name) if name in table.columns else None for name in _KNOWN]
    seen: dict[str, int] = {}
    for number, (line, row) in enumerate(table.rows):
        file, label, patient, split, group = ["" if at is None else row[at] for at in place]
        key = PurePosixPath(file.replace("\\", "/")).as_posix() if file else ""
        if not file or not label:
            counts.causes[f"has no {'label' if file else 'path'}"].append((line, ""))
        elif spelling.is_unlabelled(label):
            counts.causes[f"has no label: {label!r} would become a separate class"].append((line, ""))
        elif "\0" in file:
            counts.causes["its path contains a zero byte"].append((line, ""))
        elif split and split.lower() not in SPLITS:
            counts.causes[f"split {split!r} is none of train, val, test"].append((line, ""))
        elif key in seen and row == table.rows[seen[key]][1]:
            counts.repeated += 1
        elif key in seen:
            counts.causes["names {} again, with other values"].append((line, key))
        else:
            seen[key] = number
            whom = spelling.patient(patient)
            counts.unknown += bool(patient and not whom)
            counts.floats += bool(whom and whom != patient)
            listing.items.append(Item(key, label, SPLITS[split.lower()] if split else "", whom, group))
    return seen


def _report_rows(listing: Listing, table: Table, counts: _Counts) -> None:
    """Say what is wrong with rows, one problem for all rows that have it; quarantine leaves them out."""
    for what, found in counts.causes.items():
        line, key = found[0]
        lines = tuple(f"{table.name}, line {line}" for line, _ in found)
        clean = what.format(key) if key else what
        if key:  # two rows contradict each other: neither is right for certain
            lines = tuple(key for _, key in found)
        where = f"{table.name}, line {line}" + (f" and {len(found) - 1:,} more lines" if len(found) > 1 else "")
        listing.problems.append(Problem("manifest", where, clean, files=lines))
    if counts.repeated:
        what = f"{counts.repeated} rows are repeated: each image is used once"
        listing.warn("copies", table.name, what)


def _check_labels(listing: Listing, table: Table) -> None:
    """One label an image, and none that means that nobody knows."""
    labels = {item.label for item in listing.items}
    if several := spelling.several_labels(labels):
        hit = set(several)
        count = sum(item.label in hit for item in listing.items)
        what = (
            f"{count} images have several labels in one cell, e.g. {several[0]!r}: each combination would become "
            "a separate class. Write one label per image (for example the finding that you want to detect, or 'other')"
        )
        listing.error("several labels", table.name, what)
    if labels & _UNCERTAIN and labels - _UNCERTAIN <= {"0", "1", "0.0", "1.0"}:
        count = sum(item.label in _UNCERTAIN for item in listing.items)
        what = (
            f"{count} images have the label -1, which CheXpert's tables use for uncertain: it would become a "
            "separate class. Write 0 or 1, or remove these rows"
        )
        listing.error("uncertain label", table.name, what)


def _keep_columns(listing: Listing, table: Table, rows: dict[str, int]) -> None:
    """Columns that mean nothing to us are subgroups of the evaluation (a hospital, a machine, an age)."""
    for at, name in enumerate(table.columns):
        if name and name not in _KNOWN and not name.startswith("unnamed:"):
            values = [row[at] for _, row in table.rows]
            one = {value: value for value in values}  # equal values are one object in memory
            listing.columns[name] = {item.key: one[values[rows[item.key]]] for item in listing.items}


def _name_sites(listing: Listing, table: Table, rows: dict[str, int], column: str) -> None:
    """Take the sites from a column of another name."""
    if column.lower() not in table.columns:
        raise InputError(f"--site {column}: {table.name} has no such column. It has {', '.join(table.columns)}.")
    at = table.columns.index(column.lower())
    listing.columns.pop(column.lower(), None)
    listing.columns[SITE] = {item.key: table.rows[rows[item.key]][1][at] for item in listing.items}


def _check_splits(listing: Listing) -> None:
    """Every image has a split or none has; and the classes of val and test are those of train."""
    splits = {item.split for item in listing.items}
    if "" in splits and len(splits) > 1:
        bare = sum(not item.split for item in listing.items)
        listing.error(
            "manifest", "split", f"{bare} images have no split, but others have one: add it or remove the column"
        )
        return
    if splits <= {""}:
        return
    classes = {split: {item.label for item in listing.items if item.split == split} for split in splits}
    if "train" not in classes:
        listing.error("manifest", "split", "no image is in train")
        return
    for split in sorted(splits - {"train"}):
        for where, other in (("train", split), (split, "train")):
            if missing := sorted(classes[where] - classes[other]):
                more = f" and {len(missing) - 1} more classes" if len(missing) > 1 else ""
                listing.error("class names differ", other, f"has no image of {missing[0]}{more}, {where} has")
