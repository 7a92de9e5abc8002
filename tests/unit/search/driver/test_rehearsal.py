"""What `--dry-run` estimates."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from search.driver import rehearsal
from search.testing.synthetic_trial import SyntheticJob
from search.tuner.job import KerasJob
from search.tuner.resources import Resources
from xraytune.records import TrialConfig

PLAN = Resources(concurrency=2, cpus=1.0, gpus=0.0, total_cpus=2, total_gpus=0)
DENSE = {"family": "dense", "dense/image_size": 48, "dense/units": 128, "dense/layers": 2, "epochs": 10}


def job(images=4000, validation=400):
    data = SimpleNamespace(validation=range(validation))
    return KerasJob("chest_xray", SimpleNamespace(images=images), data, "clean", 2.0, 0)


def config(**changes):
    return TrialConfig(family="dense", values={**DENSE, **changes}, seed=0)


@pytest.fixture(autouse=True)
def _no_measurements(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path))


def test_a_trial_takes_longer_with_more_images_epochs_and_units():
    usual = rehearsal.trial_seconds(config(), job(), 0, PLAN)
    assert usual > 1
    assert rehearsal.trial_seconds(config(), job(images=8000), 0, PLAN) > usual
    assert rehearsal.trial_seconds(config(epochs=20), job(), 0, PLAN) > usual
    assert rehearsal.trial_seconds(config(epochs=20), job(), 10, PLAN) == pytest.approx(usual)
    assert rehearsal.trial_seconds(config(**{"dense/units": 512}), job(), 0, PLAN) > usual


def test_a_trial_of_other_networks_has_no_estimate():
    own = TrialConfig(family="mine", values={"family": "mine"}, seed=0)
    assert rehearsal.trial_seconds(own, job(), 0, PLAN) is None
    assert rehearsal.trial_seconds(config(), SyntheticJob(), 0, PLAN) is None


@pytest.mark.parametrize(
    ("seconds", "each", "at_once", "most", "count"),
    [(600, 20, 2, None, 120), (600, 20, 2, 30, 30), (600, 20, 0, None, 60), (-5, 20, 2, None, 0), (600, 2000, 1, 9, 0)],
)
def test_the_number_of_trials_follows_from_time_and_trials_at_once(seconds, each, at_once, most, count):
    assert rehearsal.expected_trials(seconds, each, at_once, most) == count
