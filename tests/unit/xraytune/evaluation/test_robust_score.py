"""The robust score can't be flattered, and a collapse in one view can't hide."""

from __future__ import annotations

import numpy as np
import pytest

from xraytune.evaluation.robust_score import Aggregate, score, statistic, trivial

LABELS = np.array([0] * 25 + [1] * 75, np.int32)


def two(scores):
    scores = np.asarray(scores, np.float32)
    return np.stack([1 - scores, scores], axis=1)


def separated(noise=0.0, offset=0.0):
    rng = np.random.default_rng(0)
    return two(np.clip(np.where(LABELS == 1, 0.8, 0.2) + offset + rng.normal(0, noise, 100), 0, 1))


def test_a_perfect_network_scores_one():
    result = score(LABELS, {"clean": separated(), "darker": separated()}, 1)
    assert result.value == pytest.approx(1)
    assert 0.2 < result.threshold <= 0.8


@pytest.mark.parametrize("how", list(Aggregate))
def test_the_always_positive_answer_scores_the_same_whatever_the_prevalence(how):
    flat = two(np.full(100, 0.7))
    assert score(LABELS, {"a": flat, "b": flat}, 1, aggregate=how).value == pytest.approx(5 / 6)


def test_a_collapse_in_one_view_can_not_hide_and_is_named():
    good = {f"v{i}": separated(0.05) for i in range(8)}
    fallen = good | {"narrower": two(np.full(100, 0.9))}
    assert score(LABELS, good, 1).value - score(LABELS, fallen, 1).value > 0.04
    by_view = score(LABELS, fallen, 1).by_view
    assert min(by_view, key=lambda name: by_view[name]) == "narrower"
    mean = score(LABELS, fallen, 1, aggregate=Aggregate.MEAN).value
    worst = score(LABELS, fallen, 1, aggregate=Aggregate.WORST).value
    assert worst < score(LABELS, fallen, 1).value < mean


def test_scores_that_drift_between_views_pay_for_the_shared_threshold():
    steady = {"clean": separated(), "darker": separated()}
    drifting = {"clean": separated(), "darker": separated(offset=-0.7)}
    assert score(LABELS, steady, 1).value - score(LABELS, drifting, 1).value > 0.05


def test_the_trivial_answer_scores_what_trivial_says():
    flat = two(np.full(100, 0.7))
    assert score(LABELS, {"clean": flat}, 1).value == pytest.approx(trivial(2, 1))
    labels = np.array([0, 1, 2], np.int32)
    always = np.tile(np.array([0.2, 0.6, 0.2], np.float32), (3, 1))
    assert score(labels, {"clean": always}, None).value == pytest.approx(trivial(3, None))


def test_a_hand_computed_view():
    # TPR 0.5, FPR 0 at any threshold in (0.4, 0.9]: 5*0.5/(0.5+4) = 0.556; all positive: 5/6 is better
    result = score(np.array([0, 1, 1], np.int32), {"clean": two([0.4, 0.9, 0.1])}, 1)
    assert result.value == pytest.approx(5 / 6)


def test_three_classes_are_judged_by_argmax():
    labels = np.array([0, 1, 2, 2], np.int32)
    perfect = np.eye(3, dtype=np.float32)[labels]
    assert score(labels, {"clean": perfect}, None).value == pytest.approx(1)
    # class 2 half right, the other half called 0: F(0) = 5/(5+0.5), F(1) = 1, F(2) = 2.5/(2.5+2)
    wrong = perfect.copy()
    wrong[3] = [1, 0, 0]
    expected = np.mean([5 / 5.5, 1, 2.5 / 4.5])
    result = score(labels, {"clean": wrong}, None)
    assert result.value == pytest.approx(expected)
    assert np.isnan(result.threshold)


def test_a_class_without_an_image_is_refused():
    with pytest.raises(ValueError, match="every class"):
        score(np.zeros(4, np.int32), {"clean": two([0.1] * 4)}, 1)
    with pytest.raises(ValueError, match="at least one view"):
        score(LABELS, {}, 1)


@pytest.mark.parametrize("k", [2, 3])
def test_its_statistic_is_the_score_and_weights_are_repeated_images(k):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, k, 60).astype(np.int32)
    views = np.eye(k)[labels] + rng.exponential(0.8, (3, 60, k))
    views /= views.sum(axis=2, keepdims=True)
    positive = 1 if k == 2 else None
    found = score(labels, {str(i): view for i, view in enumerate(views)}, positive)
    robust = statistic(labels, views, positive, found.threshold)
    assert robust(np.ones((1, 60)))["robust"][0] == pytest.approx(found.value)
    times = rng.integers(0, 3, 60)
    again, answers = np.repeat(labels, times), np.repeat(views, times, axis=1)
    expected = statistic(again, answers, positive, found.threshold)(np.ones((1, len(again))))["robust"]
    np.testing.assert_allclose(robust(np.stack([times, np.ones(60)]).astype(float))["robust"][0], expected[0])
