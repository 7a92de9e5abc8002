"""Figures by held-out site, and the interval of a site that is not there."""

import numpy as np
import pytest
from scipy import special, stats

from xraytune.evaluation.evaluate import Crossed
from xraytune.evaluation.predictions import Predictions
from xraytune.evaluation.sites import site_figures


def test_the_interval_is_the_t_prediction_interval_on_the_logit_scale():
    logits = [0.5, 1.0, 2.0, 2.5]
    half = 3.182446 * np.std(logits, ddof=1) * np.sqrt(1.25)  # t(3) of a table
    assert site_figures.predicted(logits) == pytest.approx(
        [special.expit(1.5), special.expit(1.5 - half), special.expit(1.5 + half)], abs=1e-6
    )
    assert site_figures.predicted([1.0, np.nan, 1.0, 1.0]) == pytest.approx([special.expit(1.0)] * 3)


def test_too_few_sites_predict_no_interval():
    assert site_figures.predicted([1.0, 2.0]) == [special.expit(1.5), None, None]
    assert site_figures.predicted([np.nan]) == [None, None, None]


@pytest.mark.parametrize("between", [0.0, 0.3, 1.0])
def test_of_many_made_sets_of_sites_the_intervals_hold_the_next_site(between):
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(400):
        sampling = 0.2 * rng.uniform(0.7, 1.4, 4)
        seen = 1.5 + between * rng.normal(size=4) + sampling * rng.normal(size=4)
        _, low, high = site_figures.predicted(seen.tolist())
        held += low <= special.expit(1.5 + between * rng.normal()) <= high
    assert stats.binomtest(held, 400, 0.95, "less").pvalue > 0.001
    assert held >= 0.92 * 400


def made(sites, seed=0, n=60, sharp=2.0):
    """Labels, scores and sites; the positive class is told as well as each site's number says."""
    rng = np.random.default_rng(seed)
    labels = np.tile([0, 1], n * len(sites))
    of = np.repeat(list(sites), 2 * n)
    score = special.expit(np.repeat(list(sites.values()), 2 * n) * (labels - 0.5) * sharp + rng.normal(size=len(of)))
    given = Predictions(
        labels,
        np.stack([1 - score, score], 1),
        np.array([f"p{i // 2}" for i in range(len(of))]),
        ("n", "p"),
        1,
        draws=200,
    )
    return given, Crossed(given.probabilities, given.decided), of.tolist()


def test_every_site_has_its_figures_and_the_weak_one_lies_below_the_others():
    found = site_figures.by_site(*made({"a": 1.5, "b": 1.6, "c": 1.5, "weak": 0.1}))
    rows = {row["site"]: row for row in found["sites"]}
    assert [row["site"] for row in found["sites"]] == ["a", "b", "c", "weak"]
    for row in rows.values():
        assert (row["images"], row["patients"], row["share"]) == (120, 60, 0.5)
        for name in site_figures.FIGURES:
            assert row[name][1] <= row[name][0] <= row[name][2]
    assert rows["weak"]["away"]["auc"] < -0.2
    assert rows["weak"]["auc"][0] < rows["weak"]["others"]["auc"][1], "outside what the others predict"
    assert abs(rows["a"]["auc"][0] - 0.98) < 0.08
    low, high = found["new"]["auc"][1:]
    assert low < rows["weak"]["auc"][0] < rows["a"]["auc"][0] < high
    assert "only 4 sites" in found["note"]


def test_perfect_figures_have_an_interval_too():
    found = site_figures.by_site(*made({"a": 9.0, "b": 9.0, "c": 9.0}, sharp=9.0))
    assert [row["auc"][0] for row in found["sites"]] == [1.0] * 3
    assert found["new"]["auc"][2] <= 1.0
    assert np.isfinite(found["new"]["auc"]).all()


def test_of_two_sites_no_other_is_predicted_and_it_is_said():
    found = site_figures.by_site(*made({"a": 0.8, "b": 0.8}))
    assert found["new"] is None
    assert found["sites"][0]["others"]["auc"][1] is None
    assert found["sites"][0]["away"]["auc"] == pytest.approx(
        found["sites"][0]["auc"][0] - found["sites"][1]["auc"][0], abs=1e-9
    )
    assert "With 2 sites no value is predicted" in found["note"]


def test_three_classes_have_averages():
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1, 2], 60)
    p = special.softmax(2 * np.eye(3)[labels] + rng.normal(size=(180, 3)), axis=1)
    given = Predictions(labels, p, np.arange(180), ("a", "b", "c"), None, draws=100)
    found = site_figures.by_site(given, Crossed(p, given.decided), np.repeat(["x", "y", "z"], 60).tolist())
    assert found["sites"][0]["share"] is None
    assert 0.7 < found["new"]["auc"][0] < 1
