"""A fold of a confirmation: it serves both objectives, and leaves what the threshold is fitted on."""

import dataclasses
import json

import numpy as np
import pytest

import spaces
from search.confirm import FoldTask, Recipe
from tests.made_networks import config, space, trial_data
from xraytune.models.plan import PLATEAU_FACTOR
from xraytune.training import Training


# Keras 3.15 reads its variables so when it saves them
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("objective", ["clean", "robust"])
def test_a_fold_leaves_its_predictions_of_every_view(tmp_path, objective):
    data = trial_data(tmp_path / "cache")
    recipe = Recipe("smoke", spaces.SpaceContext(images=len(data.train)), data, objective, beta=2.0, max_epochs=2)
    point = config(space("smoke"), family="dense")
    said = []
    task = FoldTask(recipe, point, trial=0, fold=0, folds=3, repeat=0, path=tmp_path / "fold.npz", keep_model=True)
    with np.load(task(said.append)) as kept:
        views = [name for name in kept.files if name.startswith("view:")]
        assert "view:clean" in views
        assert len(views) >= 10
        assert {kept[name].shape for name in views} == {(len(kept["view_indices"]), 2)}
        assert set(kept["view_indices"]) <= set(kept["indices"]) == set(data.validation)
        result = json.loads(str(kept["result"]))
    assert (result["value"] == result["metrics"]["robust"]) == (objective == "robust")
    assert [epoch for epoch, _ in said] == [1, 2]
    assert (tmp_path / "fold.keras").is_file()


def test_a_refit_lowers_its_rate_where_the_folds_did(tmp_path):
    data = trial_data(tmp_path / "cache")
    everything = dataclasses.replace(data, train=np.arange(len(data.labels)), validation=np.arange(0))
    light = space(families=("dense",))
    point = config(light, family="dense", dense__image_size=28, epochs=4, schedule="plateau", learning_rate=1e-3)
    training = Training(light, point, everything, rate_drops=(1, 3))
    rates = []
    while not training.done:
        training.step()
        rates.append(float(training.shell.optimizer.learning_rate) / 1e-3)
    assert rates == pytest.approx([1, PLATEAU_FACTOR, PLATEAU_FACTOR, PLATEAU_FACTOR**2], rel=1e-4)
    assert [row["rate_drops"] for row in training.curve] == [0, 1, 1, 2]
