"""How a figure, its interval and a difference are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
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


def html_number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash where it is undefined."""
    return "–" if value is None else f"{value:.{digits}f}"


def html_interval(figure: Sequence[float | None] | float | None, digits: int = 3) -> str:
    """`0.913 [0.880, 0.941]`; the value alone where there is no interval, as of policies that were kept without one."""
    value, low, high = figure if isinstance(figure, Sequence) else (figure, None, None)
    return (
        html_number(value, digits)
        if low is None
        else f"{html_number(value, digits)} [{html_number(low, digits)}, {html_number(high, digits)}]"
    )


def html_difference(triple: Sequence[float | None]) -> Markup:
    """`+0.031` over `[-0.004, +0.066]`, the value alone where there is no interval."""
    value, _, interval = difference(triple).partition(" ")
    plain = f"{value} <small>{interval}</small>" if interval else value
    return Markup(plain.replace("-", "−"))


def excludes_zero(triple: Sequence[float | None]) -> str:
    """The style of a difference: `hit` above chance, `miss` below it."""
    _, low, high = triple
    return "" if low is None or high is None else "hit" if low > 0 else "miss" if high < 0 else ""


def html_p_value(p: float | None) -> str:
    """`p_value`, or a dash where it is undefined."""
    return "–" if p is None else p_value(p)
