"""A backbone by file from the search to a prediction by the exported model, and what is refused on the way."""

from __future__ import annotations

import json

import pytest

from tests.inputs import made_radiographs
from tests.inputs.made_backbones import onnx_backbone
from tests.searching import command

pytest.importorskip("tf2onnx")


def test_a_search_on_a_backbone_by_file_is_resumed_retrained_exported_and_used(search, tmp_path):
    data = made_radiographs.kaggle(tmp_path / "chest_xray", train=24, test=6)
    file = onnx_backbone(tmp_path / "small.onnx", metadata="unit")
    held = ("--fix", "batch_size=16", "--max-epochs", "2")
    options = ("--data", str(data), "--families", "small,dense", *held, "--backbone", f"small={file}")
    search.start(*options, "--backbone-licence", "small=CC BY 4.0", "--trials", "2", space="chest_xray")
    assert search.wait() == 0, search.text
    assert {t["family"] for t in search.trials()} == {"small", "dense"}
    assert "Traceback" not in search.text
    number = next(t["number"] for t in search.trials() if t["family"] == "small")
    small = ("--finalists", 1, "--folds", 3, "--seeds", 1, "--refits", 2, "--tta", "shifts")
    retrain = ("search.retrain", number, "--study", search.study, "--results", search.results, *small)
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"\0")
    for done in (
        command(*retrain, home=tmp_path),
        command("search.run", "--study", search.study, "--results", search.results, "--resume", home=tmp_path),
    ):
        assert done.returncode
        assert "is not the file of backbone small" in done.stderr + done.stdout
        assert "Traceback" not in done.stderr + done.stdout
    file.write_bytes(content)
    retrained = command(*retrain, home=tmp_path)
    assert retrained.returncode == 0, retrained.stdout + retrained.stderr
    assert "Grad-CAM is not available" in retrained.stdout + retrained.stderr
    file.unlink()
    winner = search.results / search.study / "winner"
    assert {"backbone-small.onnx", "model-1.keras", "model-2.keras"} <= {p.name for p in winner.iterdir()}
    member = json.loads((winner / "model.json").read_text())["members"][0]
    assert member["backbone"]["licence"] == "CC BY 4.0"
    exported = command("search.export", winner, home=tmp_path)
    assert exported.returncode == 0, exported.stdout + exported.stderr
    answers = []
    for model in (winner, winner / "model-1.onnx"):
        done = command("search.predict", model, data / "test", "--json", home=tmp_path)
        assert done.returncode == 0, done.stderr
        answers.append([radiograph["probability"] for radiograph in json.loads(done.stdout)["images"]])
    assert answers[1] == pytest.approx(answers[0], abs=1e-3)
