"""The tables of docs/evidence/robust-validation.md, made from what `make evidence` left under results/evidence.

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
from xraytune.evaluation import metrics
from xraytune.evaluation.intervals import Interval, Statistic, paired
from xraytune.evaluation.metrics import Floats

PAGE = networks.ROOT / "docs" / "evidence" / "robust-validation.md"


def write(done: list[Search]) -> dict[str, bool]:
    """Replace every table for which there are results; their names, and whether the page has a place for each."""
    text, placed = PAGE.read_text(encoding="utf-8"), {}
    for name, table in _tables(done):
        text, times = re.subn(
            f"(<!-- {name} -->\n).*?(<!-- end {name} -->)",
            lambda found, table=table: found.group(1) + table + found.group(2),  # type: ignore[misc]
            text,
            flags=re.DOTALL,
        )
        placed[name] = times > 0
    PAGE.write_text(text, encoding="utf-8")
    return placed


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
        tables.setdefault(f"searches {search.set} {search.time}{longer}", []).append(search)
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
        clean, robust = ([s.answers() for s in each[o]] for o in searches.OBJECTIVES)
        apart = difference(robust, clean, done[0].positive)
        cells = ["{0.value:+.3f} ({0.low:+.3f} – {0.high:+.3f})".format(apart[name]) for name in searches.FIGURES]
        lines.append(f"| robust − clean | mean | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def difference(first: list[pd.DataFrame], second: list[pd.DataFrame], positive: int | None) -> dict[str, Interval]:
    """What parts the means of two groups of models, on the same films; drawn by patient, the models as they are.

    Args:
        first: each model's answers, a row each film, as `predictions.csv` has them.
        second: the other group's.
        positive: the positive class's index, None without one.
    """
    return paired(_mean_figures(first, positive), _mean_figures(second, positive), first[0]["patient"])


def _mean_figures(answers: list[pd.DataFrame], positive: int | None) -> Statistic:
    classes = [name.removeprefix("probability_") for name in answers[0] if name.startswith("probability_")]
    columns = [f"probability_{name}" for name in classes]
    models = [(r["truth"].map(classes.index), r[columns], r["decision"].map(classes.index)) for r in answers]

    def statistic(weights: Floats) -> dict[str, Floats]:
        each = [
            metrics.figures(truth, p, positive, weights=weights, decided=decided, brief=True)
            for truth, p, decided in models
        ]
        return {name: np.mean([figures[name] for figures in each], axis=0) for name in searches.FIGURES}

    return statistic
