"""What a training would have come to that the table does not have: regression forests over configurations and sets.

One forest predicts the course of the robust score, at `GRID` epochs and at the end; another predicts the epochs until
the end and the seconds of each part. Parameters of one meaning have one column whatever family they belong to.
`errors` says how wrong both are on trainings that they have not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import KFold

from search.hyperparameters.parameter import parameters
from spaces.chest_xray import ChestXRay
from spaces.context import SpaceContext
from tests.evidence.curves.design import SetInfo, predicted
from tests.evidence.curves.table import Course, Curve, Table
from xraytune.models.cost import cost
from xraytune.models.weight_files import DENSENET_BLOCKS, VGG_CONVOLUTIONS
from xraytune.records import Value

GRID = (1, 2, 3, 4, 6, 9, 12, 15, 20, 27, 30)
TREES = 100
FOLDS = 10
ABSENT = -1.0
SMALL = 1e-3
"""Added to seconds before their logarithm is taken."""


def _categories() -> dict[str, list[str]]:
    """The text values of each column, over the whole space."""
    everything = ChestXRay(SpaceContext(weights=dict.fromkeys((*VGG_CONVOLUTIONS, *DENSENET_BLOCKS), "")))
    found: dict[str, dict[str, None]] = {}
    for parameter in parameters(everything.declare_hyperparameters):
        values = found.setdefault(column(parameter.declared), {})
        values |= {str(value): None for value in parameter.choices if isinstance(value, str)}
    return {name: list(values) for name, values in found.items()}


def column(name: str) -> str:
    """A parameter's column: `cnn/image_size` and `dense/image_size` are one; a head's are its own."""
    group, _, last = name.partition("/")
    return name if not last or group == "head" else last


class Encoding:
    """Configurations of any set as points."""

    def __init__(self, sets: Mapping[str, SetInfo]) -> None:
        self._sets = dict(sets)
        self._names = list(sets)
        self._categories = _categories()

    def point(self, name: str, values: Mapping[str, Value]) -> np.ndarray:
        """`(d,)`: one number a column, what it costs, and the set."""
        info, found = self._sets[name], dict.fromkeys(self._categories, ABSENT)
        for declared, value in values.items():
            key = column(declared)
            if key in found:
                found[key] = self._number(key, value)
        each = cost(values)
        about = [
            np.log(predicted(values, info)), np.log1p(each.train), np.log1p(each.prefix), each.trace,
            np.log(info.images), float(info.classes), *(float(name == other) for other in self._names),
        ]  # fmt: skip
        return np.array([*found.values(), *about], np.float32)

    def _number(self, key: str, value: Value) -> float:
        if isinstance(value, str):
            known = self._categories[key]
            return float(known.index(value)) if value in known else ABSENT
        return float(np.log(value)) if key in {"learning_rate", "weight_decay"} else float(value)


def _score_target(curve: Curve) -> np.ndarray:
    standing = curve.course.standing
    return np.array([*(standing[min(epoch, len(standing)) - 1] for epoch in GRID), curve.score])


def _cost_target(curve: Curve) -> np.ndarray:
    course = curve.course
    seconds = (course.start, course.features, course.epoch, course.look)
    return np.array([course.epochs / _asked(curve.values), *(np.log(s + SMALL) for s in seconds)])


def _asked(values: Mapping[str, Value]) -> int:
    return int(values.get("epochs", 1))


class Forest:
    """Courses of configurations that were not trained.

    Args:
        table: what it learns from.
        curves: those of its trainings that are learned; all if not given.
        trees: of each forest.
    """

    def __init__(self, table: Table, curves: Sequence[Curve] | None = None, trees: int = TREES) -> None:
        learned = list(table.curves if curves is None else curves)
        self._encoding = Encoding(table.sets)
        points = np.stack([self._encoding.point(c.set, c.values) for c in learned])
        self._scores = _fitted(points, np.stack([_score_target(c) for c in learned]), trees)
        self._costs = _fitted(points, np.stack([_cost_target(c) for c in learned]), trees)

    def course(self, name: str, values: Mapping[str, Value]) -> Course:
        """The expected course of a configuration on a set."""
        point = self._encoding.point(name, values)[None]
        scores, costs = _mean(self._scores, point), _mean(self._costs, point)
        epochs = max(1, min(round(float(costs[0]) * _asked(values)), _asked(values)))
        start, features, epoch, look = (max(float(np.exp(c)) - SMALL, 0.0) for c in costs[1:])
        standing = np.interp(np.arange(1, epochs + 1), GRID, scores[:-1])
        return Course(standing, float(scores[-1]), start, features, max(epoch, SMALL), look)


def _fitted(points: np.ndarray, targets: np.ndarray, trees: int) -> RandomForestRegressor:
    """Each target counts by its own spread."""
    forest = RandomForestRegressor(trees, min_samples_leaf=2, max_features=0.5, random_state=0, n_jobs=1)
    middle, spread = targets.mean(axis=0), targets.std(axis=0) + 1e-9
    forest.fit(points, (targets - middle) / spread)
    forest.middle, forest.spread = middle, spread
    return forest


def _mean(forest: RandomForestRegressor, point: np.ndarray) -> np.ndarray:
    """The forest's prediction `(targets,)` of one point: asking its trees directly is much faster for one."""
    answers = np.mean([tree.tree_.predict(point)[0, :, 0] for tree in forest.estimators_], axis=0)
    return np.asarray(answers * forest.spread + forest.middle)


@dataclass(frozen=True)
class Errors:
    """Of predictions for trainings that were not learned from (`FOLDS` folds)."""

    score: float
    """Mean absolute error of the score at the end."""

    usual: float
    """The same of the mean score of the set and family: what a forest must beat."""

    rank: float
    """Spearman's correlation of predicted and true scores, averaged over sets."""

    seconds: float
    """Median factor by which an epoch's seconds are wrong."""


def errors(table: Table) -> Errors:
    """How wrong the forest is; every training is predicted once by a forest that has not seen it.

    Raises:
        ValueError: there are fewer than `FOLDS` trainings.
    """
    curves = list(table.curves)
    if len(curves) < FOLDS:
        raise ValueError(f"{len(curves)} trainings are too few: {FOLDS} are needed")
    found: dict[int, tuple[Course, float]] = {}
    for learned, left in KFold(FOLDS, shuffle=True, random_state=0).split(np.arange(len(curves))):
        known = [curves[i] for i in learned]
        forest = Forest(table, known)
        for i in left:
            found[int(i)] = forest.course(curves[i].set, curves[i].values), _usual(known, curves[i])
    true = np.array([c.score for c in curves])
    guessed = np.array([found[i][0].score for i in range(len(curves))])
    usual = np.array([found[i][1] for i in range(len(curves))])
    ratio = [np.log((found[i][0].epoch + SMALL) / (c.course.epoch + SMALL)) for i, c in enumerate(curves)]
    return Errors(
        score=float(np.abs(guessed - true).mean()),
        usual=float(np.abs(usual - true).mean()),
        rank=_rank(curves, true, guessed),
        seconds=float(np.exp(np.median(np.abs(ratio)))),
    )


def _usual(known: Sequence[Curve], one: Curve) -> float:
    alike = [c.score for c in known if c.set == one.set and c.family == one.family]
    same_set = [c.score for c in known if c.set == one.set]
    return float(np.mean(alike or same_set or [c.score for c in known]))


def _rank(curves: Sequence[Curve], true: np.ndarray, guessed: np.ndarray) -> float:
    names = np.array([c.set for c in curves])
    each: list[Any] = []
    for name in dict.fromkeys(names.tolist()):
        own = names == name
        if own.sum() >= 5 and np.ptp(true[own]) > 0 and np.ptp(guessed[own]) > 0:
            each.append(spearmanr(true[own], guessed[own]).statistic)
    return float(np.mean(each)) if each else float("nan")
