"""The processes of a retraining: what happens to one that dies."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

from search.workers import Workers
from xraytune.records import FailureCause


@dataclass(frozen=True)
class Answer:
    number: int
    kill: bool = False

    def __call__(self, report):
        if self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.number, os.getpid()


def test_a_worker_that_died_while_it_had_nothing_to_do_is_replaced():
    with Workers(1, 1) as pool:
        number, first = next(pool.run([Answer(1)])).value
        os.kill(first, signal.SIGKILL)
        pool._slots[0][0].join(10)
        number, second = next(pool.run([Answer(2)])).value
    assert number == 2
    assert second != first


def test_a_worker_that_dies_at_its_task_loses_that_task_alone():
    with Workers(1, 1) as pool:
        found = {outcome.index: outcome for outcome in pool.run([Answer(1), Answer(2, kill=True), Answer(3)])}
    assert found[1].error.cause is FailureCause.WORKER_LOST
    assert (found[0].value[0], found[2].value[0]) == (1, 3)
