"""A study's own sampler: what it suggests, what it learns from, and what it knows of a study that is resumed."""

from __future__ import annotations

import numpy as np
import optuna

from search.samplers import factory
from tests.inputs.made_studies import SPACE, result


def test_a_resumed_sampler_does_not_repeat_itself():
    first, again = (
        factory.make_sampler("random", 0, declaration=SPACE.declare_hyperparameters, existing=n) for n in (0, 1)
    )
    space = optuna.distributions.FloatDistribution(0, 1)
    draws = [optuna.create_study(sampler=s).ask({"x": space}).params["x"] for s in (first, again)]
    assert draws[0] != draws[1]


def test_the_process_over_all_branches_suggests_what_the_space_has_and_learns_from_what_it_is_told(make):
    study = make(sampler="bo", narrowed={"family": ("narrow", "valley")})
    values = []
    for _ in range(40):
        asked = study.ask()
        own = {name.split("/")[0] for name in asked.config.values if "/" in name}
        assert own == {asked.config.family}
        assert asked.config.family in {"narrow", "valley"}
        values.append(SPACE.value(asked.config.values))
        study.complete(asked.number, result(values[-1]))
    assert np.mean(values[-10:]) > np.mean(values[:10]) + 0.05


def test_the_process_over_all_branches_tries_what_is_queued_and_fills_what_is_left_open(make):
    study = make(sampler="bo")
    for _ in range(12):
        study.complete(study.ask().number, result(0.5))
    study.enqueue({"family": "ridge", "shared": 0.25}, "a recipe")
    config = study.ask().config
    assert (config.family, config.values["shared"]) == ("ridge", 0.25)
    assert "ridge/x_0" in config.values


def test_the_process_over_all_branches_repeats_itself_from_the_same_seed_and_knows_a_resumed_study(make):
    def search(study, trials):
        found = []
        for _ in range(trials):
            asked = study.ask()
            found.append(asked.config.values)
            study.complete(asked.number, result(SPACE.value(asked.config.values)))
        study.close()
        return found

    first = search(make(sampler="bo"), 14)
    again = search(make(sampler="bo", name="other"), 14)
    assert first == again
    resumed = make(sampler="bo", resume=True)
    resumed.ask()
    assert len(resumed._study.sampler._values) == 14
