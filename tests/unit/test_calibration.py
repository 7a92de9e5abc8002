"""Calibration: how sure the model should have been, on made predictions."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from search import winner
from tests.made_predictions import predictions, split
from xraytune import calibration


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
    """Labels, and the answers of a network that is too careful on films as they are and not on shifted ones."""
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
    shares = {label: float(np.mean(labels == label)) for label in (0, 1)}
    found, losses, without = calibration.choose(calibration.over_views(labels, views, folds_of, shares))
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
    sample = calibration.over_views(labels[rows], part, split(labels[rows]), {0: 0.2, 1: 0.8})
    weights = sample.weights / sample.weights.sum()
    assert weights[sample.labels == 1].sum() == pytest.approx(0.8)
    assert len(sample.labels) == 3 * 400
    for train, held in sample.folds:
        assert sorted([*train, *held]) == list(range(1200))
        assert {i % 400 for i in held}.isdisjoint({i % 400 for i in train})  # no image on both sides in any view
    even = calibration.over_views(labels[rows], part, split(labels[rows]), {0: 0.5, 1: 0.5})
    assert calibration.choose(sample)[0].bias[1] > calibration.choose(even)[0].bias[1] + 1


@pytest.mark.parametrize(("objective", "over_views"), [("clean", False), ("robust", True)])
def test_a_robust_study_s_model_is_calibrated_over_its_views(objective: str, over_views: bool) -> None:
    labels, views = drifting(1000)
    rows = np.sort(np.concatenate([np.flatnonzero(labels == c)[:150] for c in (0, 1)]))
    part = {name: p[rows] for name, p in views.items()}
    choice: Any = SimpleNamespace(out_of_fold=lambda: views["clean"], views=lambda: (rows, part))
    asked: Any = {"positive": 1, "beta": 2.0, "policy": "0.5", "objective": objective}
    found = winner.fit(choice, labels, split(labels), **asked)
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
