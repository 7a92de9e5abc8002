"""Predictive values and likelihood ratios, with intervals."""

import math

import pytest

from xraytune.evaluation.predictive_values import likelihood_ratios, predictive_values


def test_predictive_values_are_those_of_the_confusion_matrix_at_its_own_prevalence() -> None:
    tp, fn, fp, tn = 90, 10, 30, 170
    ratios = likelihood_ratios([tp / 100, 0.82, 0.95], [tn / 200, 0.79, 0.9])
    assert ratios is not None
    positive, negative = predictive_values(ratios, 100 / 300)
    assert positive[0] == pytest.approx(tp / (tp + fp))
    assert negative[0] == pytest.approx(tn / (tn + fn))


@pytest.mark.parametrize("prevalence", [0.001, 0.1, 0.5, 0.99])
@pytest.mark.parametrize(
    ("sensitivity", "specificity"),
    [
        ([0.9, 0.8, 0.96], [0.8, 0.7, 0.88]), ([1.0, 0.9, 1.0], [0.7, 0.6, 0.8]), ([0.7, 0.5, 0.9], [1.0, 0.85, 1.0]),
        ([1.0, 0.8, 1.0], [1.0, 0.8, 1.0]), ([0.0, 0.0, 0.2], [0.9, 0.8, 0.95]), ([0.3, 0.2, 0.4], [0.2, 0.1, 0.3]),
    ],
)  # fmt: skip
def test_an_interval_holds_its_value_and_has_width(
    sensitivity: list[float], specificity: list[float], prevalence: float
) -> None:
    ratios = likelihood_ratios(sensitivity, specificity)
    assert ratios is not None
    for value, low, high in predictive_values(ratios, prevalence):
        assert value is not None
        assert low is not None
        assert high is not None
        assert 0 <= low <= value <= high <= 1
        assert high - low > 1e-6


def test_the_interval_is_that_of_independent_shares_on_the_logarithm() -> None:
    """Zou & Donner 2008: the distances of the ends add as squares; so both ends are inside those of the extremes."""
    ratios = likelihood_ratios([0.9, 0.8, 0.95], [0.8, 0.7, 0.9])
    assert ratios is not None
    value, low, high = ratios.positive
    assert value == pytest.approx(4.5)
    assert low == pytest.approx(4.5 * math.exp(-math.hypot(math.log(0.9 / 0.8), math.log(0.3 / 0.2))))
    assert high == pytest.approx(4.5 * math.exp(math.hypot(math.log(0.95 / 0.9), math.log(0.2 / 0.1))))
    assert 0.8 / 0.3 < low < high < 0.95 / 0.1


@pytest.mark.parametrize("prevalence", [0.1, 0.5])
def test_a_model_that_always_says_yes_has_the_prevalence_as_its_predictive_value(prevalence: float) -> None:
    ratios = likelihood_ratios([1.0, 0.9, 1.0], [0.0, 0.0, 0.1])
    assert ratios is not None
    positive, negative = predictive_values(ratios, prevalence)
    assert positive[0] == pytest.approx(prevalence)
    assert negative[0] is None  # nothing was predicted negative


def test_without_an_interval_there_are_no_ratios() -> None:
    assert likelihood_ratios([0.9, None, None], [0.8, 0.7, 0.9]) is None
    assert likelihood_ratios([None, None, None], [0.8, 0.7, 0.9]) is None
