"""Callbacks are told everything in order; none of them stops or delays who tells."""

from __future__ import annotations

import threading
import time

import pytest

from search.tracking import dispatcher as dispatchers
from search.tracking.callbacks import Callback, Epoch, RetrainEnd, SearchEnd, TrialEnd, TrialStart, check
from search.tracking.dispatcher import Dispatcher
from tests.inputs.made_events import retrained, session
from xraytune.errors import InputError


class Noting(Callback):
    def __init__(self):
        self.seen = []

    def on_trial_start(self, event):
        self.seen.append(("start", event.number))

    def on_epoch(self, event):
        self.seen.append(("epoch", event.number, event.report.epoch))

    def on_trial_end(self, event):
        self.seen.append(("end", event.number, event.state, event.value))

    def on_search_end(self, event):
        self.seen.append(("over", event.best, event.best_value, event.interrupted))

    def on_retrain_end(self, event):
        self.seen.append(("retrained", event.model.name))


class Raising(Noting):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def on_epoch(self, event):
        super().on_epoch(event)
        raise self.error


class Slow(Noting):
    def __init__(self):
        super().__init__()
        self.free = threading.Event()

    def on_trial_start(self, event):
        self.free.wait(60)
        super().on_trial_start(event)


SEEN = [
    ("start", 0),
    ("epoch", 0, 1),
    ("epoch", 0, 2),
    ("epoch", 0, 3),
    ("end", 0, "COMPLETE", 0.7),
    ("start", 1),
    ("epoch", 1, 1),
    ("end", 1, "FAIL", None),
    ("over", 0, 0.7, False),
    ("retrained", "winner"),
]


@pytest.fixture
def reported():
    return []


@pytest.fixture
def telling(tmp_path, reported):
    """Tell these callbacks of a session and a retraining; the seconds that the telling took."""

    def tell(*callbacks, seconds=30.0):
        one = Dispatcher(callbacks, lambda line, details: reported.append((line, details)))
        begun = time.monotonic()
        for event in [*session(tmp_path), retrained(tmp_path)]:
            one.send(event)
        took = time.monotonic() - begun
        one.close(seconds)
        return took

    return tell


def test_each_callback_is_told_all_events_in_their_order(telling, reported):
    first, second = Noting(), Noting()
    telling(first, second)
    assert first.seen == second.seen == SEEN
    assert reported == []


@pytest.mark.parametrize("error", [ValueError("of\nmine"), SystemExit(3), KeyboardInterrupt(), OSError(28, "full")])
def test_a_callback_that_raises_is_reported_once_and_told_the_rest(telling, reported, error):
    raising, other = Raising(error), Noting()
    telling(raising, other)
    assert raising.seen == other.seen == SEEN
    (line, details), (nothing, count) = reported
    assert line.startswith(f"Raising raised {type(error).__name__}")
    assert "\n" not in line
    assert "in on_epoch" in details
    assert details.startswith("Traceback")
    assert (nothing, count) == ("", "Raising raised an error 4 times.")


def test_a_slow_callback_delays_neither_the_search_nor_another_callback_and_what_it_missed_is_said(telling, reported):
    slow, other = Slow(), Noting()
    begun = time.monotonic()
    assert telling(slow, other, seconds=0.3) < 5
    assert time.monotonic() - begun < 30
    assert other.seen == SEEN
    assert reported == [(f"Slow was too slow: {len(SEEN)} events were not handled.", "")]
    slow.free.set()
    time.sleep(0.2)
    assert slow.seen == SEEN[:1]  # nothing is told after the end


def test_events_beyond_what_may_wait_are_dropped_and_counted(telling, reported, monkeypatch):
    monkeypatch.setattr(dispatchers, "LIMIT", 3)
    slow = Slow()
    threading.Timer(0.3, slow.free.set).start()
    telling(slow)
    dropped = len(SEEN) - len(slow.seen)
    assert slow.seen == SEEN[: len(slow.seen)]
    assert len(slow.seen) in {3, 4}  # one may be in its hands while three wait
    assert reported == [(f"Slow was too slow: {dropped} events were not handled.", "")]


def test_a_callback_overrides_only_what_it_needs(tmp_path):
    for event in [*session(tmp_path), retrained(tmp_path)]:
        assert isinstance(event, TrialStart | Epoch | TrialEnd | SearchEnd | RetrainEnd)
        Callback().tell(event)


def test_an_object_that_is_no_callback_is_refused():
    assert len(check([Noting(), Noting()])) == 2
    for wrong in (Noting, print, None):
        with pytest.raises(InputError, match="is no object of a subclass"):
            check([wrong])
