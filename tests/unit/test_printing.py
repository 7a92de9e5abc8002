"""What a retraining says while it goes on: which trainings were done now, which before, and how long it still takes."""

from __future__ import annotations

import pytest

from search import printing


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(printing, "time", clock)
    return clock


def test_trainings_that_are_there_already_are_said_to_be_kept_and_take_no_more_time(capsys, clock):
    with printing.trainings(20, "folds", seconds=1200.0) as bar:
        for i in range(15):
            bar.done(f"fold {i}", "0.97", failed=False)
        bar.event("fold 15", (1, 0.9))
        clock.now += 60
        bar.done("fold 15", "0.98", failed=False)
    lines = capsys.readouterr().err.splitlines()
    assert "10/20  fold 9 kept: 0.97, about 10m00s left" in lines[9]
    assert "15/20  fold 14 kept: 0.97, about 5m00s left" in lines[14]
    assert "16/20  fold 15 done: 0.98, about 4m00s left" in lines[15]


def test_the_time_left_follows_what_trainings_took_once_a_few_are_done(capsys, clock):
    with printing.trainings(10, "folds", seconds=10.0) as bar:
        for i in range(4):
            bar.event(f"fold {i}", (1, 0.9))
            clock.now += 30
            bar.done(f"fold {i}", "0.9", failed=i == 2)
    lines = capsys.readouterr().err.splitlines()
    assert "3/10  fold 2 failed: 0.9" in lines[2]
    assert "4/10  fold 3 done: 0.9, about 3m00s left" in lines[3]


def test_trainings_that_are_left_out_take_no_time_and_do_not_count(capsys, clock):
    with printing.trainings(7, "folds", seconds=60.0) as bar:
        for i in range(4):
            bar.event(f"fold {i}", (1, 0.9))
            clock.now += 30
            if i == 3:
                bar.left_out()
                bar.left_out()
            bar.done(f"fold {i}", "0.9", failed=False)
        bar.left_out()
        bar.done("fold 5", "0.9", failed=False)  # asked for once more after all
    lines = capsys.readouterr().err.splitlines()
    assert "4/5  fold 3 done: 0.9, about 30s left" in lines[3]
    assert lines[4].endswith("5/5  fold 5 kept: 0.9")
