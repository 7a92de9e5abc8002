"""A final model's folder after a retraining was killed between the two renames that replace it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from search import report
from search.retraining.final_model import model_folder
from search.retraining.final_model.refit import EnsembleMember
from tests.inputs.made_models import hospital
from xraytune import artifacts, data
from xraytune.data import arrays, property_table
from xraytune.evaluation import calibration
from xraytune.inference import training_sample
from xraytune.inference.classifier import load_model
from xraytune.inference.model_card import Member, ModelCard, read_card, write_card
from xraytune.training.inputs.trial_data import TrialData

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, when it saves


def save(folder: Path) -> None:
    folder.mkdir(parents=True)
    start = keras.Input((8, 8, 1))
    network = keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(start))
    keras.Model(start, network).save(folder / "model.keras")
    member = Member("model.keras", artifacts.sha256(folder / "model.keras"), 8, 1.0).to_json()
    write_card(folder, ModelCard(("a", "b"), 1, 1, "crop", 0.5, "0.5", calibration.none(2).to_json(), {}, (member,)))
    artifacts.write_json(folder / "metrics.json", {})


def make_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    study = SimpleNamespace(name="mine", folder=folder.parent)
    monkeypatch.setattr("search.study.view.open_study", lambda *_: study)
    monkeypatch.setattr(
        "search.reporting.html_report.again", lambda _, made, **__: artifacts.read_json(made / "metrics.json")
    )
    return report.main(None, folder.parent)


@pytest.mark.parametrize(
    "read",
    [
        lambda folder, _: load_model(folder),
        lambda folder, _: load_model(folder / "model.keras"),
        lambda folder, _: read_card(folder),
        make_report,
    ],
    ids=["predict", "predict with a file", "card", "report"],
)
def test_every_reader_of_a_model_puts_the_former_one_back_after_a_kill_between_the_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path, Any], Any]
) -> None:
    save(tmp_path / ".winner-old")
    (tmp_path / ".winner-1").mkdir()  # what the killed retraining was about to rename
    read(tmp_path / "winner", monkeypatch)
    assert (tmp_path / "winner" / "model.json").exists()
    assert not (tmp_path / ".winner-old").exists()


def test_a_reader_between_the_renames_of_a_retraining_that_lives_does_not_fail_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, rename, reads = tmp_path / "winner", Path.rename, []
    with artifacts.whole(target) as folder:
        (folder / "which").write_text("former")

    def renamed(path: Path, to: Path) -> Path:
        found = rename(path, to)
        if path == target and not reads:
            reads.append(artifacts.restored(target).exists())
        return found

    monkeypatch.setattr(Path, "rename", renamed)
    with artifacts.whole(target) as folder:
        (folder / "which").write_text("new")
    assert reads == [True]
    assert (target / "which").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["winner"]


def test_a_saved_model_keeps_a_sample_whose_rows_belong_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))
    save(tmp_path / "trained")
    dataset = data.load(str(hospital(tmp_path / "radiographs")))
    images = dataset.select("train") + dataset.select("val")
    trial_data = TrialData.of(dataset, arrays.pools(dataset, [8]), refit=True, cache=tmp_path / "cache")
    bright = property_table.of_images(images, dataset.inspection)[:, property_table.NAMES.index("mean")]
    p = np.column_stack([1 - bright / 255, bright / 255])
    fitted: Any = SimpleNamespace(
        threshold=0.5, policy=None, referral=None, calibration=calibration.none(2), probabilities=p
    )
    trial = SimpleNamespace(config=SimpleNamespace(values={"family": "cnn", "image_size": 8}))
    network: Any = EnsembleMember(tmp_path / "trained" / "model.keras", trial, 1.0, 1)
    (tmp_path / "winner").mkdir()
    model_folder.save(tmp_path / "winner", [network], fitted, dataset, trial_data, tta="", made={})
    sample = training_sample.load(tmp_path / "winner", read_card(tmp_path / "winner"))
    assert sample is not None
    assert len(sample.labels) == len(images)
    assert len(set(sample.patients.tolist())) == len(set(images.patients.tolist()))
    measured = sample.table[:, property_table.NAMES.index("mean")] / 255
    np.testing.assert_allclose(sample.probabilities[:, 1], measured, atol=3e-3)
    assert (sample.labels == (measured > 127 / 255)).mean() > 0.95, "an image's class is another's"
