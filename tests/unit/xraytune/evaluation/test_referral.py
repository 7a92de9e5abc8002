"""A referral's guarantee on made predictions with clustered patients, its figures, and what it says without a pair."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from tests.inputs.made_predictions import clustered
from xraytune.evaluation import metrics
from xraytune.evaluation.predictions import Predictions
from xraytune.evaluation.referral import selection
from xraytune.evaluation.referral.pair import REFER, Referral, judged
from xraytune.evaluation.referral.selection import PAIRS, Aims, Sample

PAIR = Referral(0.2, 0.6, 0.95, 0.9, 0.05, 200, 200)


def among(event: np.ndarray, score: np.ndarray, pair: Referral) -> tuple[float, float, float]:
    """Sensitivity and specificity among answered images, and the share referred, classes weighted equally."""
    between = pair.between(score)
    found, right = score[event & ~between] >= pair.high, score[~event & ~between] < pair.low
    return float(found.mean()), float(right.mean()), float((between[event].mean() + between[~event].mean()) / 2)


@pytest.mark.parametrize(
    ("kind", "apart"), [("normal", 3.0), ("heavy", 3.4), ("large", 3.4), ("sided", 3.0), ("noisy", 3.8)]
)
def test_halves_of_patients_seldom_break_the_guarantee_that_the_other_halves_gave(kind: str, apart: float) -> None:
    event, score, patients = clustered(2400, kind, 5, apart=apart)
    names, broken, referred = np.unique(patients), 0, []
    for seed in range(30):
        half = np.isin(patients, np.random.default_rng(seed).permutation(names)[: len(names) // 2])
        pair = selection.choose(Sample(event[half], score[half], patients[half]), Aims(), seed).referral
        if pair is None:
            continue
        sensitivity, specificity, share = among(event[~half], score[~half], pair)
        broken += sensitivity < 0.95 or specificity < 0.9
        referred.append(share)
    assert len(referred) >= 8, "hardly any half gave a pair: nothing was tested"
    assert broken <= stats.binom.ppf(0.999, len(referred), 0.05)
    assert np.mean(referred) < 0.5


@pytest.mark.parametrize("kind", ["normal", "large"])
def test_a_pair_that_just_falls_short_is_seldom_called_valid(kind: str) -> None:
    """The share of made data sets for which a pair at the edge of being valid is called so, without Bonferroni."""
    at = int(np.flatnonzero((PAIRS[:, 0] < 0.19) & (PAIRS[:, 0] > 0.17) & (PAIRS[:, 1] > 0.7))[0])
    pair = dataclasses.replace(PAIR, low=PAIRS[at, 0], high=PAIRS[at, 1])
    event, score, _ = clustered(60_000, kind, 1, apart=2.5)
    sensitivity, specificity, _ = among(event, score, pair)
    for aims in (Aims(sensitivity + 0.002, 0.01), Aims(0.01, specificity + 0.002)):
        called = 0
        for seed in range(120):
            sample = Sample(*clustered(300, kind, 100 + seed, apart=2.5))
            called += selection.p_values(sample, aims, seed)[at] <= 0.05
        assert called <= stats.binom.ppf(0.999, 120, 0.05)


def test_the_exact_p_value_is_the_binomial_one_where_each_patient_has_one_image() -> None:
    event = np.repeat([True, False], 300)
    score = np.concatenate([np.repeat([0.005, 0.5, 0.995], [4, 96, 200]), np.repeat([0.005, 0.5, 0.995], [250, 45, 5])])
    sample = Sample(event, score, np.arange(600))
    at = int(np.flatnonzero((PAIRS[:, 0] < 0.1) & (PAIRS[:, 1] > 0.9))[0])
    alone = selection.p_values(sample, Aims(0.95, 0.001))[at]
    assert alone >= stats.binom.cdf(4, 204, 0.05)
    assert alone == pytest.approx(stats.binom.cdf(4, 204, 0.05), rel=0.05)
    other = selection.p_values(sample, Aims(0.001, 0.9))[at]
    assert stats.binom.cdf(5, 255, 0.1) <= other == pytest.approx(stats.binom.cdf(5, 255, 0.1), rel=0.1)


def test_copies_of_a_patient_s_image_are_no_more_evidence() -> None:
    event, score, patients = clustered(400, "normal", 2)
    _, first = np.unique(patients, return_index=True)
    once = Sample(event[first], score[first], patients[first])
    often = Sample(*(np.repeat(a, 7) for a in (once.event, once.score, once.patients)))
    assert np.allclose(selection.p_values(once, Aims()), selection.p_values(often, Aims()), rtol=1e-6)


def test_the_chosen_pair_refers_least_of_the_valid_ones() -> None:
    sample = Sample(*clustered(1600, "normal", 3))
    found = selection.choose(sample, Aims())
    valid = selection.p_values(sample, Aims()) <= 0.05 / len(PAIRS)
    shares = [
        among(sample.event, sample.score, dataclasses.replace(PAIR, low=low, high=high))[2]
        for low, high in PAIRS[valid]
    ]
    assert found.referral is not None
    assert found.at["referred"] == pytest.approx(min(shares))
    assert (found.at["sensitivity"], found.at["specificity"]) == pytest.approx(
        among(sample.event, sample.score, found.referral)[:2]
    )
    assert (found.referral.positives, found.referral.negatives) == tuple(
        len(np.unique(sample.patients[side])) for side in (sample.event, ~sample.event)
    )


def test_asking_for_less_refers_less() -> None:
    sample = Sample(*clustered(1600, "normal", 3, apart=2.8))
    shares = [selection.choose(sample, aims).at["referred"] for aims in (Aims(), Aims(0.9, 0.85), Aims(0.8, 0.8, 0.2))]
    assert shares[0] > shares[1] > shares[2]


def test_a_model_that_needs_no_referral_refers_nothing() -> None:
    event = np.repeat([True, False], 400)
    found = selection.choose(Sample(event, np.where(event, 0.9, 0.1), np.arange(800)), Aims())
    assert found.referral is not None
    assert found.at == {"referred": 0.0, "sensitivity": 1.0, "specificity": 1.0}
    assert (found.referral.low, found.referral.high) == (0.5, 0.5)  # of many that refer nothing and err nowhere


@pytest.mark.parametrize(("positives", "negatives"), [(160, 500), (500, 78), (3, 3)])
def test_too_few_patients_of_either_side_are_one_sentence_with_the_numbers(positives: int, negatives: int) -> None:
    event = np.repeat([True, False], [positives, negatives])
    found = selection.choose(Sample(event, event * 0.98 + 0.01, np.arange(len(event))), Aims())
    assert found.referral is None
    assert found.reason.startswith("Too few patients")
    assert f"161 patients with positive and 79 with negative images, and there are {positives} and {negatives}." in (
        found.reason
    )
    enough = np.repeat([True, False], [161, 79])
    assert selection.choose(Sample(enough, enough * 0.98 + 0.01, np.arange(240)), Aims()).referral is not None


def test_a_sample_of_one_side_has_no_pair() -> None:
    found = selection.choose(Sample(np.ones(300, dtype=bool), np.full(300, 0.9), np.arange(300)), Aims())
    assert (found.referral, found.curve) == (None, ())
    assert "300 and 0" in found.reason


def test_a_model_that_can_not_tell_the_classes_apart_has_no_pair_and_says_so() -> None:
    rng = np.random.default_rng(0)
    found = selection.choose(Sample(rng.random(1000) < 0.5, rng.random(1000), np.arange(1000)), Aims())
    assert found.referral is None
    assert found.reason.startswith("No pair of thresholds")
    assert found.reason.count(".") >= 1
    assert found.to_json()["pair"] is None


def test_a_curve_misses_less_the_more_it_refers_and_keeps_the_specificity() -> None:
    event, score, _ = clustered(1500, "normal", 4, apart=2.5)
    points = np.array(selection.curve(event, score, 0.9))
    assert len(points) > 3
    assert (np.diff(points[:, 0]) > 0).all()
    assert (np.diff(points[:, 1]) < 0).all()


def test_images_between_the_thresholds_are_referred_and_others_decided_by_them() -> None:
    p = np.array([0.1, 0.2, 0.4, 0.5999, 0.6, 0.9])
    two = np.stack([1 - p, p], axis=1)
    assert PAIR.decide(two, 1).tolist() == [0, REFER, REFER, REFER, 1, 1]
    three = np.array([[0.3, 0.6, 0.1], [0.2, 0.3, 0.5], [0.1, 0.2, 0.7]])  # of three classes the others stay apart
    assert PAIR.decide(three, 2).tolist() == [1, REFER, 2]


def test_figures_among_answered_images_have_intervals_and_shares_are_of_their_side() -> None:
    event, score, patients = clustered(400, "normal", 6, apart=2.5)
    given = Predictions(event.astype(int), np.stack([1 - score, score], axis=1), patients, ("a", "b"), 1, draws=200)
    found = judged(given, PAIR)
    sensitivity, specificity, _ = among(event, score, PAIR)
    assert found["sensitivity"][0] == pytest.approx(sensitivity)
    assert found["specificity"][0] == pytest.approx(specificity)
    assert found["missed"][0] == pytest.approx((score[event] < 0.2).mean())
    assert found["answered"] == (~PAIR.between(score)).sum()
    for name in ("sensitivity", "specificity", "referred", "referred_positive", "referred_negative", "missed"):
        value, low, high = found[name]
        assert low < value < high
    positive, negative = found["referred_positive"][0], found["referred_negative"][0]
    assert found["referred"][0] == pytest.approx(event.mean() * positive + (1 - event.mean()) * negative)


def test_figures_of_images_that_are_all_referred_or_all_of_one_side_are_undefined_not_wrong() -> None:
    middle = Predictions(np.array([0, 1]), np.full((2, 2), 0.5), np.arange(2), ("a", "b"), 1, draws=50)
    found = judged(middle, PAIR)
    assert found["answered"] == 0
    assert found["referred"][0] == 1
    assert found["sensitivity"] == [None, None, None]
    healthy = Predictions(np.zeros(4, int), np.tile([0.9, 0.1], (4, 1)), np.arange(4), ("a", "b"), 1, draws=50)
    found = judged(healthy, PAIR)
    assert found["specificity"][0] == 1
    assert found["sensitivity"][0] is None
    assert found["referred_positive"] == [None, None, None]


def test_the_made_predictions_overlap_as_a_real_model_s_do() -> None:
    for apart, area in ((2.5, 0.955), (3.0, 0.98), (3.4, 0.99)):
        event, score, _ = clustered(4000, "normal", 0, apart=apart)
        assert metrics.roc_auc(event, score)[0] == pytest.approx(area, abs=0.01)
