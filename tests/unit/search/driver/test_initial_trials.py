"""What is tried before the sampler is asked: once over all resumes, and from an earlier study."""

from __future__ import annotations

from dataclasses import replace

import pytest

from search.driver import initial_trials
from search.study.studies import Studies
from tests.inputs.made_studies import SPACE, prepared, result, trials
from xraytune.errors import StudyError
from xraytune.records import FailureCause


def test_first_trials_are_queued_once_over_all_resumes(make):
    study = make()
    assert study.enqueue({"family": "valley"}, "family valley")
    assert not study.enqueue({"family": "valley"}, "family valley")
    assert study.ask().config.family == "valley"
    study.close()
    again = make(resume=True)
    assert not again.enqueue({"family": "valley"}, "family valley")


def test_a_recipe_is_told_by_its_trial_also_after_an_interruption(make, tmp_path):
    found = initial_trials.first_trials(replace(prepared(), recipes=(("kermany: small", {"family": "valley"}),)))
    assert {one.values["family"]: one.recipe for one in found} == {
        family: "kermany: small" if family == "valley" else "" for family in SPACE.families
    }
    study = make()
    for one in found[:2]:
        study.enqueue(one.values, one.origin, one.recipe)
    study.failed(study.ask().number, FailureCause.INTERRUPTED, "")
    assert [(t.state, t.recipe) for t in trials(tmp_path)] == [
        ("FAIL", "kermany: small"),
        ("WAITING", ""),
        ("WAITING", "kermany: small"),
    ]


def test_a_warm_start_tries_the_best_of_an_earlier_study_first(make, tmp_path):
    earlier, values = make(), (0.3, 0.9, 0.5, 0.8, 0.1, 0.7, 0.6, 0.4)
    configs = []
    for value in values:
        asked = earlier.ask()
        configs.append((value, asked.config.values))
        earlier.complete(asked.number, result(value))
    earlier.close()
    warm = initial_trials.warm(prepared(), "mine", Studies(tmp_path))
    later = make(name="later", train_fingerprint="other data")
    for one in warm:
        later.enqueue(one.values, one.origin)
    tried = [later.ask().config.values for _ in range(6)]
    assert tried == [config for _, config in sorted(configs, key=lambda c: -c[0])[:6]]


def test_a_family_of_one_configuration_comes_first_whatever_else_is_known():
    warm = [initial_trials.FirstTrial("study mine #3", {"family": "wide", "shared": 0.5})]
    known = replace(prepared(), starts=(("against shortcuts, steps", {"family": "steps"}),), once=("valley",))
    found = initial_trials.first_trials(known, warm)
    assert [one.values["family"] for one in found[:3]] == ["valley", "wide", "steps"]
    assert {one.values["family"] for one in found} == set(SPACE.families)
    assert found[0].origin == "family valley"


def test_where_nothing_else_takes_part_one_trial_is_all_there_is_to_try():
    assert replace(prepared(), once=("valley",)).most_trials is None
    assert replace(prepared(), once=("valley",), families=("valley",)).most_trials == 1
    assert replace(prepared(fixed={"family": "valley"}), once=("valley",)).most_trials == 1
    assert replace(prepared(fixed={"family": "wide"}), once=("valley",)).most_trials is None
    assert prepared().most_trials is None


def test_a_warm_start_from_nothing_is_refused(make, tmp_path):
    make()
    with pytest.raises(StudyError, match="has no complete trial"):
        initial_trials.warm(prepared(), "mine", Studies(tmp_path))


def test_a_warm_start_takes_what_fits_a_narrower_space_and_passes_other_families_over(make, tmp_path):
    earlier = make()
    for family in SPACE.families:
        earlier.enqueue({"family": family}, family)
    for n in range(len(SPACE.families)):
        earlier.complete(earlier.ask().number, result(0.5 + n / 100))
    earlier.close()
    warm = initial_trials.warm(prepared(narrowed={"family": ("wide", "steps")}), "mine", Studies(tmp_path))
    assert [one.values["family"] for one in warm] == ["steps", "wide"]
    assert [one.origin for one in warm] == ["study mine #3", "study mine #1"]
    with pytest.raises(StudyError, match="none of its configurations fits"):
        initial_trials.warm(
            replace(prepared(), declaration=lambda hp: hp.Int("units", 1, 9)), "mine", Studies(tmp_path)
        )
