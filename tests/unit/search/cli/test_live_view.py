"""The live view of a search: complete at 80 columns, ended trials stay, every line is in the log."""

from __future__ import annotations

import io
import re
import time
from collections import Counter
from dataclasses import replace

import pyte
import pytest

from search.cli.live_view import LOG, Progress
from search.cli.screen import Screen
from search.reporting.search_summary import why_none
from tests.inputs.made_studies import result
from tests.inputs.made_studies import trial as record
from xraytune.records import EpochReport, TrialConfig

COLUMNS, LINES = 80, 24


@pytest.fixture
def terminal():
    """A progress drawn on a terminal, and a function that tells what its screen shows."""
    stream = io.StringIO()
    target = Screen(file=stream, width=COLUMNS, height=LINES, force_terminal=True)
    progress = Progress(target=target)
    progress.label, progress.trials, progress.end, progress.max_epochs = "robust F2", 24, time.time() + 120, 10

    def shown():
        if progress._live:
            progress._live.refresh()
        screen = pyte.Screen(COLUMNS, LINES)
        pyte.Stream(screen).feed(stream.getvalue().replace("\n", "\r\n"))
        return [line.rstrip() for line in screen.display]

    return progress, shown


def trial(family, epochs=15):
    return TrialConfig(family=family, values={"epochs": epochs}, seed=0)


def follow(progress):
    """Show a study's best trial; returns a function that ends a trial of it."""
    ended = []
    progress.start_from(Counter(), Counter(), lambda: min(ended, key=lambda one: one.rank, default=None))

    def complete(number, value, easier=0.0):
        one = record(number, value)
        site = progress._running[number].site
        ended.append(replace(one, easier=easier, config=replace(one.config, family="vgg_finetuned", site=site)))
        progress.ended(number, "COMPLETE", result(value), "", "")

    return complete


def report(epoch, value):
    return EpochReport(epoch=epoch, value=value, metrics={}, seconds={})


def test_a_line_says_from_the_start_what_is_done_and_how_much_time_is_left(terminal):
    progress, shown = terminal
    with progress:
        progress.step(120, 615, "reading images")
        assert "reading images 120/615 …" in shown()
        assert any("of 2m00s left" in line and "0/24 trials" in line for line in shown())


def test_running_trials_the_best_the_families_and_the_bar_are_complete_at_80_columns(terminal):
    progress, shown = terminal
    complete = follow(progress)
    with progress:
        for number in range(8):
            progress.started(number, trial("vgg_finetuned"))
        progress.epoch(7, report(3, 0.87654))
        progress.started(8, trial("densenet", epochs=5))
        for number, value in ((0, 0.81), (1, 0.92), (2, 0.9)):
            complete(number, value)
        progress.ended(3, "PRUNED", result(0.7), "", "")
        progress.ended(4, "FAIL", None, "oom", "no memory " * 20)
        lines = shown()
    by_trial = {line.split()[0]: line.split() for line in lines if line.startswith("    ")}
    assert by_trial["7"][1:4] == ["vgg_finetuned", "3/10", "0.877"]
    assert by_trial["8"][1:4] == ["densenet", "–/5", "–"]
    assert "Best robust F2 0.920 (vgg_finetuned, trial 1). Ended: vgg_finetuned 5" in lines
    bar = next(line for line in lines if "5/24 trials" in line)
    assert bar.endswith("5/24 trials · 1 pruned · 1 failed")
    ended = [line for line in lines if line.startswith("trial ") and "epochs" in line]
    assert [line.split()[1] for line in ended] == ["0", "1", "2", "3", "4"]
    assert [line.endswith("★ best so far") for line in ended] == [True, True, False, False, False]
    assert ended[4].split()[3] == "failed"
    why = " ".join(" ".join(lines).split())
    assert ("oom: " + "no memory " * 20).strip() in why, "the cause is whole, in lines of its own"


def test_scores_of_a_study_by_sites_name_their_site_and_the_best_is_without_its_effect(terminal, tmp_path):
    progress, shown = terminal
    progress.log_to(tmp_path)
    complete = follow(progress)
    with progress:
        for number, site in enumerate(("Leeds", "Turin", "Leeds")):
            progress.started(number, TrialConfig("vgg_finetuned", {"epochs": 15}, 0, site))
        progress.epoch(2, report(3, 0.87654))
        complete(0, 0.92, easier=0.08)
        complete(1, 0.9)
        lines = shown()
    assert next(line for line in lines if line.startswith("trial  family")).endswith("held-out site")
    assert next(line for line in lines if line.startswith("    2")).split()[-1] == "Leeds"
    ended = {line.split()[1]: line for line in lines if line.startswith("trial ") and "epochs" in line}
    assert ended["0"].split()[4] == "0.920"
    assert "★ best so far" in ended["1"], "0.9 at the harder site"
    assert any(line.startswith("Best site-adjusted robust F2 0.900 (vgg_finetuned, trial 1). Ended") for line in lines)
    log = (tmp_path / LOG).read_text()
    assert re.search(r"robust F2 0\.9200  0 epochs  \d+s  at Leeds", log)
    assert "best site-adjusted robust F2 0.9000 (vgg_finetuned, trial 1)" in progress.in_one_line()


def test_ended_trials_stay_when_the_view_is_taken_away(terminal):
    progress, shown = terminal
    with progress:
        progress.started(0, trial("cnn"))
        progress.ended(0, "COMPLETE", result(0.9), "", "")
    said = [line for line in shown() if line]
    assert len(said) == 1
    assert said[0].startswith("trial   0  cnn            complete")


def test_the_log_has_every_line_those_before_the_study_was_made_too(tmp_path):
    stream = io.StringIO()
    progress = Progress(target=Screen(file=stream, width=160))
    progress.label = "F2"
    with progress:
        progress.detail("recipe cnn skipped")
        progress.note("Data: a\x1b[31mb")
        progress.log_to(tmp_path)
        progress.start_from(Counter(), Counter(), lambda: None)
        progress.started(3, trial("cnn"))
        progress.ended(3, "COMPLETE", result(0.87654), "", "")
    log = (tmp_path / LOG).read_text()
    assert [line[20:] for line in log.splitlines()[:2]] == ["recipe cnn skipped", "Data: a\\x1b[31mb"]
    assert "trial   3  cnn            complete    F2 0.8765" in log
    assert "recipe" not in stream.getvalue()
    assert "trial   3  cnn            complete    F2 0.8765" in stream.getvalue()


def test_verbose_prints_what_is_otherwise_in_the_log_alone():
    stream = io.StringIO()
    with Progress(verbose=True, target=Screen(file=stream, width=160)) as progress:
        progress.detail("recipe cnn skipped")
    assert "recipe cnn skipped" in stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "preparation", "says"),
    [
        (60.0, 40.0, "preparation took 40 s of 60 s. Give at least TIME=3m:"),
        (300.0, 200.0, "Give at least TIME=10m:"),
        (None, 5.0, "all started trials were pruned"),
    ],
)
def test_a_search_without_a_finished_trial_says_what_to_do(seconds, preparation, says):
    said = why_none(seconds, preparation, "mine")
    assert said.startswith("No trial finished")
    assert says in said
    assert "python -m search.run --study mine --resume" in said
