"""Which finalists the final model is made of, and when an ensemble of them is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from search.retraining.final_model import choice
from search.retraining.final_model.choice import Judged
from xraytune.data import folds
from xraytune.records import Objective

N, VIEWS = 400, ("clean", "darker", "narrower")


def finalist(number: int, scores: np.ndarray, *, views: bool = True) -> Any:
    """A confirmed trial that gives the positive class these probabilities under every view."""
    answers = np.stack([1 - scores, scores], axis=1).astype(np.float32)
    return SimpleNamespace(
        trial=SimpleNamespace(number=number),
        out_of_fold=lambda averaged=False: answers,
        views=lambda averaged=False: (np.arange(len(scores)), dict.fromkeys(VIEWS, answers) if views else {}),
    )


@pytest.fixture
def judged() -> Judged:
    labels, patients = np.tile([0, 1], N // 2).astype(np.int32), np.arange(N) // 2
    return Judged(labels, patients, folds(labels.tolist(), patients.tolist(), 5, 0), Objective.ROBUST, positive=1)


def noisy(judged: Judged, spread: float, seed: int) -> np.ndarray:
    """Scores of the positive class with independent errors."""
    drawn = np.random.default_rng(seed).normal(0, spread, len(judged.labels))
    return np.asarray(1 / (1 + np.exp(-(2.0 * judged.labels - 1 + drawn))))


def test_an_ensemble_is_the_final_model_where_its_members_err_independently(judged: Judged) -> None:
    found = choice.choose([finalist(n, noisy(judged, 1.2, n)) for n in (3, 8, 5)], "auto", judged, refits=3)
    assert found.kind == "ensemble"
    assert len(found.finalists) > 1
    assert found.gain is not None
    assert found.gain.low > 0
    assert found.winner.trial.number == 3
    assert not found.averaged


@pytest.mark.parametrize("second", ["the same", "worse"])
def test_the_winner_alone_is_the_final_model_where_another_finalist_adds_nothing(judged: Judged, second: str) -> None:
    best = noisy(judged, 1.0, 3)
    other = best if second == "the same" else noisy(judged, 9.0, 8)
    found = choice.choose([finalist(3, best), finalist(8, other)], "auto", judged, refits=3)
    assert (found.kind, len(found.finalists), found.refits) == ("refit", 1, 3)
    assert found.gain is not None
    assert found.gain.low <= 0


def test_a_gain_that_selection_alone_makes_is_not_taken_for_one(judged: Judged) -> None:
    """Of ten finalists without skill a selection finds some that fit by chance; on the other folds they don't."""
    chance = [finalist(n, np.random.default_rng(n).random(N)) for n in range(10)]
    assert choice.choose(chance, "auto", judged).kind == "refit"


@pytest.mark.parametrize("lacking", ["finalists", "views", "robust objective", "a class outside a fold"])
def test_an_ensemble_that_can_not_be_judged_is_not_chosen(judged: Judged, lacking: str) -> None:
    others = (8, 5) if lacking != "finalists" else ()
    each = [finalist(n, noisy(judged, 1.2, n), views=lacking != "views") for n in (3, *others)]
    rows = np.arange(N)
    parted = [(rows[judged.labels != label], rows[judged.labels == label]) for label in (0, 1)]
    asked = Judged(
        judged.labels, judged.patients, parted if lacking.startswith("a class") else judged.folds,
        Objective.CLEAN if lacking.startswith("robust") else Objective.ROBUST, positive=1,
    )  # fmt: skip
    found = choice.choose(each, "auto", asked)
    assert (found.kind, found.gain) == ("refit", None)


def test_an_ensemble_s_winner_is_the_confirmed_best_whatever_the_weights(judged: Judged) -> None:
    dull, sharp = (np.where(judged.labels, p, 1 - p) for p in (0.55, 0.95))
    best, heaviest = finalist(3, dull, views=False), finalist(8, sharp, views=False)
    found = choice.choose([best, heaviest], "ensemble", judged)
    assert found.finalists[0][0] is heaviest
    assert found.winner is best
    assert choice.choose([best, heaviest], "refit", judged).winner is best
