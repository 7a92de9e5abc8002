"""A training's clock: seconds by phase, and the deadline after which no batch is begun."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from xraytune.errors import TrialError
from xraytune.records import FailureCause


class Clock:
    """Times one training.

    Args:
        deadline: `time.monotonic()` value, None for none. It may be moved while the training runs.

    Attributes:
        seconds: by phase, of the whole training.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.seconds: dict[str, float] = {}
        self._reported: dict[str, float] = {}

    def check(self, what: str) -> None:
        """Do nothing before the deadline.

        Args:
            what: what the time was up in, for people.

        Raises:
            TrialError: it is past: `interrupted`.
        """
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise TrialError(FailureCause.INTERRUPTED, f"time was up in {what}")

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What is done inside counts as that phase's."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def since_report(self) -> dict[str, float]:
        """Seconds by phase since this was last asked."""
        now = {k: v - self._reported.get(k, 0.0) for k, v in self.seconds.items()}
        self._reported = dict(self.seconds)
        return now

    def restore(self, seconds: Mapping[str, float]) -> None:
        """Go on from what another process had counted and reported."""
        self.seconds, self._reported = dict(seconds), dict(seconds)
