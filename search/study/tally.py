"""Ended trials of a study as they are counted: how many by state, the best one, and failures by cause."""

from __future__ import annotations

from collections import Counter

from search.study.view import TrialRecord, by_site

FAILURE_SHARE, FAILURE_LEAST = 0.5, 5
"""A search stops when this share of its trials failed, after at least so many had ended."""


class Tally:
    """Ended trials that count.

    Args:
        by_site: whether trials hold out different sites, whose values are made comparable as more of them end.
    """

    def __init__(self, *, by_site: bool) -> None:
        self.counts: Counter[str] = Counter()
        """Trials by state (COMPLETE, PRUNED, FAIL)."""
        self.causes: Counter[str] = Counter()
        """This session's failures by cause."""
        self.messages: dict[str, str] = {}
        """The latest message of each of these causes."""
        self.since_best = 0
        """Trials ended since the best one: what the plateau is measured by."""
        self.best: TrialRecord | None = None
        """The best COMPLETE trial by `TrialRecord.rank`."""
        self._by_site = by_site
        self._complete: list[TrialRecord] = []  # those that `best` is found among
        self._earlier: Counter[str] = Counter()

    def add(self, trial: TrialRecord) -> None:
        """Count a trial that ended."""
        self.counts[trial.state] += 1
        self.since_best += 1
        if trial.state == "COMPLETE":
            complete = by_site([*self._complete, trial])
            best = min(complete, key=lambda one: one.rank)
            self._complete = complete if self._by_site else [best]
            if self.best is None or best.number != self.best.number:
                self.since_best = 0
            self.best = best
        if trial.state == "FAIL":
            self.causes[trial.cause] += 1
            self.messages[trial.cause] = trial.message.splitlines()[0] if trial.message else ""

    def begin_session(self) -> None:
        """What was counted up to here ended in earlier sessions."""
        self._earlier = Counter(self.counts)
        self.causes.clear()

    @property
    def ended(self) -> int:
        """Trials that count against the budget."""
        return self.counts.total()

    def failing(self, share: float, least: int = FAILURE_LEAST) -> str | None:
        """Why the search must stop for its failures, None while it may go on.

        Failures of earlier sessions stop nobody who goes on, perhaps after mending what they came from.

        Args:
            share: of the trials that ended in this session, once there are `least`, from which on too many have failed.
            least: ended trials.
        """
        failed, ended = self.counts["FAIL"] - self._earlier["FAIL"], self.ended - self._earlier.total()
        if ended < least or not failed or failed < share * ended:
            return None
        causes = "\n".join(f"  {n} × {cause}: {self.messages[cause]}" for cause, n in self.causes.most_common())
        since = " since the search was resumed" if self._earlier else ""
        return f"{failed} of {ended} trials failed{since}:\n{causes}"
