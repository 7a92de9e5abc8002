"""The tables of docs/robust-validation.md, made from what `make evidence` left under results/evidence.

The page's text is written by hand; each table stands between `<!-- NAME -->` and `<!-- end NAME -->` and is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from statistics import mean

import numpy as np
import pandas as pd

from tests.evidence import doses, finals, networks, scores, searches
from tests.evidence.scores import TARGETS, Network
from tests.evidence.searches import Search
from tests.evidence.sets import PLANTED
from xraytune import metrics
from xraytune.intervals import Interval, Statistic, paired
from xraytune.metrics import Floats

PAGE = networks.ROOT / "docs" / "robust-validation.md"


def write(done: list[Search]) -> list[str]:
    """Replace every table for which there are results; their names."""
    text, written = PAGE.read_text(encoding="utf-8"), []
    for name, table in _tables(done):
        changed = re.sub(
            f"(<!-- {name} -->\n).*?(<!-- end {name} -->)",
            lambda found, table=table: found.group(1) + table + found.group(2),  # type: ignore[misc]
            text,
            flags=re.DOTALL,
        )
        if f"<!-- {name} -->" in text:
            text, written = changed, [*written, name]
    PAGE.write_text(text, encoding="utf-8")
    return written


def _tables(done: list[Search]) -> Iterator[tuple[str, str]]:
    planted = {name: found for name in PLANTED if (found := scores.load(name))}
    if planted:
        yield "planted", _ranking(planted)
    for name in ("machine", "covid19", "xray"):
        if found := scores.load(name):
            yield name, _ranking({name: found})
    if found := scores.load("covid19", shifted=True):
        yield "covid19 shifted", _ranking({"covid19": found})
    for marker, names in (("doses", PLANTED), ("doses machine", ("machine",))):
        if table := doses.table(names):
            yield marker, table
    if table := finals.table():
        yield "finals", table
    tables: dict[str, list[Search]] = {}
    for search in done:
        longer = "" if search.retraining == searches.half(search.time) else f" retrained {search.retraining}"
        tables.setdefault(f"searches {search.set}{longer}", []).append(search)
    for name, those in tables.items():
        yield name, _searches(those)


def _ranking(sets: dict[str, list[Network]]) -> str:
    """Candidates by the mean of their correlations."""
    verdicts = scores.judge(sets)
    ranked = sorted(verdicts, key=lambda c: -mean(v.correlation.value for v in verdicts[c].values()))
    count = ", ".join(f"{name} {len(found)}" for name, found in sets.items())
    head = [f"ρ {target}" for target in TARGETS] + [f"regret {target}" for target in TARGETS]
    lines = [f"Networks: {count}.", "", f"| score | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for candidate in ranked:
        found = verdicts[candidate].values()
        cells = [str(v.correlation) for v in found] + [str(v.regret) for v in found]
        lines.append(f"| {candidate} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _searches(done: list[Search]) -> str:
    """One line a search, each objective's mean, and what parts the means."""
    lines = [f"| objective | seed | {' | '.join(searches.FIGURES)} |", "|---" * (len(searches.FIGURES) + 2) + "|"]
    each = {o: sorted((s for s in done if s.objective == o), key=lambda s: s.seed) for o in searches.OBJECTIVES}
    for objective, own in each.items():
        rows = [figures["test"]["overall"] for s in own if (figures := s.figures())]
        for search, row in zip(own, rows, strict=True):
            cells = ["{:.3f} ({:.3f} – {:.3f})".format(*row[name][:3]) for name in searches.FIGURES]
            lines.append(f"| {objective} | {search.seed} | {' | '.join(cells)} |")
        if rows:
            means = [f"**{mean(row[name][0] for row in rows):.3f}**" for name in searches.FIGURES]
            lines.append(f"| {objective} | mean | {' | '.join(means)} |")
    if all(each.values()):
        apart = difference(*([s.answers() for s in each[o]] for o in ("robust", "clean")))
        cells = ["{0.value:+.3f} ({0.low:+.3f} – {0.high:+.3f})".format(apart[name]) for name in searches.FIGURES]
        lines.append(f"| robust − clean | mean | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def difference(first: list[pd.DataFrame], second: list[pd.DataFrame]) -> dict[str, Interval]:
    """What parts the means of two groups of models, on the same films; drawn by patient, the models as they are.

    Args:
        first: each model's answers, a row each film, as `predictions.csv` has them.
        second: the other group's.
    """
    return paired(_mean_figures(first), _mean_figures(second), first[0]["patient"])


def _mean_figures(answers: list[pd.DataFrame]) -> Statistic:
    classes = [name.removeprefix("probability_") for name in answers[0] if name.startswith("probability_")]
    positive = classes.index("PNEUMONIA") if "PNEUMONIA" in classes else None

    def statistic(weights: Floats) -> dict[str, Floats]:
        each = [
            metrics.figures(
                rows["truth"].map(classes.index),
                rows[[f"probability_{name}" for name in classes]],
                positive,
                weights=weights,
                decided=rows["decision"].map(classes.index),
                brief=True,
            )
            for rows in answers
        ]
        return {name: np.mean([figures[name] for figures in each], axis=0) for name in searches.FIGURES}

    return statistic
