"""`search.evaluate`: what it says of a model on images of elsewhere, what it leaves out, and what it refuses."""

import csv
import json
import shutil
from dataclasses import replace

import pytest

from search import evaluate
from search.external.options import EvaluationOptions
from search.study import access_log
from tests.inputs.made_models import brightness_model, hospital
from tests.inputs.made_radiographs import write
from xraytune import artifacts, data
from xraytune.data import dataset as datasets
from xraytune.errors import ArtifactError, DataError, InputError
from xraytune.evaluation.referral.pair import Referral
from xraytune.inference.model_card import read_card, write_card

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, when it saves


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def figures(**changes):
    """A study's own test figures, as `metrics.json` has them."""
    high = [0.97, 0.93, 0.99]
    names = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision", "f1", "f2", "auc", "pr_auc")
    overall = {**dict.fromkeys(names, high), "brier": [0.05, 0.03, 0.08], "calibration_error": [0.03, 0.01, 0.06]}
    return {
        "test": {"overall": {**overall, **changes}, "beta": 2.0},
        "policies": [{"name": "youden", "threshold": 0.3}],
    }


@pytest.fixture
def study(tmp_path):
    """A study's folder with a model that was trained on `studied/`, whose images are known by their lists."""
    studied = data.load(str(hospital(tmp_path / "studied", seed=3)))
    folder = tmp_path / "results" / "mine"
    prints = {"train_fingerprint": studied.train_fingerprint, "test_fingerprint": studied.test_fingerprint}
    brightness_model(folder / "winner", study="mine", **prints)
    artifacts.write_json(folder / "study.json", {"name": "mine"})
    artifacts.write_json(folder / "winner" / "metrics.json", figures())
    datasets.keep_lists(prints.values(), folder)
    return folder


def evaluated(model, sources, **options):
    evaluate.main(model, sources, options=EvaluationOptions(**options))


def found(folder):
    (only,) = sorted((folder / "evaluations").iterdir())
    return only, json.loads((only / "metrics.json").read_text())


def test_a_model_that_holds_elsewhere_is_said_to_and_everything_is_written(study, tmp_path, capsys):
    evaluated(study / "winner", [str(hospital(tmp_path / "other"))])
    folder, metrics = found(study)
    assert folder.name.startswith("other-20")
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "predictions.csv", "report.html"]
    assert metrics["verdict"] == "no sign against it"
    assert metrics["test"]["images"] == 80
    assert metrics["test"]["patients"] == 40
    assert metrics["split"] == "all"
    assert len(metrics["gap"]) == 3
    assert [row["name"] for row in metrics["policies"]] == ["0.5", "youden"]
    with (folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    right = sum(row["truth"] == row["decision"] for row in rows) / len(rows)
    assert right == pytest.approx(metrics["test"]["overall"]["accuracy"][0])
    html = (folder / "report.html").read_text()
    assert "http" not in html
    assert "<svg" in html
    assert "No sign against it" in " ".join(html.split())
    assert "no sign against it" in capsys.readouterr().out
    assert not access_log.read(study)


def test_labels_that_have_nothing_to_do_with_the_images_make_it_not_usable(study, tmp_path, capsys):
    evaluated(study / "winner", [str(hospital(tmp_path / "other", right=0.0, each=80))])
    _, metrics = found(study)
    assert metrics["verdict"] == "not usable here"
    assert any("includes 0.5" in reason for reason in metrics["reasons"])
    assert any("below the study's test result" in reason for reason in metrics["reasons"])
    assert "not usable here" in capsys.readouterr().out


def test_images_that_the_study_saw_are_left_out_and_counted_unless_asked_for(study, tmp_path, capsys):
    other = hospital(tmp_path / "other")
    studied = data.load(str(tmp_path / "studied"))
    seen = list(studied.select("train"))[:6]
    for image in seen[:4]:
        shutil.copy(studied.path(image), other / studied.classes[image.label] / f"9{image.key[-15:]}")
    from PIL import Image

    for image in seen[4:]:  # saved again
        with Image.open(studied.path(image)) as opened:
            write(other / studied.classes[image.label] / f"9{image.key[-15:-4]}.jpg", opened.convert("L"))
    evaluated(study / "winner", [str(other)], patient_regex=r"(\d+)_")
    _, metrics = found(study)
    assert metrics["seen"] == {"known": True, "same_content": 4, "near_copies": 2, "included": False}
    assert metrics["test"]["images"] == 80
    assert "were left out" in " ".join(capsys.readouterr().out.split())
    evaluated(study / "winner", [str(other)], patient_regex=r"(\d+)_", include_seen=True, out=tmp_path / "out")
    (second,) = (tmp_path / "out").iterdir()
    metrics = json.loads((second / "metrics.json").read_text())
    assert metrics["test"]["images"] == 86
    assert metrics["seen"]["included"]
    assert "say nothing about new patients" in (second / "report.html").read_text()


def test_only_images_that_the_study_saw_are_refused(study, tmp_path):
    studied = data.load(str(tmp_path / "studied"))
    for image in studied.select("train") + studied.select("val"):
        target = tmp_path / "again" / image.key
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(studied.path(image), target)
    with pytest.raises(InputError, match="trained or validated on all of them"):
        evaluated(study / "winner", [str(tmp_path / "again")])
    assert not (study / "evaluations").exists()


def test_the_study_s_own_test_set_counts_as_an_access(study, tmp_path, capsys):
    evaluated(study / "winner", [str(tmp_path / "studied")])
    _, metrics = found(study)
    (entry,) = access_log.read(study)
    assert entry["images"] == metrics["own_test_images"] == metrics["test"]["images"]
    assert entry["figures"]["auc"][0] == pytest.approx(metrics["test"]["overall"]["auc"][0], abs=1e-4)
    assert "access 1" in capsys.readouterr().out


def test_several_data_sets_end_in_one_table_and_data_with_a_test_set_are_judged_on_it(study, tmp_path, capsys):
    split = tmp_path / "split"
    hospital(split / "train", seed=1)
    hospital(split / "test", seed=2, each=30)
    evaluated(study / "winner", [str(hospital(tmp_path / "other")), str(split)])
    shown = capsys.readouterr().out
    assert "All data sets" in shown
    by_name = {
        path.name[:5]: json.loads((path / "metrics.json").read_text()) for path in (study / "evaluations").iterdir()
    }
    assert by_name["split"]["split"] == "test"
    assert by_name["split"]["test"]["images"] == 60


def test_a_model_s_referral_is_judged_beside_the_study_s_test_set(study, tmp_path, capsys):
    pair = Referral(0.3, 0.9, 0.95, 0.9, 0.05, 200, 200)
    write_card(study / "winner", replace(read_card(study / "winner"), referral=pair.to_json()))
    evaluated(study / "winner", [str(hospital(tmp_path / "other"))])
    folder, metrics = found(study)
    here = metrics["referral"]["here"]
    assert metrics["referral"]["pair"] == pair.to_json()
    assert metrics["referral"]["study_test"] is None
    with (folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    p = [float(row["probability_PNEUMONIA"]) for row in rows]
    assert [row["referred"] for row in rows] == [str(int(0.3 <= value < 0.9)) for value in p]
    assert {row["decision"] for row in rows} == {"NORMAL", "PNEUMONIA"}
    referred = [row["referred"] == "1" for row in rows]
    assert 0 < sum(referred) < len(rows)
    assert here["referred"][0] == pytest.approx(sum(referred) / len(rows))
    sure = [value >= 0.9 for value, row in zip(p, rows, strict=True) if row["truth"] == "PNEUMONIA"]
    missed = [value < 0.3 for value, row in zip(p, rows, strict=True) if row["truth"] == "PNEUMONIA"]
    assert here["sensitivity"][0] == pytest.approx(sum(sure) / (sum(sure) + sum(missed)))
    shown = " ".join(capsys.readouterr().out.split())
    assert "refers images between to a radiologist" in shown
    assert "The guarantee does not hold at another hospital" in shown
    html = (folder / "report.html").read_text()
    assert "share of positive images answered and missed" in html
    study_test = here
    artifacts.write_json(study / "winner" / "metrics.json", {**figures(), "referral": {"test": study_test}})
    evaluated(study / "winner", [str(hospital(tmp_path / "other"))], out=tmp_path / "again")
    assert "images of the study's test set" in " ".join(capsys.readouterr().out.split())


def test_class_names_are_mapped_and_classes_that_do_not_fit_are_one_error_naming_both_sides(study, tmp_path):
    other = str(hospital(tmp_path / "other", names=("No finding", "Pneumonia")))
    with pytest.raises(InputError, match=r"No finding, Pneumonia\).*NORMAL, PNEUMONIA\).*--map 'No finding="):
        evaluated(study / "winner", [other])
    assert not (study / "evaluations").exists()
    evaluated(study / "winner", [other], map=["No finding=NORMAL"])
    assert found(study)[1]["test"]["classes"] == ["NORMAL", "PNEUMONIA"]


@pytest.mark.parametrize("pair", ["No finding", "=NORMAL", "No finding=", "A=NORMAL,B"])
def test_a_map_that_says_nothing_is_refused(study, tmp_path, pair):
    with pytest.raises(InputError, match="--map"):
        evaluated(study / "winner", [str(hospital(tmp_path / "other"))], map=[pair])


def test_data_or_a_model_that_are_not_there_are_one_error(study, tmp_path):
    with pytest.raises(DataError, match="There is no"):
        evaluated(study / "winner", [str(tmp_path / "nowhere")])
    with pytest.raises(ArtifactError, match="does not exist"):
        evaluated(tmp_path / "nothing", [str(tmp_path)])
    (study / "winner" / "metrics.json").write_text("[]")
    with pytest.raises(ArtifactError, match=r"metrics\.json"):
        evaluated(study / "winner", [str(tmp_path / "studied")])


def test_a_model_folder_that_can_not_be_written_is_no_error(study, tmp_path, capsys):
    (study / "evaluations").write_text("in the way")
    evaluated(study / "winner", [str(hospital(tmp_path / "other"))])
    assert found(tmp_path)[1]["verdict"] == "no sign against it"
    assert "can't be written" in capsys.readouterr().err


def test_an_out_that_can_not_be_written_is_an_error_and_nothing_is_left(study, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--out"):
        evaluated(study / "winner", [str(hospital(tmp_path / "other"))], out=tmp_path / "file")
    assert not (study / "evaluations").exists()


def test_a_model_alone_is_judged_by_its_ranking_and_says_what_is_not_known(tmp_path, capsys):
    model = brightness_model(tmp_path / "alone")
    evaluated(model, [str(hospital(tmp_path / "other"))])
    _, metrics = found(model)
    assert metrics["verdict"] == "can't be told"
    assert metrics["study_test"] is None
    assert not metrics["seen"]["known"]


def test_the_onnx_export_gives_the_same_figures(study, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    from xraytune.inference.onnx_export import export

    export(study / "winner", None)
    other = str(hospital(tmp_path / "other"))
    evaluated(study / "winner", [other])
    evaluated(study / "winner" / "model.onnx", [other], out=tmp_path / "out")
    (second,) = (tmp_path / "out").iterdir()
    first = found(study)[1]["test"]["overall"]
    for name, value in json.loads((second / "metrics.json").read_text())["test"]["overall"].items():
        assert value == pytest.approx(first[name], abs=1e-3)
