"""Answers without an error: what their figures claim, by the patients there are."""

import numpy as np
import pytest

from xraytune.evaluation import evaluate, generalization_gap, subgroups
from xraytune.evaluation.predictions import Predictions


def flawless(labels: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities that are right about every image, no two alike."""
    p = np.full((len(labels), classes), 0.1) + np.linspace(0, 0.05, len(labels))[:, None]
    p[np.arange(len(labels)), labels] = 0.9
    return p / p.sum(axis=1, keepdims=True)


def low(patients: int) -> float:
    """The exact lower limit of so many patients without an error (Clopper & Pearson 1934)."""
    return 0.025 ** (1 / patients)


def test_no_errors_are_no_certainty_in_any_figure() -> None:
    labels = np.repeat([0, 1], [60, 40])
    patients = np.arange(100) // 2  # 30 well, 20 ill
    found = evaluate.evaluate(Predictions(labels, flawless(labels, 2), patients, ("a", "b"), 1, draws=200))
    overall = found["overall"]
    behind = {
        "accuracy": 50, "sensitivity": 20, "specificity": 30, "precision": 20, "balanced_accuracy": 20, "f1": 20,
        "f2": 20, "f_beta": 20, "auc": 20,
    }  # fmt: skip
    for name, n in behind.items():
        assert overall[name] == pytest.approx([1.0, low(n), 1.0]), name
    assert low(20) == pytest.approx(0.8316, abs=1e-4)
    assert found["by_class"]["a"]["f1"] == pytest.approx([1.0, low(30), 1.0])
    assert found["by_class"]["a"]["auc"] == pytest.approx([1.0, low(20), 1.0])
    assert found["averages"]["macro/f1"] == pytest.approx([1.0, low(20), 1.0])
    assert overall["pr_auc"] == [1.0, None, None]
    assert overall["brier"][1] < overall["brier"][0] < overall["brier"][2]
    assert evaluate.unsure(overall).startswith("No interval for PR AUC: all bootstrap draws")
    assert evaluate.unsure({**overall, "pr_auc": [1.0, 0.9, 1.0]}) == ""


def test_averages_over_classes_without_an_error_are_as_sure_as_the_rarest_class() -> None:
    labels = np.repeat([0, 1, 2], [10, 12, 15])
    found = evaluate.evaluate(Predictions(labels, flawless(labels, 3), np.arange(37), ("a", "b", "c"), None, draws=200))
    for name in ("sensitivity", "specificity", "precision", "balanced_accuracy", "f1", "f2", "auc"):
        assert found["overall"][name] == pytest.approx([1.0, low(22 if name == "specificity" else 10), 1.0]), name
    assert found["overall"]["accuracy"] == pytest.approx([1.0, low(37), 1.0])
    assert found["averages"]["weighted/precision"] == pytest.approx([1.0, low(10), 1.0])
    assert found["by_class"]["c"]["f1"] == pytest.approx([1.0, low(15), 1.0])


def test_patients_with_images_of_both_classes_make_half_as_many_pairs() -> None:
    labels = np.tile([0, 1], 10)
    found = evaluate.evaluate(Predictions(labels, flawless(labels, 2), np.arange(20) // 2, ("a", "b"), 1, draws=200))
    assert found["overall"]["auc"] == pytest.approx([1.0, low(5), 1.0])
    assert found["overall"]["sensitivity"] == pytest.approx([1.0, low(10), 1.0])


def test_always_the_same_answer_has_no_interval_where_all_draws_agree() -> None:
    labels = np.repeat([0, 1], 30)
    found = evaluate.evaluate(Predictions(labels, np.full((60, 2), 0.5), np.arange(60), ("a", "b"), 1, draws=100))
    assert found["overall"]["auc"] == [0.5, None, None]
    assert found["overall"]["balanced_accuracy"] == [0.5, None, None]
    assert found["overall"]["sensitivity"] == pytest.approx([1.0, low(30), 1.0])
    assert "ROC AUC" in evaluate.unsure(found["overall"])
    assert set(generalization_gap.changes(found["overall"], found["overall"])) == {"sensitivity", "specificity"}


def test_subgroups_without_an_error_differ_by_no_more_than_their_patients_can_tell() -> None:
    labels = np.tile([0, 1], 50)
    hospital = ["north"] * 60 + ["south"] * 40
    given = Predictions(labels, flawless(labels, 2), np.arange(100), ("a", "b"), 1, draws=100)
    rows = subgroups.subgroups({"hospital": hospital}, given)
    north = next(row for row in rows if row["value"] == "north")
    assert north["difference"] == pytest.approx([0.0, low(60) - 1, 1 - low(40)])
    assert north["auc"] == pytest.approx([1.0, low(30), 1.0])
    assert "not significantly below the rest" in subgroups.worst_subgroup(rows)
