"""The last saved epoch of a running trial: where another worker goes on with it. Called by trainable.

What a killed worker costs its trial: the epoch that it was at, in training or in saving. Before that one, nothing, as
long as saves take no more than `SHARE` of the trial's time. Where they take more, some epochs are left unsaved, but
never `AT_RISK` seconds of them together; so an epoch that lasts `AT_RISK` is always saved.

It lies on the worker's own machine: a machine that is lost takes it along, and its trials begin anew.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from search.job import RunningTrial

SHARE = 0.2
"""The most of a trial's time that its saves may take, unless `AT_RISK` asks for one."""

AT_RISK = 30.0
"""Seconds of trained epochs that are never left unsaved, whatever a save takes."""


class Checkpoint:
    """One trial's, as one worker keeps it.

    Args:
        folder: the trial's own; another worker on this machine finds it there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._trained = self._saved = self._unsaved = 0.0

    def last(self) -> Path | None:
        """The folder of the last saved epoch, None where there is none."""
        return max(self._folder.glob("epoch-*"), default=None)

    def after(self, epoch: int, seconds: float, running: RunningTrial) -> None:
        """Save an epoch that was just trained, unless that would cost too much for what is at risk.

        Args:
            epoch: which.
            seconds: what it took.
            running: the trial, which has trained it.
        """
        self._trained += seconds
        self._unsaved += seconds
        if self._saved > SHARE * self._trained and self._unsaved < AT_RISK:
            return
        begun = time.monotonic()
        self._write(epoch, running)
        self._saved += time.monotonic() - begun
        self._unsaved = 0.0

    def forget(self) -> None:
        """Remove it: the trial has ended."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, epoch: int, running: RunningTrial) -> None:
        """Save into a folder that gets its name once it is whole; then remove older ones."""
        unfinished = self._folder / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        running.save(unfinished)
        older = list(self._folder.glob("epoch-*"))
        unfinished.rename(self._folder / f"epoch-{epoch:06d}")
        for folder in older:
            shutil.rmtree(folder, ignore_errors=True)
