"""`model.json` of a model that comes from somebody else: what no model has is refused before a network is loaded."""

from __future__ import annotations

import json
import shutil
import zipfile
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tests.inputs.made_models import brightness_model
from xraytune import artifacts
from xraytune.errors import ArtifactError
from xraytune.inference import classifier
from xraytune.inference.classifier import load_model
from xraytune.inference.model_card import CARD, write_card

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, when it saves


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return brightness_model(tmp_path_factory.mktemp("model") / "winner")


@pytest.fixture
def resealed(saved, tmp_path):
    """The model with another `model.json`, sealed as the program seals it."""
    folder = tmp_path / "winner"
    shutil.copytree(saved, folder)
    plain = json.loads((folder / CARD).read_text())
    del plain["sha256"]

    def change(**fields):
        member = {**plain["members"][0], **fields.pop("member", {})}
        calibration = {**plain["calibration"], **fields.pop("calibration", {})}
        outliers = {**plain["outliers"], **fields.pop("outliers", {})}
        made = {**plain, "members": [member], "calibration": calibration, "outliers": outliers, **fields}
        write_card(folder, SimpleNamespace(to_json=lambda: made))
        return folder

    return change


def test_a_model_that_names_its_outlier_detector_as_before_is_loaded(saved, tmp_path):
    plain = json.loads((shutil.copytree(saved, tmp_path / "winner") / CARD).read_text())
    del plain["sha256"]
    earlier = {**plain, "makeup": plain["outliers"]}
    del earlier["outliers"]
    write_card(tmp_path / "winner", SimpleNamespace(to_json=lambda: earlier))
    assert load_model(tmp_path / "winner").card.to_json() == plain


@pytest.mark.parametrize(
    "file", ["../outside.keras", "/tmp/outside.keras", "sub/model.keras", "..", "", ".", "a\0b", "./model.keras"]
)
def test_a_network_outside_the_model_s_folder_is_refused_unopened(resealed, monkeypatch, file):
    monkeypatch.setattr(classifier.artifacts, "sha256", lambda path: pytest.fail(f"{path} was opened"))
    with pytest.raises(ArtifactError, match="own folder"):
        load_model(resealed(member={"file": file}))


@pytest.mark.parametrize(
    "fields",
    [
        {"classes": ["NORMAL"]},
        {"classes": ["A", "A"]},
        {"classes": ["A", "B", "C"]},
        {"positive": 2},
        {"positive": -1},
        {"channels": 2},
        {"channels": 3},
        {"fit": "stretch"},
        {"threshold": float("nan")},
        {"tta": "many"},
        {"calibration": {"slope": 0}},
        {"calibration": {"slope": float("inf")}},
        {"calibration": {"bias": [0.0]}},
        {"calibration": {"prevalence": [0.5, float("nan")]}},
        {"calibration": {"prevalence": [3.0, -2.0]}},
        {"outliers": {"location": [1.0]}},
        {"outliers": {"spread": [0.0] * 13}},
        {"outliers": {"precision": 7}},
        {"outliers": {"limits": [1.0]}},
        {"members": [7]},
        {"members": []},
        {"member": {"image_size": 32}},
        {"member": {"image_size": 10**9}},
        {"member": {"weight": float("nan")}},
        {"member": {"more": 1}},
    ],
)
def test_what_no_model_says_is_refused_in_one_message(resealed, fields):
    with pytest.raises(ArtifactError) as refused:
        load_model(resealed(**fields))
    assert "Traceback" not in str(refused.value)


@pytest.mark.parametrize("error", [RecursionError("too deep"), MemoryError(), AttributeError("x"), IndexError("y")])
def test_whatever_a_network_makes_keras_raise_is_one_message(saved, monkeypatch, error):
    def load(*_, **__):
        raise error

    monkeypatch.setattr(keras.saving, "load_model", load)
    with pytest.raises(ArtifactError, match=r"model\.keras can't be loaded"):
        load_model(saved)


def test_a_network_of_more_memory_than_there_is_is_one_message(resealed):
    start = keras.Input((28, 28, 1))
    network = keras.Model(start, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(start)))
    folder = resealed()
    network.save(folder / "model.keras")
    with zipfile.ZipFile(folder / "model.keras") as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    parts["config.json"] = parts["config.json"].replace(b'"units": 2', b'"units": 200000000000')
    with zipfile.ZipFile(folder / "model.keras", "w") as changed:
        for name, content in parts.items():
            changed.writestr(name, content)
    digest = artifacts.sha256(folder / "model.keras")
    with pytest.raises(ArtifactError, match=r"model\.keras can't be loaded"):
        load_model(resealed(member={"sha256": digest}))


def test_a_model_that_nobody_changed_is_loaded(saved):
    loaded = load_model(saved)
    bright, dark = (loaded.predict([np.full((40, 40), level, np.uint8)])[0, 1] for level in (250, 5))
    assert bright > 0.9 > 0.1 > dark
