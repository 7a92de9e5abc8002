"""Finalists that hold out one site after another: all sites, and the mean or the worst decides."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from search.retraining.confirmation import cross_validation
from search.retraining.confirmation.plan import make_plan
from search.retraining.confirmation.schedule import Request
from search.retraining.records import Confirmed, FoldResult
from tests.inputs.made_studies import trial
from xraytune.records import TrialConfig


def fold(number, value, repeat=0):
    made = SimpleNamespace(value=value, metrics={"val_auc": value}, best_epoch=1, curve=())
    empty = np.zeros(0, np.int64)
    return FoldResult(number, repeat, empty, np.zeros((0, 2)), empty, {}, made, None, False)


def finished(values, seeds=1):
    return {(s, f): fold(f, value, s) for s in range(seeds) for f, value in enumerate(values)}


@pytest.mark.parametrize(("decides", "first"), [("mean", 1), ("worst", 2)])
def test_the_mean_or_the_worst_site_decides(decides, first):
    steady, uneven = trial(2), trial(1)
    done = {(1, *key): value for key, value in finished([0.95, 0.95, 0.6]).items()}
    done |= {(2, *key): value for key, value in finished([0.8, 0.8, 0.8]).items()}
    request = Request((uneven, steady), folds=3, fewest_folds=3, decides=decides)
    ranked = cross_validation._ranked(request, done, {})
    assert ranked[0].trial.number == first
    assert (ranked[0].decisive == ranked[0].worst) == (decides == "worst" or first == 2)


def test_the_worst_site_is_the_mean_over_seeds_of_the_worst():
    results = (fold(0, 0.9), fold(0, 0.5, 1), fold(1, 0.8), fold(1, 0.8, 1))
    assert Confirmed(trial(1), results, "worst").worst == pytest.approx(0.7)


def test_no_site_is_left_out_where_the_time_is_short():
    request = Request((trial(1, seconds=1000.0),), folds=6, seeds=2, fewest_folds=6, refits=3)
    assert make_plan(request, budget=60.0).request.folds == 6
    assert make_plan(dataclasses.replace(request, fewest_folds=3), budget=60.0).request.folds == 3
    two = make_plan(dataclasses.replace(request, folds=2, fewest_folds=2), budget=1e9)
    assert (two.request.folds, two.trainings) == (2, 4)


def test_a_finalists_own_site_is_no_part_of_its_folds(monkeypatch, tmp_path):
    held = dataclasses.replace(trial(1), config=TrialConfig("cnn", {"family": "cnn"}, 1, site="Leeds"))
    monkeypatch.setattr(cross_validation, "fold_digest", lambda *parts: "x")

    @dataclasses.dataclass(frozen=True)
    class Data:
        train: object = None
        validation: object = None

    @dataclasses.dataclass(frozen=True)
    class Setup:
        data: object

    made = cross_validation.tasks(Request((held,), folds=2), Setup(Data()), [(1, 2), (3, 4)], tmp_path)
    assert {task.config.site for task in made} == {""}
    assert [(task.recipe.data.train, task.recipe.data.validation) for task in made] == [(1, 2), (3, 4)]
