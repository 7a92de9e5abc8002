"""How much confirmation fits in the time, and who is passed over where it is short."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.retraining.confirmation import cost_estimate
from search.retraining.confirmation import plan as planning
from search.retraining.confirmation.plan import ConfirmationPlan
from search.retraining.confirmation.schedule import Request
from search.study.view import TrialRecord
from tests.inputs.made_studies import trial
from xraytune.errors import FatalError


def make_plan(
    finalists: Sequence[TrialRecord], folds: int, seeds: int, *, budget: float, gone: float = 0.0, most: float = 0.0,
    **asked: Any,
) -> ConfirmationPlan:  # fmt: skip
    return planning.make_plan(Request(tuple(finalists), folds, seeds, **asked), budget, gone, most)


def test_a_plan_shrinks_seeds_then_finalists_then_folds_and_never_below_one_by_three_by_one() -> None:
    five = [trial(i, seconds=30.0) for i in range(5)]

    def shape(budget: float) -> tuple[int, int, int]:
        plan = make_plan(five, 5, 3, budget=budget, workers=2)
        return len(plan.finalists), plan.request.folds, plan.seeds

    assert shape(10_000) == (5, 5, 3)
    assert shape(900) == (5, 5, 2)
    assert shape(500) == (5, 5, 1)
    assert shape(265) == (2, 5, 1)
    assert shape(145) == (1, 4, 1)
    assert shape(1) == (1, 3, 1)


def test_refits_shrink_after_the_finalists_and_before_the_folds() -> None:
    five = [trial(i, seconds=30.0) for i in range(5)]

    def shape(budget: float) -> tuple[int, int, int]:
        plan = make_plan(five, 5, 3, budget=budget, workers=2, refits=3)
        return len(plan.finalists), plan.request.folds, plan.request.refits

    assert shape(500) == (5, 5, 3)
    assert shape(210) == (1, 5, 3)
    assert shape(170) == (1, 5, 2)
    assert shape(145) == (1, 4, 1)
    two_at_a_time = make_plan(five, 5, 1, budget=10_000, workers=2, refits=3)
    assert two_at_a_time.after == 2 * 30 + cost_estimate.AFTER
    assert make_plan(five, 5, 1, budget=10_000, workers=2, refits=3, final="ensemble").request.refits == 1


SLOW = dict(enumerate((0.83, 0.84, 0.86, 0.90, 0.93, 0.95, 0.955, 0.96, 0.962, 0.963), start=1))
"""Where a DenseNet stood after each of its ten epochs."""


def test_a_finalist_that_the_time_would_stop_in_its_first_epochs_is_passed_over() -> None:
    slow, quick, third = trial(4, 0.963, seconds=90.0, curve=SLOW), trial(2, 0.955, seconds=15.0), trial(1, 0.9)
    plan = make_plan([slow, quick, third], 5, 2, budget=120, workers=2)
    assert [t.number for t in plan.finalists] == [2, 1]
    assert plan.seconds <= 120
    (passed,) = plan.passed_over
    assert (passed.trial.number, passed.epochs, passed.value) == (4, 3, 0.86)
    assert passed.seconds == pytest.approx(cost_estimate.START + 135 + 45 + 90 + cost_estimate.AFTER)
    assert not make_plan([slow, quick, third], 5, 2, budget=400, workers=2).passed_over
    assert make_plan([slow, quick, third], 5, 2, budget=400, workers=2).finalists[0] is slow


def test_a_finalist_that_comes_to_more_than_the_others_though_cut_short_is_confirmed_alone() -> None:
    slow, quick = trial(4, 0.963, seconds=90.0, curve=SLOW), trial(2, 0.94, seconds=15.0)
    almost = make_plan([slow, quick], 5, 2, budget=250, workers=2)  # eight of ten epochs
    assert [t.number for t in almost.finalists] == [4]
    assert (almost.request.folds, almost.seeds, almost.passed_over) == (3, 1, ())
    alone = make_plan([slow], 5, 2, budget=60, workers=2)  # `retrain 4`: nothing else was asked for
    assert [t.number for t in alone.finalists] == [4]


def test_a_budget_that_may_grow_grows_to_what_the_best_finalist_takes_and_no_further() -> None:
    slow, quick = trial(4, 0.963, seconds=90.0, curve=SLOW), trial(2, 0.955, seconds=15.0)
    needed = cost_estimate.START + 135 + 45 + 90 + cost_estimate.AFTER
    for most, budget, first in ((0, 120, 2), (200, 200, 2), (400, needed, 4)):
        plan = make_plan([slow, quick], 5, 2, budget=120, most=most, workers=2)
        assert plan.budget == pytest.approx(budget)
        assert plan.finalists[0].number == first
        assert plan.seconds <= plan.budget
    assert make_plan([quick], 5, 2, budget=120, most=400, workers=2).budget == 120


def test_where_all_folds_run_at_once_a_finalist_takes_one_training_s_time_not_more() -> None:
    quick, slow = trial(2, 0.95, seconds=15.0), trial(4, 0.96, seconds=100.0, curve=SLOW)
    plan = make_plan([slow, quick], 5, 2, budget=240, workers=8)  # 12 + 100 + 100 + 15 s
    assert [t.number for t in plan.finalists] == [4, 2]  # the other on the three workers that are idle meanwhile
    assert plan.seconds == cost_estimate.START + 100 + 100 + cost_estimate.AFTER
    assert plan.passed_over == ()


def test_one_dear_finalist_does_not_keep_the_cheap_ones_behind_it_from_being_confirmed() -> None:
    first, dear, cheap = trial(0, 0.97), trial(1, 0.965, seconds=300.0, curve=SLOW), trial(2, 0.96)
    plan = make_plan([first, dear, cheap], 5, 2, budget=200, workers=2)
    assert [t.number for t in plan.finalists] == [0, 2]
    assert [one.trial.number for one in plan.passed_over] == [1]


def test_the_plan_says_how_long_it_will_take() -> None:
    plan = make_plan([trial(0, seconds=60.0)], 4, 1, budget=10_000, workers=2)
    # the start, four trainings on two workers, the final training, test set and report
    assert plan.seconds == pytest.approx(cost_estimate.START + 120 + 60 + cost_estimate.AFTER)
    folds = make_plan([trial(0, seconds=60.0)], 4, 1, budget=10_000, workers=2, final="folds")
    assert plan.seconds - folds.seconds == 60
    three = [trial(i, seconds=60.0) for i in range(3)]
    ensemble = make_plan(three, 4, 1, budget=10_000, workers=2, final="ensemble")
    assert ensemble.after == 2 * 60 + cost_estimate.AFTER  # three networks, two at a time
    either = make_plan(three, 4, 1, budget=10_000, workers=2, refits=1, final="auto")
    assert either.after == ensemble.after
    refits = make_plan(three, 4, 1, budget=10_000, workers=2, refits=5, final="auto")
    assert refits.after == 3 * 60 + cost_estimate.AFTER


def test_what_is_gone_of_the_time_when_the_plan_is_made_is_not_planned_again() -> None:
    five = [trial(i, seconds=30.0) for i in range(5)]
    late = make_plan(five, 5, 3, budget=900, workers=2, gone=400)
    assert (len(late.finalists), late.request.folds, late.seeds) == (5, 5, 1)  # as in 500 s
    assert late.seconds == make_plan(five, 5, 3, budget=500, workers=2).seconds + 400
    slow, quick = trial(4, 0.963, seconds=90.0, curve=SLOW), trial(2, 0.955, seconds=15.0)
    (passed,) = make_plan([slow, quick], 5, 2, budget=400, workers=2, gone=280).passed_over
    assert (passed.trial.number, passed.epochs, passed.value) == (4, 3, 0.86)  # as in 120 s


def test_a_plan_is_kept_for_the_same_question_whatever_is_gone_when_it_is_asked_again(tmp_path) -> None:
    slow, quick = trial(4, 0.963, seconds=90.0, curve=SLOW), trial(2, 0.955, seconds=15.0)
    path = tmp_path / "plan.json"

    def plan(gone: float, about: str = "radiographs", finalists=(slow, quick), budget: float = 150.0):
        return planning.kept(path, Request(finalists, 5, 2, workers=2), [about], budget, gone)

    first = plan(gone=70)
    assert first.request.folds < plan(gone=0).request.folds, "no fold is done: there is nothing to go on with"
    assert plan(gone=70) == first
    (tmp_path / "trial-0002-seed-0-fold-0.npz").touch()
    again = plan(gone=10)
    assert replace(again, seconds=first.seconds) == first
    assert again.seconds == first.seconds - 60
    assert [one.trial for one in again.passed_over] == [slow]
    assert plan(gone=10, budget=200.0) == again, "the search went on, and with it the time that was not given"
    for changed in ({"about": "other radiographs"}, {"finalists": (quick, slow)}):
        path.unlink()
        assert plan(gone=70) == first
        assert plan(gone=0, **changed).request.folds > first.request.folds


def in_good_time(path: Path) -> ConfirmationPlan:
    return planning.kept(path, Request((trial(0),), 5, 2, workers=2), [], 900.0, 0.0)


@pytest.mark.parametrize("damaged", ["{", "[]", "{}", '{"key": "a"}'])
def test_a_damaged_plan_is_made_again(tmp_path, damaged: str) -> None:
    (tmp_path / "trial-0000-seed-0-fold-0.npz").touch()
    first = in_good_time(tmp_path / "plan.json")
    (tmp_path / "plan.json").write_text(damaged)
    assert in_good_time(tmp_path / "plan.json") == first


def test_a_plan_that_can_not_be_kept_is_one_message(tmp_path) -> None:
    (tmp_path / "confirmation").write_text("in the way")
    with pytest.raises(FatalError, match=r"plan\.json can't be kept: "):
        in_good_time(tmp_path / "confirmation" / "plan.json")
