"""The one line that a call draws."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from search.api import display
from search.cli.progress_bars import bars
from tests.inputs.made_studies import result, trial
from xraytune.records import EpochReport, TrialConfig

DRAW = """
import sys, time
from search.api.display import line
with line(lambda: "3/10 trials, 5m left", wanted=sys.argv[1] == "yes"):
    time.sleep(0.8)
"""


@pytest.mark.parametrize("wanted", ["yes", "no"])
def test_a_terminal_shows_the_line_where_it_is_wanted_and_it_goes_away(wanted):
    ours, theirs = pty.openpty()
    root = Path(__file__).parents[4]
    subprocess.run([sys.executable, "-c", DRAW, wanted], stderr=theirs, cwd=root, check=True)
    os.set_blocking(ours, False)
    try:
        shown = os.read(ours, 100_000).decode()
    except BlockingIOError:
        shown = ""
    os.close(theirs)
    os.close(ours)
    assert ("3/10 trials, 5m left" in shown) == (wanted == "yes")
    assert (shown == "") == (wanted == "no")


def test_a_search_shows_nothing_where_there_is_no_terminal_and_keeps_its_log(tmp_path, capfd):
    with display.SearchLine(wanted=True, begun=time.time()) as shown:
        shown.label, shown.trials = "F2", 4
        shown.step(1, 3, "reading images")
        assert shown.in_one_line() == "reading images 1/3 …"
        shown.log_to(tmp_path)
        shown.started(0, TrialConfig("cnn", {"family": "cnn", "epochs": 3}, seed=1))
        shown.epoch(0, EpochReport(epoch=1, value=0.8, metrics={}, seconds={}))
        assert shown.in_one_line() == "0/4 trials, 0 pruned, 0 failed, 1 running"
        shown.start_from(Counter(), Counter(), lambda: trial(0, 0.8))
        shown.ended(0, "COMPLETE", result(0.8), "", "")
        assert shown.in_one_line().startswith("1/4 trials, 0 pruned, 0 failed, best F2 0.8000 (cnn, trial 0)")
    assert "trial   0  cnn" in (tmp_path / "search.log").read_text()
    assert capfd.readouterr() == ("", "")


def test_all_bars_of_a_call_are_told_in_one_line(monkeypatch):
    drawn = []
    monkeypatch.setattr(display, "line", lambda text, wanted: drawn.append(text) or pytest.MonkeyPatch.context())
    with display.bars_line(wanted=True), bars() as bar:
        assert drawn[0]() == "starting …"
        bar(2, 10, "reading images")
        assert drawn[0]() == "reading images 2/10"
        bar.show(1, 3, "confirming", left="about 1m00s left", note="trial 3, epoch 2: 0.812")
        assert drawn[0]() == "confirming 1/3 · about 1m00s left · trial 3, epoch 2: 0.812"
    with bars() as plain:
        assert plain is not bar
