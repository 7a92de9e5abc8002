"""What happens to the files: a locked database, folders that vanish or can't be written."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search.study.database import PATIENCE
from tests.inputs import made_radiographs
from tests.searching import can_mount, kept, told

pytestmark = pytest.mark.timeout(1200)

ROOT = Path(__file__).resolve().parents[2]


def test_a_database_that_is_locked_for_a_while_is_waited_for(search):
    search.start("--trials", "8", XRAYTUNE_EPOCH_SECONDS="0.3")
    search.until_said(" complete ")
    blocker = sqlite3.connect(search.results / "studies.db", timeout=30, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    time.sleep(4)
    blocker.execute("COMMIT")
    blocker.close()
    assert search.wait() == 0, search.text
    trials = search.trials()
    assert sum(t["state"] in {"COMPLETE", "PRUNED"} for t in trials) == 8
    assert told(search.text) == kept(trials)


WRITER = """
import sqlite3, sys, time
busy = sqlite3.connect(sys.argv[1], timeout=600, isolation_level=None)
while True:
    busy.execute("BEGIN IMMEDIATE")
    time.sleep(0.15)
    busy.execute("COMMIT")
    time.sleep(0.05)
"""


@pytest.mark.long
def test_a_database_that_is_slow_all_the_time_is_waited_for_and_nothing_is_lost(search):
    """Somebody writes into it three quarters of the time: every record the search makes has to wait for its turn."""
    options = ("--trials", "6", "--families", "narrow", "--pruner", "none")
    search.start(*options, XRAYTUNE_EPOCH_SECONDS="0.3")
    search.until_said(" complete ")
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(search.results / "studies.db")])
    try:
        assert search.wait(600) == 0, search.text
    finally:
        writer.kill()
        writer.wait()
    trials = search.trials()
    assert [t["state"] for t in trials] == ["COMPLETE"] * 6
    assert told(search.text) == kept(trials)
    assert all(sorted(t["curve"]) == ["1", "2", "3", "4"] for t in trials)


@pytest.mark.long
def test_a_database_that_stays_locked_ends_the_search_in_words_and_nothing_is_lost(search):
    search.start("--trials", "8", "--pruner", "none", XRAYTUNE_EPOCH_SECONDS="0.3")
    search.until_said(" complete ")
    blocker = sqlite3.connect(search.results / "studies.db", timeout=30, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    locked = time.monotonic()
    try:
        assert search.wait() == 1, search.text
        assert PATIENCE - 15 < time.monotonic() - locked < PATIENCE + 90
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()
    assert search.text.count("error: ") == 1
    assert f"did not answer for {PATIENCE:.0f} s: (sqlite3.OperationalError) database is locked" in search.text
    assert "continue with --resume" in search.text
    assert "Traceback" not in search.text
    before = {t["number"]: t for t in search.trials() if t["state"] == "COMPLETE"}
    assert before
    assert told(search.text).items() <= kept(list(before.values())).items()
    assert search.run("--resume", XRAYTUNE_EPOCH_SECONDS="0") == 0, search.text
    after = {t["number"]: t for t in search.trials()}
    assert before.items() <= after.items()
    assert sum(t["state"] == "COMPLETE" for t in after.values()) == 8
    assert not [t for t in after.values() if t["state"] in {"RUNNING", "WAITING"}]


def test_results_that_cant_be_written_are_said(search):
    search.results.write_text("a file, no folder")
    assert search.run("--trials", "2") == 1
    assert "can't be written" in search.text
    assert "Traceback" not in search.text


@pytest.mark.skipif(not can_mount(), reason="this machine lets no one mount a disk (unshare -rm)")
def test_results_on_a_disk_that_is_read_only_are_said(search, tmp_path):
    search.results.mkdir()
    run = " ".join(map(repr, search.command("--trials", "2")))
    script = (
        f"mount -t tmpfs -o ro none {search.results} && cd {ROOT}; {run} >{tmp_path}/out 2>&1; echo $? >{tmp_path}/rc"
    )
    subprocess.run(["unshare", "-rm", "sh", "-c", script], timeout=300, check=True)
    said = (tmp_path / "out").read_text()
    assert int((tmp_path / "rc").read_text()) == 1, said
    assert "Read-only file system" in said
    assert "--results" in said
    assert "Traceback" not in said


def test_a_study_whose_folder_was_deleted_is_refused(search):
    assert search.run("--trials", "2", XRAYTUNE_EPOCH_SECONDS="0") == 0, search.text
    shutil.rmtree(search.results / "broken")
    assert search.run("--trials", "4", "--resume") == 2
    assert "its folder" in search.text
    assert "is missing" in search.text


@pytest.mark.parametrize(
    ("arguments", "difference"),
    [
        (("--beta", "1"), "beta: 2.0 in the study, 1.0 now"),
        (
            ("--space", "search.testing.synthetic_space:Branches"),
            "space: search.testing.synthetic_space:Faulty in the study",
        ),
        pytest.param(("--objectives", "f_beta,parameters"), "objectives", marks=pytest.mark.long),
    ],
)
def test_a_study_made_with_something_else_is_refused_and_the_difference_named(search, arguments, difference):
    search.start("--trials", "2", XRAYTUNE_EPOCH_SECONDS="0")
    search.until_said("study broken")
    search.send(signal.SIGKILL)
    search.wait()
    assert search.run("--resume", *arguments) == 2
    assert difference in search.text


def test_a_study_is_refused_when_a_image_of_its_data_was_replaced_and_the_image_is_named(search, tmp_path):
    data = made_radiographs.kaggle(tmp_path / "chest_xray", train=24, test=6)
    search.start("--data", str(data), "--trials", "2", space="smoke")
    search.until_said("study broken")
    search.send(signal.SIGKILL)
    search.wait()
    replaced = data / "train" / "NORMAL" / "IM-0003-0001.png"
    made_radiographs.write(replaced, made_radiographs.radiograph(9999))
    search.start("--data", str(data), "--resume", space="smoke")
    assert search.wait() == 2, search.text
    assert "train_fingerprint" in search.text
    assert replaced.name in search.text
    assert "Traceback" not in search.text
