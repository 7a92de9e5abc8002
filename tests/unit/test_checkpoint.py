"""What a killed worker costs: which epochs are saved, and where the next worker goes on."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.tuner import checkpoint
from search.tuner.checkpoint import AT_RISK, SHARE, Checkpoint

ROOT = Path(__file__).resolve().parents[2]


class Running:
    """A trial whose saves take as long as it says, by a clock of its own."""

    def __init__(self):
        self.now, self.cost, self.saved = 0.0, 0.0, []

    def monotonic(self):
        return self.now

    def save(self, folder):
        (folder / "state").write_text(str(folder))
        self.saved.append(self.cost)
        self.now += self.cost


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """After each epoch, given by its seconds and what a save of it would take: which one is saved, what saves took."""

    def train(epochs):
        running, kept, course = Running(), Checkpoint(tmp_path_factory.mktemp("trial") / "0001"), []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoint, "time", running)
            for number, (seconds, running.cost) in enumerate(epochs, 1):
                kept.after(number, seconds, running)
                course.append((int(kept.last().name.removeprefix("epoch-")), sum(running.saved)))
        return course

    return train


lasting = st.floats(0.01, 100.0)


@given(epochs=st.lists(st.tuples(lasting, lasting), min_size=1, max_size=30))
def test_never_is_half_a_minute_of_epochs_left_unsaved(trained, epochs):
    for now, (saved, _) in enumerate(trained(epochs), 1):
        assert sum(seconds for seconds, _ in epochs[saved:now]) < AT_RISK
        if epochs[now - 1][0] >= AT_RISK:
            assert saved == now


@given(epochs=st.lists(st.tuples(lasting, st.floats(0.0, SHARE)), min_size=1, max_size=30))
def test_every_epoch_is_saved_where_saves_take_a_fifth_of_it_or_less(trained, epochs):
    course = trained([(seconds, share * seconds) for seconds, share in epochs])
    assert [saved for saved, _ in course] == list(range(1, len(epochs) + 1))


@given(cost=st.floats(0.0, 5.0), seconds=st.floats(0.1, 10.0))
def test_saves_dearer_than_their_epochs_take_a_fifth_of_the_time_and_one_save(trained, cost, seconds):
    _, spent = trained([(seconds, cost)] * 40)[-1]
    assert spent <= SHARE * 40 * seconds + cost + 1e-6


WORKER = """
import sys, time
from pathlib import Path
from search.curves import SyntheticTrial
from search.tuner import checkpoint

class Dear(SyntheticTrial):
    def save(self, folder):
        time.sleep(float(sys.argv[4]))
        super().save(folder)

checkpoint.AT_RISK = float(sys.argv[2])
kept, trial = checkpoint.Checkpoint(Path(sys.argv[1])), Dear(0.9, 1, 10**6, float(sys.argv[3]))
if kept.last():
    trial.restore(kept.last())
print("after", len(trial.curve), flush=True)
while True:
    begun = time.monotonic()
    epoch = trial.step().epoch
    seconds = time.monotonic() - begun
    print("trained", epoch, seconds, flush=True)
    kept.after(epoch, seconds, trial)
"""


@pytest.mark.parametrize(
    ("at_risk", "epoch", "save"),
    [(0.05, 0.05, 0.1), (0.4, 0.05, 0.2)],
    ids=["epochs that last", "short epochs"],
)
def test_a_worker_killed_whose_saves_are_dear_loses_no_more_than_was_promised(tmp_path, at_risk, epoch, save):
    told: list[tuple[int, float]] = []  # epochs trained, with their seconds, so far
    for wait in (1.0, 0.63, 0.37, 0.81):
        options = [tmp_path / "0001", at_risk, epoch, save]
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, *map(str, options)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        begun = int(worker.stdout.readline().split()[1])
        time.sleep(wait)
        worker.kill()
        said = worker.communicate()[0]
        lost = [seconds for number, seconds in told if number > begun]
        assert begun <= len(told)
        assert sum(lost[:-1]) < at_risk  # the last one may have been killed while it was saved
        if epoch >= at_risk:
            assert len(lost) <= 1
        told = told[:begun] + [(int(number), float(took)) for _, number, took in map(str.split, said.splitlines())]
        assert [number for number, _ in told] == list(range(1, len(told) + 1))
    assert len(told) > 2
