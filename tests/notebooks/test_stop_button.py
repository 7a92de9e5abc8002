"""The stop button of a notebook in every phase of a search and of a retraining, in one kernel, one after the other."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from tests.kernels import ROOT, kernel

pytestmark = pytest.mark.timeout(900)

LIMIT = 10.0
"""Seconds in which a call ends."""

SYNTHETIC = "space='search.testing.synthetic_space:Faulty'"
FORGET = "import os, shutil; shutil.rmtree(os.environ['XRAYTUNE_CACHE'], ignore_errors=True)"
"""The images of the demonstration are then drawn anew, which takes seconds."""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    made = [sys.executable, "-m", "tests.e2e.retraining.made_study", str(folder), "NORMAL,PNEUMONIA", "60"]
    subprocess.run(made, cwd=ROOT, env=os.environ | {"XRAYTUNE_CACHE": str(folder / "cache")}, check=True)
    with kernel(folder, XRAYTUNE_EPOCH_SECONDS="0.2") as one:
        assert not one.run("import xraytune as xt; study = xt.load_study('made')").error
        yield one


def stopped(notebook, code, phase, later=0.0):
    """Press the stop button in a cell once a process is there whose command line has `phase`; see that all ends."""
    notebook.begin(code)
    if phase:
        notebook.until(lambda: phase in notebook.command_lines(), phase)
    time.sleep(later)
    notebook.interrupt()
    answer = notebook.end(60)
    assert answer.error == "KeyboardInterrupt", answer
    assert answer.seconds < LIMIT
    time.sleep(max(0.0, 1 - answer.seconds))
    assert not notebook.command_lines()
    assert answer.printed == ""
    return answer


def test_progress_is_one_display_that_is_updated_and_empty_at_the_end(notebook):
    assert not notebook.run(FORGET).error
    answer = notebook.run("xt.verify('demo').usable")
    assert [shown["text/plain"] for shown in answer.displayed] == ["", "True"]
    assert len(set(answer.updates)) > 2
    assert answer.printed == ""


@pytest.mark.parametrize("later", [0.1, 0.7, 1.5, 3.0])
def test_a_search_is_stopped_while_libraries_are_loaded(notebook, later):
    stopped(notebook, f"xt.search(name='early', trials=1000, {SYNTHETIC})", "", later)


@pytest.mark.parametrize("call", ["search('demo', name='reading')", "verify('demo')"])
def test_reading_images_is_stopped(notebook, call):
    assert not notebook.run(FORGET).error
    stopped(notebook, f"xt.{call}", "parallel import help_out")


def test_a_search_is_stopped_while_ray_starts(notebook):
    stopped(notebook, f"xt.search(name='starting', trials=1000, {SYNTHETIC})", "gcs_server")


@pytest.mark.parametrize("later", [0.0, 4.0])
def test_a_search_is_stopped_while_trials_run(notebook, later):
    name = f"running{int(later)}"
    answer = stopped(notebook, f"xt.search(name='{name}', trials=1000, {SYNTHETIC})", "Trainable", later)
    assert f"Study '{name}' is intact" in answer.message


def test_a_stopped_search_goes_on_in_the_same_kernel(notebook):
    more = f"len([t for t in xt.search(name='running0', resume=True, trials=2, {SYNTHETIC}).trials if t.counts])"
    assert notebook.run(more).displayed[-1]["text/plain"] == "2"


@pytest.mark.parametrize(
    ("phase", "later"),
    [
        ("", 0.0),
        ("", 2.0),
        ("worker_pool import work", 0.0),
        ("worker_pool import work", 6.0),
        ("worker_pool import work", 12.0),
    ],
)
def test_a_retraining_is_stopped_and_leaves_no_model(notebook, phase, later):
    stopped(notebook, "study.retrain(seeds=3, refits=3, time='5m')", phase, later)
    assert notebook.run("(study.folder / 'winner').exists()").displayed[-1]["text/plain"] == "False"


def test_a_stopped_retraining_is_done_when_it_is_called_again(notebook):
    done = notebook.run("final = study.retrain(finalists=1, seeds=1, refits=1, time='1m'); len(final.metrics) > 5")
    assert done.displayed[-1]["text/plain"] == "True"
    assert not notebook.command_lines()
