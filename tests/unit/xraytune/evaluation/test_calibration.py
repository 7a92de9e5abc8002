"""Calibration: how sure the model should have been, on made predictions."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import special

from search.retraining.final_model import operating_point
from tests.inputs.made_predictions import predictions, split
from xraytune.evaluation import calibration, evaluate, prevalences
from xraytune.evaluation.predictions import Predictions


def test_temperature_finds_how_much_too_sure_the_model_is() -> None:
    labels, p = predictions(4000, sharpness=3.0)
    found = calibration.fit(labels, p, "temperature")
    assert found.slope == pytest.approx(1 / 3, rel=0.08)
    assert calibration.log_loss(labels, found.apply(p)) < calibration.log_loss(labels, p)


def test_platt_finds_a_shift_and_is_chosen_for_it() -> None:
    labels, p = predictions(4000)
    shifted = 1 / (1 + np.exp(-(np.log(p[:, 1] / p[:, 0]) + 2)))
    both = np.stack([1 - shifted, shifted], axis=1)
    chosen, losses, _ = calibration.choose(calibration.Sample(labels, both, split(labels)))
    assert chosen.method == "platt"
    assert losses["platt"] < losses["temperature"] <= losses["none"] + 0.01
    assert chosen.apply(both)[:, 1] == pytest.approx(p[:, 1], abs=0.05)


def drifting(n: int = 2000) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Labels, and the answers of a network that is too careful on images as they are and not on shifted ones."""
    labels, p = predictions(n)
    logits = np.log(p[:, 1] / p[:, 0])
    moved = {
        name: 1 / (1 + np.exp(-(logits + by))) for name, by in (("clean", -2.0), ("narrower", 0.5), ("cropped", 0.5))
    }
    return labels, {name: np.stack([1 - q, q], axis=1) for name, q in moved.items()}


def test_a_calibration_over_views_holds_in_all_of_them_rather_than_best_in_one() -> None:
    labels, views = drifting()
    folds_of = split(labels)
    alone, _, _ = calibration.choose(calibration.Sample(labels, views["clean"], folds_of))
    found, losses, without = calibration.choose(calibration.over_views(labels, views, folds_of, None))
    assert alone.bias[1] == pytest.approx(2, abs=0.2)
    assert found.bias[1] == pytest.approx(1 / 3, abs=0.3)
    worst = [max(calibration.log_loss(labels, c.apply(p)) for p in views.values()) for c in (alone, found)]
    assert worst[1] < worst[0] - 0.2
    assert losses["platt"] <= min(losses.values())
    assert [other.bias[1] for other in without] == pytest.approx([found.bias[1]] * 5, abs=0.1)


def test_a_class_that_few_of_the_images_with_views_show_weighs_as_in_all_images() -> None:
    labels, views = drifting()
    rows = np.concatenate([np.flatnonzero(labels == c)[:200] for c in (0, 1)])  # half and half
    part = {name: p[rows] for name, p in views.items()}
    sample = calibration.over_views(labels[rows], part, split(labels[rows]), (0.2, 0.8))
    assert len(sample.labels) == 3 * 400
    for train, held in sample.folds:
        assert sorted([*train, *held]) == list(range(1200))
        assert {i % 400 for i in held}.isdisjoint({i % 400 for i in train})  # no image on both sides in any view
    even = calibration.over_views(labels[rows], part, split(labels[rows]), (0.5, 0.5))
    assert calibration.choose(sample)[0].bias[1] > calibration.choose(even)[0].bias[1] + 1


@pytest.mark.parametrize(("objective", "over_views"), [("clean", False), ("robust", True)])
def test_a_robust_study_s_model_is_calibrated_over_its_views(objective: str, over_views: bool) -> None:
    labels, views = drifting(1000)
    rows = np.sort(np.concatenate([np.flatnonzero(labels == c)[:150] for c in (0, 1)]))
    part = {name: p[rows] for name, p in views.items()}
    choice: Any = SimpleNamespace(out_of_fold=lambda: views["clean"], views=lambda: (rows, part))
    raw = Predictions(labels, views["clean"], np.arange(len(labels)), ("a", "b"), 1)
    found = operating_point.fit(choice, raw, split(labels), policy="0.5", objective=objective)
    assert found.calibration.prevalence == (0.5, 0.5)
    assert found.shifted is over_views
    assert (found.calibration.bias[1] < 1) is over_views
    assert found.threshold == 0.5
    assert found.crossed.probabilities.shape == views["clean"].shape
    assert np.abs(found.crossed.probabilities - found.probabilities).max() < 0.1
    assert (found.crossed.decided == (found.crossed.probabilities[:, 1] >= 0.5)).all()


def test_a_calibration_keeps_the_order_of_scores_sums_to_one_and_survives_json() -> None:
    labels, p = predictions(300, sharpness=4.0)
    found = calibration.fit(labels, p, "platt")
    out = found.apply(p)
    assert (np.argsort(out[:, 1]) == np.argsort(p[:, 1])).all()
    assert out.sum(1) == pytest.approx(1)
    assert calibration.Calibration.from_json(found.to_json()) == found
    three = np.random.default_rng(0).dirichlet([1, 1, 1], 90)
    assert calibration.fit(np.arange(90) % 3, three, "platt").apply(three).shape == (90, 3)


def test_separable_predictions_do_not_end_in_certainty() -> None:
    labels = np.repeat([0, 1], 20)
    p = np.where(labels, 1.0, 0.0)
    out = calibration.fit(labels, np.stack([1 - p, p], 1), "temperature").apply(np.stack([1 - p, p], 1))
    assert out.max() < 0.999


def test_a_calibration_at_equal_prevalence_does_not_lean_to_the_frequent_class() -> None:
    labels, p = predictions(4000)
    rows = np.flatnonzero((labels == 1) | (np.arange(4000) % 4 == 0))  # four of five are positive
    labels, p = labels[rows], p[rows]
    even = calibration.fit(labels, p, "platt", (0.5, 0.5))
    own = calibration.fit(labels, p, "platt")
    assert even.prevalence == (0.5, 0.5)
    assert own.prevalence[1] == pytest.approx(np.mean(labels))
    shift = special.logit(own.prevalence[1])
    assert even.bias[1] == pytest.approx(0.0, abs=0.2)  # the network was right before the negatives became rare
    assert own.bias[1] - even.bias[1] == pytest.approx(shift, abs=0.1)
    restated = prevalences.restated(even.apply(p), even.prevalence, own.prevalence)
    assert restated == pytest.approx(own.apply(p), abs=0.03)


def test_equal_prevalence_halves_positive_and_rest_and_keeps_the_proportions_of_the_rest() -> None:
    labels = np.repeat([0, 1, 2], [10, 30, 60])
    assert prevalences.equal(labels, 3, None) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert prevalences.equal(labels, 3, 2) == pytest.approx((0.125, 0.375, 0.5))
    weights = prevalences.weights(labels, prevalences.equal(labels, 3, 2))
    assert weights.mean() == pytest.approx(1)
    assert weights[labels == 2].sum() == pytest.approx(50)
    assert weights[0] == pytest.approx(weights[10])
    assert (prevalences.weights(labels, None) == 1).all()
    absent = prevalences.weights(np.zeros(4, int), (0.5, 0.5))
    assert absent == pytest.approx(np.ones(4))


def test_calibration_figures_are_judged_at_the_prevalence_that_is_stated() -> None:
    labels, p = predictions(3000)
    rows = np.flatnonzero((labels == 1) | (np.arange(3000) % 4 == 0))
    given = Predictions(labels[rows], p[rows], rows, ("a", "b"), 1, draws=20)
    asis, stated = evaluate.evaluate(given), evaluate.evaluate(replace(given, prevalence=(0.5, 0.5)))
    assert stated["overall"]["calibration_error"][0] < 0.04 < asis["overall"]["calibration_error"][0]
    assert stated["by_class"]["a"]["calibration_error"][0] == pytest.approx(stated["overall"]["calibration_error"][0])
    for name in ("auc", "sensitivity", "specificity", "accuracy"):
        assert stated["overall"][name][0] == asis["overall"][name][0]
    gaps = [[abs(row["predicted"] - row["observed"]) for row in f["reliability"]] for f in (stated, asis)]
    assert np.mean(gaps[0]) < np.mean(gaps[1])
