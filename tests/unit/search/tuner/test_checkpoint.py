"""What a killed worker costs: every epoch is saved, whole or not at all, and the next worker goes on there."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from search.tuner.checkpoint import Checkpoint

ROOT = Path(__file__).resolve().parents[4]


class Running:
    """A trial that is saved as what it is told, or can't be."""

    text = ""

    def save(self, folder):
        (folder / "state").write_text(self.text)
        if not self.text:
            raise OSError("no space left")


def test_the_last_epoch_replaces_the_one_before_and_an_ended_trial_leaves_nothing(tmp_path):
    kept, running = Checkpoint(tmp_path / "0001"), Running()
    assert kept.last() is None
    for epoch in range(1, 12):
        running.text = f"after {epoch}"
        kept.save(epoch, running)
        assert (Checkpoint(tmp_path / "0001").last() / "state").read_text() == f"after {epoch}"
        assert len(list((tmp_path / "0001").iterdir())) == 1
    kept.forget()
    assert not any(tmp_path.iterdir())


def test_an_epoch_that_could_not_be_saved_whole_leaves_the_one_before(tmp_path):
    kept, running = Checkpoint(tmp_path / "0001"), Running()
    running.text = "whole"
    kept.save(1, running)
    running.text = ""
    with pytest.raises(OSError, match="no space left"):
        kept.save(2, running)
    assert (kept.last() / "state").read_text() == "whole"


WORKER = """
import sys, time
from pathlib import Path
from search.testing.synthetic_trial import SyntheticTrial
from search.tuner.checkpoint import Checkpoint

class Dear(SyntheticTrial):
    def save(self, folder):
        time.sleep(float(sys.argv[3]))
        super().save(folder)

kept, trial = Checkpoint(Path(sys.argv[1])), Dear(0.9, 1, 10**6, float(sys.argv[2]))
if kept.last():
    trial.restore(kept.last())
print("after", len(trial.curve), flush=True)
while True:
    epoch = trial.step().epoch
    print("trained", epoch, flush=True)
    kept.save(epoch, trial)
"""


@pytest.mark.parametrize(("epoch", "save"), [(0.05, 0.2), (0.2, 0.05), (0.01, 0.0)])
def test_a_killed_worker_loses_one_epoch_at_most_however_long_epochs_and_saves_last(tmp_path, epoch, save):
    trained = 0
    for wait in (1.0, 0.63, 0.37, 0.81):
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path / "0001"), str(epoch), str(save)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        begun = int(worker.stdout.readline().split()[1])
        time.sleep(wait)
        worker.kill()
        said = worker.communicate()[0].split()
        assert trained - 1 <= begun <= trained  # the last one may have been killed while it was saved
        trained = max(begun, *map(int, said[1::2])) if said else begun
    assert trained > 4
