"""Published configurations beside the final model: those of the study, and those that it did not try."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import spaces
from search.retraining.records import TrainingSetup
from search.retraining.test_evaluation import comparison, published_recipes
from spaces.recipes import RECIPES
from tests.inputs.made_networks import trial_data
from tests.unit.search.retraining.test_steps import FakeStudy, trial
from xraytune.models.cost import Machine


@pytest.fixture(autouse=True)
def _machine(monkeypatch):
    monkeypatch.setattr(published_recipes, "this_machine", lambda: Machine(9e10, 2))


def study(space: str = "chest_xray", weights: Any = ()) -> Any:
    """A study that tried the recipe `mlp5`, and other configurations."""
    made = FakeStudy(trial(0, 0.8), trial(1, 0.7, recipe="mlp5"))
    made.spec = SimpleNamespace(space=space, weights=dict.fromkeys(weights, "sha256"), seed=5, max_epochs=0)
    return made


def test_recipes_that_the_study_did_not_try_are_trained_as_they_were_published() -> None:
    found = published_recipes.compared(study(), 4400, 7200.0)
    assert found[0][0] == "mlp5"
    assert found[0][1].number == 1
    others = dict(found[1:])
    assert "one_conv" in others
    assert "mlp5" not in others
    assert not any("vgg" in name for name in others)  # the study has no such weights
    for name, one in others.items():
        assert one.number < 0
        assert one.config is not None
        assert one.config.values.items() >= dict(RECIPES[name].values).items()
    assert len({one.number for one in others.values()}) == len(others)


def test_only_those_that_a_quarter_of_the_time_pays_for_are_added() -> None:
    assert [name for name, _ in published_recipes.compared(study(), 4400, 1.0)] == ["mlp5"]
    few, many = (len(published_recipes.compared(study(), 4400, seconds)) for seconds in (120.0, 36000.0))
    assert few < many


def test_a_space_without_published_configurations_adds_none() -> None:
    assert [name for name, _ in published_recipes.compared(study("smoke"), 4400, 7200.0)] == ["mlp5"]


def test_an_untried_recipe_is_trained_in_the_whole_space_in_the_studys_precision(tmp_path: Path) -> None:
    narrowed = {"cnn/image_size": (28,), "precision": ("bfloat16",)}
    context = spaces.SpaceContext(families=("cnn",), narrowed=narrowed, images=72)
    setup = TrainingSetup("chest_xray", context, trial_data(tmp_path), "clean", 2.0, 0, "")
    made = study()
    made._trials[1] = dataclasses.replace(made._trials[1], state="PRUNED", result=None)
    found = published_recipes.refits(published_recipes.compared(made, 4400, 7200.0), setup, tmp_path)
    by_name = {name: task for name, _, task in found}
    assert len({task.path for task in by_name.values()}) == len(found)
    task = by_name["one_conv"]
    assert task.recipe.context.narrowed == {"precision": ("bfloat16",)}
    assert task.recipe.context.families == ()
    assert task.epochs == RECIPES["one_conv"].values["epochs"]
    tried = [task for name, one, task in found if one.number >= 0]
    assert all(task.recipe.context == context for task in tried)


def test_the_report_says_which_recipes_were_not_tried() -> None:
    made = study()
    made.predictions = lambda number: Path("/nowhere")
    labelled: Any = SimpleNamespace(labels=np.zeros(4, np.int32))
    rows = comparison.on_validation(labelled, made, trial(0, 0.8), ("mlp5", "one_conv"))
    assert [(row["name"], row["state"], row["trial"]) for row in rows] == [
        ("mlp5", "COMPLETE", 1),
        ("one_conv", "NOT TRIED", None),
    ]
    assert set(rows[0]) == set(rows[1])
