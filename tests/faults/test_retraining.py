"""A retraining that is killed, or whose disk is full, goes on from the last finished fold and leaves nothing half."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import psutil
import pytest

from search.study import access_log
from tests.searching import can_mount
from xraytune import artifacts
from xraytune.inference.model_card import read_card

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(1500)

PATIENCE = 400.0  # seconds for anything that should happen; generous, since it only bounds a failure


def made(home: Path) -> Path:
    """A folder with drawn images and a study of them."""
    maker = ROOT / "tests/e2e/retraining/made_study.py"
    environment = {**os.environ, "XRAYTUNE_CACHE": str(home / "cache"), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(maker), str(home)], env=environment, check=True, capture_output=True)
    return home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return made(tmp_path)


def retrain(results: Path) -> list[str]:
    """The command."""
    arguments = [
        "0",
        "--results",
        str(results),
        "--folds",
        "3",
        "--seeds",
        "1",
        "--refits",
        "1",
        "--time",
        "5m",
        "--workers",
        "1",
    ]
    return [sys.executable, "-m", "search.retrain", *arguments]


def start(home: Path, limit: int = 0, said: IO[str] | None = None) -> subprocess.Popen[str]:
    """The retraining in a process of its own, no file of which may grow beyond `limit` kB (0: any).

    What it says goes to a pipe, or to `said`.
    """
    command = retrain(home / "results")
    bounded = ["bash", "-c", f'ulimit -f {limit}; exec "$@"', "bash", *command] if limit else command
    return subprocess.Popen(
        bounded, cwd=ROOT, env={**os.environ, "XRAYTUNE_CACHE": str(home / "cache")},
        stdout=said or subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - as a terminal starts it
    )  # fmt: skip


def folds(home: Path) -> dict[str, float]:
    return {p.name: p.stat().st_mtime for p in (home / "results/made/confirmation").glob("trial-*.npz")}


@pytest.mark.parametrize("kill", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
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
    assert len(access_log.read(home / "results/made")) == 1


@pytest.mark.long
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


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was retrained: folds, network and winner are there."""
    home = made(tmp_path_factory.mktemp("finished"))
    running = start(home)
    _, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, err
    return home


def files(folder: Path) -> dict[str, tuple[str, int]]:
    """Content and time of every file under a folder."""
    found = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): (artifacts.sha256(p), p.stat().st_mtime_ns) for p in found}


# When it is killed, how often the test set was opened by then, and how often once it was called again: an opening that
# was recorded counts, since somebody may have seen what it showed.
KILLED: dict[str, tuple[Callable[[Path, Path], bool], int, int]] = {
    "in the refit": (lambda made, said: "Finalists by" in said.read_text(), 0, 1),
    "right after the opening was recorded": (lambda made, said: bool(access_log.read(made)), 1, 2),
    "while the winner is written": (lambda made, said: any(made.glob(".winner-*/metrics.json")), 1, 2),
}


@pytest.mark.parametrize(
    ("moment", "former"),
    [
        ("in the refit", False),
        pytest.param("right after the opening was recorded", False, marks=pytest.mark.long),
        pytest.param("while the winner is written", False, marks=pytest.mark.long),
        ("while the winner is written", True),
    ],
)
def test_killed_late_it_repeats_no_training_and_the_winner_is_whole_or_not_there(
    finished: Path, tmp_path: Path, moment: str, former: bool
) -> None:
    reached, opened, in_the_end = KILLED[moment]
    shutil.copytree(finished / "results", tmp_path / "results")
    (tmp_path / "cache").symlink_to(finished / "cache")
    made, said = tmp_path / "results/made", tmp_path / "said"
    (made / "ledger.jsonl").unlink()
    if not former:
        shutil.rmtree(made / "winner")
    if moment == "in the refit":
        for path in made.glob("confirmation/final-*"):
            path.unlink()
    kept, winner = files(made / "confirmation"), files(made / "winner")

    with said.open("w") as out:
        running = start(tmp_path, said=out)
    end = time.monotonic() + PATIENCE
    while not reached(made, said) and time.monotonic() < end and running.poll() is None:
        time.sleep(0.005)
    children = psutil.Process(running.pid).children(recursive=True) if running.poll() is None else []
    running.kill()
    _, err = running.communicate(timeout=60)
    assert running.returncode == -signal.SIGKILL, f"ended too early: {err}"
    assert children
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert reached(made, said)
    assert files(made / "confirmation") == kept
    assert files(made / "winner") == winner
    assert bool(winner) is (made / "winner").exists() is former
    assert len(list(made.glob(".winner-*"))) == (moment != "in the refit")
    assert not list(made.glob(".winner-*/report.html"))
    assert len(access_log.read(made)) == opened
    assert ["figures" in entry for entry in access_log.read(made)] == [moment.startswith("while")] * opened

    again = start(tmp_path)
    _, err = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, err
    now = files(made / "confirmation")
    assert {name: now[name] for name in kept} == kept  # no finished training was repeated
    assert now.keys() == files(finished / "results/made/confirmation").keys()
    assert files(made / "winner").keys() == files(finished / "results/made/winner").keys()
    subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=made / "winner", check=True, capture_output=True)
    read_card(made / "winner")
    assert not list(made.glob(".winner*"))
    assert len(access_log.read(made)) == in_the_end
    assert list(access_log.read(made)[-1]["figures"]) == list(access_log.FIGURES)


# A small disk of its own holds the results. Each row fills it at another moment: with so much room left (kB), or by
# another program as soon as the ledger has so many lines (an opening is one, its figures are another; `pad` adds one so
# long that the next figures need a block of their own). Then: whether a former winner is there, what is said, and how
# often the test set was opened.
MOMENTS = {
    "the network is copied": ("leave 100", False, "No partial file was left", 1),
    "the set would be opened": ("leave 1000", True, "so the test set was not evaluated", 1),
    "what it showed is recorded": ("pad; fill_at 4", True, "The test metrics can't be recorded", 3),
    "the report is written": ("fill_at 4", True, "No partial file was left", 2),
}
FULL = """
mount -t tmpfs -o size=32m none {small} && cp -a {home}/results {small}/ && cd {root} || exit 9
made={small}/results/made
leave() {{ head -c $(( ($(df --output=avail -k {small} | tail -1) - $1) * 1024 )) /dev/zero >{small}/ballast; }}
lines() {{ wc -l <$made/ledger.jsonl; }}
fill_at() {{ (n=0; until [ $(lines) -ge $1 ] || [ $((n+=1)) -gt 20000 ]; do sleep 0.01; done; leave 0) & }}
pad() {{ {python} -c "
import json, pathlib
ledger = pathlib.Path('$made/ledger.jsonl')
text, opening = ledger.read_text(), len(ledger.read_text().splitlines()[0])
def entry(letters): return json.dumps(dict(what='x' * letters)) + chr(10)
ledger.write_text(text + entry(-(len(text) + len(entry(0)) + opening + 100) % 4096))"; }}
{before}
{moment}
{command} >{out}/said 2>&1; echo $? >{out}/rc
wait; cp -a $made {out}/full
rm {small}/ballast
{command} >{out}/said-again 2>&1; echo $? >{out}/rc-again
cp -a $made {out}/after
"""


@pytest.mark.skipif(not can_mount(), reason="this machine lets no one mount a small disk (unshare -rm)")
@pytest.mark.parametrize(
    "moment",
    [
        "the network is copied",
        pytest.param("the set would be opened", marks=pytest.mark.long),
        "what it showed is recorded",
        pytest.param("the report is written", marks=pytest.mark.long),
    ],
)
def test_a_disk_that_is_full_when_the_winner_is_written_leaves_it_whole_or_not_there(
    finished: Path, tmp_path: Path, moment: str
) -> None:
    fill, former, says, openings = MOMENTS[moment]
    small = tmp_path / "small"
    small.mkdir()
    script = FULL.format(
        home=finished, small=small, out=tmp_path, root=ROOT, python=sys.executable, moment=fill,
        before="" if former else "rm -r $made/winner", command=" ".join(map(repr, retrain(small / "results"))),
    )  # fmt: skip
    environment = {**os.environ, "XRAYTUNE_CACHE": str(finished / "cache")}
    subprocess.run(["unshare", "-rm", "sh", "-c", script], env=environment, timeout=PATIENCE, check=True)
    full, after, before = tmp_path / "full", tmp_path / "after", finished / "results/made"

    said = (tmp_path / "said").read_text()
    assert (tmp_path / "rc").read_text() == "1\n", said
    assert said.count("error: ") == 1
    assert "Traceback" not in said
    for words in (says, "No space left on device", "free disk space"):
        assert words.lower() in said.lower()
    assert files(full / "winner") == (files(before / "winner") if former else {})
    assert (full / "winner").exists() is former
    assert not list(full.glob(".winner*"))
    assert len(access_log.read(full)) == openings

    again = (tmp_path / "said-again").read_text()
    assert (tmp_path / "rc-again").read_text() == "0\n", again
    assert files(after / "confirmation") == files(before / "confirmation")  # nothing was trained again
    assert set(files(after / "winner")) == set(files(before / "winner"))
    assert all(
        files(after / "winner")[name] != files(before / "winner")[name] for name in ("metrics.json", "report.html")
    )
    subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=after / "winner", check=True, capture_output=True)
    assert len(access_log.read(after)) == openings + 1
    assert list(access_log.read(after)[-1]["figures"]) == list(access_log.FIGURES)
