"""A retraining takes the study's backbone by file from where it is, and refuses a file that was changed."""

from types import SimpleNamespace

import pytest

import spaces
from search.driver.options import StudyOptions
from search.driver.prepare import prepare
from search.retraining import recreate
from search.retraining.options import RetrainingOptions
from search.study.view import TrialRecord
from tests.inputs.made_backbones import SIZE, onnx_backbone
from tests.inputs.made_networks import config
from tests.inputs.made_radiographs import kaggle
from xraytune.errors import WeightsError
from xraytune.records import StudySpec


def test_a_retraining_has_the_space_and_the_backbone_of_the_search(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))
    data, path = kaggle(tmp_path / "data", train=12, test=2), onnx_backbone(tmp_path / "s.onnx", metadata="unit")
    asked = StudyOptions(data=str(data), families=("small",), backbone={"small": str(path)}, trials=1)
    made = prepare(asked, "mine", tmp_path / "cache", lambda *_: None)
    study = SimpleNamespace(spec=StudySpec.from_json(made.spec.to_json()), folder=tmp_path)
    options = RetrainingOptions()
    dataset = recreate.dataset(study, options)
    job = made.make_job(lambda *_: None)
    point = config(spaces.get("chest_xray", job.context), family="small")
    trial = TrialRecord(0, "COMPLETE", (), point, None, "", "", {}, None, None, {})
    setup = recreate.setup(study, [trial], options, dataset)
    assert setup.context.files == job.context.files
    assert list(setup.data.pools) == [SIZE]
    path.rename(tmp_path / "moved.onnx")
    with pytest.raises(WeightsError, match=r"--backbone small=FILE"):
        recreate.setup(study, [trial], options, dataset)
    moved = RetrainingOptions(backbone=f"small={tmp_path / 'moved.onnx'}")
    assert recreate.setup(study, [trial], moved, dataset).context.files["small"].path == str(tmp_path / "moved.onnx")
    onnx_backbone(tmp_path / "moved.onnx", seed=9)
    with pytest.raises(WeightsError, match="is not the file of backbone small that study 'mine' was searched with"):
        recreate.setup(study, [trial], moved, dataset)
