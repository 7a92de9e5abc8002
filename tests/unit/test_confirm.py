"""A fold of a confirmation: it serves both objectives, and leaves what the threshold is fitted on."""

import dataclasses
import json
import time

import numpy as np
import pytest

import spaces
from search import trainings
from search.confirm import Confirmed, Schedule
from search.networks import refit_of
from search.planning import Plan, answering_seconds, make_plan, refit_seconds, training_seconds
from search.storage import TrialRecord
from search.trainings import FoldResult, FoldTask, Recipe, load_fold
from tests.made_networks import config, space, trial_data
from tests.made_studies import result
from xraytune.errors import TrialError
from xraytune.model_file import load_network, predict_network, predict_shifted
from xraytune.models.plan import PLATEAU_FACTOR
from xraytune.records import FailureCause, TrialConfig, TrialResult
from xraytune.training import Training


# Keras 3.15 reads its variables so when it saves them
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("objective", ["clean", "robust"])
def test_a_fold_leaves_its_predictions_of_every_view(tmp_path, objective):
    data = trial_data(tmp_path / "cache")
    recipe = Recipe("smoke", spaces.SpaceContext(images=len(data.train)), data, objective, beta=2.0, max_epochs=2)
    point = config(space("smoke"), family="dense")
    said = []
    task = FoldTask(recipe, point, trial=0, fold=0, folds=3, repeat=0, path=tmp_path / "fold.npz", keep_model=True)
    with np.load(task(said.append)) as kept:
        views = [name for name in kept.files if name.startswith("view:")]
        assert "view:clean" in views
        assert len(views) >= 10
        assert {kept[name].shape for name in views} == {(len(kept["view_indices"]), 2)}
        assert set(kept["view_indices"]) <= set(kept["indices"]) == set(data.validation)
        result = json.loads(str(kept["result"]))
    assert (result["value"] == result["metrics"]["robust"]) == (objective == "robust")
    assert [epoch for epoch, _ in said] == [1, 2]
    assert (tmp_path / "fold.keras").is_file()


def test_all_finalists_are_judged_on_the_same_views_of_a_fold(fold, monkeypatch):
    seen = []
    planned = trainings.with_views

    def with_views(data, seed):
        seen.append(planned(data, seed).views)
        return planned(data, seed)

    monkeypatch.setattr(trainings, "with_views", with_views)
    for seed in (1, 2):
        config = dataclasses.replace(fold.config, seed=seed)
        dataclasses.replace(fold, config=config, path=fold.path.with_name(f"{seed}.npz"))(lambda event: None)
    assert len(seen) == 2
    assert seen[0] == seen[1]


def test_a_refit_lowers_its_rate_where_the_folds_did(tmp_path):
    data = trial_data(tmp_path / "cache")
    everything = dataclasses.replace(data, train=np.arange(len(data.labels)), validation=np.arange(0))
    light = space(families=("dense",))
    point = config(light, family="dense", dense__image_size=28, epochs=4, schedule="plateau", learning_rate=1e-3)
    training = Training(light, point, everything, rate_drops=(1, 3))
    rates = []
    while not training.done:
        training.step()
        rates.append(float(training.shell.optimizer.learning_rate) / 1e-3)
    assert rates == pytest.approx([1, PLATEAU_FACTOR, PLATEAU_FACTOR, PLATEAU_FACTOR**2], rel=1e-4)
    assert [row["rate_drops"] for row in training.curve] == [0, 1, 1, 2]


@pytest.mark.parametrize(("state", "expected"), [("COMPLETE", 50.0), ("PRUNED", 100.0)])
def test_a_folds_price_is_its_training_not_the_prefix_that_the_search_computed_before_it(state, expected):
    seconds = {"prefix": 300.0, "train": 35.0, "validate": 10.0, "views": 5.0}
    found = result(0.9, epochs=2, seconds=seconds)
    point = TrialConfig("cnn", {"family": "cnn", "epochs": 4}, 0)
    trial = TrialRecord(0, state, (0.9,), point, found, "", "", {}, None, None, {})
    assert training_seconds(trial) == expected
    assert refit_seconds(trial) == 0.7 * expected  # the final training is judged on nothing


@pytest.fixture
def fold(tmp_path):
    """A fold's task on tiny data."""
    data = trial_data(tmp_path / "cache")
    recipe = Recipe("smoke", spaces.SpaceContext(images=len(data.train)), data, "clean", beta=2.0, max_epochs=3)
    point = config(space("smoke"), family="dense")
    return FoldTask(recipe, point, trial=0, fold=0, folds=3, repeat=0, path=tmp_path / "fold.npz", keep_model=False)


def test_when_the_time_is_up_a_needed_fold_keeps_its_first_epoch_and_any_other_leaves_nothing(fold):
    late = time.monotonic() - 1
    with pytest.raises(TrialError) as caught:
        dataclasses.replace(fold, deadline=late)(lambda event: None)
    assert caught.value.cause is FailureCause.INTERRUPTED
    assert not fold.path.exists()
    said = []
    dataclasses.replace(fold, deadline=late, needed=True)(said.append)
    assert [epoch for epoch, _ in said] == [1]
    assert load_fold(fold) is None  # another call, with more time, trains it whole
    kept = load_fold(fold, cut=True)
    assert kept.cut
    assert kept.result.epochs == 1
    assert "darker" in kept.views  # the threshold is fitted on them


def test_a_damaged_fold_runs_again(fold):
    fold(lambda event: None)
    whole, kept = fold.path.read_bytes(), load_fold(fold)
    refused = 0
    for start in range(0, len(whole), len(whole) // 25):
        fold.path.write_bytes(whole[:start] + bytes(b ^ 0xFF for b in whole[start : start + 40]) + whole[start + 40 :])
        found = load_fold(fold)
        refused += found is None
        assert found is None or np.array_equal(found.probabilities, kept.probabilities)  # a date in the archive
        fold.path.write_bytes(whole[:start])
        assert load_fold(fold) is None
    assert refused > 15


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras 3.15 when it saves
def test_with_shifts_a_fold_s_answers_are_those_that_the_saved_model_will_give(fold):
    task = dataclasses.replace(fold, keep_model=True, shifts=True)
    task(lambda event: None)
    kept = load_fold(task)
    data = task.recipe.data
    network = load_network(fold.path.with_suffix(".keras"))
    films = data.pools[network.input_shape[1]][data.validation]
    assert kept.probabilities == pytest.approx(predict_shifted(network, films), abs=1e-5)
    assert not np.array_equal(kept.probabilities, predict_network(network, films))  # so sure is this network of all
    rows = np.searchsorted(kept.indices, kept.view_indices)
    assert kept.views["clean"] == pytest.approx(kept.probabilities[rows], abs=1e-5)


def finished(best=3, drops=(), trial=0, repeat=0, seconds=10.0):
    """A fold that ended by itself; its rate fell after the epochs `drops`."""
    curve = tuple({"epoch": e, "value": 0.9, "rate_drops": sum(d < e for d in drops)} for e in range(1, 9))
    result = TrialResult(
        value=0.9, best_epoch=best, epochs=8, metrics={}, curve=curve, seconds={"train": seconds}, parameters=1,
        peak_memory_mb=1.0, versions={}, device="cpu", host="h",
    )  # fmt: skip
    none = np.zeros(0, np.int64)
    return FoldResult(0, repeat, none, np.zeros((0, 2), np.float32), none, {}, result, None, cut=False)


def record(number, seconds=10.0):
    point = TrialConfig("cnn", {"family": "cnn"}, seed=1)
    result = dataclasses.replace(finished().result, seconds={"train": seconds})
    return TrialRecord(number, "COMPLETE", (0.9,), point, result, "", "", {}, None, None, {})


def priced(family, *, robust=False, shifts=False, folds=5, **values):
    point = config(space(families=(family,), weights={"vgg16": ""}), family=family, **values)
    trial = dataclasses.replace(record(0), config=point)
    return answering_seconds(trial, folds, images=1000, classes=2, robust=robust, shifts=shifts)


def test_a_folds_price_holds_its_views_through_a_frozen_prefix_and_its_small_shifts():
    vgg = {"vgg_frozen__image_size": 64}
    assert priced("vgg_frozen", **vgg) == priced("cnn") == priced("cnn", robust=True) == 0
    views, shifts = priced("vgg_frozen", robust=True, **vgg), priced("vgg_frozen", shifts=True, **vgg)
    assert views > 0
    assert 0 < shifts < priced("vgg_frozen", robust=True, shifts=True, **vgg) - views, "views are shifted too"
    assert 0 < priced("cnn", shifts=True) < shifts
    assert priced("vgg_frozen", shifts=True, folds=3, **vgg) > shifts, "fewer folds hold out more"


def test_what_folds_cost_beside_their_training_shrinks_the_plan():
    plain, dear = (
        make_plan([record(0), record(1)], 5, 1, budget=200, workers=1, beyond=lambda trial, folds, b=b: b)
        for b in (0.0, 30.0)
    )
    assert (len(plain.finalists), plain.folds) == (2, 5)
    assert (len(dear.finalists), dear.folds) == (1, 4)
    assert dear.final == plain.final == 1


def test_refits_of_one_finalist_differ_in_their_seeds_and_the_first_has_the_trial_s_own(fold, tmp_path):
    member = Confirmed(record(0), (finished(3),))
    tasks = [refit_of(member, fold.recipe, tmp_path, repeat) for repeat in range(3)]
    assert tasks[0].config == member.trial.config
    assert len({task.config.seed for task in tasks}) == len({task.path for task in tasks}) == 3
    assert all(task.config.values == member.trial.config.values for task in tasks)


@pytest.mark.parametrize(
    ("falls", "expected"),
    [
        ([(2, 4), (2, 5), (3, 6)], (2, 5)),  # the median of the first fall, of the second
        ([(2,), (2, 4), ()], (2,)),  # two of three never fell twice
        ([(), (), (2,)], ()),
        ([(2, 7), (2, 7), (2, 7)], (2,)),  # the second came after the best epoch
    ],
)
def test_a_refit_s_rate_falls_at_the_median_of_the_folds_falls(falls, expected):
    assert Confirmed(record(0), tuple(finished(6, drops) for drops in falls)).rate_drops == expected


def test_the_time_goes_to_the_needed_folds_first_and_leaves_enough_for_the_final_training(fold):
    plan = Plan((record(0), record(1)), folds=3, seeds=1, seconds=0.0, workers=1)
    wanted = [dataclasses.replace(fold, trial=t, fold=f) for t in (0, 1) for f in range(3)]
    now = time.monotonic()
    schedule = Schedule(plan, wanted, end=now + 70)
    # 70 s less 15 for the test set and the report and 10 for the refit: a third of the rest each
    first = schedule.start(0)
    assert first.needed
    assert first.deadline == pytest.approx(now + 15, abs=1)
    # twice what was expected, on two thirds of the films: the refit takes 30
    schedule.done |= {i: finished(seconds=20.0) for i in range(3)}
    assert schedule.end_of_folds() == pytest.approx(now + 25)
    other = schedule.start(3)
    assert not other.needed
    assert other.deadline == pytest.approx(now + 25, abs=1)
    schedule.end = now + 40
    assert schedule.start(4) is None
    schedule.end = now + 900
    assert schedule.start(5) is None  # its finalist lacks a fold already


def test_what_folds_took_for_prefixes_and_views_is_not_kept_back_for_the_final_training(fold):
    plan = Plan((record(0),), folds=3, seeds=1, seconds=0.0, workers=1, refits=3, final=3)
    wanted = [dataclasses.replace(fold, fold=f) for f in range(3)]
    now = time.monotonic()
    schedule = Schedule(plan, wanted, end=now + 100)
    took = finished(seconds=4.0)
    seen = dataclasses.replace(took.result, seconds={"prefix": 20.0, "train": 4.0, "validate": 1.0, "views": 14.0})
    schedule.done |= {0: dataclasses.replace(took, result=seen)}
    assert schedule.end_of_folds() == pytest.approx(now + 100 - 15 - 3 * 6)  # 4 s on two thirds of the films


def test_where_the_best_finalist_can_not_be_trained_the_next_one_is_needed(fold):
    plan = Plan((record(0), record(1)), folds=3, seeds=1, seconds=0.0, workers=1)
    wanted = [dataclasses.replace(fold, trial=t, fold=f) for t in (0, 1) for f in range(3)]
    schedule = Schedule(plan, wanted, end=time.monotonic())
    schedule.failed(0, TrialError(FailureCause.OOM, "out of memory"))
    assert schedule.start(1) is None
    assert schedule.start(3).needed


def test_folds_of_another_version_of_the_package_are_not_reused(fold, monkeypatch):
    before = trainings.fold_digest(fold.recipe, fold.config, 0, 3, False)
    monkeypatch.setattr(trainings, "__version__", "99.0")
    assert trainings.fold_digest(fold.recipe, fold.config, 0, 3, False) != before
