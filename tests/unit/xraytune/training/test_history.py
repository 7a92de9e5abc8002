"""Which epoch of a training is kept, and when nothing was gained."""

import numpy as np
import pytest

from xraytune.training.history import Course, is_rung, rung_before


def course(values, aucs=None, losses=None, judged=True):
    made = Course(judged=judged)
    for i, value in enumerate(values):
        row = {"epoch": float(i + 1), "value": value, "val_loss": losses[i] if losses else 0.5}
        if aucs:
            row["val_auc"] = aucs[i]
        made.add(row, [np.full(1, i + 1.0)], np.full((1, 2), i + 1.0, np.float32))
    return made


def test_a_lucky_epoch_does_not_win():
    made = course([0.2, 0.95, 0.1, 0.6, 0.7, 0.65])
    assert made.best == 6  # (0.7 + 0.65) / 2, above (0.6 + 0.7 + 0.65) / 3
    weights, predictions = made.restored()
    assert weights[0] == predictions[0, 0] == 6


def test_the_predecessor_of_the_newest_epoch_can_still_win():
    made = course([0.1, 0.9, 0.95, 0.2])
    assert made.best == 3  # (0.9 + 0.95 + 0.2) / 3 = 0.683, above (0.1 + 0.9 + 0.95) / 3 and (0.95 + 0.2) / 2
    assert made.restored()[0][0] == 3


@pytest.mark.parametrize(
    ("aucs", "losses", "best"),
    [([0.6, 0.7, 0.65], [0.5, 0.5, 0.4], 2), ([0.7, 0.7, 0.7], [0.5, 0.5, 0.4], 3)],
)
def test_among_equals_ranking_and_then_the_loss_decide(aucs, losses, best):
    assert course([0.9, 0.9, 0.9], aucs, losses).best == best


def test_at_the_trivial_answer_a_better_ranking_is_a_gain():
    values, aucs = [0.9] * 6, [0.5, 0.55, 0.6, 0.65, 0.7, 0.75]
    assert course(values, aucs).without_gain(trivial=0.9) == 0
    assert course(values, aucs).without_gain(trivial=0.8) == 5


def test_a_refit_without_validation_keeps_its_last_epoch():
    made = course([0.0, 0.0, 0.0], judged=False)
    assert made.best == 3


def test_a_course_goes_on_where_it_was_kept():
    made, again = course([0.2, 0.9, 0.8]), Course(judged=True)
    again.load(list(made.curve), made.best, made.arrays(), 1)
    assert again.best == made.best
    for one in (made, again):
        one.add({"epoch": 4.0, "value": 0.85, "val_loss": 0.5}, [np.full(1, 4.0)], np.zeros((1, 2), np.float32))
    assert again.best == made.best
    assert again.restored()[0][0] == made.restored()[0][0]


def test_rungs_are_the_powers_of_three():
    assert [epoch for epoch in range(1, 100) if is_rung(epoch)] == [1, 3, 9, 27, 81]
    assert [rung_before(epoch) for epoch in (1, 2, 3, 4, 9, 10, 28)] == [0, 1, 1, 3, 3, 9, 27]
