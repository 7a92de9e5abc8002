"""A fold of a confirmation: it serves both objectives, and leaves what the threshold is fitted on."""

import dataclasses
import json
import time

import numpy as np
import pytest

import spaces
from search.retraining.confirmation import cost_estimate, cross_validation
from search.retraining.confirmation.cross_validation import Listener
from search.retraining.confirmation.plan import make_plan
from search.retraining.confirmation.schedule import Request, Schedule
from search.retraining.final_model import refit
from search.retraining.final_model.refit import refit_of
from search.retraining.records import Confirmed, FoldResult, TrainingSetup
from search.retraining.workers import tasks as trainings
from search.retraining.workers.tasks import FoldTask, load_fold
from search.retraining.workers.worker_pool import Workers
from search.study.view import TrialRecord
from tests.inputs.made_networks import config, space, trial_data
from tests.inputs.made_studies import result
from xraytune.errors import TrialError
from xraytune.inference.networks import load_network, predict_network, predict_with
from xraytune.records import FailureCause, TrialConfig, TrialResult
from xraytune.training.optimization.settings import PLATEAU_FACTOR
from xraytune.training.trainer import Trainer


# Keras 3.15 reads its variables so when it saves them
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("objective", ["clean", "robust"])
def test_a_fold_leaves_its_predictions_of_every_view(tmp_path, short_epochs, objective):
    data = trial_data(tmp_path / "cache")
    recipe = TrainingSetup(
        "smoke", spaces.SpaceContext(images=len(data.train)), data, objective, beta=2.0, max_epochs=2
    )
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
        raise KeyboardInterrupt  # what is trained on them tells no more

    monkeypatch.setattr(trainings, "with_views", with_views)
    for seed in (1, 2):
        config = dataclasses.replace(fold.config, seed=seed)
        with pytest.raises(KeyboardInterrupt):
            dataclasses.replace(fold, config=config)(lambda event: None)
    assert len(seen) == 2
    assert seen[0] == seen[1]


def test_a_refit_lowers_its_rate_where_the_folds_did(tmp_path, short_epochs):
    data = trial_data(tmp_path / "cache")
    everything = dataclasses.replace(data, train=np.arange(len(data.labels)), validation=np.arange(0))
    light = space(families=("dense",))
    point = config(light, family="dense", dense__image_size=28, epochs=4, schedule="plateau", learning_rate=1e-3)
    training = Trainer(light, point, everything, rate_drops=(1, 3))
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
    price = cost_estimate.of_search(trial)
    assert price.training == price.fold(5) == expected
    assert price.refit == 0.7 * expected  # the final training is judged on nothing


@pytest.fixture
def fold(tmp_path, short_epochs):
    """A fold's task on tiny data."""
    data = trial_data(tmp_path / "cache")
    recipe = TrainingSetup("smoke", spaces.SpaceContext(images=len(data.train)), data, "clean", beta=2.0, max_epochs=3)
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
@pytest.mark.parametrize("tta", ["shifts", "crops"])
def test_with_test_time_augmentation_a_fold_s_answers_are_those_that_the_saved_model_will_give(fold, tta):
    task = dataclasses.replace(fold, keep_model=True, tta=tta)
    task(lambda event: None)
    kept = load_fold(task)
    data = task.recipe.data
    network = load_network(fold.path.with_suffix(".keras"))
    radiographs = data.pools[network.input_shape[1]][data.validation]
    assert kept.probabilities == pytest.approx(predict_with(network, radiographs, tta), abs=1e-5)
    assert not np.array_equal(
        kept.probabilities, predict_network(network, radiographs)
    )  # so sure is this network of all
    rows = np.searchsorted(kept.indices, kept.view_indices)
    assert kept.views["clean"] == pytest.approx(kept.probabilities[rows], abs=1e-5)


def finished(best=3, drops=(), repeat=0, seconds=10.0, held_out=0, **changes):
    """A fold that ended by itself; its rate fell after the epochs `drops`."""
    curve = tuple({"epoch": e, "value": 0.9, "rate_drops": sum(d < e for d in drops)} for e in range(1, 9))
    result = TrialResult(
        value=0.9, best_epoch=best, epochs=8, metrics={}, curve=curve, seconds={"train": seconds}, parameters=1,
        peak_memory_mb=1.0, versions={}, device="cpu", host="h",
    )  # fmt: skip
    rows, none = np.arange(held_out), np.zeros(0, np.int64)
    answers = np.zeros((held_out, 2), np.float32)
    result = dataclasses.replace(result, **changes)
    return FoldResult(0, repeat, rows, answers, none, {}, result, None, cut=False)


def record(number, seconds=10.0):
    point = TrialConfig("cnn", {"family": "cnn"}, seed=1)
    result = dataclasses.replace(finished().result, seconds={"train": seconds})
    return TrialRecord(number, "COMPLETE", (0.9,), point, result, "", "", {}, None, None, {})


def priced(family, *, robust=False, tta="", **values):
    point = config(space(families=(family,), weights={"vgg16": ""}), family=family, **values)
    trial = dataclasses.replace(record(0), config=point)
    return cost_estimate.of_folds(trial, images=1000, validation=150, classes=2, robust=robust, tta=tta)


VGG = {"vgg_frozen__image_size": 64}


def test_a_folds_price_holds_its_views_through_a_frozen_prefix_and_its_small_shifts():
    assert priced("cnn").answers(5) == 0
    views, shifted = priced("vgg_frozen", **VGG).answers(5), priced("vgg_frozen", tta="shifts", **VGG)
    assert views > 0
    assert shifted.answers(5) > 2 * views, "views are shifted too"
    assert 0 < priced("cnn", tta="shifts").answers(5) < shifted.answers(5) - views
    assert shifted.answers(3) > shifted.answers(5), "fewer folds hold out more"
    early = priced("vgg_frozen", robust=True, **VGG)
    assert priced("vgg_frozen", **VGG).fold(5) == early.fold(5) == 10 + views
    assert early.answers(5) == 0, "every epoch looks at them, the first one too"


def test_a_family_of_the_user_s_own_with_the_name_of_one_of_ours_is_priced_by_the_search_alone():
    point = TrialConfig("cnn", {"family": "cnn", "blocks": 3}, seed=1)
    trial = dataclasses.replace(record(0), config=point)
    price = cost_estimate.of_folds(trial, images=1000, validation=150, classes=2, robust=True, tta="shifts")
    assert price == cost_estimate.of_search(trial)


def test_what_a_search_with_augmented_copies_did_not_compute_of_a_prefix_is_priced_once():
    copied = {"augmentation": "light", "vgg_frozen__augmentation_copies": 2, **VGG}
    assert priced("vgg_frozen", **VGG).features == priced("cnn").features == {}
    features = priced("vgg_frozen", **copied).features
    plain, copies = features.values()
    assert plain / copies == pytest.approx(850 / (2 * 150))  # images of train; two copies of those of validation
    other = priced("vgg_frozen", **copied | {"augmentation": "strong"})
    together = cost_estimate.features_seconds([priced("vgg_frozen", **copied), other, priced("cnn")])
    assert together == pytest.approx(plain + 2 * copies), "plain radiographs are those of both"
    both = {t: priced("vgg_frozen", **copied) for t in (0, 1)}
    none = {t: dataclasses.replace(price, features={}) for t, price in both.items()}
    asked = Request((record(0), record(1)), workers=2)
    plan, without = (make_plan(dataclasses.replace(asked, prices=prices), budget=10_000) for prices in (both, none))
    assert plan.seconds - without.seconds == pytest.approx((plain + copies) / 2)


def test_what_folds_cost_beside_their_training_shrinks_the_plan():
    both = (record(0), record(1))

    def prices(views):
        return {t.number: dataclasses.replace(cost_estimate.of_search(t), views=views) for t in both}

    plain, dear = (make_plan(Request(both, prices=prices(views)), budget=200) for views in (0.0, 30.0))
    assert (len(plain.finalists), plain.request.folds) == (2, 5)
    assert (len(dear.finalists), dear.request.folds) == (1, 4)
    assert dear.after == plain.after


@pytest.mark.parametrize(
    ("images", "values", "longer"),
    [
        (5000, {}, 1.25),  # an epoch of all images: the folds have four in five
        (5000, {"epoch_gflop": 1}, 1.0),  # a share of them, the same for both
        (300, {}, 1.0),  # a few images, gone through several times an epoch
    ],
)
def test_a_final_training_takes_longer_than_a_fold_where_an_epoch_takes_all_images(images, values, longer):
    point = config(space(narrowed={name: (v,) for name, v in values.items()}), family="cnn", **values)
    trial = dataclasses.replace(record(0), config=point)
    folds = [finished(seconds=s, held_out=images // 5) for s in (8.0, 12.0)]
    assert cost_estimate.refit_seconds(cost_estimate.of_search(trial), trial, folds, images) == pytest.approx(
        10 * longer
    )
    assert cost_estimate.refit_seconds(cost_estimate.of_search(trial), trial, [], images) == 10


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
    request = Request((record(0), record(1)), folds=3)
    wanted = [dataclasses.replace(fold, trial=t, fold=f) for t in (0, 1) for f in range(3)]
    now = time.monotonic()
    schedule = Schedule(request, end=now + 70)
    # 70 s less 15 for the test set and the report and 10 for the refit: a third each of what 12 for the start leave
    first = schedule.start(wanted[0])
    assert first.needed
    assert first.deadline == pytest.approx(now + 12 + 11, abs=1)
    # twice what was expected, and so will the refit
    for i in range(3):
        schedule.ended(wanted[i], finished(seconds=20.0))
    assert schedule.end_of_folds() == pytest.approx(now + 35)
    other = schedule.start(wanted[3])
    assert not other.needed
    assert other.deadline == pytest.approx(now + 35, abs=1)
    schedule.end = now + 42
    assert schedule.start(wanted[4]) is None
    schedule.end = now + 900
    assert schedule.start(wanted[5]) is None  # its finalist lacks a fold already


def test_what_folds_took_for_prefixes_and_views_is_not_kept_back_for_the_final_training(fold):
    request = Request((record(0),), folds=3, refits=3)
    wanted = [dataclasses.replace(fold, fold=f) for f in range(3)]
    now = time.monotonic()
    schedule = Schedule(request, end=now + 100)
    took = finished(seconds=4.0)
    seen = dataclasses.replace(took.result, seconds={"prefix": 20.0, "train": 4.0, "validate": 1.0, "views": 14.0})
    schedule.ended(wanted[0], dataclasses.replace(took, result=seen))
    assert schedule.end_of_folds() == pytest.approx(now + 100 - 15 - 3 * 4)


def test_where_the_best_finalist_can_not_be_trained_the_next_one_is_needed(fold):
    request = Request((record(0), record(1)), folds=3)
    wanted = [dataclasses.replace(fold, trial=t, fold=f) for t in (0, 1) for f in range(3)]
    schedule = Schedule(request, end=time.monotonic())
    schedule.failed(wanted[0], TrialError(FailureCause.OOM, "out of memory"))
    assert schedule.start(wanted[1]) is None
    assert schedule.start(wanted[3]).needed


def test_a_needed_fold_s_time_leaves_room_for_what_it_answers_and_the_first_have_their_prefix_to_compute(fold):
    price = cost_estimate.CostEstimate(10.0, 10.0, finish=4.0, features={"vgg16": 20.0})
    request = Request((record(0),), folds=3, prices={0: price})
    wanted = [dataclasses.replace(fold, fold=f) for f in range(3)]
    now = time.monotonic()
    schedule = Schedule(request, end=now + 120)  # folds have 95 s, 32 of them before the first trains
    assert schedule.start(wanted[0]).deadline == pytest.approx(now + 32 + 21 - 4, abs=1)
    schedule.ended(wanted[0], finished())
    assert schedule.start(wanted[1]).deadline == pytest.approx(now + 95 / 2 - 4, abs=1)
    short = Schedule(request, end=now + 30)  # the folds have 5 s, fewer than the prefix takes
    assert short.start(wanted[0]).deadline == pytest.approx(now + 1, abs=1)


def test_time_is_kept_back_for_no_finalist_that_failed(fold):
    dear = cost_estimate.CostEstimate(100.0, 100.0)
    request = Request((record(0), record(1)), folds=3, prices={1: dear})
    wanted = [dataclasses.replace(fold, trial=t, fold=f) for t in (0, 1) for f in range(3)]
    now = time.monotonic()
    schedule = Schedule(request, end=now + 600)
    assert schedule.start(wanted[0]).needed
    assert schedule.end_of_folds() == pytest.approx(now + 575), "nor for one that did not begin"
    assert schedule.start(wanted[3]).deadline == schedule.end_of_folds() == pytest.approx(now + 485)
    schedule.failed(wanted[3], TrialError(FailureCause.OOM, "out of memory"))
    assert schedule.end_of_folds() == pytest.approx(now + 575)


@pytest.mark.long
def test_finalists_left_out_for_the_best_one_s_sake_are_trained_where_it_fails_after_all(fold, tmp_path):
    dear = cost_estimate.CostEstimate(100.0, 100.0)
    request = Request((record(0), record(1)), folds=3, workers=6, prices={1: dear})
    wanted = [
        dataclasses.replace(fold, trial=t, fold=f, path=tmp_path / f"{t}-{f}.npz") for t in (0, 1) for f in range(3)
    ]
    diverges = dataclasses.replace(fold.config, values=dict(fold.config.values) | {"learning_rate": 1e30})
    wanted[2] = dataclasses.replace(wanted[2], config=diverges)
    left, said = [], []
    with Workers(6, 1) as pool:  # all six are asked for at once
        told = Listener(lambda *_: None, lambda task, result, error: said.append(error), left.append)
        (only,) = cross_validation.run(request, wanted, pool, time.monotonic() + 25, told)
    assert [task.trial for task in left] == [1, 1, 1]
    assert [error[:4] for error in said if error] == ["nan:"]
    assert only.trial.number == 1


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras 3.15 when it saves
def test_no_further_seed_of_a_network_that_is_whole_begins_when_the_time_is_up(fold, tmp_path):
    member = Confirmed(dataclasses.replace(record(0), config=fold.config), (finished(1),))
    tasks = [(f"seed {r}", refit_of(member, fold.recipe, tmp_path, r)) for r in range(3)]
    with Workers(1, 1) as pool:
        late = time.monotonic() - 1
        whole, *none = refit.train(tasks, pool, "training", each=1.0, deadline=late)
    assert (whole.epochs, whole.error) == (1, "")  # there must be one
    assert [(network.epochs, network.error) for network in none] == [(0, "the time was up before it began")] * 2


def test_folds_of_another_version_of_the_package_are_not_reused(fold, monkeypatch):
    before = trainings.fold_digest(fold.recipe, fold.config, 0, 3, False)
    monkeypatch.setattr(trainings, "__version__", "99.0")
    assert trainings.fold_digest(fold.recipe, fold.config, 0, 3, False) != before


def test_a_further_seed_begins_only_where_those_of_all_finalists_fit(fold):
    request = Request((record(0), record(1)), folds=3, seeds=2)
    wanted = [dataclasses.replace(fold, trial=t, fold=f, repeat=r) for r in (0, 1) for t in (0, 1) for f in range(3)]
    now = time.monotonic()
    for left, fits in ((60 + 10 + 15 + 2, True), (60 + 10 + 15 - 2, False)):
        schedule = Schedule(request, end=now + 1000, clock=lambda: now)
        for task in wanted[:6]:
            assert schedule.start(task) is not None
            schedule.ended(task, finished(repeat=0))
        schedule.end = now + left
        assert [schedule.start(task) is not None for task in wanted[6:]] == [fits] * 6


def test_a_finalist_that_does_not_fit_is_left_out_and_a_cheaper_one_behind_it_begins(fold):
    dear = cost_estimate.CostEstimate(100.0, 100.0)
    request = Request((record(0), record(1), record(2)), folds=3, prices={1: dear})
    wanted = [dataclasses.replace(fold, trial=t, fold=f) for t in range(3) for f in range(3)]
    schedule = Schedule(request, end=time.monotonic() + 150)
    assert [schedule.start(task) is not None for task in wanted] == [True] * 3 + [False] * 3 + [True] * 3


def test_what_the_plan_expects_is_what_the_schedule_starts_where_trainings_take_what_was_expected(fold):
    now = [0.0]
    for budget in (60, 100, 150, 250, 400, 1000):
        asked = Request(tuple(record(t, seconds=s) for t, s in enumerate((10.0, 40.0, 20.0))), 3, 2)
        plan = make_plan(asked, budget)
        tasks = [
            dataclasses.replace(fold, trial=t.number, fold=f, folds=plan.request.folds, repeat=r)
            for r in range(2) for t in plan.request.finalists for f in range(plan.request.folds)
        ]  # fmt: skip
        now[0], started = 0.0, set()
        schedule = Schedule(plan.request, budget, lambda: now[0])
        for task in tasks:
            if schedule.start(task) is not None:
                started.add((task.trial, task.repeat))
                seconds = (10.0, 40.0, 20.0)[task.trial]
                now[0] += seconds + (cost_estimate.START if now[0] == 0 else 0.0)
                schedule.ended(task, finished(repeat=task.repeat, seconds=seconds))
        assert started == {(t.number, r) for r in range(plan.seeds) for t in plan.finalists}, budget
        assert now[0] == plan.seconds - plan.after
