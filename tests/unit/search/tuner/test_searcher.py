"""What Tune is given: suggestions, one of them made ahead, and never more trials at once than the user allows."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from search.tuner.messages import TrialOutcome
from search.tuner.orchestrator import Budget, Orchestrator
from search.tuner.searcher import StudySearcher
from tests.inputs.made_conductors import Silent, Told
from xraytune.records import FailureCause


class Tune:
    """Asks as Tune does; `going` are the numbers of the trials that it has started."""

    def __init__(self, most, **budget):
        self.conductor = Orchestrator(Told(), Silent(), Budget(**budget))
        self.scheduler = SimpleNamespace(numbers={}, causes={}, unknown=(FailureCause.WORKER_LOST, "gone"))
        self.searcher = StudySearcher(self.conductor, self.scheduler, most)
        self.going, self.asked = [], 0

    def turn(self):
        """One turn of its loop: a trial is started where there is one."""
        self.asked += 1
        given = self.searcher.suggest(f"t{self.asked}")
        if isinstance(given, dict):
            self.going.append(given["number"])
            self.conductor.started(given["number"])
        return given

    def fails(self, number):
        self.going.remove(number)
        self.conductor.heard(number, TrialOutcome(failure=(FailureCause.ERROR, "so")))

    def loses(self, number):
        self.going.remove(number)
        name = next(t for t, n in self.scheduler.numbers.items() if n == number)
        self.searcher.on_trial_complete(name, error=True)


def test_the_bound_holds_and_the_next_suggestion_is_made_while_all_places_are_taken():
    tune = Tune(most=2)
    for _ in range(5):
        tune.turn()
    assert tune.going == [0, 1]
    assert tune.conductor.study.running == 3, "one was asked for ahead, and only one"
    tune.fails(0)
    tune.conductor.study.ask = lambda: pytest.fail("it was made ahead")
    tune.turn()
    assert tune.going == [1, 2]


def test_a_trial_whose_worker_was_lost_comes_before_the_suggestion_made_ahead():
    tune = Tune(most=2)
    for _ in range(3):
        tune.turn()
    tune.loses(0)
    for _ in range(3):
        tune.turn()
    assert tune.going == [1, 0]
    tune.fails(1)
    tune.turn()
    assert tune.going == [0, 2]


def test_a_budget_of_trials_is_met_exactly_with_one_made_ahead():
    tune, done = Tune(most=2, trials=5), []
    for _ in range(40):
        if tune.turn() == "FINISHED":
            break
        if len(tune.going) == 2 or len(done) == 4:
            done.append(tune.going[0])
            tune.fails(tune.going[0])
    else:
        pytest.fail("it never ended")
    assert done == [0, 1, 2, 3, 4]
    assert not tune.conductor.running
