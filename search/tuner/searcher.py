"""Tune's search algorithm: hands the conductor's suggestions to Tune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray.tune.search import Searcher

from search.tuner.orchestrator import Orchestrator, past_tune

if TYPE_CHECKING:
    from search.study.study import Asked
    from search.tuner.scheduler import StudyScheduler


class StudySearcher(Searcher):  # type: ignore[misc]
    """Asks the study; Tune calls `suggest` whenever no trial is pending, so one suggestion is made while trials run.

    Args:
        conductor: who decides.
        scheduler: told which Tune trial is which of the study's.
        most: trials at once, where not the resources but the user sets the bound (a joined cluster); 0 for none. One
            suggestion is made ahead there too, and kept until a trial ends.
    """

    def __init__(self, conductor: Orchestrator, scheduler: StudyScheduler, most: int = 0) -> None:
        super().__init__(metric="value", mode="max")
        self._conductor = conductor
        self._scheduler = scheduler
        self._most = most
        self._ahead: Asked | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's configuration, `FINISHED` when there is none."""
        if self._full():
            if self._ahead is None:
                self._ahead = self._next()
            return None
        if self._conductor.waiting or self._ahead is None:
            asked = self._next()
        else:
            asked, self._ahead = self._ahead, None
        if asked is None:  # while trials run, one of them may lose its worker and come back
            return None if self._conductor.running else str(Searcher.FINISHED)
        self._scheduler.numbers[trial_id] = asked.number
        return {"number": asked.number, "trial": asked.config.to_json(), "left": self._conductor.time_left()}

    def _full(self) -> bool:
        """Whether as many trials run as the user allows; one that waits for another worker counts already."""
        handed_out = len(self._conductor.running) - (self._ahead is not None)
        return 0 < self._most <= handed_out and not self._conductor.waiting

    def _next(self) -> Asked | None:
        with past_tune():
            return self._conductor.next()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial's worker is gone for good; trials that end otherwise are told by the scheduler."""
        number = self._scheduler.numbers.get(trial_id)
        if error and number is not None:
            with past_tune():
                self._conductor.lost(number, *self._scheduler.causes.pop(number, self._scheduler.unknown))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the only record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a search is resumed from the study."""

    def get_state(self) -> dict[str, Any]:
        """Nothing of the study may be copied by Tune."""
        return {}
