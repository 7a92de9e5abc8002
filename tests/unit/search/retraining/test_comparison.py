"""What deep networks add to the search's linear model, from the predictions that both trials kept."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from search.retraining.test_evaluation import comparison
from tests.unit.search.retraining.test_steps import FakeStudy, trial
from xraytune.evaluation.predictions import Predictions
from xraytune.records import TrialConfig

LABELS = (np.arange(160) % 2).astype(np.int32)


def labelled() -> Predictions:
    """Of two images a patient."""
    return Predictions(LABELS, np.eye(2)[LABELS], np.arange(160) // 2, ("a", "b"), 1, draws=200)


def kept(folder: Any, noise: float, indices: np.ndarray, names: tuple[str, ...] = ("clean", "darker")) -> None:
    """A trial's predictions, the noisier the worse."""
    rng = np.random.default_rng(0)
    scores = np.clip(0.5 + 0.3 * (LABELS[indices] - 0.5) + noise * rng.normal(size=(len(names), len(indices))), 0, 1)
    folder.mkdir(parents=True)
    np.savez(
        folder / "predictions.npz", probabilities=np.zeros((0, 2)), labels=[], indices=[], view_names=list(names),
        view_indices=indices, view_probabilities=np.stack([1 - scores, scores], axis=2),
    )  # fmt: skip


def study(tmp_path: Any, *families: str) -> Any:
    """A study of a trial of each family, each better than the one before."""
    trials = [
        dataclasses.replace(trial(i, 0.8 + i / 100), config=TrialConfig(family, {"family": family}, 1))
        for i, family in enumerate(families)
    ]
    made: Any = FakeStudy(*trials)
    made.predictions = lambda number: tmp_path / str(number) / "predictions.npz"
    return made


def test_the_best_network_is_compared_on_the_images_that_both_were_judged_on(tmp_path: Any) -> None:
    made = study(tmp_path, "linear", "dense", "cnn")
    kept(tmp_path / "0", 0.3, np.arange(100, 160)[::-1])
    kept(tmp_path / "2", 0.02, np.arange(80, 150), ("darker", "clean", "corners covered"))
    found = comparison.beyond_linear(labelled(), made)
    assert found is not None
    assert (found["linear"], found["best"], found["family"]) == (0, 2, "cnn")
    assert (found["images"], found["views"]) == (50, 2)
    value, low, high = found["difference"]
    assert value == pytest.approx(found["best_score"] - found["linear_score"])
    assert 0 < low < value < high


@pytest.mark.parametrize("families", [("dense", "cnn"), ("linear",)])
def test_without_a_linear_model_or_another_network_nothing_is_said(tmp_path: Any, families: tuple[str, ...]) -> None:
    made = study(tmp_path, *families)
    for number in range(len(families)):
        kept(tmp_path / str(number), 0.1, np.arange(100, 160))
    assert comparison.beyond_linear(labelled(), made) is None


@pytest.mark.parametrize("broken", ["missing", "damaged", "no views", "no image in common", "one class"])
def test_without_the_views_of_both_nothing_is_said(tmp_path: Any, broken: str) -> None:
    made = study(tmp_path, "linear", "cnn")
    indices = {"no image in common": np.arange(100), "one class": np.arange(101, 160, 2)}.get(
        broken, np.arange(100, 160)
    )
    if broken != "missing":
        kept(tmp_path / "0", 0.1, indices, () if broken == "no views" else ("clean",))
    if broken == "damaged":
        (tmp_path / "0" / "predictions.npz").write_bytes(b"PK no archive")
    kept(tmp_path / "1", 0.1, np.arange(100, 160), ("clean",))
    assert comparison.beyond_linear(labelled(), made) is None
