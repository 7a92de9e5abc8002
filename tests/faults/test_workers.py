"""What happens to workers and trials: kills, lost numbers, full memory, hangs, everything failing."""

from __future__ import annotations

import re
import time
from collections import Counter

import psutil
import pytest

from search.study.view import open_study
from tests.inputs import made_radiographs
from tests.searching import counted

pytestmark = pytest.mark.timeout(1200)


def failures(trials: list[dict], cause: str) -> list[dict]:
    return [t for t in trials if t["state"] == "FAIL" and t["cause"] == cause]


def epochs(search) -> Counter[tuple[int, int]]:
    """How often each epoch of each trial, by its seed, was begun by any worker."""
    return Counter(epoch for began in search.begun().values() for epoch in began)


def broken_and_others(trials: list[dict], every: int) -> tuple[list[dict], list[dict]]:
    """The trials that break (one in so many, by their seeds), and those that nothing may happen to."""
    ended = counted(trials)
    return [t for t in ended if t["config"]["seed"] % every == 0], [t for t in ended if t["config"]["seed"] % every]


def test_a_killed_worker_loses_at_most_one_epoch_and_no_other_trial(search):
    search.start("--trials", "6", "--pruner", "none", XRAYTUNE_EPOCH_SECONDS="1.5")
    at_the_third: list[int] = []
    search.until(
        lambda: (
            at_the_third.extend(w for w, began in search.begun().items() if began and began[-1][1] == 3) or at_the_third
        )
    )
    time.sleep(0.5)  # in mid-epoch
    victim = at_the_third[0]
    psutil.Process(victim).kill()
    assert search.wait() == 0, search.text
    trials = search.trials()
    assert [t["state"] for t in trials] == ["COMPLETE"] * 6
    assert all(sorted(t["curve"], key=int) == ["1", "2", "3", "4"] for t in trials)
    assert search.text.count("its worker was lost") == 1
    last = search.begun()[victim][-1]  # the epoch that it was at
    done = epochs(search)
    assert set(done) == {(t["config"]["seed"], epoch) for t in trials for epoch in (1, 2, 3, 4)}
    assert [epoch for epoch, times in done.items() if times > 1] in ([], [last])
    assert max(done.values()) <= 2
    number = next(t["number"] for t in trials if t["config"]["seed"] == last[0])
    went_on = re.findall(r"^trial (\d+): going on after epoch-(\d+)$", search.logs, re.MULTILINE)
    assert [(int(trial), int(epoch)) for trial, epoch in went_on] in ([(number, last[1] - 1)], [(number, last[1])])


def test_a_trial_that_kills_its_worker_is_given_up_after_two_retries(search):
    code = search.run("--trials", "5", "--families", "narrow,wide", XRAYTUNE_FAULT="kill", XRAYTUNE_FAULT_EVERY="5")
    trials = search.trials()
    assert code == 0, search.text
    lost = failures(trials, "worker_lost")
    assert len(lost) == 1
    assert lost[0]["curve"].keys() == {"1"}  # what it had reported is kept
    assert search.text.count("its worker was lost") == 2
    assert search.logs.count("going on after epoch-000001") == 2
    assert sum(t["state"] in {"COMPLETE", "PRUNED"} for t in trials) == 4
    twice = {epoch: times for epoch, times in epochs(search).items() if times > 1}
    assert twice == {(lost[0]["config"]["seed"], 2): 3}  # the epoch that kills, in no other trial, the first not again


def test_a_loss_that_is_no_number_fails_the_trial_in_that_epoch_and_is_never_best(search):
    assert search.run("--trials", "6", XRAYTUNE_FAULT="nan", XRAYTUNE_FAULT_EVERY="4") == 0, search.text
    trials = search.trials()
    nan = failures(trials, "nan")
    assert nan
    assert all(t["curve"].keys() == {"1"} and t["value"] is None for t in nan)
    assert all(t["ran"]["host"] and t["ran"]["seconds"]["train"] > 0 for t in nan)
    best = open_study("broken", search.results).best()
    assert best.value == max(t["value"] for t in trials if t["state"] == "COMPLETE")
    assert best.number not in {t["number"] for t in nan}
    last = re.findall(r"best F2 \S+ \(\w+, trial (\d+)\)", search.text)[-1]
    assert int(last) == best.number


EXPLOSIVE = """
import keras
import keras_tuner

class Explosive(keras_tuner.HyperModel):
    families = ("calm", "explosive")

    def declare_hyperparameters(self, hp):
        hp.Choice("family", list(self.families))
        hp.Choice("image_size", [28])
        hp.Choice("batch_size", [8])
        hp.Choice("epochs", [2])

    def build(self, hp):
        rate = 1.02 if hp.get("family") == "explosive" else 1e-3  # weights then grow by 4 % a step, turning their sign
        decay = keras.regularizers.L2(1.0)
        model = keras.Sequential([
            keras.layers.Input((28, 28, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(2, activation="softmax", kernel_regularizer=decay),
        ])
        model.compile(keras.optimizers.SGD(rate), "categorical_crossentropy")
        return model
"""


def test_a_loss_that_explodes_but_stays_a_number_fails_the_trial_in_that_epoch_and_is_never_best(search, tmp_path):
    data = made_radiographs.kaggle(tmp_path / "chest_xray", train=24, test=6)
    (tmp_path / "explosive.py").write_text(EXPLOSIVE)
    arguments = ["--data", str(data), "--trials", "4", "--objective", "clean", "--pruner", "none"]
    search.start(*arguments, space=f"{tmp_path / 'explosive.py'}:Explosive")
    assert search.wait() == 0, search.text
    trials = search.trials()
    exploded = failures(trials, "nan")
    assert [t["number"] for t in exploded] == [t["number"] for t in trials if t["family"] == "explosive"] != []
    for trial in exploded:
        assert "diverged: mean loss" in trial["message"]
        assert trial["message"].endswith("in epoch 1")
        assert trial["value"] is None
        assert trial["curve"] == {}
        assert trial["ran"]["versions"]["keras"]
        assert trial["ran"]["device"] == "cpu"
        assert trial["ran"]["peak_memory_mb"] > 0
    assert {t["state"] for t in trials if t["family"] == "calm"} == {"COMPLETE"}


def test_a_trial_that_takes_all_memory_fails_and_the_search_goes_on(search):
    options = ("--trials", "6", "--trial-memory", "2GB", "--pruner", "none")
    assert search.run(*options, XRAYTUNE_FAULT="memory", XRAYTUNE_FAULT_EVERY="4") == 0, search.text
    greedy, others = broken_and_others(search.trials(), 4)
    assert [t["cause"] for t in greedy] == ["oom"] * 2
    assert [t["state"] for t in others] == ["COMPLETE"] * 4
    assert "its worker was lost" not in search.text
    assert max(epochs(search).values()) == 1, "no epoch had to be trained again"


def test_a_trial_that_hangs_is_ended(search):
    options = ("--trials", "5", "--trial-timeout", "8s", "--pruner", "none")
    assert search.run(*options, XRAYTUNE_FAULT="hang", XRAYTUNE_FAULT_EVERY="4") == 0, search.text
    hung, others = broken_and_others(search.trials(), 4)
    assert [t["cause"] for t in hung] == ["timeout"]
    assert "--trial-timeout" in hung[0]["message"]
    assert [t["state"] for t in others] == ["COMPLETE"] * 4
    assert max(epochs(search).values()) == 1, "no epoch had to be trained again"


def test_a_search_in_which_everything_fails_stops_and_groups_the_causes(search):
    code = search.run("--trials", "40", XRAYTUNE_FAULT="error")
    assert code == 1
    assert "error: RuntimeError: a synthetic mistake" in search.text
    assert "Traceback" not in search.text
    failed = failures(search.trials(), "error")
    assert 5 <= len(failed) < 12
    assert all(t["ran"]["host"] for t in failed)
    assert "Traceback" in search.logs  # the whole story is kept for diagnosis
    assert search.run("--trials", "14", "--resume") == 0, search.text  # what they came from is mended
    assert sum(t["state"] in {"COMPLETE", "PRUNED"} for t in search.trials()) == 14 - len(failed)


@pytest.mark.long
def test_a_short_search_in_which_all_trials_fail_ends_as_a_failure_too(search):
    assert search.run("--trials", "3", XRAYTUNE_FAULT="error") == 1
    assert "3 of 3 trials failed" in search.text
    assert "3 × error: RuntimeError: a synthetic mistake" in search.text
    assert "Traceback" not in search.text


def test_what_every_trial_would_meet_ends_the_search_in_one_message_and_it_can_go_on(search):
    assert search.run("--trials", "6", XRAYTUNE_FAULT="fatal", XRAYTUNE_FAULT_EVERY="3") == 1, search.text
    assert search.text.count("what every trial needs is gone") == 1
    assert "Traceback" not in search.text
    assert not [t for t in search.trials() if t["state"] == "FAIL" and not t["interrupted"]]
    assert search.gone_within(20)
    assert search.run("--trials", "6", "--resume") == 0, search.text
    assert sum(t["state"] in {"COMPLETE", "PRUNED"} for t in search.trials()) == 6
