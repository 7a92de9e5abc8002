"""Callbacks of a search: a view that passes every event to them as it is shown, and their end with the search."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from search.tracking.callbacks import Epoch, SearchEnd, TrialEnd, TrialStart
from xraytune.records import EpochReport, TrialConfig, TrialResult

if TYPE_CHECKING:
    from pathlib import Path

    from search.study.study import Study
    from search.tracking.dispatcher import Dispatcher
    from search.tuner.orchestrator import View
    from xraytune.records import StudySpec

FLUSH, FLUSH_INTERRUPTED = 20.0, 1.5
"""Seconds that callbacks have left when a search has ended, and when it was interrupted: 10 are promised for all."""


class FollowedView:
    """A view of a search whose trials are told to callbacks too.

    Args:
        view: shown everything, as without callbacks.
        dispatcher: of the callbacks.
        study: what the study was asked to do.
        folder: the study's.
    """

    def __init__(self, view: View, dispatcher: Dispatcher, study: StudySpec, folder: Path) -> None:
        self._view, self._dispatcher, self._study, self._folder = view, dispatcher, study, folder
        self._running: dict[int, TrialConfig] = {}
        self._epochs: dict[int, int] = {}
        self.why = ""
        """Why the search ended, once that is known."""

    def started(self, number: int, config: TrialConfig) -> None:
        """A trial began on a worker."""
        self._view.started(number, config)
        if number not in self._running:
            self._running[number], self._epochs[number] = config, 0
            self._dispatcher.send(TrialStart(self._study, self._folder, number, config))

    def epoch(self, number: int, report: EpochReport) -> None:
        """A trial reported."""
        self._view.epoch(number, report)
        if report.epoch > self._epochs.get(number, report.epoch):  # others were told before the worker was lost
            self._epochs[number] = report.epoch
            self._dispatcher.send(Epoch(self._study, self._folder, number, report))

    def ended(self, number: int, state: str, result: TrialResult | None, cause: str, message: str) -> None:
        """A trial ended."""
        self._view.ended(number, state, result, cause, message)
        self._epochs.pop(number, None)
        if config := self._running.pop(number, None):
            self._dispatcher.send(TrialEnd(self._study, self._folder, number, config, state, result, cause, message))

    def detail(self, message: str) -> None:
        """Something for the log."""
        self._view.detail(message)

    def note(self, message: str) -> None:
        """Something worth a line."""
        self._view.note(message)

    def tick(self) -> None:
        """Time passed."""
        self._view.tick()


@contextlib.contextmanager
def followed(view: View, study: Study, dispatcher: Dispatcher) -> Iterator[FollowedView]:
    """A view for a search; when it ends, callbacks are told so and have a limited time to finish.

    Args:
        view: shown everything.
        study: that is searched.
        dispatcher: of the callbacks.
    """
    why, interrupted = "interrupted", True
    try:
        one = FollowedView(view, dispatcher, study.spec, study.folder)
        yield one
        why, interrupted = one.why, False
    except Exception as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise
    finally:
        number, value = (study.tally.best.number, study.tally.best.compared) if study.tally.best else (None, None)
        counts = dict(study.tally.counts)
        dispatcher.send(SearchEnd(study.spec, study.folder, why, interrupted, counts, number, value))
        dispatcher.close(FLUSH_INTERRUPTED if interrupted else FLUSH)
