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
from tests.evidence.searches import Outcome, Search
from tests.evidence.sets import PLANTED
from xraytune.evaluation import metrics
from xraytune.evaluation.intervals import Interval, Statistic, paired
from xraytune.evaluation.metrics import Floats

PAGE = networks.ROOT / "docs" / "evidence" / "robust-validation.md"


def write(done: dict[Search, Outcome]) -> dict[str, bool]:
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


def _tables(done: dict[Search, Outcome]) -> Iterator[tuple[str, str]]:
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
    tables: dict[str, dict[Search, Outcome]] = {}
    for search, found in done.items():
        longer = "" if search.retraining == search.time else f" retrained {search.retraining}"
        name = " ".join(filter(None, ("searches", search.set, search.time + longer, search.final)))
        tables.setdefault(name, {})[search] = found
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


def _searches(done: dict[Search, Outcome]) -> str:
    """One line a search, the mean of each objective and version, and what parts the robust mean from the others."""
    lines = [f"| objective | seed | {' | '.join(searches.FIGURES)} |", "|---" * (len(searches.FIGURES) + 2) + "|"]
    arms: dict[str, dict[int, Outcome]] = {}
    for search in sorted(done, key=lambda s: (s.objective, s.version, s.seed)):
        arms.setdefault(f"{search.objective} {search.version}".strip(), {})[search.seed] = done[search]
    for arm, own in arms.items():
        for seed, one in own.items():
            cells = ["{:.3f} ({:.3f} – {:.3f})".format(*one.figures[name]) for name in searches.FIGURES]
            lines.append(f"| {arm} | {seed} | {' | '.join(cells)} |")
        means = [f"**{mean(one.figures[name][0] for one in own.values()):.3f}**" for name in searches.FIGURES]
        lines.append(f"| {arm} | mean | {' | '.join(means)} |")
    robust = arms.pop("robust", {})
    for arm, own in arms.items() if robust else ():
        first, second = ([one.answers for one in those.values()] for those in (robust, own))
        apart = difference(first, second, next(iter(robust.values())).positive)
        cells = ["{0.value:+.3f} ({0.low:+.3f} – {0.high:+.3f})".format(apart[name]) for name in searches.FIGURES]
        lines.append(f"| robust − {arm} | mean | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def difference(first: list[pd.DataFrame], second: list[pd.DataFrame], positive: int | None) -> dict[str, Interval]:
    """What parts the means of two groups of models, on the same images; drawn by patient, the models as they are.

    Args:
        first: each model's answers, a row each image, as `predictions.csv` has them.
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
