"""The callbacks of a search and a retraining: the events they are told, and the base class of all of them.

import xraytune as xt

class Shout(xt.Callback):
    def on_trial_end(self, event: xt.TrialEnd) -> None:
        print(event.number, event.state, event.value)

xt.search("path/to/chest_xray", callbacks=[Shout()])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xraytune.errors import InputError
from xraytune.records import EpochReport, StudySpec, TrialConfig, TrialResult


@dataclass(frozen=True)
class Event:
    """Something that happened in a study."""

    study: StudySpec
    """What the study was asked to do, its name among it."""
    folder: Path
    """The study's folder."""


@dataclass(frozen=True)
class TrialStart(Event):
    """A worker began to train a trial; told once, also where the trial loses its worker and another one goes on."""

    number: int
    config: TrialConfig


@dataclass(frozen=True)
class Epoch(Event):
    """A trial finished an epoch; each epoch is told once."""

    number: int
    """The trial's."""
    report: EpochReport


@dataclass(frozen=True)
class TrialEnd(Event):
    """A trial that was started has ended."""

    number: int
    config: TrialConfig
    state: str
    """COMPLETE, PRUNED, FAIL, or INTERRUPTED: cut off with the search, queued again on `--resume`."""
    result: TrialResult | None
    """Of COMPLETE trials, and of PRUNED ones that could still wrap up."""
    cause: str
    """A `FailureCause` for FAIL and INTERRUPTED, else empty."""
    message: str
    """What the failure said, else empty."""

    @property
    def value(self) -> float | None:
        """The objective as it was measured, None where the trial has none; where `config.site` is set, at that site."""
        return self.result.value if self.result else None


@dataclass(frozen=True)
class SearchEnd(Event):
    """A session of the search has ended."""

    why: str
    """The reason, in words."""
    interrupted: bool
    """Whether it ended by a signal or an error instead of its budget."""
    counts: Mapping[str, int]
    """Ended trials of the study over all its sessions by state: COMPLETE, PRUNED, FAIL."""
    best: int | None
    """Number of the best COMPLETE trial, None where there is none."""
    best_value: float | None
    """Its objective; in a study with --validate-on site less what is due to the site that it held out."""


@dataclass(frozen=True)
class RetrainEnd(Event):
    """The final model was trained, evaluated on the held-out test set and saved."""

    model: Path
    """The folder that holds it, its `metrics.json` and its `report.html`."""
    metrics: Mapping[str, Any]
    """All of `metrics.json`."""


class Callback:
    """Does nothing at each event; a callback of one's own overrides what it needs.

    Each callback has a thread of its own and is told the events in their order: a slow one delays no trial. One that
    raises is reported once, with the traceback in `search.log`, and is told the next event all the same.
    """

    def on_trial_start(self, event: TrialStart) -> None:
        """A trial began."""

    def on_epoch(self, event: Epoch) -> None:
        """A trial finished an epoch."""

    def on_trial_end(self, event: TrialEnd) -> None:
        """A trial ended."""

    def on_search_end(self, event: SearchEnd) -> None:
        """The session of the search ended; nothing more is told of it."""

    def on_retrain_end(self, event: RetrainEnd) -> None:
        """The final model was saved."""

    def tell(self, event: Event) -> None:
        """Call the method that belongs to the event."""
        match event:
            case TrialStart():
                self.on_trial_start(event)
            case Epoch():
                self.on_epoch(event)
            case TrialEnd():
                self.on_trial_end(event)
            case SearchEnd():
                self.on_search_end(event)
            case RetrainEnd():
                self.on_retrain_end(event)


def check(callbacks: Iterable[object]) -> tuple[Callback, ...]:
    """The callbacks.

    Raises:
        InputError: one of them is none, for example a class instead of an object of it.
    """
    found = []
    for one in callbacks:
        if not isinstance(one, Callback):
            raise InputError(
                f"callbacks: {one!r:.80} is no object of a subclass of search.tracking.callbacks.Callback."
            )
        found.append(one)
    return tuple(found)
