"""Callbacks and trackers of real searches on the synthetic space: what they are told, and that they cost no search."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.searching import ROOT

PROGRAM = """
import json, sys, time
from pathlib import Path
from search.driver.options import SessionOptions, StudyOptions
from search.driver.session import search
from search.tracking.callbacks import Callback

class Noting(Callback):
    seen = []
    def tell(self, event):
        self.seen.append({"event": type(event).__name__, **{
            name: value for name, value in vars(event).items() if isinstance(value, int | float | str | bool | None)
        }})
        if type(event).__name__ == "Epoch":
            self.seen[-1]["epoch"] = event.report.epoch
        if type(event).__name__ == "TrialEnd":
            self.seen[-1]["value"] = event.value
        super().tell(event)

class Raising(Callback):
    def on_epoch(self, event):
        raise ValueError("a mistake of mine")

class Hanging(Callback):
    def on_trial_start(self, event):
        time.sleep(600)

folder = Path(sys.argv[1])
session = SessionOptions(results=folder / "results", tensorboard=True, concurrency=2)
options = StudyOptions(study="mine", space="search.testing.synthetic_space:Faulty", trials=4, pruner="asha")
study = search(options, session, callbacks=[Noting(), Raising(), Hanging()])
(folder / "seen.json").write_text(json.dumps(Noting.seen))
told = [[t.number, t.state, t.value] for t in study.trials() if t.counts]
(folder / "told.json").write_text(json.dumps(told))
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search of four trials with three callbacks, one of which raises and one hangs; its output."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "program.py").write_text(PROGRAM)
    environment = {
        **os.environ,
        "XRAYTUNE_CACHE": str(folder / "cache"),
        "XRAYTUNE_EPOCH_SECONDS": "0.1",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, str(folder / "program.py"), str(folder)],
        env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done


def test_a_callback_is_told_each_trial_from_its_start_to_its_end(searched):
    folder, _ = searched
    seen, told = (json.loads((folder / name).read_text()) for name in ("seen.json", "told.json"))
    assert len(told) == 4
    for number, state, value in told:
        mine = [event for event in seen if event.get("number") == number]
        kinds = [event["event"] for event in mine]
        assert kinds == ["TrialStart", *["Epoch"] * (len(mine) - 2), "TrialEnd"]
        epochs = [event["epoch"] for event in mine if event["event"] == "Epoch"]
        assert epochs == list(range(1, len(epochs) + 1))
        assert epochs
        assert (mine[-1]["state"], mine[-1]["value"]) == (state, value)
    best = max((value, -number) for number, state, value in told if state == "COMPLETE")
    assert [event["event"] for event in seen][-1] == "SearchEnd"
    assert (seen[-1]["best_value"], -seen[-1]["best"]) == best
    assert (seen[-1]["why"], seen[-1]["interrupted"]) == ("all 4 trials are done", False)


def test_a_callback_that_raises_is_one_line_and_a_traceback_in_the_log(searched):
    folder, done = searched
    assert done.stdout.count("Raising raised ValueError: a mistake of mine") == 1
    assert "Traceback" not in done.stdout + done.stderr
    log = (folder / "results" / "mine" / "search.log").read_text()
    assert log.count("Raising raised ValueError") == 1
    assert "Traceback (most recent call last):" in log
    assert "in on_epoch" in log


def test_a_callback_that_hangs_is_left_behind_at_the_end(searched):
    _, done = searched
    assert "Hanging was too slow:" in done.stdout
    assert "4 trials" in done.stdout


def test_tensorboard_has_a_run_for_each_trial(searched):
    folder, done = searched
    runs = sorted(f.name for f in (folder / "results" / "mine" / "tensorboard").iterdir())
    assert runs == ["study", *(f"trial-{number:04d}" for number in range(4))]
    assert "tensorboard --logdir" in done.stdout


def test_an_interrupted_search_ends_in_time_though_a_tracker_waits_for_its_server(search, tmp_path):
    pytest.importorskip("mlflow", reason="MLflow is not installed: make setup EXTRAS=mlflow")
    import socket

    with socket.socket() as silent:  # takes connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen(5)
        address = f"http://me:s3cret-word@127.0.0.1:{silent.getsockname()[1]}"
        search.start("--trials", "1000", "--mlflow", address, "--tensorboard", XRAYTUNE_EPOCH_SECONDS="0.2")
        search.until(lambda: len([t for t in search.trials() if t["state"] == "COMPLETE"]) >= 2)
        begun = time.monotonic()
        search.send(signal.SIGINT)
        assert search.wait(60) == 130, search.text
    assert time.monotonic() - begun < 10
    assert search.gone_within(5)
    assert "MLflow was too slow" in search.text
    for file in [search.output, *Path(search.results).rglob("*.log"), *Path(search.results).rglob("*.json")]:
        assert "s3cret-word" not in file.read_text(errors="replace"), file
