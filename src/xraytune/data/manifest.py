"""A CSV manifest: `path,label`, optionally `patient,split,group`, and any further columns to judge a model by."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from xraytune.data import files, spelling
from xraytune.data.folder import SPLITS
from xraytune.data.items import Item, Listing
from xraytune.data.problems import Problem, Progress, some
from xraytune.errors import SourceError

_NEEDED = ("path", "label")
_KNOWN = (*_NEEDED, "patient", "split", "group")
_DELIMITERS = (",", ";", "\t", "|")
_MOST_BYTES = 512 << 20
_UNCERTAIN = frozenset({"-1", "-1.0"})


@dataclass
class _Table:
    """What a manifest holds."""

    name: str
    columns: list[str]
    rows: list[tuple[int, list[str]]]
    """The line that each row begins in, and its cells, as many as there are columns."""

    causes: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))
    """What is wrong → the lines in which it is, with the key of the image where there is one."""


def open_manifest(path: Path, progress: Progress | None = None) -> Listing:
    """List the images that a manifest names; paths are relative to its folder.

    Cells are separated by commas, semicolons, tabs or `|` (a first line `sep=;` says so itself), in UTF-8 or in UTF-16.

    Args:
        path: the `.csv` file.
        progress: not used; a manifest is read at once.

    Raises:
        SourceError: it can't be parsed, or a column or the rows are missing.
    """
    table = _parse(path)
    listing = Listing(path.parent)
    place = {name: table.columns.index(name) if name in table.columns else None for name in _KNOWN}
    seen: dict[str, int] = {}
    again = 0
    unknown = 0
    for number, (line, row) in enumerate(table.rows):
        file, label, patient, split, group = ("" if at is None else row[at] for at in place.values())
        key = PurePosixPath(file.replace("\\", "/")).as_posix() if file else ""
        if not file or not label:
            table.causes[f"has no {'path' if not file else 'label'}"].append((line, ""))
        elif "\0" in file:
            table.causes["its path holds a zero byte"].append((line, ""))
        elif split and split.lower() not in SPLITS:
            table.causes[f"split {split!r} is none of train, val, test"].append((line, ""))
        elif key in seen and row == table.rows[seen[key]][1]:
            again += 1
        elif key in seen:
            table.causes["names {} again, with other values"].append((line, key))
        else:
            seen[key] = number
            whom = spelling.patient(patient)
            unknown += bool(patient and not whom)
            listing.items.append(Item(key, label, SPLITS[split.lower()] if split else "", whom, group))
    _report_rows(listing, table, again)
    _check_labels(listing, table)
    _check_splits(listing)
    named = sum(bool(item.patient) for item in listing.items)
    listing.patients_known = named > 0
    if 0 < named < len(listing.items) or unknown:
        what = f"{len(listing.items) - named} images have no patient"
        what += f" ({unknown} of them say so: nan, unknown and the like)" if unknown else ""
        listing.warn("no patient", path.name, f"{what}: each is taken alone")
    for item in listing.items:
        listing.folders.setdefault(item.split or "train", set()).add(item.label)
    _keep_columns(listing, table, seen)
    listing.items.sort(key=lambda item: item.key)
    return listing


def _parse(path: Path) -> _Table:
    """The cells of the file, blank lines and rows without any cell left out."""
    text = _text(path)
    first, _, rest = text.partition("\n")
    says = first.strip().strip('"').lower()
    lines_before = 0
    if says.startswith("sep=") and len(says) == 5:  # as Excel writes and reads it
        delimiters, text, lines_before = (says[4],), rest, 1
    elif says == "sep=":
        delimiters, text, lines_before = ("\t",), rest, 1
    else:
        delimiters = _DELIMITERS
    found: list[str] = []
    for delimiter in delimiters:
        header = next(_rows(path, text, delimiter, lines_before), (0, []))[1]
        columns = [name.lower() for name in header]
        if not found or set(_NEEDED) <= set(columns):
            found, chosen = columns, delimiter
        if set(_NEEDED) <= set(columns):
            break
    if twice := next((name for name in found if found.count(name) > 1 and name), None):
        raise SourceError(f"{path} has two columns {twice!r} (case and spaces don't count). Rename one.")
    if missing := [name for name in _NEEDED if name not in found]:
        raise SourceError(
            f"{path} has no column {' and no column '.join(missing)}; it has {', '.join(found)}. "
            "A manifest needs path,label and may have patient,split,group and columns of your own."
        )
    rows = list(_rows(path, text, chosen, lines_before))[1:]
    for line, row in rows:
        if any(row[len(found) :]):
            what = f"line {line} has {len(row)} cells, the first line {len(found)}: put quotes around cells with {chosen!r}"
            raise SourceError(f"{path} can't be read as CSV: {what}.")
    if not rows:
        raise SourceError(f"{path} names no images.")
    width = len(found)
    return _Table(path.name, found, [(line, (row + [""] * width)[:width]) for line, row in rows])


def _rows(path: Path, text: str, delimiter: str, line: int) -> Iterator[tuple[int, list[str]]]:
    """The rows with a cell that is not empty, each with the line that it begins in; spaces around cells don't count."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=delimiter != "\t", strict=True)
    before = line + 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield before, cells
            before = line + reader.line_num + 1
    except csv.Error as error:
        raise SourceError(f"{path} can't be read as CSV: {error} (in the row from line {before} on).") from None


def _text(path: Path) -> str:
    """The file's text: UTF-8, or UTF-16 where its beginning says so; other encodings can't be told from each other.

    Raises:
        SourceError: it is in another encoding, or can't be read.
    """
    try:
        content = files.read_named(path, _MOST_BYTES)
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}.") from None
    encoding = "utf-8-sig"
    if content[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        encoding = "utf-16"
    elif content[1:2] == b"\0" and content[:1] not in {b"", b"\0"}:
        encoding = "utf-16-le"
    elif content[:1] == b"\0" and content[1:2] not in {b"", b"\0"}:
        encoding = "utf-16-be"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        advice = "In a spreadsheet save it as 'CSV UTF-8'"
        raise SourceError(f"{path} is not in UTF-8 (line {line}): save it as UTF-8. {advice}.") from None


def _report_rows(listing: Listing, table: _Table, again: int) -> None:
    """Say what is wrong with rows, one problem for all rows that have it; quarantine leaves them out."""
    for what, found in table.causes.items():
        line, key = found[0]
        lines = tuple(f"{table.name}, line {line}" for line, _ in found)
        clean = what.format(key) if key else what
        if key:  # two rows contradict each other: neither is right for certain
            lines = tuple(key for _, key in found)
        where = f"{table.name}, line {line}" + (f" and {len(found) - 1:,} more lines" if len(found) > 1 else "")
        listing.problems.append(Problem("manifest", where, clean, files=lines))
    if again:
        what = f"{again} rows are there twice, word for word: each image is taken once"
        listing.warn("copies", table.name, what)


def _check_labels(listing: Listing, table: _Table) -> None:
    """One label an image, and none that means that nobody knows."""
    labels = {item.label for item in listing.items}
    if several := spelling.several_labels(labels):
        hit = set(several)
        count = sum(item.label in hit for item in listing.items)
        what = (
            f"{count} images have several labels in one cell, e.g. {several[0]!r}: each combination would be a class of "
            "its own. Write one label per image (for example the finding that you want to detect, or 'other')"
        )
        listing.error("several labels", table.name, what)
    if labels & _UNCERTAIN and labels - _UNCERTAIN <= {"0", "1", "0.0", "1.0"}:
        keys = tuple(item.key for item in listing.items if item.label in _UNCERTAIN)
        what = (
            f"{len(keys)} images have the label -1, which CheXpert's tables use for uncertain: it would be a class of its "
            "own. Write 0 or 1, or leave these rows out"
        )
        listing.problems.append(Problem("uncertain label", some(keys), what, files=keys))


def _keep_columns(listing: Listing, table: _Table, rows: dict[str, int]) -> None:
    """Columns that mean nothing to us are subgroups of the evaluation (a hospital, a machine, an age)."""
    for at, name in enumerate(table.columns):
        if name and name not in _KNOWN and not name.startswith("unnamed:"):
            values = [row[at] for _, row in table.rows]
            one = {value: value for value in values}  # equal values are one object in memory
            listing.columns[name] = {item.key: one[values[rows[item.key]]] for item in listing.items}


def _check_splits(listing: Listing) -> None:
    """Every image has a split or none has; and the classes of val and test are those of train."""
    splits = {item.split for item in listing.items}
    if "" in splits and len(splits) > 1:
        bare = sum(not item.split for item in listing.items)
        listing.error(
            "manifest", "split", f"{bare} images have no split while others have one: fill it in or drop the column"
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
