"""The fixtures `make`: studies in the test's own folder, and `short_epochs`."""

from __future__ import annotations

import pytest

from search.hyperparameters.suggestion import Narrowing
from search.samplers import factory
from search.study import create
from search.study import lock as locks
from search.tuner import pruning
from tests.inputs.made_studies import SPACE, spec
from xraytune.training.inputs import batches


@pytest.fixture
def short_epochs(monkeypatch):
    """An epoch is one pass, also over few images: for tests in which nothing need be learnt."""
    monkeypatch.setattr(batches, "LEAST_EPOCH", 64)


@pytest.fixture
def make(tmp_path):
    opened = []

    def one(resume=False, seed=0, sampler="random", pruner="none", storage=None, **changes):
        lock, asked = locks.StudyLock(tmp_path, "mine"), spec(**changes)
        narrowing = Narrowing(asked.fixed, asked.narrowed)
        try:
            made = create.create(
                asked,
                SPACE.declare_hyperparameters,
                lock,
                resume=resume,
                sampler=factory.make_sampler(
                    sampler, seed, declaration=SPACE.declare_hyperparameters, narrowing=narrowing
                ),
                pruner=pruning.make_pruner(pruner),
                storage=storage,
            )
        except BaseException:
            lock.release()
            raise
        opened.append(made)
        return made

    return one
