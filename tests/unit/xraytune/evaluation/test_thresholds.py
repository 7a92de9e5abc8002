"""Operating thresholds: each policy, and which of them the evidence supports, on made predictions."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import fbeta_score

from tests.inputs.made_predictions import predictions, split
from xraytune.errors import InputError
from xraytune.evaluation import intervals, robust_score, thresholds


def test_each_policy_on_a_hand_made_example() -> None:
    labels = np.array([0, 0, 0, 1, 0, 1, 1, 1])
    scores = {"clean": np.array([0.1, 0.2, 0.3, 0.35, 0.5, 0.6, 0.8, 0.9])}
    assert thresholds.fit("0.4", labels, scores, 2) == 0.4
    assert thresholds.fit("sensitivity:0.95", labels, scores, 2) == pytest.approx(0.325)
    assert thresholds.fit("sensitivity:0.75", labels, scores, 2) == pytest.approx(0.55)
    assert thresholds.fit("f-beta", labels, scores, 2) == pytest.approx(0.325)
    # 0.55: 3/4 + 4/4 - 1 = 0.75; 0.325: 4/4 + 3/4 - 1 = 0.75: a plateau of two
    assert thresholds.fit("youden", labels, scores, 2) in {0.325, 0.55}


def policy(name: str, evidence: float, sensitivity: float, specificity: float) -> thresholds.Policy:
    return thresholds.Policy(name, 0.3, evidence, 0.01, sensitivity, specificity)


def test_the_default_policy_is_the_plateau_where_its_evidence_holds() -> None:
    half, plateau = policy("0.5", 0.94, 0.95, 0.9), policy("plateau", 0.95, 0.96, 0.89)
    assert thresholds.automatic([half, policy("shared", 0.96, 0.97, 0.88), plateau], 2.0) is plateau
    assert thresholds.automatic([half, policy("f-beta", 0.96, 0.97, 0.88)], 2.0).name == "f-beta"
    weak = dataclasses.replace(plateau, evidence=0.83)  # no better than always positive
    assert thresholds.automatic([half, weak], 2.0) is half


def test_calling_nearly_everybody_ill_is_no_policy_whatever_its_evidence() -> None:
    """As a weak network's folds had it: F2 of 0.833 and a hair for "ill" throughout, far less for a decision."""
    half, youden = policy("0.5", 0.686, 0.703, 0.902), policy("youden", 0.691, 0.709, 0.901)
    everybody = dataclasses.replace(policy("f-beta", 5 / 6 + 1e-9, 1.0, 0.0), error=0.0)
    nearly = dataclasses.replace(policy("f-beta", 0.835, 0.999, 0.02), error=1e-4)
    for ill in (everybody, nearly):
        assert thresholds.automatic([half, ill, youden], 2.0).name == "youden"


def test_evidence_no_better_than_calling_everybody_ill_chooses_no_such_threshold() -> None:
    # of equally frequent classes "always positive" has an F2 of 5/6
    weak = [policy("0.5", 0.73, 0.92, 0.54), policy("shared", 0.83, 1.0, 0.05), policy("youden", 0.55, 0.75, 0.87)]
    assert thresholds.automatic(weak, 2.0).name == "youden"


def test_probabilities_that_are_too_small_lead_away_from_one_half() -> None:
    labels, p = predictions(800)
    low = p[:, 1] / 3
    tuned = thresholds.compare(("0.5", "f-beta", "youden"), labels, {"clean": low}, split(labels), 2.0)
    assert thresholds.automatic(tuned, 2.0).name != "0.5"


def test_views_move_the_evidence() -> None:
    labels, p = predictions(800)
    views = {"clean": p[:, 1], "darker": np.clip(p[:, 1] - 0.4, 0, 1)}
    clean = thresholds.compare(("0.5",), labels, {"clean": p[:, 1]}, split(labels), 2.0)[0]
    both = thresholds.compare(("0.5", thresholds.SHARED), labels, views, split(labels), 2.0)
    assert both[0].evidence < clean.evidence
    assert both[0].sensitivity < clean.sensitivity
    assert both[1].evidence >= both[0].evidence - both[0].error


def test_the_threshold_that_is_judged_is_the_one_that_is_deployed_though_few_images_have_views() -> None:
    labels, p = predictions(2000)
    often = np.flatnonzero((labels == 1) | (np.arange(2000) % 4 == 0))  # four in five are positive
    labels, scores = labels[often], p[often, 1]
    rows = np.sort(np.concatenate([np.flatnonzero(labels == c)[:100] for c in (0, 1)]))  # those with views: half
    folds = split(labels)
    place = {int(row): i for i, row in enumerate(rows)}
    inner = [tuple(np.array([place[int(i)] for i in part if int(i) in place]) for part in fold) for fold in folds]
    views = {"clean": scores[rows], "darker": np.clip(scores[rows] - 0.1, 0, 1)}
    everything = thresholds.Everything(labels == 1, scores, folds)
    found = {q.name: q for q in thresholds.compare(("f-beta", "shared"), labels[rows], views, inner, 2.0, everything)}
    of_few = thresholds.compare(("f-beta", "shared"), labels[rows], views, inner, 2.0)
    assert found["f-beta"].threshold == thresholds.fit("f-beta", labels, {"clean": scores}, 2.0)
    assert found["f-beta"].threshold != of_few[0].threshold
    assert found["shared"] == of_few[1]


@pytest.mark.parametrize("policy", ["f-beta", "youden", "shared", "sensitivity:0.9", "plateau_middle"])
def test_a_threshold_does_not_depend_on_how_frequent_the_classes_are(policy: str) -> None:
    labels, p = predictions(600)
    often = np.repeat(np.arange(600), np.where(labels == 1, 5, 1))  # each positive image five times
    who = np.arange(600)
    found = [
        thresholds.fit(policy, labels[rows], {"clean": p[rows, 1], "darker": p[rows, 1] ** 2}, 2.0, who[rows])
        for rows in (who, often)
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-9 if policy in {"f-beta", "youden"} else 0.02)


def test_the_plateau_ends_where_f_beta_is_one_standard_error_below_its_best() -> None:
    labels, p = predictions(500)
    views = {"clean": p[:, 1], "darker": np.clip(p[:, 1] - 0.05, 0, 1)}
    low, high = thresholds.plateau(labels, views, 2.0)
    best = thresholds.fit("shared", labels, views, 2.0)
    assert low < best < high
    assert thresholds.fit("plateau", labels, views, 2.0) == high
    assert thresholds.fit("plateau_middle", labels, views, 2.0) == pytest.approx((low + high) / 2)
    both = np.stack(list(views.values()))
    event = labels == 1

    def value(at: float) -> float:
        weights = np.where(event, 1 / event.sum(), 1 / (~event).sum())
        each = np.array([fbeta_score(event, view >= at, beta=2, sample_weight=weights) for view in both])
        return float(each.mean() + each.min()) / 2

    error = robust_score.standard_error(event, both, best, 2.0)
    assert value(high) >= value(best) - 1.05 * error
    assert value(high + 0.02) < value(best) - 0.9 * error
    assert value(low - 0.02) < value(best) - 0.9 * error


@pytest.mark.long
def test_the_standard_error_is_that_of_draws_of_patients() -> None:
    labels, p = predictions(400)
    patients = np.repeat(np.arange(200), 2)
    labels = labels[patients]  # both images of a patient are of one class and nearly alike
    score = p[patients, 1]
    views = np.stack([score, np.clip(score - 0.1, 0, 1)])
    rng, event, drawn = np.random.default_rng(0), labels == 1, []
    for weights in intervals.patient_draws(patients, 2000, rng):
        balanced = weights * np.where(event, 1 / weights[event].sum(), 1 / weights[~event].sum())
        each = np.array([fbeta_score(event, view >= 0.4, beta=2, sample_weight=balanced) for view in views])
        drawn.append((each.mean() + each.min()) / 2)
    by_patient = robust_score.standard_error(event, views, 0.4, 2.0, patients)
    assert by_patient == pytest.approx(np.std(drawn), rel=0.1)
    assert robust_score.standard_error(event, views, 0.4, 2.0) < 0.8 * by_patient


def test_answers_without_an_error_have_a_plateau_in_the_middle_of_the_gap() -> None:
    labels = np.repeat([0, 1], 20)
    scores = {"clean": np.where(labels == 1, 0.9, 0.2)}
    assert thresholds.plateau(labels, scores, 2.0) == pytest.approx((0.55, 0.55))


def test_the_plateau_is_among_what_auto_chooses_from_and_every_report_compares() -> None:
    assert thresholds.PLATEAU in thresholds.CANDIDATES
    assert thresholds.check("Plateau_Middle") == thresholds.PLATEAU_MIDDLE
    assert not [name for name in thresholds.CANDIDATES if name.startswith("sensitivity")]


@pytest.mark.parametrize("bad", ["1.5", "0", "sensitivity", "sensitivity:2", "best", ""])
def test_an_unknown_policy_is_refused_with_those_there_are(bad: str) -> None:
    with pytest.raises(InputError, match="youden"):
        thresholds.check(bad)
