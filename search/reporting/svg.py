"""Charts of the report as inline SVG: no library, no script, sharp on paper. The page's style sheet colours them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import repeat

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 44

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """One line, band or cloud of points."""

    points: Points
    name: str = ""
    style: str = "c0"
    """A class of the style sheet: c0 … c7 or `faint`."""
    kind: str = "line"
    """line, dots, steps, or band (points out along the upper edge and back along the lower)."""
    notes: Sequence[str] = ()
    """What each dot says when it is pointed at."""


def chart(
    series: Sequence[Series],
    *,
    x: str,
    y: str,
    title: str,
    x_range: tuple[float, float] = (0.0, 1.0),
    y_range: tuple[float, float] = (0.0, 1.0),
    whole_x: bool = False,
) -> str:
    """An SVG of the series over labelled axes.

    Args:
        series: drawn in their order.
        x: label of the horizontal axis.
        y: label of the vertical axis.
        title: what a screen reader says.
        x_range: of the axis.
        y_range: of the axis.
        whole_x: ticks at whole numbers only.
    """
    x0, x1 = x_range if x_range[1] > x_range[0] else (x_range[0] - 0.5, x_range[0] + 0.5)
    y0, y1 = y_range if y_range[1] > y_range[0] else (y_range[0] - 0.5, y_range[0] + 0.5)
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(point: tuple[float, float]) -> str:
        px = LEFT + wide * (min(max(point[0], x0), x1) - x0) / (x1 - x0)
        py = TOP + high * (1 - (min(max(point[1], y0), y1) - y0) / (y1 - y0))
        return f"{px:.1f},{py:.1f}"

    out = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" class="chart">']
    for value in ticks(x0, x1, whole_x):
        px = place((value, y0)).split(",")[0]
        out.append(f'<line class="grid" x1="{px}" x2="{px}" y1="{TOP}" y2="{TOP + high}"/>')
        out.append(f'<text x="{px}" y="{TOP + high + 16}" text-anchor="middle">{_label(value)}</text>')
    for value in ticks(y0, y1):
        py = place((x0, value)).split(",")[1]
        out.append(f'<line class="grid" x1="{LEFT}" x2="{LEFT + wide}" y1="{py}" y2="{py}"/>')
        out.append(f'<text x="{LEFT - 6}" y="{float(py) + 4:.1f}" text-anchor="end">{_label(value)}</text>')
    for s in series:
        out += _drawn(s, place)
    out.append(f'<text x="{LEFT + wide / 2}" y="{HEIGHT - 8}" text-anchor="middle" class="axis">{escape(x)}</text>')
    middle = TOP + high / 2
    out.append(
        f'<text x="14" y="{middle}" text-anchor="middle" class="axis" transform="rotate(-90 14 {middle})">'
        f"{escape(y)}</text>"
    )
    out.append("</svg>")
    names = [(s.name, s.style) for s in series if s.name]
    legend = "".join(f'<li><i class="key {style}"></i>{escape(name)}</li>' for name, style in names)
    return "".join(out) + (f'<ul class="legend">{legend}</ul>' if legend else "")


def _drawn(s: Series, place: Callable[[tuple[float, float]], str]) -> Iterator[str]:
    """The elements of a series; `place` gives a point's `x,y` in the picture."""
    if s.points and s.kind == "dots":
        for point, note in zip(s.points, s.notes or repeat(""), strict=False):
            cx, cy = place(point).split(",")
            said = f"<title>{escape(note)}</title>" if note else ""
            yield f'<circle class="{s.style}" cx="{cx}" cy="{cy}" r="3.2">{said}</circle>'
    elif s.points and s.kind == "band":
        yield f'<polygon class="band {s.style}" points="{" ".join(map(place, s.points))}"/>'
    elif s.points:
        yield f'<polyline class="{s.style}" points="{" ".join(map(place, _stepped(s)))}"/>'


def _stepped(series: Series) -> Points:
    if series.kind != "steps":
        return series.points
    out = [series.points[0]]
    for before, after in zip(series.points, series.points[1:], strict=False):
        out += [(after[0], before[1]), after]
    return out


def bars(values: Mapping[str, float], *, unit: str = "", digits: int = 2) -> str:
    """Horizontal bars with their numbers, largest first, as an HTML list."""
    top = max(values.values(), default=0.0) or 1.0
    rows = sorted(values.items(), key=lambda item: -item[1])
    return (
        '<ul class="bars">'
        + "".join(
            f'<li><span>{escape(name)}</span><b style="width:{100 * max(v, 0) / top:.1f}%"></b>'
            f"<em>{v:.{digits}f}{escape(unit)}</em></li>"
            for name, v in rows
        )
        + "</ul>"
    )


def ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Four to seven round numbers between two ends."""
    span = high - low
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next((m * power for m in (1, 2, 2.5, 5, 10) if span / (m * power) <= 6), 10 * power)
    if whole:
        step = max(1.0, math.ceil(step))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def _label(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".") if value != int(value) else str(int(value))
