"""The bridge between KerasTuner's hyperparameters and Optuna's suggestions."""

from __future__ import annotations

import keras_tuner
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.hyperparameters.declaration import ambiguous_names, declared_parameters, held, signature
from search.hyperparameters.suggestion import Narrowing, RecordedHyperParameters, SuggestedHyperParameters
from xraytune.errors import InputError


def branching(hp):
    """Every kind of parameter, a conditional scope, a plain branch, and one name with two ranges."""
    hp.Choice("family", ["dense", "cnn", "vgg"])
    with hp.conditional_scope("family", ["dense"]):
        hp.Int("units", 32, 256, step=32)
        hp.Int("batch", 16, 64, step=2, sampling="log")
    with hp.conditional_scope("family", ["cnn"]):
        hp.Int("units", 8, 16)
        hp.Boolean("norm")
    if hp.get("family") == "vgg":
        hp.Float("decay", 1e-5, 1e-1, sampling="log")
        hp.Float("momentum", 0.5, 0.99, sampling="reverse_log")
    hp.Float("dropout", 0.0, 0.5, step=0.1)
    hp.Fixed("epochs", 5)


def ask(study, declaration, narrowing=None):
    trial = study.ask()
    hp = SuggestedHyperParameters(trial, narrowing, ambiguous_names(declared_parameters(declaration)))
    declaration(hp)
    return trial, hp


@pytest.fixture
def study():
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))


def test_only_active_parameters_are_suggested(study):
    seen = set()
    for _ in range(40):
        trial, hp = ask(study, branching)
        family = hp.get("family")
        seen.add(family)
        names = set(hp.values)
        assert ("batch" in names) == (family == "dense")
        assert ("norm" in names) == (family == "cnn")
        assert ("decay" in names) == (family == "vgg")
        assert hp.values["epochs"] == 5
        assert "epochs" not in trial.params, "a parameter of one value is no matter for a sampler"
        study.tell(trial, 0.0)
    assert seen == {"dense", "cnn", "vgg"}


def test_values_lie_in_their_ranges_and_on_their_grids(study):
    for _ in range(60):
        _, hp = ask(study, branching)
        values = hp.values
        if values["family"] == "dense":
            assert values["units"] in range(32, 257, 32)
            assert values["batch"] in {16, 32, 64}
        if values["family"] == "cnn":
            assert 8 <= values["units"] <= 16
            assert isinstance(values["norm"], bool)
        if values["family"] == "vgg":
            assert 1e-5 <= values["decay"] <= 1e-1
            assert 0.5 <= values["momentum"] <= 0.99
        assert round(values["dropout"] * 10, 6) == round(values["dropout"] * 10)


def test_one_name_with_two_ranges_is_two_parameters_of_the_study(study):
    assert ambiguous_names(declared_parameters(branching)) == {"units"}
    names = set()
    for _ in range(30):
        trial, _ = ask(study, branching)
        names |= {name for name in trial.params if name.startswith("units")}
    assert names == {"units (family=dense)", "units (family=cnn)"}


def test_a_fixed_parameter_has_its_value_in_every_trial_and_no_suggestion(study):
    narrowing = Narrowing({"family": "cnn", "dropout": "0.3"})
    for _ in range(10):
        trial, hp = ask(study, branching, narrowing)
        assert hp.values["family"] == "cnn"
        assert hp.values["dropout"] == 0.3
        assert not {"family", "dropout"} & set(trial.params)


def test_narrowed_choices_hold(study):
    narrowing = Narrowing(choices={"family": ("dense", "vgg"), "batch": (16, 32)})
    for _ in range(30):
        _, hp = ask(study, branching, narrowing)
        assert hp.values["family"] != "cnn"
        assert hp.values.get("batch", 16) in {16, 32}


@pytest.mark.parametrize(
    ("fixed", "words"),
    [
        ({"famly": "cnn"}, "the space has no 'famly'. It has: family"),
        ({"family": "resnet"}, "one of: dense, cnn, vgg"),
        ({"dropout": "much"}, "from 0.0 to 0.5"),
        ({"dropout": "0.9"}, "from 0.0 to 0.5"),
        ({"units": "1000"}, "a whole number from"),
    ],
)
def test_what_the_space_does_not_have_cant_be_fixed(fixed, words):
    with pytest.raises(InputError, match="--fix") as refused:
        held(declared_parameters(branching), fixed)
    assert words in str(refused.value)


def test_a_value_of_one_branch_may_be_fixed_though_the_other_branch_lacks_it():
    assert held(declared_parameters(branching), {"units": "64"}) == {"units": 64}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_recorded_values_come_back_through_the_study_as_they_were(seed):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    _, first = ask(study, branching)
    ambiguous = ambiguous_names(declared_parameters(branching))
    replay = RecordedHyperParameters(first.values, None, ambiguous)
    branching(replay)
    study.enqueue_trial(replay.optuna_params)
    _, second = ask(study, branching)
    assert second.values == pytest.approx(first.values)


def test_values_outside_the_space_are_left_to_the_sampler():
    hp = RecordedHyperParameters({"family": "dense", "units": 32, "dropout": 0.9, "batch": 17})
    branching(hp)
    assert hp.optuna_params == {"family": "dense", "units": 32}


def test_signatures_tell_spaces_apart():
    def other(hp):
        branching(hp)
        hp.Boolean("more")

    assert signature(declared_parameters(branching)) == signature(declared_parameters(branching))
    assert signature(declared_parameters(branching)) != signature(declared_parameters(other))


def test_keras_tuner_itself_takes_the_same_declaration():
    hp = keras_tuner.HyperParameters()
    branching(hp)
    assert hp.values["family"] == "dense"
