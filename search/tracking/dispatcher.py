"""Events to callbacks, each in a thread of its own: none of them can stop or delay a search."""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterable

from search.tracking.callbacks import Callback, Event

LIMIT = 10_000
"""Events that wait for one callback; further ones are dropped and counted."""

Report = Callable[[str, str], None]
"""Takes a line for the terminal and details for the log; called from the callbacks' threads."""


class Dispatcher:
    """Hands events on.

    Args:
        callbacks: who is told.
        report: told of what goes wrong.
    """

    def __init__(self, callbacks: Iterable[Callback], report: Report) -> None:
        self._followers = [_Follower(one, report) for one in callbacks]

    def send(self, event: Event) -> None:
        """Queue an event for every callback; returns at once."""
        for follower in self._followers:
            follower.put(event)

    def close(self, seconds: float) -> None:
        """Wait until every callback has seen every event, all of them together at most so many seconds."""
        end = time.monotonic() + seconds
        for follower in self._followers:
            follower.finish()
        for follower in self._followers:
            follower.leave(max(0.0, end - time.monotonic()))


class _Follower:
    """One callback, its queue and its thread."""

    def __init__(self, callback: Callback, report: Report) -> None:
        self._callback, self._report = callback, report
        self._name = type(callback).__name__
        self._queue: queue.Queue[Event | None] = queue.Queue()
        self._left = threading.Event()
        self._failed = self._dropped = 0
        self._thread = threading.Thread(target=self._work, name=f"callback {self._name}", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        if self._queue.qsize() >= LIMIT:
            self._dropped += 1
        else:
            self._queue.put(event)

    def finish(self) -> None:
        self._queue.put(None)

    def leave(self, seconds: float) -> None:
        self._thread.join(seconds)
        self._left.set()
        lost = self._dropped + sum(event is not None for event in list(self._queue.queue))
        if self._thread.is_alive() or lost:
            self._report(f"{self._name} was too slow: {lost + self._thread.is_alive()} events were not handled.", "")
        if self._failed > 1:
            self._report("", f"{self._name} raised an error {self._failed} times.")

    def _work(self) -> None:
        while (event := self._queue.get()) is not None and not self._left.is_set():
            try:
                self._callback.tell(event)
            except BaseException as error:  # whatever it is, it is the callback's
                self._failed += 1
                if self._failed == 1 and not self._left.is_set():
                    said = next(iter(str(error).splitlines()), "")
                    line = f"{self._name} raised {type(error).__name__}{f': {said:.200}' if said else ''}"
                    self._report(f"{line} (search.log has the traceback). The work continues.", traceback.format_exc())
