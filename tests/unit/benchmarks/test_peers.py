"""The peers' benchmark: one judge for all, a course of the search's own best, units, processes that are ended."""

import dataclasses
import json
import math
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from tests.benchmarks import peers, peers_side
from xraytune import artifacts
from xraytune.evaluation import robust_score


def trial(seconds, seen, score, name="0"):
    return {"trial": name, "seconds": seconds, "seen": seen, "score": score}


def made(folder, seeds=(0, 1)):
    return peers.Plan(folder / "peers-made", folder, 1.0, seeds)


def test_a_search_stands_at_the_judges_score_of_its_own_best_trial():
    found = peers.course([trial(10, 0.8, 0.7), trial(20, 0.7, 0.95), trial(30, 0.9, 0.6), trial(40, 0.95, 0.91)])
    assert found == [(10, 0.7), (30, 0.6), (40, 0.91)]
    assert peers.at(found, 35) == 0.6
    assert math.isnan(peers.at(found, 5))
    assert peers.until(found, 0.9) == 40
    assert peers.until(found, 0.93) == math.inf


def kept(count, rng):
    """A trial's kept predictions of two views, `count` images of each class."""
    labels = np.repeat([0, 1], 100).astype(np.int32)
    indices = np.arange(500, 700)
    rows = np.concatenate([np.arange(count), 100 + np.arange(count)])
    answers = rng.random((2, len(rows), 2)).astype(np.float32)
    return {
        "labels": labels, "indices": indices, "view_indices": indices[rows],
        "view_names": np.array(["clean", "darker"]), "view_probabilities": answers,
    }  # fmt: skip


def test_a_trial_is_judged_on_as_many_images_whatever_it_kept():
    rng = np.random.default_rng(0)
    few = kept(peers_side.PER_CLASS, rng)
    labels = np.repeat([0, 1], peers_side.PER_CLASS).astype(np.int32)
    views = dict(zip(("clean", "darker"), few["view_probabilities"], strict=True))
    assert peers.judged(few, 1) == pytest.approx(robust_score.score(labels, views, 1, beta=2.0).value)
    many = kept(100, rng)
    truth = np.repeat([0, 1], 100)
    many["view_probabilities"] = np.stack([np.stack([1 - truth, truth], axis=1).astype(np.float32)] * 2)
    assert peers.judged(many, 1) == pytest.approx(1.0)


def test_a_unit_runs_what_fits_and_goes_on_with_the_rest(tmp_path, monkeypatch):
    plan, ran = made(tmp_path), []

    def search(plan, side, seed):
        ran.append((side, seed))
        figures = {"trials": [trial(10, 0.9, 0.91)], "memory": 100.0, "disk": 1.0, "machine": "made"}
        artifacts.write_json(plan.result(side, seed), figures)

    monkeypatch.setattr(peers, "prepare", lambda plan: plan.folder.mkdir(exist_ok=True))
    monkeypatch.setattr(peers, "search", search)
    assert peers.unit(plan, 1.0) == 10
    assert ran == []
    artifacts.write_json(plan.result("ours", 0), {"trials": [], "memory": 0.0, "disk": 0.0, "machine": "made"})
    assert peers.unit(plan, 60.0) == 0
    assert len(ran) == 9
    text = (plan.folder / "peers.md").read_text()
    assert "| KerasTuner Hyperband | 0.910 (0.910, 0.910) | 0.2 | not reached | not reached | 60 | 100 | 1 |" in text
    assert text.count("\n| ") == len(peers.SIDES) + 1


def test_a_search_is_ended_with_its_descendants_when_its_time_is_up():
    child = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    code = f"import subprocess, sys, time; {child}; time.sleep(60)"
    running = subprocess.Popen([sys.executable, "-c", code])
    children = []
    while not children:
        time.sleep(0.05)
        children = psutil.Process(running.pid).children()
    begun = time.monotonic()
    assert peers._watched(running, 0.5) > 0
    peers._stop(running)
    assert time.monotonic() - begun < 20
    assert running.poll() is not None
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


@pytest.mark.parametrize("side", ["ours", "ray"])
def test_a_side_that_fails_says_why_and_leaves_no_figures(tmp_path, monkeypatch, side):
    plan = dataclasses.replace(made(tmp_path), minutes=0.5)
    monkeypatch.setattr(peers, "command", lambda *_: [sys.executable, "-c", "raise SystemExit('no such space')"])
    with pytest.raises(RuntimeError, match="no such space"):
        peers.search(plan, side, 0)
    assert not plan.result(side, 0).exists()


def test_a_peer_is_stopped_at_its_time_and_its_figures_are_kept(tmp_path, monkeypatch):
    plan = dataclasses.replace(made(tmp_path), minutes=0.05)
    note = f"open('{plan.folder}/ray-0/events.jsonl', 'w').write('{json.dumps(trial(1, 0.9, 0.8))}')"
    code = f"import time; {note}; time.sleep(60)"
    monkeypatch.setattr(peers, "command", lambda *_: [sys.executable, "-c", code])
    peers.search(plan, "ray", 0)
    figures = artifacts.read_json(plan.result("ray", 0))
    assert [one["score"] for one in figures["trials"]] == [0.8]
    assert figures["memory"] > 0


def test_a_line_that_was_cut_off_when_the_search_was_ended_is_left_out(tmp_path):
    lines = [json.dumps(trial(20, 0.9, 0.9)), json.dumps(trial(10, 0.8, 0.8)), '{"trial": "3", "sec']
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    assert [one["seconds"] for one in peers.told(tmp_path)] == [10, 20]
