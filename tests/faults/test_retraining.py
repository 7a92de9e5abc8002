"""A retraining that is killed, or whose disk is full, goes on from the last finished fold and leaves nothing half."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from search import ledger

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(1500)

PATIENCE = 400.0  # seconds for anything that should happen; generous, since it only bounds a failure


@pytest.fixture
def home(tmp_path: Path) -> Path:
    maker = ROOT / "tests/e2e/retraining/made_study.py"
    environment = {**os.environ, "XRAYTUNE_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(maker), str(tmp_path)], env=environment, check=True, capture_output=True)
    return tmp_path


def start(home: Path, limit: int = 0) -> subprocess.Popen[str]:
    """The retraining in a process of its own, no file of which may grow beyond `limit` kB (0: any)."""
    arguments = ["0", "--results", str(home / "results"), "--folds", "3", "--seeds", "1", "--time", "5m"]
    command = [sys.executable, "-m", "search.retrain", *arguments, "--workers", "1"]
    bounded = ["bash", "-c", f'ulimit -f {limit}; exec "$@"', "bash", *command] if limit else command
    return subprocess.Popen(
        bounded, cwd=ROOT, env={**os.environ, "XRAYTUNE_CACHE": str(home / "cache")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - as a terminal starts it
    )  # fmt: skip


def folds(home: Path) -> dict[str, float]:
    return {p.name: p.stat().st_mtime for p in (home / "results/made/confirmation").glob("trial-*.npz")}


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_killed_it_goes_on_from_the_last_finished_fold_and_no_process_stays(home: Path, kill: signal.Signals) -> None:
    running = start(home)
    end = time.monotonic() + PATIENCE
    while not folds(home) and time.monotonic() < end and running.poll() is None:
        time.sleep(0.1)
    kept = folds(home)
    assert kept, f"no fold in {PATIENCE:.0f} s"
    assert running.poll() is None, f"ended too early: {running.communicate()[1]}"
    children = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(kill)
    running.communicate(timeout=60)
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert not (home / "results/made/winner").exists()
    again = start(home)
    _, err = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, err
    assert {name: folds(home)[name] for name in kept} == kept  # not trained again
    assert (home / "results/made/winner/model.json").exists()
    assert len(ledger.read(home / "results/made")) == 1


def test_a_full_disk_is_one_message_and_leaves_nothing_half_written(home: Path) -> None:
    running = start(home, limit=64)  # the network's file alone has 100 kB
    _, err = running.communicate(timeout=PATIENCE)
    assert running.returncode in {1, 2}
    assert "Traceback" not in err
    assert "error:" in err
    assert "room" in err.lower()
    assert not (home / "results/made/winner").exists()
    assert not list((home / "results/made").glob(".winner-*"))
    finished = start(home)
    _, err = finished.communicate(timeout=PATIENCE)
    assert finished.returncode == 0, err
