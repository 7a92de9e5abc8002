"""What a resumed study fills in of the options, and what it leaves to the user."""

import subprocess
import time
from dataclasses import replace

import pytest
from typer.testing import CliRunner

import spaces
from search import run
from search.cli import console
from search.cli.shared import Source
from search.driver import pretrained_weights, session
from search.driver.options import StudyOptions
from search.driver.prepare import prepare
from tests.inputs.made_backbones import onnx_backbone
from tests.inputs.made_radiographs import kaggle
from xraytune import artifacts, hardware
from xraytune.errors import DataError, InputError, WeightsError
from xraytune.records import StudySpec


def test_what_was_not_asked_is_as_the_study_was_made():
    made = StudyOptions(beta=1.0, recipes="all", families=("cnn",), objectives=("f_beta", "parameters")).to_request()
    now = StudyOptions(study="mine", resume=True).completed(made)
    assert (now.beta, now.recipes, now.families) == (1.0, "all", ("cnn",))
    assert now.objectives == ("f_beta", "parameters")


def test_what_the_user_gives_stays_also_where_it_is_the_default():
    made = StudyOptions(beta=1.0, objective="clean").to_request()
    now = StudyOptions(beta=2.0, given=frozenset({"beta"})).completed(made)
    assert (now.beta, now.objective) == (2.0, "clean")


def test_a_new_budget_replaces_the_old_one_whole():
    assert StudyOptions(time=60.0).completed(StudyOptions(trials=9).to_request()).trials is None


@pytest.mark.parametrize(("arguments", "given"), [([], set()), (["--beta", "2", "--study", "s"], {"beta", "study"})])
def test_the_command_knows_what_stood_on_its_line(monkeypatch, arguments, given):
    seen = []
    monkeypatch.setattr(session, "search", lambda options, running: seen.append(options))
    assert CliRunner().invoke(console.application(run.main), arguments).exit_code == 0
    assert seen[0].given == given


def prepared(tmp_path, monkeypatch, **changes):
    """What a search of small made images is, on a slow machine that is the same whoever measures it."""
    from xraytune.models import cost

    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("XRAYTUNE_WEIGHTS", raising=False)
    monkeypatch.setattr(cost, "this_machine", lambda: cost.Machine(2e7, 2))
    if not (radiographs := tmp_path / "radiographs").exists():
        kaggle(radiographs)
    how = {name: changes.pop(name) for name in ("deterministic", "after_reading") if name in changes}
    options = StudyOptions(data=str(radiographs), **{"families": ("cnn",), **changes})
    return prepare(options, "mine", tmp_path / "cache", lambda done, total, what: None, **how)


def test_trials_without_time_are_narrowed_as_a_search_of_the_default_time_and_it_is_said(tmp_path, monkeypatch):
    def tried(found):
        return [name for name, _ in found.recipes]

    alone = prepared(tmp_path, monkeypatch, trials=12, recipes="fitting")
    timed = prepared(tmp_path, monkeypatch, trials=12, time=1800.0, recipes="fitting")
    assert alone.spec.narrowed == timed.spec.narrowed
    assert alone.spec.narrowed["epochs"] == (10, 15)
    assert "cnn/image_size" in alone.spec.narrowed
    assert tried(alone) == tried(timed)
    assert len(tried(alone)) < len(tried(prepared(tmp_path, monkeypatch, trials=12, recipes="all")))
    assert set(alone.notes) - set(timed.notes) == {
        "TRIALS without TIME: networks and recipes are chosen as for a search of 30 minutes."
    }


def test_what_reading_the_data_took_is_taken_off_time_and_off_nothing_without_time_or_where_all_must_repeat(
    tmp_path, monkeypatch
):
    from spaces.chest_xray import ChestXRay
    from xraytune.evaluation import shortcut_audit

    real, audit, told = ChestXRay.narrow, shortcut_audit.audit, []
    monkeypatch.setattr(ChestXRay, "narrow", lambda self, search: told.append(search.spent) or real(self, search))
    monkeypatch.setattr(shortcut_audit, "audit", lambda *a, **given: time.sleep(0.3) or audit(*a, **given))
    prepared(tmp_path, monkeypatch, trials=12)
    prepared(tmp_path, monkeypatch, time=900.0)
    prepared(tmp_path, monkeypatch, time=900.0, deterministic=True)
    assert told[0] == told[2] == 0.0
    assert 0.3 <= told[1] < 60


def test_nothing_is_timed_before_the_first_trial(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "gpus", lambda: 0)
    monkeypatch.setattr(hardware, "instructions", lambda: frozenset({"avx2"}))
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("a process was started"))
    alone = prepared(tmp_path, monkeypatch, time=1800.0).spec
    assert prepared(tmp_path, monkeypatch, time=1800.0, deterministic=True).spec.narrowed == alone.narrowed


def test_other_work_begins_once_the_data_are_read_and_not_where_they_are_refused(tmp_path, monkeypatch):
    begun = []
    prepared(tmp_path, monkeypatch, trials=2, after_reading=lambda: begun.append("once"))
    assert begun == ["once"]
    with pytest.raises(DataError):
        prepare(StudyOptions(data=str(tmp_path / "nothing")), "mine", tmp_path, lambda *_: None,
                after_reading=lambda: begun.append("again"))  # fmt: skip
    assert begun == ["once"]


def test_no_published_recipe_is_tried_unless_it_is_asked_for(tmp_path, monkeypatch):
    assert prepared(tmp_path, monkeypatch, time=1800.0).recipes == ()
    named = prepared(tmp_path, monkeypatch, time=60.0, recipes="mean_subtracted_cnn_224")
    [(name, values)] = named.recipes
    assert (name, values["cnn/image_size"], values["cnn/width"]) == ("mean_subtracted_cnn_224", 224, 32)
    assert 224 in named.spec.narrowed["cnn/image_size"]
    assert not any("adapted" in note for note in named.notes)


OWN = """
import keras_tuner

class Own(keras_tuner.HyperModel):
    families = ("tiny",)

    def __init__(self, context):
        super().__init__()
        assert not context.weights

    def declare_hyperparameters(self, hp):
        hp.Choice("family", ["tiny"])
        hp.Choice("image_size", [28, 48])
"""


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """The names of what is fetched, on a machine that is online and has a damaged file of a VGG16."""
    from xraytune.models import backbones

    names = []
    monkeypatch.setattr(backbones, "_answers", lambda host: True)
    monkeypatch.setattr(backbones, "_download", names.append)
    damaged = tmp_path / "keras" / "models" / backbones.file_names("vgg16")[0]
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"damaged")
    return names


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"families": ("cnn", "dense")}, []), ({"space": "smoke"}, []), ({"families": ("densenet",)}, ["densenet121"])],
)
def test_weights_that_no_family_needs_are_neither_fetched_nor_looked_at(
    tmp_path, monkeypatch, fetched, changes, expected
):
    found = prepared(tmp_path, monkeypatch, trials=2, **changes)
    assert fetched == expected
    assert not found.spec.weights
    assert not any("vgg" in note for note in found.notes if not note.startswith("recipe"))


@pytest.mark.parametrize(
    ("able", "changes", "precision"),
    [
        (False, {"time": 1800.0}, "float32"),
        (True, {"time": 1800.0}, "bfloat16"),
        (True, {"time": 240.0}, "float32"),
        (True, {"trials": 4}, "float32"),
        (True, {"time": 1800.0, "precision": "float32"}, "float32"),
        (False, {"time": 240.0, "precision": "bfloat16"}, "bfloat16"),
    ],
)
def test_networks_compute_in_what_was_asked_for_or_in_what_the_processor_has_instructions_for(
    tmp_path, monkeypatch, able, changes, precision
):
    monkeypatch.setattr(hardware, "gpus", lambda: 0)
    monkeypatch.setattr(hardware, "instructions", lambda: frozenset({"avx512_bf16"} if able else {"avx2"}))
    found = prepared(tmp_path, monkeypatch, **changes)
    assert found.spec.narrowed.get("precision", ("float32",)) == (precision,)
    said = [note for note in found.notes if "bfloat16" in note]
    assert bool(said) == (precision == "bfloat16" and "precision" not in changes)


def test_a_study_that_is_resumed_keeps_the_precision_it_was_made_with(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "gpus", lambda: 0)
    monkeypatch.setattr(hardware, "instructions", lambda: frozenset({"amx_bf16"}))
    made = prepared(tmp_path, monkeypatch, time=1800.0).spec
    monkeypatch.setattr(hardware, "instructions", lambda: frozenset({"avx2"}))
    again = StudyOptions(data=str(tmp_path / "radiographs"), families=("cnn",), time=1800.0, resume=True)
    resumed = prepare(again, "mine", tmp_path / "cache", lambda done, total, what: None, made)
    assert resumed.spec.narrowed["precision"] == ("bfloat16",)
    other = replace(again, precision="float32")
    with pytest.raises(InputError, match="compute in bfloat16"):
        prepare(other, "mine", tmp_path / "cache", lambda done, total, what: None, made)


def test_a_study_that_is_resumed_without_its_weights_asks_for_their_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("XRAYTUNE_WEIGHTS", raising=False)
    with pytest.raises(WeightsError, match=r"vgg16_imagenet_notop.* --weights-dir"):
        pretrained_weights.found(spaces.offered("chest_xray", ()), None, {"vgg16": "sha256"})


def test_a_damaged_file_that_a_family_needs_stops_the_search(tmp_path, monkeypatch, fetched):
    with pytest.raises(WeightsError, match="vgg16"):
        prepared(tmp_path, monkeypatch, trials=2, families=("vgg_frozen",))


def test_for_a_space_of_ones_own_nothing_is_fetched_and_a_damaged_file_is_left_out_and_said(
    tmp_path, monkeypatch, fetched
):
    (tmp_path / "own.py").write_text(OWN)
    found = prepared(tmp_path, monkeypatch, trials=2, families=(), space=f"{tmp_path / 'own.py'}:Own")
    assert fetched == []
    assert any(note.startswith("weights vgg16 left out: ") for note in found.notes)


def test_a_backbone_by_file_is_recorded_and_a_study_is_resumed_with_it_unchanged_alone(tmp_path, monkeypatch):
    path = onnx_backbone(tmp_path / "s.onnx", metadata="unit")
    asked = {"backbone": {"small": str(path)}, "families": ("small",), "trials": 2}
    made = prepared(tmp_path, monkeypatch, **asked, backbone_licence={"small": "Apache-2.0"})
    kept = made.spec.backbones["small"]
    assert made.families == ("small",)
    assert (kept["sha256"], kept["licence"]) == (artifacts.sha256(path), "Apache-2.0")
    assert (kept["image_size"], kept["normalization"]) == (32, "unit")
    assert any("backbone small" in note and "licence Apache-2.0" in note for note in made.notes)
    assert made.make_job(lambda *_: None).context.files["small"].path == str(path)
    stored = StudySpec.from_json(made.spec.to_json())

    def resumed(**changes):
        options = StudyOptions(data=str(tmp_path / "radiographs"), resume=True, **{**asked, **changes})
        return prepare(options, "mine", tmp_path / "cache", lambda *_: None, stored).spec

    assert not stored.differences(resumed())
    with pytest.raises(InputError, match="--backbone-input small=…: study 'mine' was made with other settings"):
        resumed(backbone_input={"small": "imagenet"})
    path.rename(tmp_path / "moved.onnx")
    with pytest.raises(WeightsError, match="--backbone small=FILE"):
        resumed()
    assert not stored.differences(resumed(backbone={"small": str(tmp_path / "moved.onnx")}))
    onnx_backbone(path, metadata="unit", seed=5)
    with pytest.raises(WeightsError, match="is not the file of backbone small that study 'mine' was searched with"):
        resumed()


def test_a_backbone_that_no_family_asks_for_is_refused_before_the_data_are_read(tmp_path, monkeypatch):
    path = str(onnx_backbone(tmp_path / "s.onnx", metadata="unit"))
    with pytest.raises(InputError, match="--families has no small"):
        prepared(tmp_path, monkeypatch, backbone={"small": path}, after_reading=lambda: pytest.fail("read"))
    with pytest.raises(InputError, match=r"--backbone .s\.onnx.: write NAME=VALUE, for example --backbone dino="):
        StudyOptions(backbone="s.onnx")


def test_what_was_taken_from_a_label_file_is_kept_with_the_study_and_asked_for_again():
    asked = StudyOptions(label="Pneumonia", negative="No Finding", uncertain="positive")
    again = StudyOptions().completed(asked.to_request())
    assert (again.label, again.negative, again.uncertain) == ("Pneumonia", "No Finding", "positive")
    assert asked.changed(Source) == {"label": "Pneumonia", "negative": "No Finding", "uncertain": "positive"}
    assert StudyOptions().changed(Source) == {}
