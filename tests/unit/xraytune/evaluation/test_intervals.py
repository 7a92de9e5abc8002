"""Intervals by patient, and DeLong's test against a published worked example."""

import numpy as np
import pytest
from scipy import stats

from xraytune.evaluation import intervals, metrics

# Aneurysmal subarachnoid haemorrhage, Turck et al. 2010, as in the R package pROC (Robin et al. 2011): outcome
# (P poor, G good), WFNS grade, S100β (µg/l) of 113 patients.
ASAH = """
G1.13 G1.14 G1.1 G1.04 P3.13 P2.1 G5.47 P4.16 G1.18 G2.1 P5.12 G2.1 P5.44 P5.71 G1.04 G2.08 P5.49 G2.04 P2.07 P5.33
P2.09 G1.09 P1.07 G1.11 G1.07 G2.17 G1.07 G2.11 G1.13 G1.19 G3.05 G4.16 P2.41 G1.14 G4.34 P5.35 P4.48 G1.09 P4.96 P2.25
G5.5 G5.46 G1.16 G1.07 G2.43 G4.45 G1.11 G1.08 G2.09 P5.86 P5.52 G2.08 G1.06 G2.13 P5+2.07 G1.1 G2.14 G2.15 P2.07 G1.06
P5.77 G1.05 G1.09 P2.3 P5.03 P2.09 G1.04 P4.23 P5.7 G2.09 P4.27 P4.71 P1.08 P4.26 G1.08 G2.16 G1.09 P4.13 P2.1 G1.08
P2.11 G3.33 G2.11 G4.28 G2.07 G1.1 G4.32 P5.22 G1.07 G1.05 G5.24 G4.38 G2.1 G2.15 G1.08 G1.14 G1.1 G3.07 G1.04 G2.19
P5.56 P2.14 P2.58 P5.32 P5.82 P5.74 G2.15 G4.47 G4.17 P5.44 G1.15 G1.5 G1.48
"""


def asah() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = ASAH.split()
    s100b = [float(row[3:]) if row[2] == "+" else float(row[2:]) for row in rows]
    return np.array([r[0] == "P" for r in rows]), np.array([int(r[1]) for r in rows]), np.array(s100b)


def test_delong_agrees_with_the_worked_example_of_proc() -> None:
    poor, wfns, s100b = asah()
    found = intervals.delong(poor, wfns, s100b)
    assert found.first == pytest.approx(0.823678861788618)
    assert found.second == pytest.approx(0.731368563685637, abs=1e-6)
    assert found.z == pytest.approx(2.20898359144091)
    assert found.p == pytest.approx(0.0271757822291882)


def test_delong_by_its_definition_on_four_images() -> None:
    # positives 3 and 1, negatives 2 and 0 by the first model; the second ranks perfectly
    found = intervals.delong([1, 1, 0, 0], [3, 1, 2, 0], [3, 2, 1, 0])
    assert (found.first, found.second) == (0.75, 1.0)
    # shares of negatives beaten: positives 1, ½ (variance ⅛); of positives that beat: negatives ½, 1 (variance ⅛)
    assert found.standard_error == pytest.approx(np.sqrt((1 / 8) / 2 + (1 / 8) / 2))
    assert found.p == pytest.approx(2 * stats.norm.sf(0.25 / found.standard_error))


def test_delong_of_a_model_with_itself_finds_no_difference() -> None:
    found = intervals.delong([1, 1, 0, 0], [3, 1, 2, 0], [3, 1, 2, 0])
    assert (found.difference, found.z, found.p) == (0, 0, 1)
    with pytest.raises(ValueError, match="two images"):
        intervals.delong([1, 0, 0], [1, 2, 3], [1, 2, 3])


def accuracy(labels: np.ndarray) -> intervals.Statistic:
    return lambda w: {"share": (w * labels).sum(1) / w.sum(1)}


def test_the_interval_of_a_share_is_the_binomial_one() -> None:
    labels = np.arange(400) < 320
    found = intervals.bootstrap(accuracy(labels), np.arange(400))["share"]
    assert isinstance(found, intervals.Interval)
    exact = stats.binom(400, 0.8).ppf([0.025, 0.975]) / 400
    assert found.value == 0.8
    assert [found.low, found.high] == pytest.approx(exact, abs=0.006)


def test_images_of_one_patient_are_drawn_together_and_widen_the_interval() -> None:
    labels = np.repeat(np.arange(40) < 30, 10)
    alone = intervals.bootstrap(accuracy(labels), np.arange(400))["share"]
    grouped = intervals.bootstrap(accuracy(labels), np.repeat(np.arange(40), 10))["share"]
    assert isinstance(alone, intervals.Interval)
    assert isinstance(grouped, intervals.Interval)
    ratio = (grouped.high - grouped.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(np.sqrt(10), rel=0.15)
    weights = intervals.patient_draws(["a", "a", "b"], 50, np.random.default_rng(0))
    assert (weights[:, 0] == weights[:, 1]).all()


def test_all_right_is_no_certainty() -> None:
    perfect = intervals.Interval(1.0, 1.0, 1.0, 0.0)
    found = intervals.of_share(perfect, 36)
    assert found.low == pytest.approx(stats.binomtest(36, 36).proportion_ci(method="exact").low)
    assert found.high == 1.0
    none = intervals.of_share(intervals.Interval(0.0, 0.0, 0.0, 0.0), 36)
    assert none.high == pytest.approx(stats.binomtest(0, 36).proportion_ci(method="exact").high)
    assert none.low == 0.0
    assert intervals.of_share(perfect, 0) is perfect


def test_a_perfect_precision_counts_its_patients_though_some_draws_hold_no_positive_answer() -> None:
    seldom = intervals.Interval(1.0, 0.0, 1.0, 0.2)
    assert intervals.of_share(seldom, 3).low == pytest.approx(0.025 ** (1 / 3))


def test_a_perfect_figure_is_as_sure_as_so_many_patients_without_an_error() -> None:
    found = intervals.of_perfect(intervals.Interval(1.0, 1.0, 1.0, 0.0), 36)
    assert [found.low, found.high] == pytest.approx([0.9026, 1.0], abs=1e-4)  # e^(ln 0.025 / 36) = e^(-3.6889 / 36)
    assert intervals.of_perfect(intervals.Interval(1.0, 1.0, 1.0, 0.0), 1).low == pytest.approx(0.025)
    for value, patients in ((1.0, 0), (0.5, 36), (0.0, 36)):
        none = intervals.of_perfect(intervals.Interval(value, value, value, 0.0), patients)
        assert (none.value, none.low, none.high) == pytest.approx((value, np.nan, np.nan), nan_ok=True)


def test_no_scores_rank_all_patients_right_more_often_than_as_many_pairs_would() -> None:
    rng = np.random.default_rng(0)
    for ill, well in ((1, 1), (2, 2), (2, 5), (4, 3)):
        for _ in range(50):
            positive, negative = rng.dirichlet(np.full(6, 0.5), 2)  # shares of six scores, ascending
            below = np.concatenate([[0.0], negative.cumsum()[:-1]])
            area = positive @ (below + negative / 2)
            above = np.append(positive[::-1].cumsum()[::-1], 0.0)  # of a positive to be at this score or higher
            all_right = ((above[:-1] ** ill - above[1:] ** ill) * below**well).sum()
            assert all_right <= area ** min(ill, well) + 1e-12


def test_a_share_s_interval_is_the_exact_binomial_one_of_as_many_patients_as_spread_alike() -> None:
    labels = np.arange(200) < 190
    found = intervals.bootstrap(accuracy(labels), np.arange(200))["share"]
    assert isinstance(found, intervals.Interval)
    share = intervals.of_share(found, 200)
    exact = stats.binomtest(190, 200).proportion_ci(method="exact")
    assert [share.low, share.high] == pytest.approx([exact.low, exact.high], abs=0.005)
    twice = intervals.bootstrap(accuracy(np.repeat(labels, 2)), np.repeat(np.arange(200), 2))["share"]
    assert isinstance(twice, intervals.Interval)
    again = intervals.of_share(twice, 200)  # a second image of each patient says nothing new
    assert [again.low, again.high] == pytest.approx([exact.low, exact.high], abs=0.005)


@pytest.mark.parametrize("patients", [np.arange(73), np.arange(73) * 56 // 73, np.arange(73) // 8])
def test_more_right_never_reads_worse(patients: np.ndarray) -> None:
    n = len(np.unique(patients))
    ends = []
    for right in (66, 69, 70, 71, 72, 73):
        found = intervals.bootstrap(accuracy(np.arange(73) < right), patients)["share"]
        assert isinstance(found, intervals.Interval)
        share = intervals.of_share(found, n)
        ends.append((share.low, share.high))
        assert share.low < right / 73 <= share.high
        assert share.high < 1 or right == 73 or share.high == pytest.approx(1, abs=0.01)
    assert max(low for low, _ in ends) == ends[-1][0]
    assert ends[-2][0] < ends[-1][0]


def test_a_calibration_error_s_interval_is_moved_by_what_resampling_adds() -> None:
    found = intervals.reflected(intervals.Interval(0.08, 0.06, 0.12))
    assert [found.low, found.high] == pytest.approx([0.04, 0.10])
    assert intervals.reflected(intervals.Interval(0.02, 0.03, 0.07)) == intervals.Interval(0.02, 0.0, 0.02)


def test_two_shares_of_different_patients_apart_as_newcombe_computes_it() -> None:
    # Newcombe 1998, example (a): 56/70 - 48/80 with Wilson's intervals: 0.2, 0.0524 to 0.3339
    first, second = (
        intervals.Interval(k / n, *stats.binomtest(k, n).proportion_ci(method="wilson"))
        for k, n in ((56, 70), (48, 80))
    )
    found = intervals.apart(first, second)
    assert [found.value, found.low, found.high] == pytest.approx([0.2, 0.0524, 0.3339], abs=1e-4)


def test_undefined_draws_are_left_out() -> None:
    labels = np.array([1, 0, 0, 0, 0])

    def statistic(w: np.ndarray) -> dict[str, np.ndarray]:
        return {"auc": metrics.roc_auc(labels, [5, 1, 2, 3, 4], w)}

    found = intervals.bootstrap(statistic, np.arange(5), draws=200)["auc"]
    assert found == intervals.Interval(1.0, 1.0, 1.0)
    assert isinstance(found, intervals.Interval)
    assert found.flat
    assert not intervals.Interval(1.0, 0.9, 1.0).flat
    assert not intervals.Interval(1.0, np.nan, np.nan).flat


def test_a_paired_interval_is_narrower_than_the_two_apart() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 300)
    first = labels + rng.normal(0, 1, 300)
    second = first + rng.normal(0, 0.3, 300)
    found = intervals.paired(
        lambda w: {"auc": metrics.roc_auc(labels, first, w)},
        lambda w: {"auc": metrics.roc_auc(labels, second, w)},
        np.arange(300),
    )["auc"]
    assert found.value == pytest.approx(float(metrics.roc_auc(labels, first)[0] - metrics.roc_auc(labels, second)[0]))
    test = intervals.delong(labels, first, second)
    assert found.high - found.low == pytest.approx(2 * 1.96 * test.standard_error, rel=0.15)


def test_chunks_and_seeds_do_not_change_a_point_and_repeat_an_interval() -> None:
    labels = np.arange(50) < 20
    a = intervals.bootstrap(accuracy(labels), np.arange(50), draws=300, seed=3)
    assert a == intervals.bootstrap(accuracy(labels), np.arange(50), draws=300, seed=3)
    assert a != intervals.bootstrap(accuracy(labels), np.arange(50), draws=300, seed=4)
