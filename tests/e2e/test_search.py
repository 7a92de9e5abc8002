"""A search from end to end with real Ray processes: networks on images, resume, the next suggestion, priority."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise

import numpy as np

from search.study import sessions
from search.study.view import open_study
from tests.inputs import made_radiographs
from tests.searching import ROOT, command, counted
from xraytune.training.history import is_rung


def test_a_search_of_images_keeps_what_it_found_and_goes_on(search, tmp_path):
    data = made_radiographs.kaggle(tmp_path / "chest_xray", train=24, test=6)
    search.start("--data", str(data), "--trials", "2", space="smoke")
    assert search.wait() == 0, search.text
    first = search.trials()
    assert {t["family"] for t in first} == {"dense", "cnn"}
    assert [t["state"] for t in first] == ["COMPLETE"] * 2
    for trial in first:
        epochs = range(1, trial["result"]["epochs"] + 1)
        assert sorted(map(int, trial["curve"])) == [epoch for epoch in epochs if is_rung(epoch)]
        assert [row["epoch"] for row in trial["result"]["curve"]] == list(epochs)
        assert trial["result"]["seconds"]["train"] > 0
        assert trial["result"]["versions"]["keras"]
        with np.load(search.results / "broken" / "trials" / f"{trial['number']:04d}" / "predictions.npz") as kept:
            assert kept["probabilities"].shape == (len(kept["labels"]), 2)
    assert "python -m search.retrain best --study broken" in search.text
    assert "Traceback" not in search.text
    search.start("--resume", "--deterministic", "--trials", "3", "--data", str(data), space="smoke")
    assert search.wait() == 0, search.text
    assert search.trials()[:2] == first
    assert len(counted(search.trials())) == 3
    settings = sessions.kept(open_study("broken", search.results).attributes)
    assert [session["deterministic"] for session in settings] == [False, True]
    assert all(session["cpus_per_trial"] and session["versions"]["ray"] for session in settings)


def test_the_linear_model_is_the_first_trial_and_is_retrained_like_any_other(search, tmp_path):
    data = made_radiographs.kaggle(tmp_path / "chest_xray", train=24, test=6)
    options = ("--data", str(data), "--families", "dense,linear", "--max-epochs", "1", "--fix", "batch_size=16")
    search.start(*options, "--trials", "3", space="chest_xray")
    assert search.wait() == 0, search.text
    first, *others = search.trials()
    assert (first["number"], first["family"], first["state"]) == (0, "linear", "COMPLETE")
    assert [t["family"] for t in others] == ["dense", "dense"]
    assert first["result"]["epochs"] == 1
    assert first["result"]["metrics"]["robust"] == first["value"]
    small = ("--finalists", 1, "--folds", 3, "--seeds", 1, "--refits", 1)
    retrained = command("search.retrain", 0, "--study", "broken", "--results", search.results, *small, home=tmp_path)
    assert retrained.returncode == 0, retrained.stdout + retrained.stderr
    assert "Held-out test set: 12 images" in retrained.stdout
    assert (search.results / "broken" / "winner" / "model.keras").is_file()
    assert "beside logistic regression" in (search.results / "broken" / "winner" / "report.html").read_text()


SLOWLY_SUGGESTED = """
import time
from search.testing.synthetic_space import Faulty

class Slow(Faulty):
    def declare_hyperparameters(self, hp):
        super().declare_hyperparameters(hp)
        if type(hp).__name__ == "SuggestedHyperParameters":
            time.sleep(0.7)
"""


def test_the_next_suggestion_is_made_while_a_trial_runs_and_no_more_than_one(search, tmp_path):
    (tmp_path / "slow.py").write_text(SLOWLY_SUGGESTED)
    options = ("--trials", "5", "--concurrency", "1", "--pruner", "none")
    search.start(*options, space=f"{tmp_path / 'slow.py'}:Slow", XRAYTUNE_EPOCH_SECONDS="0.5")
    assert search.wait() == 0, search.text
    trials = open_study("broken", search.results).trials()
    assert [t.state for t in trials] == ["COMPLETE"] * 5
    for running, suggested in pairwise(trials):
        assert (running.ended - suggested.started).total_seconds() > 0.7, "its worker is free before it is suggested"
    for ended, later in zip(trials, trials[2:], strict=False):
        assert later.started > ended.ended


def test_trials_run_at_the_priority_that_the_search_was_started_with(search):
    search.start("--trials", "1000", XRAYTUNE_EPOCH_SECONDS="1")
    lower = os.getpriority(os.PRIO_PROCESS, 0) + 3
    os.setpriority(os.PRIO_PROCESS, search.process.pid, lower)  # as `nice` would
    search.until(search.workers)
    assert {worker.nice() for worker in search.workers()} == {lower}


LOADED = """
import atexit, runpy, sys
atexit.register(lambda: print("loaded", *sys.modules))
runpy.run_module("search.run", run_name="__main__", alter_sys=True)
"""


def test_a_search_without_a_tracker_loads_none(search):
    arguments = search.command("--trials", "2")[3:]
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments], cwd=ROOT, env={**os.environ, "XRAYTUNE_EPOCH_SECONDS": "0"},
        capture_output=True, text=True, timeout=280, check=True,
    )  # fmt: skip
    loaded = set(done.stdout.splitlines()[-1].split())
    assert {"loaded", "optuna", "ray", "search.tuner.orchestrator"} <= loaded
    assert not {"mlflow", "tensorboardX", "torch", "matplotlib"} & loaded
    assert not {"search.tracking.mlflow_tracker", "search.tracking.tensorboard_tracker"} & loaded
