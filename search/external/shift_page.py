"""`report.html` of a shift report: one file, without anything from outside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from search.reporting.formats import html_cell
from search.reporting.pages import environment
from search.reporting.svg import Series, chart
from xraytune import artifacts
from xraytune.data.property_table import PROPERTIES

Curves = Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
"""By property, or `probability`: the values of the training images and of the new ones."""

DRAWN = 3
"""Properties that are drawn, those that differ most."""

_STEPS = 100


def write(path: Path, found: Mapping[str, Any], curves: Curves) -> None:
    """Write the report.

    Args:
        path: of the file.
        found: what `shift.json` holds.
        curves: what is drawn.
    """
    templates = environment(Path(__file__).parent / "templates")
    templates.filters.update(
        number=lambda value, digits=3: html_cell("number", value, digits),
        interval=lambda value, digits=3: html_cell("interval", value, digits),
        figure=_figure,
    )
    context = {
        "f": found,
        "data_name": Path(found["data"]).name,
        "charts": [Markup(one) for one in _charts(found, curves)],
        "colours": [f"c{i}" for i in range(8)],
    }
    artifacts.write_text(path, templates.get_template("shift.html").render(context))


def _figure(values: list[float]) -> str:
    """Median and the two percentiles, in as many digits as they need."""
    middle, low, high = (f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}" for value in values)
    return f"{middle} ({low} to {high})"


def _charts(found: Mapping[str, Any], curves: Curves) -> list[str]:
    """Cumulative shares of both sets: of the most different properties that a network sees, and of the probability."""
    drawn = []
    if "probability" in curves:
        title = f"probability of {found['positive']}"
        drawn.append(_cumulative(title, *curves["probability"], (0.0, 1.0)))
    rows = [row for row in (found["comparison"] or {}).get("properties", []) if row["seen"]]
    for row in rows[:DRAWN] if curves else []:
        ours, theirs = curves[row["name"]]
        both = np.concatenate([ours, theirs])
        drawn.append(_cumulative(PROPERTIES[row["name"]].words, ours, theirs, (float(both.min()), float(both.max()))))
    return drawn


def _cumulative(title: str, ours: NDArray[np.float64], theirs: NDArray[np.float64], x: tuple[float, float]) -> str:
    at = np.linspace(0, 1, _STEPS + 1)
    series = [
        Series(list(zip(np.quantile(values, at).tolist(), at.tolist(), strict=True)), name, style)
        for values, name, style in ((ours, "training images", "c0"), (theirs, "these images", "c1"))
    ]
    return chart(series, x=title, y="share of images up to it", title=f"Cumulative share by {title}", x_range=x)
