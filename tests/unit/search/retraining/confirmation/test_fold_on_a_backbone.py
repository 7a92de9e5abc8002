"""A fold and a final training on a backbone by file, with the test-time augmentation that the model will have."""

import numpy as np
import pytest

import spaces
from search.retraining.records import TrainingSetup
from search.retraining.workers.tasks import FoldTask, RefitTask, load_fold
from tests.inputs.made_backbones import SIZE, onnx_backbone
from tests.inputs.made_networks import config, space, trial_data
from xraytune.inference.networks import load_network, predict_with
from xraytune.models import FAMILIES
from xraytune.models.file_backbones import reading
from xraytune.models.file_backbones.network import Backbone, Joined

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # Keras 3.15 when it saves


def test_a_fold_s_answers_are_those_of_backbone_and_kept_head(tmp_path):
    files = reading.read({"small": str(onnx_backbone(tmp_path / "s.onnx"))}, {"small": "unit"}, {}, FAMILIES)
    data = trial_data(tmp_path / "cache", sizes=(SIZE,))
    context = spaces.SpaceContext(images=len(data.train), files=files, families=("small",))
    recipe = TrainingSetup("chest_xray", context, data, "robust", beta=2.0, max_epochs=1)
    point = config(space(files=files, families=("small",)), family="small", small__augmentation_copies=0)
    task = FoldTask(recipe, point, 0, 0, 3, 0, tmp_path / "fold.npz", keep_model=True, tta="shifts")
    task(lambda event: None)
    kept = load_fold(task)
    network = Joined(Backbone(files["small"], 1), load_network(tmp_path / "fold.keras"))
    images = np.asarray(data.pools[SIZE][data.validation])
    assert kept.probabilities == pytest.approx(predict_with(network, images, "shifts"), abs=1e-5)
    rows = np.searchsorted(kept.indices, kept.view_indices)
    assert kept.views["clean"] == pytest.approx(kept.probabilities[rows], abs=1e-5)
    assert len(kept.views) > 5
    RefitTask(recipe, point, 1, (), tmp_path / "final.keras")(lambda event: None)
    assert load_network(tmp_path / "final.keras").input_shape == (None, *files["small"].features)
