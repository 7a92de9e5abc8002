"""A table of text, as spreadsheets and pandas write CSV: what separates its cells and its encoding are found out."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xraytune import files
from xraytune.errors import FOREIGN, SourceError

_DELIMITERS: tuple[str, ...] = (",", ";", "\t", "|")
_MOST_BYTES = 512 << 20
_MOST_SHOWN = 300


@dataclass(frozen=True)
class Table:
    """What a file holds."""

    name: str
    """The file's."""

    columns: list[str]
    """In small letters."""

    rows: list[tuple[int, list[str]]]
    """The line of the file that each row begins in, and its cells, as many as there are columns."""


def read_table(path: Path, needed: Sequence[str]) -> Table:
    """The cells of a file, blank lines and rows without any cell left out.

    Args:
        path: the file.
        needed: columns without which it is of no use; they also tell what separates the cells.

    Raises:
        SourceError: it can't be read or parsed, a column is missing or there twice, or there are no rows.
    """
    text = _text(path)
    delimiters, skipped = _DELIMITERS, 0
    first, _, rest = text.partition("\n")
    if match := re.fullmatch(r'"?sep=([^"\s]|\t|)"?\s*', first, re.IGNORECASE):  # as Excel writes and reads it
        delimiters, text, skipped = (match[1] or "\t",), rest, 1
    headers = {}
    for delimiter in delimiters:
        header = next(_rows(path, text, delimiter, skipped), (0, []))[1]
        headers[delimiter] = [name.lower() for name in header]
    chosen = next((d for d, names in headers.items() if set(needed) <= set(names)), delimiters[0])
    found = headers[chosen]
    if twice := next((name for name in found if found.count(name) > 1 and name), None):
        raise SourceError(f"{path} has two columns {twice!r} (case and spaces don't count). Rename one.")
    if missing := [name for name in needed if name not in found]:
        has = ", ".join(found)[:_MOST_SHOWN] or "none"
        raise SourceError(
            f"{path} has no column {' and no column '.join(missing)}; it has {has}. "
            "A manifest needs path,label and may have patient,split,group and columns of your own."
        )
    rows = list(_rows(path, text, chosen, skipped))[1:]
    for line, row in rows:
        if any(row[len(found) :]):
            what = f"line {line} has {len(row)} cells, the first line {len(found)}"
            raise SourceError(f"{path} can't be read as CSV: {what}. Put quotes around cells with {chosen!r} in them.")
    if not rows:
        raise SourceError(f"{path} names no images.")
    width = len(found)
    return Table(path.name, found, [(line, (row + [""] * width)[:width]) for line, row in rows])


def read_columns(path: Path) -> frozenset[str]:
    """The names of a file's columns, in small letters; empty where its cells are not separated by commas.

    Raises:
        SourceError: it can't be read or parsed.
    """
    return frozenset(name.lower() for name in next(_rows(path, _text(path), ",", 0), (0, []))[1])


def _rows(path: Path, text: str, delimiter: str, line: int) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the line that it begins in; spaces around cells don't count."""
    before = line + 1
    try:
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=delimiter != "\t", strict=True
        )
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield before, cells
            before = line + reader.line_num + 1
    except FOREIGN as error:
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
    advice = "save it as UTF-8. In a spreadsheet save it as 'CSV UTF-8'."
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SourceError(f"{path} is not in UTF-8 (line {line}): {advice}") from None
    if "\0" in text.partition("\n")[0]:  # a workbook, an archive, UTF-32
        raise SourceError(f"{path} is not text in UTF-8 or UTF-16: {advice}")
    return text
