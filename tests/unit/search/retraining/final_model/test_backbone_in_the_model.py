"""A final model on a backbone by file: both files are in its folder, and it is used like any other."""

import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from search.retraining.final_model import model_folder
from search.retraining.final_model.refit import EnsembleMember
from search.retraining.workers.tasks import save_network
from search.study.view import TrialRecord
from tests.inputs.made_backbones import SIZE, keras_backbone, onnx_backbone
from tests.inputs.made_networks import config, space, trial_data
from xraytune import artifacts
from xraytune.data import property_table
from xraytune.errors import ArtifactError, InputError
from xraytune.evaluation import calibration
from xraytune.evaluation.ensemble_selection import average
from xraytune.inference import onnx_export
from xraytune.inference.classifier import load_model
from xraytune.inference.model_card import read_card, write_card
from xraytune.inference.networks import predict_network
from xraytune.inference.training_sample import TrainingSample
from xraytune.models import FAMILIES
from xraytune.models.file_backbones import network, reading
from xraytune.training.trainer import Trainer

pytestmark = pytest.mark.filterwarnings("ignore")  # tf2onnx speaks of numpy's and its own future, Keras of numpy's


@pytest.fixture(scope="module", params=["small.onnx", "small.keras"])
def saved(request: Any, tmp_path_factory: Any) -> Any:
    """A saved model of two networks on one backbone, its trainings, and the backbone, whose file is gone since."""
    tmp_path = tmp_path_factory.mktemp("saved")
    path = tmp_path / request.param
    (onnx_backbone if path.suffix == ".onnx" else keras_backbone)(path)
    backbone = reading.read({"small": str(path)}, {"small": "unit"}, {"small": "CC BY 4.0"}, FAMILIES)["small"]
    data = trial_data(tmp_path, sizes=(SIZE,))
    searched = space(files={"small": backbone}, families=("small",))
    members, trainings = [], []
    for seed in (1, 2):
        point = config(searched, family="small", seed=seed, small__augmentation_copies=0)
        training = Trainer(searched, point, data, max_epochs=1)
        training.step()
        training.finish()
        save_network(training.model, tmp_path / f"{seed}.keras")
        record = TrialRecord(seed, "COMPLETE", (), point, None, "", "", {}, None, None, {})
        members.append(EnsembleMember(tmp_path / f"{seed}.keras", record, 0.5, 1, backbone))
        trainings.append(training)
    folder = tmp_path / "winner"
    folder.mkdir()
    fitted: Any = SimpleNamespace(calibration=calibration.none(2), threshold=0.5, policy=None, referral=None)
    dataset: Any = SimpleNamespace(classes=("a", "b"), positive=1, channels=1, fit="crop", demonstration=False)
    none = np.zeros(0, np.int64)
    nobody = TrainingSample(np.zeros((0, len(property_table.NAMES))), none, np.zeros((0, 2)), none)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(model_folder, "_sample", lambda *_: nobody)  # the images are no files
        model_folder.save(folder, members, fitted, dataset, data, tta="", made={})
    images = np.asarray(data.pools[SIZE][:40])
    wanted = average([predict_network(t.whole, images) for t in trainings], [0.5, 0.5])
    path.unlink()
    return folder, backbone, images, wanted


@pytest.fixture
def model(saved: Any, tmp_path: Any) -> Any:
    """A copy of it, which a test may change."""
    folder, *others = saved
    return shutil.copytree(folder, tmp_path / "winner"), *others


def test_both_files_are_there_and_answer_as_the_trained_networks_did(model: Any, monkeypatch: Any) -> None:
    folder, backbone, images, wanted = model
    name = f"backbone-small{'.onnx' if backbone.is_onnx else '.keras'}"
    assert sorted(p.name for p in folder.iterdir()) == [
        "SHA256SUMS", name, "model-1.keras", "model-2.keras", "model.json", "training_sample.npz",
    ]  # fmt: skip
    assert f"{backbone.sha256}  {name}" in (folder / "SHA256SUMS").read_text().splitlines()
    for member in read_card(folder).members:
        assert (member["backbone"]["path"], member["backbone"]["licence"]) == (name, "CC BY 4.0")
        assert member["backbone"]["sha256"] == artifacts.sha256(folder / name)
    loaded = load_model(folder)
    real, asked = network.Backbone.predict_on_batch, []
    monkeypatch.setattr(
        network.Backbone, "predict_on_batch", lambda self, x: asked.append(np.array(x)) or real(self, x)
    )
    assert loaded.predict(images) == pytest.approx(wanted, abs=1e-5)
    assert [len(part) for part in asked] == [32, 32]  # 40 images, for both networks once
    monkeypatch.setattr(network, "REMEMBERED", 0)
    assert loaded.predict(images) == pytest.approx(wanted, abs=1e-5)
    with pytest.raises(InputError, match=r"Grad-CAM is not available: .* backbone by file"):
        loaded.heat_maps({SIZE: images}, np.zeros(len(images), int), 64)


def test_the_export_needs_no_other_file(model: Any, tmp_path: Any) -> None:
    folder, _, images, wanted = model
    files, worst = onnx_export.export(folder)
    assert [path.name for path in files] == ["model-1.onnx", "model-2.onnx"]
    assert worst <= onnx_export.TOLERANCE
    for path in folder.glob("*.keras"):
        path.unlink()
    assert load_model(folder / "model-1.onnx").predict(images) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("what", ["changed", "gone"])
def test_a_backbone_that_was_changed_in_the_folder_is_refused(model: Any, what: str) -> None:
    folder, _, _, _ = model
    (path,) = folder.glob("backbone-small.*")
    if what == "gone":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match="backbone-small"):
        load_model(folder)


@pytest.mark.parametrize("change", [{"path": "../small.onnx"}, {"path": "/dev/zero"}, {"features": "many"}])
def test_a_card_that_names_no_backbone_in_its_folder_is_refused(model: Any, change: dict[str, str]) -> None:
    folder, _, _, _ = model
    card = read_card(folder)
    members = [{**member, "backbone": {**member["backbone"], **change}} for member in card.members]
    write_card(folder, replace(card, members=tuple(members)))
    with pytest.raises(ArtifactError, match=r"model\.json"):
        load_model(folder)
