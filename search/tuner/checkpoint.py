"""The last epoch of a running trial: where another worker goes on with it.

Every epoch is saved, so that a killed worker costs its trial the epoch it was at, in training or in saving, no other.

It lies on the worker's own machine: a machine that is lost takes it along, and its trials begin anew.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from search.tuner.job import RunningTrial


class Checkpoint:
    """One trial's, as one worker keeps it.

    Args:
        folder: the trial's own; another worker on this machine finds it there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def last(self) -> Path | None:
        """The folder of the last saved epoch, None where there is none."""
        return max(self._folder.glob("epoch-*"), default=None)

    def save(self, epoch: int, running: RunningTrial) -> None:
        """Save an epoch that was just trained, into a folder that gets its name once it is whole; forget older ones."""
        unfinished = self._folder / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        running.save(unfinished)
        older = list(self._folder.glob("epoch-*"))
        unfinished.rename(self._folder / f"epoch-{epoch:06d}")
        for folder in older:
            shutil.rmtree(folder, ignore_errors=True)

    def forget(self) -> None:
        """Remove it: the trial has ended."""
        shutil.rmtree(self._folder, ignore_errors=True)
