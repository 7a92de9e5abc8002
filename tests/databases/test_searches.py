"""Searches and retrainings on a real PostgreSQL and MariaDB; a server that dies meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.study.database import PATIENCE, open_database
from tests.databases.servers import Server, assert_secret
from tests.searching import Search, command, counted, kept, told

pytestmark = [
    # what this process opened is closed when it ends
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"),
    pytest.mark.timeout(1200),
]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def study(request: pytest.FixtureRequest, tmp_path: Path, server: Server) -> Iterator[Search]:
    """A study that no other test has on that server."""
    one = Search(tmp_path, study=request.node.originalname[5:60])
    yield one
    one.end()
    assert_secret(one.text)


def test_a_search_leaves_its_trials_on_the_server_and_goes_on_from_there(study, server):
    assert study.run("--trials", "6", XRAYTUNE_EPOCH_SECONDS="0") == 0, study.text
    first = study.trials()
    assert len(counted(first)) == 6
    assert told(study.text) == kept(first)
    assert study.run("--trials", "9", "--resume", XRAYTUNE_EPOCH_SECONDS="0") == 0, study.text
    after = study.trials()
    assert len(counted(after)) == 9
    assert after[:6] == first
    assert not (study.results / "studies.db").exists()


def test_two_searches_of_one_server_at_once_have_their_own_trials(study, tmp_path, server):
    other = Search(tmp_path, study=f"{study.study}-2")
    for one in (study, other):
        one.start("--trials", "6", "--concurrency", "1", XRAYTUNE_EPOCH_SECONDS="0.1")
    try:
        for one in (study, other):
            assert one.wait() == 0, one.text
            assert [t["number"] for t in counted(one.trials())] == list(range(6))
            assert told(one.text) == kept(one.trials())
    finally:
        other.end()


def test_a_search_whose_server_is_killed_and_comes_back_loses_no_trial(study, server):
    study.start("--trials", "12", "--concurrency", "2", "--pruner", "none", XRAYTUNE_EPOCH_SECONDS="0.2")
    study.until_said(" complete ")
    server.kill()
    time.sleep(6)
    assert study.process is not None
    assert study.process.poll() is None, study.text
    server.start()
    assert study.wait() == 0, study.text
    trials = study.trials()
    assert [t["state"] for t in trials] == ["COMPLETE"] * 12
    assert told(study.text) == kept(trials)
    assert all(sorted(t["curve"]) == ["1", "2", "3", "4"] for t in trials)


def test_a_search_whose_server_stays_away_ends_in_words_and_goes_on_later(study, server):
    study.start("--trials", "8", "--pruner", "none", XRAYTUNE_EPOCH_SECONDS="0.2")
    study.until_said(" complete ")
    server.kill()
    gone = time.monotonic()
    try:
        assert study.wait() == 1, study.text
        assert PATIENCE - 15 < time.monotonic() - gone < PATIENCE + 90
    finally:
        server.start()
    assert study.text.count("error: ") == 1
    assert f"did not answer for {PATIENCE:.0f} s" in study.text
    assert "--resume" in study.text
    assert "Traceback" not in study.text
    before = told(study.text)
    assert study.run("--resume", XRAYTUNE_EPOCH_SECONDS="0") == 0, study.text
    trials = study.trials()
    assert before.items() <= kept(trials).items()
    assert sum(t["state"] == "COMPLETE" for t in trials) == 8


def test_a_study_is_retrained_and_reported(study, server, tmp_path):
    maker = ROOT / "tests/e2e/retraining/made_study.py"
    environment = {**os.environ, "XRAYTUNE_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    if "made" in [s.study_name for s in open_database(tmp_path).get_all_studies()]:
        pytest.fail("another test made it")
    subprocess.run([sys.executable, str(maker), str(tmp_path)], env=environment, check=True, capture_output=True)
    few = ("--folds", "3", "--seeds", "1", "--refits", "1", "--time", "5m", "--workers", "1")
    done = command("search.retrain", "0", "--study", "made", "--results", study.results, *few, home=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Held-out test set" in done.stdout
    assert_secret(done.stdout + done.stderr)
    assert (study.results / "made/winner/metrics.json").exists()
    again = command("search.report", "made", "--results", study.results, home=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    found = [p for p in study.results.rglob("*") if p.is_file()]
    assert not [p for p in found if b"S3cret" in p.read_bytes()]
