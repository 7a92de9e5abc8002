"""Out-of-fold answers are not judged by a calibration or a threshold that was fitted on them."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from search.retraining.final_model import operating_point
from tests.inputs.made_predictions import clustered
from xraytune.data import folds
from xraytune.evaluation import calibration, thresholds
from xraytune.evaluation.predictions import Predictions
from xraytune.evaluation.referral.selection import Aims


def made_choice(labels: np.ndarray, views: dict[str, np.ndarray], rows: np.ndarray) -> Any:
    return SimpleNamespace(
        out_of_fold=lambda: views["clean"], views=lambda: (rows, {n: p[rows] for n, p in views.items()})
    )


@pytest.mark.parametrize("policy", ["youden", "shared", "plateau"])
def test_a_threshold_that_chance_made_is_not_shown_as_worth_anything_out_of_fold(policy: str) -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(90) % 2
    score = rng.random(90)  # knows nothing
    views = {"clean": np.stack([1 - score, score], axis=1), "darker": np.stack([1 - score**2, score**2], axis=1)}
    patients = np.array([str(i) for i in range(90)])
    choice, held = made_choice(labels, views, np.arange(90)), folds(labels.tolist(), patients.tolist(), 3, 0)
    raw = Predictions(labels, views["clean"], patients, ("a", "b"), 1)
    found = operating_point.fit(choice, raw, held, policy=policy)
    clean, darker = (found.calibration.apply(p)[:, 1] for p in views.values())
    scores = {"clean": clean, "darker": darker} if policy in thresholds.OVER_VIEWS else {"clean": clean}
    assert found.threshold == thresholds.fit(policy, labels, scores, 2.0)  # the deployed one has seen every fold
    for train, fold in held:  # each fold's answers are those of the others' calibration and threshold
        alone = calibration.fit(labels[train], views["clean"][train], found.calibration.method, (0.5, 0.5))
        fitted = {name: alone.apply(p[train])[:, 1] for name, p in views.items() if name in scores}
        threshold = thresholds.fit(policy, labels[train], fitted, 2.0)
        answers = alone.apply(views["clean"][fold])[:, 1] >= threshold
        assert (found.crossed.decided[fold] == answers).all()

    def balanced(answers: np.ndarray) -> float:
        return float((answers[labels == 1].mean() + 1 - answers[labels == 0].mean()) / 2)

    if policy == "youden":
        assert balanced(found.crossed.decided == 1) <= 0.5 < balanced(clean >= found.threshold) - 0.04


def test_without_a_positive_class_the_likeliest_by_the_other_folds_calibration_is_the_answer() -> None:
    labels = np.arange(90) % 3
    p = np.random.default_rng(1).dirichlet([1, 1, 1], 90)
    patients = np.array([str(i) for i in range(90)])
    choice, held = made_choice(labels, {"clean": p}, np.arange(90)), folds(labels.tolist(), patients.tolist(), 3, 0)
    found = operating_point.fit(choice, Predictions(labels, p, patients, ("a", "b", "c"), None), held, policy="auto")
    assert (found.crossed.decided == found.crossed.probabilities.argmax(axis=1)).all()
    assert found.threshold == 0.5


@pytest.mark.parametrize("objective", ["clean", "robust"])
def test_a_referral_is_fitted_on_scores_of_the_other_folds_calibration_and_one_view_an_image(objective: str) -> None:
    event, score, patients = clustered(900, "normal", 1)
    labels = event.astype(int)
    views = {name: np.stack([1 - p, p], axis=1) for name, p in (("clean", score), ("darker", score**1.5))}
    rows = np.arange(0, len(labels), 2)
    choice, held = made_choice(labels, views, rows), folds(labels.tolist(), patients.tolist(), 3, 0)
    raw = Predictions(labels, views["clean"], patients, ("a", "b"), 1)
    found = operating_point.fit(choice, raw, held, policy="0.5", objective=objective, refer=Aims(0.9, 0.85))
    assert found.referral is not None
    assert found.referred_on is not None
    assert found.referral.referral is not None
    sample = found.referred_on
    if objective == "clean":
        assert sample.score == pytest.approx(found.crossed.probabilities[:, 1])
        assert len(sample.event) == len(labels)
    else:
        assert sample.event.tolist() == event[rows].tolist()
        shown = {}
        for name, p in views.items():
            shown[name] = np.zeros(len(labels))
            for train, fold in held:
                own = [int(i) for i in train if i % 2 == 0]
                both = np.concatenate([view[own] for view in views.values()])
                alone = calibration.fit(np.tile(labels[own], 2), both, found.calibration.method, (0.5, 0.5))
                shown[name][fold] = alone.apply(p[fold])[:, 1]
        is_view = {name: np.isclose(sample.score, shown[name][rows]) for name in views}
        assert (is_view["clean"] | is_view["darker"]).all()
        assert 0.4 < is_view["darker"].mean() < 0.6
    without = operating_point.fit(choice, raw, held, policy="0.5", objective=objective)
    assert (without.referral, without.referred_on) == (None, None)
    assert without.threshold == found.threshold
