"""How a figure, its interval and a difference are written."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash where it is undefined."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def interval(triple: Sequence[float | None], digits: int = 3) -> str:
    """`0.913 [0.880, 0.941]`."""
    value, low, high = (number(v, digits) for v in triple)
    return value if triple[1] is None else f"{value} [{low}, {high}]"


def difference(triple: Sequence[float | None]) -> str:
    """`+0.031 [-0.004, +0.066]`, without brackets where there is no interval."""
    value, *ends = ("–" if v is None else f"{v:+.3f}" for v in triple)
    return value if triple[1] is None else f"{value} [{', '.join(ends)}]"


def p_value(value: float) -> str:
    """`< 0.001`, or three digits."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def html_cell(kind: str, value: Any, digits: int = 3) -> str:
    """A cell of a table of the report; what is written is escaped unless it is ours.

    Args:
        kind: of the column: text, count, number, signed, interval, difference or p.
        value: the cell's.
        digits: of its numbers.
    """
    if kind in {"interval", "difference"}:
        if value is None or value[0] is None:
            return "–"
        signed = kind == "difference"
        words, *ends = ("–" if v is None else f"{v:{'+' if signed else ''}.{digits}f}".replace("-", "−") for v in value)
        if value[1] is None:
            return words
        low, high = ends
        mark = {"better": " ▲", "worse": " ▼", "": ""}[significant(value)] if signed else ""
        return Markup(f"{words}{mark} <small>[{low}, {high}]</small>")
    if value is None or value == "":
        return "–"
    if kind in {"number", "signed"}:
        return str(value) if isinstance(value, str) else f"{value:{'+' if kind == 'signed' else ''}.{digits}f}"
    return p_value(value) if kind == "p" else str(value)


def significant(triple: Sequence[float | None] | None) -> str:
    """`better` or `worse` where the 95 % interval of a difference excludes 0, else empty."""
    if triple is None or triple[1] is None or triple[2] is None:
        return ""
    return "better" if triple[1] > 0 else "worse" if triple[2] < 0 else ""


def when(stamp: str) -> str:
    """`30 Nov 2026, 08:19 UTC` of an ISO time."""
    return datetime.fromisoformat(stamp).astimezone(UTC).strftime("%d %b %Y, %H:%M UTC").lstrip("0")


_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~])")


def markdown(text: Any) -> str:
    """Text of somebody else in Markdown: every character that means something is escaped, line breaks are spaces."""
    return _MARKDOWN.sub(r"\\\1", " ".join(str(text).split()))
