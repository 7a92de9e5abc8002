"""`search.shift`: what it says of images without labels, what it refuses to say, and what it leaves out."""

import csv
import json
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageFilter

from search import predict, shift
from tests.inputs.made_models import CLASSES, brightness_model, hospital, image
from tests.inputs.made_radiographs import write
from xraytune import artifacts, data
from xraytune.data import dataset as datasets
from xraytune.data.decoding import reading
from xraytune.errors import ArtifactError, InputError
from xraytune.inference import training_sample
from xraytune.inference.model_card import read_card, write_card

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, when it saves


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def study(tmp_path):
    """A study's folder with a model."""
    folder = tmp_path / "results" / "mine"
    brightness_model(folder / "winner", study="mine")
    artifacts.write_json(folder / "study.json", {"name": "mine"})
    return folder


def blurred(root, seed=0, each=40):
    """A hospital whose images are soft and cut narrower."""
    hospital(root, each, seed=seed)
    for path in root.rglob("*.png"):
        with Image.open(path) as opened:
            sharp = opened.convert("L").resize((40, 40), box=(8, 8, 40, 40)).filter(ImageFilter.GaussianBlur(2))
        write(path, sharp)
    return root


def predicted(study, folder, **asked):
    return predict.main(study / "winner", [folder], asked=predict.PredictionOptions(**asked))


def found(folder, name="shift.json"):
    (only,) = sorted((folder / "evaluations").iterdir())
    return only, json.loads((only / name).read_text())


def words(text):
    return " ".join(text.split())


def test_images_like_those_of_training_get_an_estimate_that_holds_the_truth(study, tmp_path, capsys):
    other = hospital(tmp_path / "other", each=60)
    assert shift.main(study / "winner", other) == 0
    folder, report = found(study)
    assert folder.name.startswith("shift-other-20")
    assert sorted(path.name for path in folder.iterdir()) == ["images.csv", "report.html", "shift.json"]
    assert report["verdict"] == "no sign against it"
    assert not report["comparison"]["foreign"]
    assert (report["images"], report["patients"], report["grouped_by"]) == (120, 60, "patient")
    with (folder / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name, label in (("sensitivity", "PNEUMONIA"), ("specificity", "NORMAL")):
        of_class = [row["decision"] == label for row in rows if row["path"].startswith(label)]
        value, low, high = report["estimate"][name]
        assert low <= sum(of_class) / len(of_class) <= high
        assert low <= value <= high
    assert report["predicted"]["PNEUMONIA"][0] == pytest.approx(
        sum(row["decision"] == "PNEUMONIA" for row in rows) / len(rows)
    )
    html = (folder / "report.html").read_text()
    assert "http" not in html
    assert html.count("<svg") == 4
    shown = words(capsys.readouterr().out)
    assert "no sign against it" in shown
    assert "estimated sensitivity" in shown


def test_images_of_another_kind_are_refused_in_one_sentence_and_nearly_all_flagged(study, tmp_path, capsys):
    assert shift.main(study / "winner", blurred(tmp_path / "other")) == 0
    folder, report = found(study)
    assert report["verdict"] == "not usable here"
    assert report["estimate"] is None
    assert report["comparison"]["auc"] > report["comparison"]["bound"]
    sentence = report["reasons"][0]
    assert sentence.startswith("These images differ from the training images in ")
    assert "sharpness" in sentence
    assert sentence.endswith("do not use this model on them without labelled images from this hospital.")
    assert report["outside"]["images"] >= 0.8 * report["images"]
    assert sentence in words(capsys.readouterr().out)
    assert "No estimate is made" in (folder / "report.html").read_text()


def test_another_share_of_positives_is_no_other_hospital(study, tmp_path):
    rng = np.random.default_rng(3)
    for i in range(150):
        write(tmp_path / "other" / f"{i:08d}_000.png", image(rng, int(i < 15)))
    shift.main(study / "winner", tmp_path / "other")
    _, report = found(study)
    assert not report["comparison"]["foreign"]
    assert report["estimate"]["prevalence"][1] <= 0.1 <= report["estimate"]["prevalence"][2]
    assert report["comparison"]["share_positive"] == pytest.approx(0.1, abs=0.05)


def test_predict_gives_the_same_sentence_for_a_folder_and_flags_its_images(study, tmp_path, capsys):
    other = blurred(tmp_path / "other")
    shift.main(study / "winner", other)
    sentence = found(study)[1]["reasons"][0]
    capsys.readouterr()
    assert predicted(study, other, csv_file=tmp_path / "answers.csv") == 0
    assert words(capsys.readouterr().err).count(sentence) == 1
    with (tmp_path / "answers.csv").open() as file:
        flags = [row["flag"] for row in csv.DictReader(file)]
    assert sum(map(bool, flags)) >= 0.8 * len(flags)
    predicted(study, hospital(tmp_path / "alike"), csv_file=tmp_path / "alike.csv")
    assert "These images differ" not in words(capsys.readouterr().err)


def test_single_files_and_few_images_are_not_compared(study, tmp_path, capsys):
    other = blurred(tmp_path / "other", each=10)
    predicted(study, other)
    assert "These images differ" not in capsys.readouterr().err
    shift.main(study / "winner", other)
    _, report = found(study)
    assert report["verdict"] == "can't be told"
    assert "too few" in report["reasons"][0]
    assert report["estimate"] is None


def test_images_that_the_study_trained_on_are_left_out_and_files_that_can_not_be_read_are_named(tmp_path, capsys):
    studied = data.load(str(hospital(tmp_path / "studied", seed=3)))
    folder = tmp_path / "results" / "mine"
    prints = {"train_fingerprint": studied.train_fingerprint, "test_fingerprint": studied.test_fingerprint}
    brightness_model(folder / "winner", study="mine", **prints)
    artifacts.write_json(folder / "study.json", {"name": "mine"})
    datasets.keep_lists(prints.values(), folder)
    other = hospital(tmp_path / "other")
    for i, one in enumerate(list(studied.select("train"))[:6]):
        shutil.copy(studied.path(one), other / f"{i:08d}_900.png")
    (other / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    assert shift.main(folder / "winner", other) == 1
    _, report = found(folder)
    assert report["seen"] == {"known": True, "left_out": 6}
    assert report["images"] == 80
    assert [row["image"] for row in report["skipped"]] == ["broken.png"]
    assert report["grouped_by"] == "patient"
    shown = words(capsys.readouterr().out)
    assert "6 images that the study trained or validated on were left out" in shown
    assert "broken.png" in shown


def test_a_model_without_a_sample_of_its_training_images_says_so_in_one_line(study, tmp_path, capsys):
    card = read_card(study / "winner")
    write_card(study / "winner", type(card)(**{**vars(card), "sample": ""}))
    assert shift.main(study / "winner", hospital(tmp_path / "other")) == 0
    _, report = found(study)
    assert report["verdict"] == "can't be told"
    assert report["reasons"] == [training_sample.MISSING]
    assert report["predicted"]["PNEUMONIA"][0] == pytest.approx(0.5, abs=0.05)
    assert "call search.retrain again" in words(capsys.readouterr().out)


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_sample_is_one_error_and_nothing_is_written(study, tmp_path, damage):
    path = study / "winner" / training_sample.FILE
    path.write_bytes(path.read_bytes()[:-1]) if damage == "changed" else path.unlink()
    with pytest.raises(ArtifactError, match="training_sample"):
        shift.main(study / "winner", hospital(tmp_path / "other"))
    assert not any((study / "evaluations").glob("*"))


def test_bad_input_is_one_error(study, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.png").write_bytes(b"")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    for folder, why in (
        (tmp_path / "nowhere", "is no folder"),
        (tmp_path / "file.png", "is no folder"),
        (tmp_path / "empty", "holds no image"),
        (tmp_path / "bad", "no new image that can be read"),
    ):
        with pytest.raises(InputError, match=why):
            shift.main(study / "winner", folder)
    other = hospital(tmp_path / "other")
    with pytest.raises(ArtifactError, match="does not exist"):
        shift.main(tmp_path / "nothing", other)
    with pytest.raises(InputError, match="--patient-regex"):
        shift.main(study / "winner", other, patient_regex="(")
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="--out"):
        shift.main(study / "winner", other, out=tmp_path / "taken")
    assert not any(study.glob("evaluations/*"))


def test_a_study_that_can_not_be_written_to_is_no_error(study, tmp_path, capsys):
    (study / "evaluations").write_text("in the way")
    shift.main(study / "winner", hospital(tmp_path / "other"))
    assert found(tmp_path)[1]["images"] == 80
    assert "can't be written" in capsys.readouterr().err


def test_the_onnx_export_gives_the_same_report(study, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    from xraytune.inference.onnx_export import export

    export(study / "winner", None)
    other = hospital(tmp_path / "other")
    shift.main(study / "winner", other)
    shift.main(study / "winner" / "model.onnx", other, out=tmp_path / "out")
    (second,) = (tmp_path / "out").iterdir()
    theirs = json.loads((second / "shift.json").read_text())
    ours = found(study)[1]
    assert theirs["comparison"] == ours["comparison"]
    for name, value in ours["estimate"].items():
        assert theirs["estimate"][name] == pytest.approx(value, abs=1e-3)


def test_a_model_without_a_positive_class_is_compared_and_not_estimated(study, tmp_path):
    card = read_card(study / "winner")
    write_card(study / "winner", type(card)(**{**vars(card), "positive": None}))
    shift.main(study / "winner", hospital(tmp_path / "other"))
    _, report = found(study)
    assert report["verdict"] == "no sign against it"
    assert report["estimate"] is None
    assert set(report["predicted"]) == set(CLASSES)


def test_a_folder_is_decoded_once_for_the_answers_and_the_comparison(study, tmp_path, capsys, monkeypatch):
    decoded = Counter()
    decode = reading.decode

    def counted(content, *arguments, **options):
        decoded[content] += 1
        return decode(content, *arguments, **options)

    monkeypatch.setattr(reading, "decode", counted)
    predicted(study, blurred(tmp_path / "soft", each=20))
    assert "These images differ" in words(capsys.readouterr().err)
    assert set(decoded.values()) == {1}
    assert len(decoded) == 40
