"""The one kind of table that commands print: columns are chosen by the width of the terminal, and no cell is cut.

At a pipe every column is printed, in as many characters as it takes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from search.cli.screen import Screen, name, styled

GAP = 2
"""Blanks between two columns."""

LEAST = 12
"""Characters to which a column of words is folded or shortened at most."""

Cell = str | tuple[str, str]
"""Text, or text and its style."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    title: str
    cells: Sequence[Cell]
    words: bool = False
    """Words stand at the left and may be folded, numbers stand at the right."""
    spare: int = 0
    """Columns with the highest number are left out first where the terminal is too narrow; 0 always stays."""
    short: str = ""
    """A shorter title for narrow terminals."""
    path: bool = False
    """Paths are shortened from the left where they are too long, `…/folder/image.png`."""

    @property
    def width(self) -> int:
        """Characters of its widest cell, the title among them."""
        return max(cell_len(name(text)) for text in (self.title, *map(_text, self.cells)))


def show(
    screen: Screen, columns: Sequence[Column], *, title: str = "", notes: Mapping[int, Cell] | None = None
) -> None:
    """Print a table.

    Args:
        screen: where to.
        columns: all that it could have, of equally many cells.
        title: above it.
        notes: a line of its own under the row of that number.
    """
    room = screen.width if screen.is_terminal else None
    fitting = columns if room is None else fit(columns, room)
    parts: list[Table | Text] = [styled((title, "bold"))] if title else []
    rows = list(zip(*([_cell(c, column) for c in column.cells] for column in fitting), strict=True))
    widths = [column.width for column in fitting]
    begun = 0
    for row in [*sorted(notes or ()), len(rows) - 1]:
        parts.append(_part(fitting, widths, rows[begun : row + 1], headed=begun == 0))
        if notes and row in notes:
            note = notes[row]
            parts.append(styled("  ", note))
        begun = row + 1
        if begun >= len(rows):
            break
    if room is not None:
        screen.print(Group(*parts))
        return
    before = screen.width
    screen.width = max(width(fitting), before)
    screen.print(Group(*parts))
    screen.width = before


def width(columns: Sequence[Column]) -> int:
    """Characters of a line of the whole table."""
    return sum(column.width + GAP for column in columns) - GAP


def fit(columns: Sequence[Column], room: int) -> list[Column]:
    """The columns that there is room for: short titles first, then fewer columns, then folded words.

    Args:
        columns: all.
        room: characters of a line.
    """
    left = list(columns)

    def too_wide() -> int:
        return width(left) - room

    if too_wide() > 0:
        left = [dataclasses.replace(c, title=c.short or c.title) for c in left]
    while too_wide() > 0 and (most := max(c.spare for c in left)):
        left.remove(next(c for c in reversed(left) if c.spare == most))
    while (over := too_wide()) > 0:
        widest = max((c for c in left if c.words), key=lambda c: c.width, default=None)
        if widest is None or widest.width <= LEAST:
            break
        left[left.index(widest)] = _narrowed(widest, max(LEAST, widest.width - over))
    return left


def shortened(path: str, width: int) -> str:
    """A path of at most `width` characters: `…/person100_bacteria_475.jpeg`.

    Whole folders go first; of a name that is too long by itself its end stays.
    """
    path = name(path)
    if cell_len(path) <= width:
        return path
    parts = path.split("/")
    for i in range(1, len(parts)):
        if cell_len(found := "…/" + "/".join(parts[i:])) <= width:
            return found
    kept = parts[-1]
    while cell_len(kept) > width - 1:
        kept = kept[1:]
    return "…" + kept


def _narrowed(column: Column, width: int) -> Column:
    """The column in that width: paths shortened, other words broken into lines."""
    if column.path:
        cells: list[Cell] = [shortened(_text(cell), width) for cell in column.cells]
        return dataclasses.replace(column, cells=cells)
    restyled = [_folded(c, width) if isinstance(c, str) else (_folded(c[0], width), c[1]) for c in column.cells]
    return _Folded(**{**vars(column), "cells": restyled, "title": _folded(column.title, width)})


class _Folded(Column):
    """A column whose cells have several lines."""

    @property
    def width(self) -> int:
        """Characters of its longest line."""
        return max(cell_len(line) for text in (self.title, *map(_text, self.cells)) for line in text.split("\n"))


def _folded(text: str, width: int) -> str:
    """The text in lines of at most `width` characters."""
    lines, line = [], ""
    for word in name(text).split(" "):
        left = word
        if line and cell_len(f"{line} {left}") <= width:
            line = f"{line} {left}"
            continue
        if line:
            lines.append(line)
        while cell_len(left) > width:
            lines.append(left[:width])
            left = left[width:]
        line = left
    return "\n".join([*lines, line])


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def _cell(cell: Cell, column: Column) -> Text:
    text, style = (cell, "") if isinstance(cell, str) else cell
    return styled((text if isinstance(column, _Folded) else name(text), style))


def _part(columns: Sequence[Column], widths: Sequence[int], rows: Sequence[Sequence[Text]], *, headed: bool) -> Table:
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold", show_header=headed)
    for column, width in zip(columns, widths, strict=True):
        table.add_column(
            styled(column.title), justify="left" if column.words else "right", width=width, overflow="fold"
        )
    for row in rows:
        table.add_row(*row)
    return table
