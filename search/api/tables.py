"""Tables of a notebook: DataFrames of the commands' figures, and small pieces of HTML around them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from search.study.view import StudyView


def metrics(test: Mapping[str, Any]) -> pd.DataFrame:
    """The figures of a test set: name, value, ends of its 95 % interval, and the trivial answer's value.

    Args:
        test: `test` of a `metrics.json`.
    """
    import pandas as pd

    from xraytune.evaluation import evaluate

    rows = [
        (words, *_numbers(test["overall"][name]), _number(test["trivial"].get(name)))
        for name, words in evaluate.named(test["beta"]).items()
    ]
    return pd.DataFrame(rows, columns=["figure", "value", "low", "high", "baseline"])


def leaderboard(view: StudyView) -> pd.DataFrame:
    """A row a trial, the best first: scores and validation figures, then hyperparameters as `params.NAME`."""
    import pandas as pd

    from search.reporting.trial_tables import METRICS, rank

    rows, spec = [], view.spec
    for trial in sorted(view.trials(), key=rank):
        found = trial.result.metrics if trial.result else {}
        weakest = trial.result.weakest_view if trial.result else None
        others = {name: trial.values[i] for i, name in enumerate(spec.objectives) if i and len(trial.values) > i}
        rows.append(
            {
                "trial": trial.number,
                "family": trial.family,
                "state": "INTERRUPTED" if trial.interrupted else trial.state,
                spec.label: _number(trial.value),
                **others,
                **{title: found.get(key) for title, key in METRICS.items() if title != str(spec.objective)},
                "epochs": trial.result.epochs if trial.result else len(trial.curve),
                "seconds": _number(trial.seconds),
                "worst view": weakest[0] if weakest else None,
                "recipe": trial.recipe or None,
                **{f"params.{n}": v for n, v in (trial.config.values if trial.config else {}).items() if n != "family"},
            }
        )
    columns = ["trial", "family", "state", spec.label, "epochs", "seconds", "worst view", "recipe"]
    table = pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)
    hyperparameters = sorted(c for c in table.columns if c.startswith("params."))
    return table[[c for c in table.columns if not c.startswith("params.")] + hyperparameters]


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _numbers(triple: Sequence[float | None]) -> list[float]:
    return [_number(value) for value in triple]


def html(title: str, lines: Sequence[str], *tables: pd.DataFrame, chart: str = "", demonstration: bool = False) -> str:
    """A heading, lines of text, tables and a chart, all text escaped.

    Args:
        title: the heading.
        lines: plain text.
        tables: below them.
        chart: an SVG of the report's (`search.reporting.svg`), shown as an image: its style touches nothing else.
        demonstration: said first.
    """
    from search.reporting import svg

    banner = "<p><strong>DEMONSTRATION, NOT X-RAYS</strong></p>" if demonstration else ""
    parts = [f"<h4>{escape(title)}</h4>", banner, *(f"<div>{escape(line)}</div>" for line in lines)]
    parts += [table.to_html(index=False, float_format=lambda value: f"{value:.3f}", na_rep="–") for table in tables]
    if chart:
        data = base64.b64encode(svg.document(chart).encode()).decode()
        parts.append(f'<img alt="Search history" style="max-width:40em" src="data:image/svg+xml;base64,{data}">')
    return f"<div>{''.join(parts)}</div>"
