"""What a retraining says while it goes on: which trainings were done now, which before, and how long it still takes."""

from __future__ import annotations

import io

import pytest

from search.cli import console, progress_bars
from search.cli.screen import Screen
from search.reporting import final_metrics


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress_bars, "time", clock)
    return clock


def test_trainings_that_are_there_already_are_said_to_be_kept_and_take_no_more_time(capsys, clock):
    with progress_bars.trainings(20, "folds", seconds=1200.0) as bar:
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
    with progress_bars.trainings(10, "folds", seconds=10.0) as bar:
        for i in range(4):
            bar.event(f"fold {i}", (1, 0.9))
            clock.now += 30
            bar.done(f"fold {i}", "0.9", failed=i == 2)
    lines = capsys.readouterr().err.splitlines()
    assert "3/10  fold 2 failed: 0.9" in lines[2]
    assert "4/10  fold 3 done: 0.9, about 3m00s left" in lines[3]


def test_trainings_that_are_left_out_take_no_time_and_do_not_count(capsys, clock):
    with progress_bars.trainings(7, "folds", seconds=60.0) as bar:
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


def judged(value, low, always, better):
    """Figures of a model: its F2, the interval's lower end, the trivial answer's, the lower end of the difference."""
    interval = [value, low, None if low is None else 0.99]
    return {
        "test": {
            "beta": 2.0, "images": 200, "overall": {"f_beta": interval},
            "trivial": {"answer": "N[/x]", "f_beta": always},
        },
        "comparisons": {"test": [{"difference": {"f_beta": [0.02, better, None if better is None else 0.1]}}]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "low", "always", "better", "words", "colour"),
    [
        (
            0.836,
            0.78,
            0.869,
            -0.1,
            "is not above always predicting N[/x] (0.869): the model is not usable as it is",
            "red",
        ),
        (0.880, 0.85, 0.869, -0.01, "but not statistically significantly", "yellow"),
        (0.930, 0.90, 0.869, 0.02, "F2 0.930 [0.900, 0.990] on 200 test images, above always predicting", "green"),
        (0.887, 0.83, 0.869, 0.008, "F2 0.887 [0.830, 0.990] on 200 test images, above", "green"),
        (1.000, None, 0.869, None, "F2 1.000 on 200 test images, above", "green"),
        (None, None, 0.869, None, "F2 – on 200 test images.", "bold"),
    ],
)
def test_the_verdict_tells_a_model_that_wins_from_one_that_loses(value, low, always, better, words, colour):
    sentence, style = final_metrics.verdict(judged(value, low, always, better))
    assert words in sentence
    assert colour in style


def test_a_model_that_tells_the_classes_apart_is_not_called_unusable_for_its_f_beta_alone():
    figures = judged(0.878, 0.80, 0.884, -0.1)
    figures["test"]["overall"]["balanced_accuracy"] = [0.926, 0.88, 0.97]
    figures["comparisons"]["test"][0]["difference"]["balanced_accuracy"] = [0.426, 0.38, 0.47]
    sentence, style = final_metrics.verdict(figures)
    assert "is not above always predicting N[/x] (0.884), but balanced accuracy 0.926 [0.880, 0.970] is" in sentence
    assert "yellow" in style


@pytest.mark.parametrize(
    ("width", "most", "header"),
    [(300, 169, "→ class number 13"), (80, 60, "  14"), (80, 16900, "is too wide for this terminal")],
)
def test_a_confusion_matrix_of_many_classes_is_numbered_where_its_names_do_not_fit(monkeypatch, width, most, header):
    names = [f"class number {i}" for i in range(14)]
    stream = io.StringIO()
    monkeypatch.setattr(console, "out", Screen(file=stream, width=width, force_terminal=True, color_system=None))
    final_metrics.show_confusion({"classes": names, "confusion": [[most] * 14] * 14})
    said = stream.getvalue()
    assert header in said
    assert said.count(str(most)) in {0, 14 * 14}
    assert all(len(line.rstrip()) <= width for line in said.splitlines())
