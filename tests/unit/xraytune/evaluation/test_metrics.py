"""Every figure against a hand-computed example and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from xraytune.evaluation import metrics

# truth  1 1 1 1 0 0, scores .9 .8 .6 .2 .7 .1; at 0.5: TP 3, FN 1, FP 1, TN 1
LABELS = np.array([1, 1, 1, 1, 0, 0])
SCORES = np.array([0.9, 0.8, 0.6, 0.2, 0.7, 0.1])
BOTH = np.stack([1 - SCORES, SCORES], axis=1)


def test_the_hand_computed_example_of_every_figure() -> None:
    found = metrics.summary(LABELS, BOTH, 1)
    expected = {
        "sensitivity": 3 / 4,
        "specificity": 1 / 2,
        "precision": 3 / 4,
        "accuracy": 4 / 6,
        "balanced_accuracy": 5 / 8,
        "f1": 3 / 4,
        "f2": 15 / (15 + 4 + 1),
        "f_beta": 15 / 20,
        # pairs (positive, negative): .9 and .8 beat both, .6 beats .1, .2 beats .1: 6 of 8
        "auc": 6 / 8,
        # recall steps of 1/4 at precisions 1, 1, 3/4, 4/5
        "pr_auc": (1 + 1 + 3 / 4 + 4 / 5) / 4,
        "brier": (0.01 + 0.04 + 0.16 + 0.64 + 0.49 + 0.01) / 6,
        # every score in its own bin of a tenth (0.9 | 0.8 | 0.6 | 0.2 | 0.7 | 0.1)
        "calibration_error": (0.1 + 0.2 + 0.4 + 0.8 + 0.7 + 0.1) / 6,
        "trivial_f_beta": 5 * 4 / (5 * 4 + 2),
    }
    assert found == pytest.approx(expected)


# answers 0 1 1 1 2 0; TP, FP, FN, TN of the classes against the rest: 1 1 1 3, 2 1 0 3, 1 0 1 4
THREE = np.array([0, 0, 1, 1, 2, 2])
OF_THREE = np.array([[8, 1, 1], [3, 6, 1], [2, 7, 1], [1, 8, 1], [1, 1, 8], [5, 1, 4]]) / 10
EACH = {
    "accuracy": [4 / 6, 5 / 6, 5 / 6],
    "balanced_accuracy": [5 / 8, 7 / 8, 3 / 4],
    "recall": [1 / 2, 1, 1 / 2],
    "specificity": [3 / 4, 3 / 4, 1],
    "precision": [1 / 2, 2 / 3, 1],
    "f1": [2 / 4, 4 / 5, 2 / 3],
    "f2": [5 / 10, 10 / 11, 5 / 9],
    # .8 and .3 against .2 .1 .1 .5: 7 of 8 pairs; the others are ranked right
    "auc": [7 / 8, 1, 1],
    # recall steps of a half at precisions 1 and 2/3
    "pr_auc": [(1 + 2 / 3) / 2, 1, 1],
    "brier": [
        (0.04 + 0.49 + 0.04 + 0.01 + 0.01 + 0.25) / 6,
        (0.01 + 0.36 + 0.09 + 0.04 + 0.01 + 0.01) / 6,
        (4 * 0.01 + 0.04 + 0.36) / 6,
    ],
    # bins .8 | .3 | .2 | .1 .1 | .5, then .1 .1 .1 | .6 | .7 | .8, then .1 .1 .1 .1 | .8 | .4
    "calibration_error": [
        (0.2 + 0.7 + 0.2 + 0.2 + 0.5) / 6,
        (0.3 + 0.6 + 0.3 + 0.2) / 6,
        (0.4 + 0.2 + 0.6) / 6,
    ],
}


def test_three_classes_by_hand_each_against_the_rest() -> None:
    weights = np.ones((1, 6))
    found = metrics.class_figures(metrics.confusion(THREE, OF_THREE.argmax(1), 3, weights))
    found |= metrics.class_scores(THREE, OF_THREE, weights)
    assert {name: v[0].tolist() for name, v in found.items() if name != "support"} == {
        name: pytest.approx(values) for name, values in EACH.items()
    }
    averaged = metrics.averaged({**found, "support": np.array([[1.0, 2.0, 3.0]])})
    for name, (a, b, c) in EACH.items():
        assert averaged[f"macro/{name}"][0] == pytest.approx((a + b + c) / 3)
        assert averaged[f"weighted/{name}"][0] == pytest.approx((a + 2 * b + 3 * c) / 6)


def test_three_classes_by_hand_altogether_are_macro_averages_but_for_three_figures() -> None:
    averages = {{"recall": "sensitivity"}.get(name, name): sum(values) / 3 for name, values in EACH.items()}
    expected = averages | {
        "accuracy": 4 / 6,
        "balanced_accuracy": (1 / 2 + 1 + 1 / 2) / 3,  # the mean sensitivity
        "f_beta": averages["f2"],
        "brier": (0.06 + 0.86 + 0.14 + 0.06 + 0.06 + 0.62) / 6,  # the sum over the columns
        # of the decided class: .8 .8 .8 right | .6 wrong | .7 right | .5 wrong
        "calibration_error": (0.6 + 0.6 + 0.3 + 0.5) / 6,
        # always one class of three equally frequent ones: F2 of it 5·2 / (5·2 + 4), the others 0
        "trivial_f_beta": 10 / 14 / 3,
    }
    assert metrics.summary(THREE, OF_THREE, None) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_agrees_with_scikit_learn(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(k), rng.integers(0, k, 60)])
    p = np.round(rng.dirichlet(np.ones(k), len(labels)), 2)  # rounded: ties
    p += 1e-3 * np.sqrt(np.arange(1, k + 1))  # but not on a bin's edge, which scikit-learn counts with the lower bin
    p /= p.sum(1, keepdims=True)
    positive = 1 if k == 2 else None
    found = metrics.summary(labels, p, positive)
    decided = metrics.decide(p, positive)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(labels, decided))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, decided))
    if positive is None:
        assert found["auc"] == pytest.approx(sk.roc_auc_score(labels, p, multi_class="ovr"))
        assert found["pr_auc"] == pytest.approx(sk.average_precision_score(np.eye(k)[labels], p, average="macro"))
        assert found["brier"] == pytest.approx(sk.brier_score_loss(labels, p, scale_by_half=False))
        average = "macro"
    else:
        assert found["auc"] == pytest.approx(sk.roc_auc_score(labels, p[:, 1]))
        assert found["pr_auc"] == pytest.approx(sk.average_precision_score(labels, p[:, 1]))
        assert found["brier"] == pytest.approx(sk.brier_score_loss(labels, p[:, 1]))
        average = "binary"
    assert found["f2"] == pytest.approx(sk.fbeta_score(labels, decided, beta=2, average=average, zero_division=0))
    event, confidence = (labels == positive, p[:, 1]) if positive else (labels == decided, p.max(axis=1))
    observed, predicted = calibration_curve(event, confidence, n_bins=metrics.CALIBRATION_BINS)
    in_bin = np.histogram(confidence, metrics.CALIBRATION_BINS, (0, 1))[0]
    error = in_bin[in_bin > 0] @ np.abs(observed - predicted) / len(labels)
    assert found["calibration_error"] == pytest.approx(error)
    each = metrics.class_figures(metrics.confusion(labels, decided, k))
    theirs = sk.precision_recall_fscore_support(labels, decided, zero_division=0)
    for name, values in zip(("precision", "recall", "f1", "support"), theirs, strict=True):
        assert each[name][0] == pytest.approx(values)
    for kind in ("macro", "weighted"):
        average_of = sk.precision_recall_fscore_support(labels, decided, average=kind, zero_division=0)
        ours = metrics.averaged(each)
        assert [ours[f"{kind}/{n}"][0] for n in ("precision", "recall", "f1")] == pytest.approx(average_of[:3])


def test_weights_count_as_repeated_images() -> None:
    counts = np.array([2, 0, 1, 3, 1, 2])
    repeated = np.repeat(np.arange(6), counts)
    weighted = metrics.figures(LABELS, BOTH, 1, weights=counts[None])
    plain = metrics.figures(LABELS[repeated], BOTH[repeated], 1)
    assert {k: v[0] for k, v in weighted.items()} == pytest.approx({k: v[0] for k, v in plain.items()})


def test_best_threshold_is_the_highest_point_of_the_curve_and_in_a_gap() -> None:
    threshold, value = metrics.best_threshold(LABELS, SCORES, 2.0)
    assert value == pytest.approx(20 / 21)  # all but the negative at 0.1
    assert threshold == pytest.approx(0.15)
    thresholds, tp, fp, positives, _ = metrics.threshold_counts(LABELS, SCORES)
    values = metrics.f_beta_of_counts(tp, fp, positives - tp, 2.0)
    assert values == pytest.approx([sk.fbeta_score(LABELS, t <= SCORES, beta=2) for t in thresholds])
    assert value == values.max()


def test_a_class_that_is_missing_makes_its_figures_undefined_and_no_warning() -> None:
    found = metrics.summary(np.ones(4, int), np.tile([0.2, 0.8], (4, 1)), 1)
    assert np.isnan(found["specificity"])
    assert np.isnan(found["auc"])
    assert found["sensitivity"] == 1.0
    assert metrics.summary(np.ones(4, int), np.tile([0.8, 0.2], (4, 1)), 1)["precision"] == 0.0


def test_a_positive_class_among_three_is_decided_by_its_threshold() -> None:
    p = np.array([[0.4, 0.3, 0.3], [0.1, 0.2, 0.7], [0.5, 0.1, 0.4]])
    assert metrics.decide(p, 1, 0.25).tolist() == [1, 2, 0]
    assert metrics.decide(p, None).tolist() == [0, 2, 0]


@pytest.mark.parametrize("bad", [(np.array([1, 0]), np.zeros((3, 2))), (np.array([], int), np.zeros((0, 2)))])
def test_what_does_not_fit_is_refused(bad: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"labels|no predictions"):
        metrics.summary(*bad, 1)
