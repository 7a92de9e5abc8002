"""What happens to the driver: kills at random moments, Ctrl-C, a second driver."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.searching import Search, counted

pytestmark = pytest.mark.timeout(1200)

CONCURRENCY = 2
LIMIT = 4.0  # seconds; about one on a machine with nothing else to do
SIGNALS = pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long)]
)


def finished(trials: list[dict]) -> dict[int, tuple]:
    return {t["number"]: (t["state"], t["value"], str(t["config"])) for t in counted(trials)}


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.long)])
def test_a_driver_killed_at_random_moments_meets_its_budget_exactly(search, kills):
    rng, before, cut = random.Random(5), {}, {}
    for kill in range(kills):
        # far more trials than come to their end here, however long this process is kept from sending its kill
        search.start("--trials", "600", "--resume", "--concurrency", str(CONCURRENCY), XRAYTUNE_EPOCH_SECONDS="0.4")
        if kill % 3:  # some die while they start, most in mid-search
            search.until_said(" complete ")
        time.sleep(rng.uniform(0.0, 3.0))
        search.send(signal.SIGKILL)
        search.wait()
        assert search.gone_within(5), f"left after 5 s: {search.survivors()}"
        if search.process and (search.results / "studies.db").exists() and "study broken" in search.text:
            trials = search.trials()
            now = finished(trials)
            assert before.items() <= now.items(), "a finished trial was lost or changed"
            before = now
            begun = {t["number"]: t["curve"] for t in trials if t["state"] == "RUNNING" and t["curve"]}
            assert len(begun) <= CONCURRENCY, "a kill costs no more than what ran"
            cut |= begun
    budget = len(before) + 15
    assert search.run("--trials", str(budget), "--resume", XRAYTUNE_EPOCH_SECONDS="0") == 0, search.text
    trials = search.trials()
    assert len(counted(trials)) == budget
    assert before.items() <= finished(trials).items(), "a finished trial was lost or changed"
    assert not [t for t in trials if t["state"] in {"RUNNING", "WAITING"}]
    interrupted = {t["number"] for t in trials if t["interrupted"] and t["curve"]}
    assert interrupted
    assert interrupted <= set(cut)
    for t in trials:  # killed after its end was written and before its state: it has ended, and ran no further
        if t["number"] in set(cut) - interrupted:
            assert (t["state"] in {"COMPLETE", "PRUNED"}, t["curve"]) == (True, cut[t["number"]])
    configurations = [str(t["config"]) for t in counted(trials)]
    assert len(set(configurations)) == len(configurations), "a trial ran twice to its end"


@SIGNALS
def test_an_interrupted_search_ends_soon_and_goes_on_later(search, number, code):
    search.start("--trials", "8", XRAYTUNE_EPOCH_SECONDS="1.5")
    search.until_said(" complete ")
    asked = time.monotonic()
    search.send(number)
    assert search.wait() == code
    assert time.monotonic() - asked < 10
    assert search.gone_within(5), f"left behind: {search.survivors()}"
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


@SIGNALS
def test_a_search_that_is_interrupted_while_ray_starts_leaves_nothing(search, number, code):
    search.start("--trials", "8")
    search.until(search.watchdogs)
    time.sleep(0.5)
    (ray,) = [Path(watchdog.cmdline()[-1]) for watchdog in search.watchdogs()]
    asked = time.monotonic()
    search.send(number)
    assert search.wait() == code, search.text
    assert time.monotonic() - asked < 10
    assert search.gone_within(10), f"left behind: {search.survivors()}"
    assert not ray.exists(), list(ray.rglob("*"))
    assert "Interrupted." in search.text
    assert "Traceback" not in search.text
    assert not search.results.exists(), list(search.results.rglob("*"))


def test_the_second_search_of_a_study_stops_at_once_and_names_the_first(search):
    search.start("--trials", "500", XRAYTUNE_EPOCH_SECONDS="1")
    search.until_said("study broken")
    took = []
    for _ in range(5):  # on a machine that is busy with other things the quickest says how long it takes
        asked = time.monotonic()
        second = subprocess.run(search.command("--resume"), capture_output=True, text=True, check=False)
        took.append(time.monotonic() - asked)
        assert second.returncode == 2
        assert f"process {search.process.pid}" in second.stderr
        if took[-1] < LIMIT:
            break
    assert min(took) < LIMIT
    search.send(signal.SIGKILL)
    search.wait()
    assert search.run("--resume", "--trials", "2", XRAYTUNE_EPOCH_SECONDS="0") == 0, search.text


@pytest.mark.long
def test_what_a_search_killed_with_its_watchdog_left_is_removed_by_the_next_and_no_living_search_loses_its_own(
    search, tmp_path
):
    search.start("--trials", "50", XRAYTUNE_EPOCH_SECONDS="1")
    search.until_said(" complete ")
    (watchdog,) = search.watchdogs()
    left = Path(watchdog.cmdline()[-1])
    watchdog.kill()
    search.send(signal.SIGKILL)
    search.wait()
    assert (left / "owner.lock").exists()
    other = Search(tmp_path, "other")
    try:
        other.start("--trials", "4", XRAYTUNE_EPOCH_SECONDS="2")
        other.until_said("study other")
        assert not left.exists()
        (watchdog,) = other.watchdogs()
        living = Path(watchdog.cmdline()[-1])
        assert search.run("--resume", "--address", "127.0.0.1:1") == 2, search.text
        assert living.exists()
        assert other.wait() == 0, other.text
        assert not living.exists()
        assert search.gone_within(120), search.survivors()  # nobody was left to end Ray's agents but they themselves
    finally:
        other.end()
