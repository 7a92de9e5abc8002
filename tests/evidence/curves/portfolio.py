"""A portfolio: configurations, chosen greedily on the table, that are tried before the sampler is asked.

The first is the best on average over the data sets; each further one is that which raises most the best score that the
portfolio has on each set. Scores of configurations that were not trained on a set are the forest's. A portfolio is
judged on a set that had no part in choosing it (`without`). It is handed to
`search.driver.initial_trials.first_trials(prepared, warm)` as configurations of an earlier study are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from search.driver.initial_trials import FirstTrial, FirstTrials
from search.hyperparameters.declaration import ambiguous_names, declared_parameters
from search.hyperparameters.suggestion import RecordedHyperParameters
from tests.evidence.curves.design import SetInfo, predicted
from tests.evidence.curves.forest import Forest
from tests.evidence.curves.table import Table
from xraytune.records import Value

SIZE = 10
SHARE = 0.15
"""Part of the search's time that one configuration may be predicted to take on one core."""


def choose(table: Table, info: SetInfo, seconds: float, size: int = SIZE, forest: Forest | None = None) -> FirstTrials:
    """The portfolio for a data set, in the order in which it is tried.

    Args:
        table: of other data sets: what it has of this one is used like the rest.
        info: the data set: its classes, images, weights, and what its time leaves of the space.
        seconds: of the search.
        size: configurations at most.
        forest: fitted on the table, where there is one already.
    """
    found: dict[str, Mapping[str, Value]] = {}
    for curve in table.curves:
        values = adapted(curve.values, info)
        if values is not None and predicted(values, info) <= SHARE * seconds:
            found.setdefault(f"{curve.set} {curve.number}", values)
    if not found:
        return []
    names = list(found)
    scores = _scores(table, names, forest or Forest(table))
    return [FirstTrial(f"portfolio, {names[i]}", found[names[i]]) for i in greedy(scores, size)]


def greedy(scores: np.ndarray, size: int) -> list[int]:
    """Rows of `(configurations, sets)` that together have the best scores; each set counts by its own range.

    Where no further row raises any set's best, the choice begins anew among the rows that are left, so that a portfolio
    of few sets has second choices too.
    """
    low, high = scores.min(axis=0), scores.max(axis=0)
    scaled = (scores - low) / np.where(high > low, high - low, 1.0)
    left, chosen = np.ones(len(scaled), bool), list[int]()
    best = np.full(scaled.shape[1], -1.0)
    while left.any() and len(chosen) < size:
        gain = np.where(left, np.maximum(scaled, best).mean(axis=1) - best.mean(), -1.0)
        row = int(np.argmax(gain))
        if gain[row] <= 1e-9:
            best[:] = -1.0
            continue
        chosen.append(row)
        left[row] = False
        best = np.maximum(best, scaled[row])
    return chosen


def _scores(table: Table, names: list[str], forest: Forest) -> np.ndarray:
    """`(configurations, sets)`: trained where it was, else predicted from the configuration as it was trained."""
    known = {f"{c.set} {c.number}": c for c in table.curves}
    sets = [name for name in table.sets if table.of(name)]
    rows = []
    for name in names:
        curve = known[name]
        rows.append([curve.score if curve.set == s else forest.course(s, curve.values).score for s in sets])
    return np.array(rows)


def adapted(values: Mapping[str, Value], info: SetInfo) -> dict[str, Value] | None:
    """A configuration as it is in a data set's space; None where its family or its weights are not in it.

    What the space does not offer (an image size that the time rules out, another augmentation than the audit asks for)
    is at the space's default.
    """
    space = info.space
    declaration = space.declare_hyperparameters
    if values.get("family") not in space.families:
        return None
    hp = RecordedHyperParameters(values, ambiguous=ambiguous_names(declared_parameters(declaration)))
    declaration(hp)
    if any(n.endswith("/backbone") and hp.values.get(n) != v for n, v in values.items()):
        return None
    return dict(hp.values)
