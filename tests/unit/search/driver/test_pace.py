"""What is too slow by the trials' own seconds is excluded, comes back, and no family is lost."""

import dataclasses

import pytest

import spaces
from search.driver.pace import Pace
from spaces.narrowing import narrow
from spaces.space import TimeLeft
from tests.inputs.made_networks import config
from xraytune.evaluation.shortcut_audit import Audit
from xraytune.models.cost import Machine, cost
from xraytune.records import EpochReport, TrialConfig
from xraytune.training.inputs.batches import epoch_size
from xraytune.training.optimization.settings import TrainingSettings

IMAGES = 4400
MACHINE = Machine(9e10, 2)


@pytest.fixture
def space():
    """The space as a search of half an hour begins with it."""
    context = spaces.SpaceContext(images=IMAGES, families=("dense", "cnn", "densenet"))
    search = spaces.SearchContext(audit=Audit(0.5, 100, (), ""), machine=MACHINE, seconds=1800)
    left, _ = narrow.narrow(spaces.get("chest_xray", context), search, {})
    return spaces.get("chest_xray", dataclasses.replace(context, narrowed=left))


@pytest.fixture
def pace(space):
    return Pace(space, TimeLeft(machine=MACHINE), IMAGES, 1)


def reported(pace, space, family, slower, epochs=1):
    """So many epochs of a trial that train so many times as long as counted."""
    point = config(space, family=family)
    settings = TrainingSettings.of(point.values)
    images = epoch_size(IMAGES, settings.epoch_images)
    counted = cost(point.values).epoch_seconds(Machine(MACHINE.rate, 1), images, settings.batch_size)
    for epoch in range(2, 2 + epochs):
        pace.learn(point, EpochReport(epoch, 0.5, {}, {"train": slower * counted}))


def test_before_a_trial_is_timed_and_without_a_time_budget_nothing_is_excluded(pace, space):
    assert pace.review({}, 900.0) == ({}, [])
    reported(pace, space, "cnn", 50.0, 5)
    assert pace.review({}, None) == ({}, [])


def test_what_trains_slower_than_counted_is_excluded_each_with_a_line_and_comes_back(pace, space):
    offered = narrow.offered_choices(space)
    reported(pace, space, "cnn", 20.0, 3)
    slow, lines = pace.review({}, 900.0)
    gone = {name: set(offered[name]) - set(values) for name, values in slow.items()}
    assert any(name.startswith("cnn/") and values for name, values in gone.items())
    assert len(lines) == len(slow)
    assert all("no longer proposed" in line for line in lines)
    assert pace.review(slow, 900.0) == (slow, [])
    reported(pace, space, "cnn", 0.1, 9)
    fast, lines = pace.review(slow, 900.0)
    assert len(fast) < len(slow)
    assert lines
    assert all("proposed again" in line for line in lines)


def test_every_family_keeps_a_configuration_however_slow_and_late_it_is(pace, space):
    for family in ("dense", "cnn", "densenet"):
        reported(pace, space, family, 1e6, 5)
    left, _ = pace.review({}, 1.0)
    assert left
    assert all(left.values())
    assert "family" not in left


def test_a_family_of_the_user_s_own_is_not_judged(pace, space):
    for epoch in range(1, 9):
        pace.learn(TrialConfig("mine", {"family": "mine"}, 1), EpochReport(epoch, 0.5, {}, {"train": 1e6}))
    assert pace.review({}, 60.0) == ({}, [])


def test_one_noisy_timing_excludes_nothing(pace, space):
    reported(pace, space, "cnn", 1.0, 4)
    usual = pace.review({}, 1500.0)
    reported(pace, space, "cnn", 500.0)
    assert pace.review({}, 1500.0) == usual
