"""Charts of the report as SVG: no library, no script, sharp on paper.

In the page the charts take its colours; `document` makes one stand alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import repeat

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 12, 46
ROW = 19
"""Height of a row of the legend."""
LETTER = 7.0
"""Width of a letter of the legend, about."""

COLOURS = {
    "ink": "#1b2530", "soft": "#55616d", "line": "#dfe4e9", "faint": "#74808c",
    "c0": "#1f6feb", "c1": "#c7374b", "c2": "#1f8a5f", "c3": "#8250df",
    "c4": "#a66f00", "c5": "#0f7f81", "c6": "#b04a8a", "c7": "#5d6d7e",
}  # fmt: skip
"""On white paper. Text has a contrast of at least 4.5:1 with it, lines and dots of at least 3:1."""

DASHES = ("", "8 3", "3 3", "10 3 2 3")
"""Of lines and, by the same index, `SHAPES` of dots: colour is never the only difference."""
SHAPES = ("circle", "square", "triangle", "diamond")

STYLE = """
svg.chart text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: var(--soft); }
svg.chart text.axis, svg.chart text.legend { fill: var(--ink); }
svg.chart .grid { stroke: var(--line); stroke-width: 1; }
svg.chart .line { fill: none; stroke-width: 2; } svg.chart .band.band { fill-opacity: .16; stroke: none; }
svg.chart .hollow { fill-opacity: .12; stroke-width: 1.6; }
svg.chart .box { fill: none; stroke: var(--soft); stroke-width: 1.2; }
svg.chart .strong { font-weight: 600; fill: var(--ink); }
svg.chart .faint.line { stroke: var(--faint); stroke-dasharray: 4 4; stroke-width: 1.5; }
""" + "".join(
    f"svg.chart .c{i} {{ stroke: var(--c{i}); fill: var(--c{i}); }} svg.chart .c{i}.line {{ fill: none; "
    f"stroke-dasharray: {DASHES[i % 4] or 'none'}; }}\n"
    for i in range(8)
)  # fmt: skip

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """One line, band or cloud of points."""

    points: Points
    name: str = ""
    style: str = "c0"
    """A class of the style sheet: c0 … c7 or `faint`."""
    kind: str = "line"
    """line, dots, hollow (dots), steps, or band (points out along the upper edge and back along the lower)."""
    notes: Sequence[str] = ()
    """What each dot says when it is pointed at."""


def document(chart: str) -> str:
    """The chart as a file of its own, with its colours on white."""
    palette = "".join(f"--{name}: {value}; " for name, value in COLOURS.items())
    head, _, rest = chart.partition(">")
    style = f"<style>svg.chart {{ {palette}background: #fff; }}{STYLE}</style>"
    return f'{head} xmlns="http://www.w3.org/2000/svg">{style}{rest}\n'


def opened(title: str, height: float) -> str:
    """The first tag of a chart of `WIDTH` and that height, with its title for screen readers."""
    return f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}" class="chart">'


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

    def place(point: tuple[float, float]) -> tuple[float, float]:
        px = LEFT + wide * (min(max(point[0], x0), x1) - x0) / (x1 - x0)
        py = TOP + high * (1 - (min(max(point[1], y0), y1) - y0) / (y1 - y0))
        return px, py

    def path(points: Points) -> str:
        return " ".join(f"{px:.1f},{py:.1f}" for px, py in map(place, points))

    legend, rows = _legend(series)
    out = [opened(title, HEIGHT + rows * ROW)]
    for value in ticks(x0, x1, whole_x):
        px = place((value, y0))[0]
        out.append(f'<line class="grid" x1="{px:.1f}" x2="{px:.1f}" y1="{TOP}" y2="{TOP + high}"/>')
        out.append(f'<text x="{px:.1f}" y="{TOP + high + 17}" text-anchor="middle">{_label(value)}</text>')
    for value in ticks(y0, y1):
        py = place((x0, value))[1]
        out.append(f'<line class="grid" x1="{LEFT}" x2="{LEFT + wide}" y1="{py:.1f}" y2="{py:.1f}"/>')
        out.append(f'<text x="{LEFT - 7}" y="{py + 4.5:.1f}" text-anchor="end">{_label(value)}</text>')
    for s in series:
        if s.kind in {"dots", "hollow"}:
            for point, note in zip(s.points, s.notes or repeat(""), strict=False):
                out.append(marker(*place(point), s.style, hollow=s.kind == "hollow", note=note))
        elif s.points and s.kind == "band":
            out.append(f'<polygon class="band {s.style}" points="{path(s.points)}"/>')
        elif s.points:
            out.append(f'<polyline class="line {s.style}" points="{path(_stepped(s))}"/>')
    out.append(f'<text x="{LEFT + wide / 2}" y="{HEIGHT - 8}" text-anchor="middle" class="axis">{escape(x)}</text>')
    middle = TOP + high / 2
    out.append(
        f'<text x="14" y="{middle}" text-anchor="middle" class="axis" transform="rotate(-90 14 {middle})">'
        f"{escape(y)}</text>"
    )
    return "".join([*out, legend, "</svg>"])


def marker(x: float, y: float, style: str, *, hollow: bool = False, note: str = "") -> str:
    """A dot whose shape goes with its colour.

    Args:
        x: its place.
        y: its place.
        style: a class of the style sheet.
        hollow: an outline.
        note: what it says when it is pointed at.
    """
    shape = SHAPES[int(style[1:]) % 4] if style[1:].isdigit() else "circle"
    title = f"<title>{escape(note)}</title>" if note else ""
    kind = f'class="{style}{" hollow" if hollow else ""}"'
    if shape == "circle":
        return f'<circle {kind} cx="{x:.1f}" cy="{y:.1f}" r="3.8">{title}</circle>'
    if shape == "square":
        return f'<rect {kind} x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7">{title}</rect>'
    corners = {"triangle": ((0, -4.8), (4.6, 3.6), (-4.6, 3.6)), "diamond": ((0, -5), (5, 0), (0, 5), (-5, 0))}[shape]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon {kind} points="{points}">{title}</polygon>'


def _legend(series: Sequence[Series]) -> tuple[str, int]:
    """What the named series are, below the axes, and how many rows that takes."""
    out, x, row = [], float(LEFT), 0
    for s in series:
        if not s.name:
            continue
        wide = 34 + LETTER * len(s.name)
        if x > LEFT and x + wide > WIDTH:
            x, row = float(LEFT), row + 1
        y = HEIGHT + ROW * row + 6
        if s.kind in {"dots", "hollow"}:
            out.append(marker(x + 10, y, s.style, hollow=s.kind == "hollow"))
        else:
            out.append(f'<polyline class="line {s.style}" points="{x:.0f},{y} {x + 21:.0f},{y}"/>')
        out.append(f'<text class="legend" x="{x + 27:.0f}" y="{y + 4.5}">{escape(s.name)}</text>')
        x += wide + 10
    return "".join(out), row + 1 if out else 0


def _stepped(series: Series) -> Points:
    if series.kind != "steps":
        return series.points
    out = [series.points[0]]
    for before, after in zip(series.points, series.points[1:], strict=False):
        out += [(after[0], before[1]), after]
    return out


def bars(values: Mapping[str, float], *, title: str, unit: str = "", digits: int = 2) -> str:
    """Horizontal bars with their numbers, largest first.

    Args:
        values: by name.
        title: what a screen reader says.
        unit: behind each number.
        digits: of each number.
    """
    top = max(values.values(), default=0.0) or 1.0
    out = [opened(title, 8 + 24 * len(values))]
    name_wide, bar_wide = 180, WIDTH - 180 - 76
    for i, (name, v) in enumerate(sorted(values.items(), key=lambda item: -item[1])):
        y = 8 + 24 * i
        shown = name if len(name) <= 25 else f"{name[:12]}…{name[-12:]}"
        out.append(f'<text x="0" y="{y + 12}">{escape(shown)}<title>{escape(name)}</title></text>')
        wide = max(1.0, bar_wide * max(v, 0) / top)
        out.append(f'<rect class="c0" x="{name_wide}" y="{y}" width="{wide:.1f}" height="14" rx="2"/>')
        out.append(f'<text x="{name_wide + wide + 8:.1f}" y="{y + 12}">{v:.{digits}f}{escape(unit)}</text>')
    return "".join([*out, "</svg>"])


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
