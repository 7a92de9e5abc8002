"""What happens to the driver: kills at random moments, Ctrl-C, a second driver."""

from __future__ import annotations

import random
import signal
import subprocess
import time

import pytest

from tests.searching import counted

pytestmark = pytest.mark.timeout(1200)

CONCURRENCY = 2
KILLS = 20


def finished(trials: list[dict]) -> dict[int, tuple]:
    return {t["number"]: (t["state"], t["value"], str(t["config"])) for t in counted(trials)}


@pytest.mark.timeout(3000)
def test_a_driver_killed_at_random_moments_meets_its_budget_exactly(search):
    rng, budget, before = random.Random(5), 60, {}
    for kill in range(KILLS):
        search.start(
            "--trials", str(budget), "--resume", "--concurrency", str(CONCURRENCY), XRAYTUNE_EPOCH_SECONDS="0.4"
        )
        if kill % 3:  # some die while they start, most in mid-search
            search.until_said(" complete ")
        time.sleep(rng.uniform(0.0, 3.0))
        search.send(signal.SIGKILL)
        search.wait()
        assert search.gone_within(5), f"left after 5 s: {search.survivors()}"
        if search.process and (search.results / "studies.db").exists() and "study broken" in search.text:
            now = finished(search.trials())
            assert before.items() <= now.items(), "a finished trial was lost or changed"
            before = now
    assert search.run("--trials", str(budget), "--resume", XRAYTUNE_EPOCH_SECONDS="0") == 0, search.text
    trials = search.trials()
    assert len(counted(trials)) == budget
    assert not [t for t in trials if t["state"] in {"RUNNING", "WAITING"}]
    redone = [t for t in trials if t["interrupted"] and t["curve"]]
    assert len(redone) <= KILLS * CONCURRENCY
    configurations = [str(t["config"]) for t in counted(trials)]
    assert len(set(configurations)) == len(configurations), "a trial ran twice to its end"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_search_ends_soon_and_goes_on_later(search, number, code):
    search.start("--trials", "8", XRAYTUNE_EPOCH_SECONDS="1.5")
    search.until_said(" complete ")
    asked = time.monotonic()
    search.send(number)
    assert search.wait(20) == code
    assert time.monotonic() - asked < 10
    assert search.gone_within(1), f"left behind: {search.survivors()}"
    assert "--study broken --resume" in search.text
    assert "Traceback" not in search.text
    interrupted = [t for t in search.trials() if t["interrupted"]]
    assert interrupted
    assert all(t["state"] in {"COMPLETE", "PRUNED", "FAIL", "WAITING"} for t in search.trials())
    assert search.run("--resume", XRAYTUNE_EPOCH_SECONDS="0") == 0, search.text
    trials = search.trials()
    assert len(counted(trials)) == 8
    for cut in interrupted:  # its configuration and its seed were tried again
        if cut["config"]:
            assert [t for t in counted(trials) if t["config"] == cut["config"]]


def test_the_second_search_of_a_study_stops_at_once_and_names_the_first(search):
    search.start("--trials", "50", XRAYTUNE_EPOCH_SECONDS="1")
    search.until_said("study broken")
    asked = time.monotonic()
    second = subprocess.run(search.command("--resume"), capture_output=True, text=True, check=False)
    assert time.monotonic() - asked < 2
    assert second.returncode == 2
    assert f"process {search.process.pid}" in second.stderr
    search.send(signal.SIGKILL)
    search.wait()
    assert search.run("--resume", "--trials", "2", XRAYTUNE_EPOCH_SECONDS="0") == 0, search.text
