"""Sensitivity and specificity estimated without labels, where the truth is known."""

import numpy as np
import pytest

from xraytune.evaluation.shift import shift_estimate
from xraytune.evaluation.shift.shift_estimate import Answers


def answers(seed, n=2000, positive=0.5, apart=2.0, threshold=0.4, blur=0.0):
    """A calibrated model's answers (at equal prevalence) on images two a patient; `blur` adds noise to its score."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.random(n // 2) < positive, 2)
    score = rng.normal(apart * (labels - 0.5), 1) * apart
    score = score * (1 - blur)
    p = 1 / (1 + np.exp(-score))
    return Answers(p, p >= threshold, np.arange(n) // 2), labels


def figures(found, truth):
    return {"sensitivity": found.positive[truth].mean(), "specificity": 1 - found.positive[~truth].mean()}


@pytest.mark.parametrize("positive", [0.08, 0.3, 0.5, 0.9])
def test_the_estimate_holds_the_truth_whatever_the_share_of_positives(positive):
    known, truth = answers(0, positive=0.7)
    held = []
    for seed in range(1, 6):
        new, labels = answers(seed, 800, positive)
        found = shift_estimate.estimate(known, truth, new, draws=200)
        held += [found[name].low <= value <= found[name].high for name, value in figures(new, labels).items()]
        assert found["prevalence"].low <= labels.mean() <= found["prevalence"].high
    assert sum(held) >= 9


def test_a_model_that_is_less_sure_elsewhere_is_estimated_to_be_worse():
    known, truth = answers(0)
    new, _ = answers(1)
    unsure, _ = answers(1, blur=0.7)
    alike, worse = (shift_estimate.estimate(known, truth, one, draws=100) for one in (new, unsure))
    assert worse["specificity"].value < alike["specificity"].value - 0.05


def test_the_same_images_give_their_own_figures():
    known, truth = answers(0)
    found = shift_estimate.estimate(known, truth, known, draws=100)
    for name, value in figures(known, truth).items():
        assert found[name].value == pytest.approx(value, abs=0.01)


def test_few_patients_give_wide_intervals_and_images_of_one_patient_count_once():
    known, truth = answers(0)
    new, _ = answers(1, 400)
    few = Answers(new.probability, new.positive, np.arange(400) // 20)
    wide, narrow = (shift_estimate.estimate(known, truth, one, draws=300)["sensitivity"] for one in (few, new))
    assert wide.high - wide.low > 1.3 * (narrow.high - narrow.low)


def test_a_model_that_tells_nothing_gets_no_estimate():
    known, truth = answers(0, apart=1e-9, threshold=0.5)
    found = shift_estimate.estimate(known, truth, known, draws=50)
    assert np.isnan(found["sensitivity"].value)
    assert np.isnan(found["sensitivity"].low)
    assert np.isnan(shift_estimate.share_positive(known, truth, known))


def test_images_that_are_all_called_the_same_have_no_figure_that_needs_the_other_kind():
    known, truth = answers(0)
    none = Answers(np.full(50, 0.01), np.zeros(50, bool), np.arange(50))
    found = shift_estimate.estimate(known, truth, none, draws=50)
    assert found["specificity"].value == 1
    assert found["prevalence"].value < 0.1


def test_the_same_draws_give_the_same_interval():
    known, truth = answers(0)
    new, _ = answers(1, 200)
    assert shift_estimate.estimate(known, truth, new, draws=40) == shift_estimate.estimate(known, truth, new, draws=40)
