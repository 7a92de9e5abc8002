"""The page of a saved model over real connections: answers, refusals, foreign callers, and nothing that is left."""

from __future__ import annotations

import base64
import io
import re
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from search.serving.answering import answered
from search.serving.page import page
from tests.inputs import made_dicom
from tests.inputs.made_requests import LARGEST, ask, chest, classified, encoded, refused, running, whole
from xraytune.evaluation import calibration
from xraytune.evaluation.referral.pair import Referral
from xraytune.inference import outliers, predict_files
from xraytune.inference.classifier import Classifier, load_model
from xraytune.inference.model_card import read_card, write_card
from xraytune.inference.predict_files import Stated

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, when it saves


def as_dicom(picture):
    return made_dicom.dicom(np.asarray(picture).astype(np.uint16) * 16)


ENCODERS = {
    "JPEG": partial(encoded, kind="JPEG"), "PNG": encoded, "PGM": partial(encoded, kind="PPM"), "DICOM": as_dicom
}  # fmt: skip


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("label", [0, 1])
def test_a_file_gets_the_answer_that_predict_gives(port, model, tmp_path, kind, label):
    if kind == "DICOM":
        pytest.importorskip("pydicom")
    content = ENCODERS[kind](chest(label))
    (tmp_path / "image").write_bytes(content)
    ((said, _, _),) = predict_files.classify(model, [tmp_path / "image"])
    found = classified(port, content)
    positive = said.decision == "PNEUMONIA"
    assert kind == "DICOM" or positive == label  # a DICOM file without a window is stretched to all gray levels
    assert (found["decision"], found["positive"], found["referred"]) == (said.decision, positive, False)
    assert (found["probability"], found["unusual"]) == (pytest.approx(said.probability, abs=1e-6), said.unusual)
    assert [name for name, _ in found["probabilities"]] == list(model.card.classes)
    assert found["shown"] == "PNEUMONIA"


def opened(url):
    with Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))) as picture:
        picture.load()
        return picture


def test_an_answer_has_the_image_and_the_image_with_its_heat_map(port):
    found = classified(port, encoded(chest(1)))
    picture, heat = opened(found["picture"]), opened(found["heat"])
    assert (picture.mode, picture.size, heat.mode, heat.size) == ("L", (512, 512), "RGB", (512, 512))
    assert found["heat_words"].endswith("for PNEUMONIA")
    assert np.abs(np.asarray(heat).astype(int) - np.asarray(picture.convert("RGB"))).max() > 20


def test_an_image_unlike_the_training_images_is_marked(port, model):
    assert classified(port, encoded(chest(1)))["unusual"] == ""
    found = classified(port, encoded(Image.new("L", (64, 64), 255)))
    assert found["unusual"] in outliers.QUANTITIES
    assert found["compared"]


def test_an_exported_network_has_no_heat_map_and_says_why(folder, tmp_path):
    pytest.importorskip("tf2onnx")
    from search import export

    shutil.copytree(folder, tmp_path / "model")
    assert not export.main(tmp_path / "model")
    exported = load_model(tmp_path / "model" / "model.onnx")
    with running(whole(exported)) as port:
        found = classified(port, encoded(chest(1)))
    assert (found["decision"], found["heat"]) == ("PNEUMONIA", None)
    assert "give the folder, not the .onnx file" in found["heat_words"]


def test_an_image_between_the_two_thresholds_is_referred(folder, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    pair = Referral(0.01, 0.99999, 0.95, 0.9, 0.05, 200, 180)
    write_card(copy, replace(read_card(copy), referral=pair.to_json()))
    model, content = load_model(copy), encoded(Image.fromarray(np.full((64, 64), 128, np.uint8)))
    with running(whole(model)) as port:
        found = classified(port, content)
        assert (found["decision"], found["referred"], found["positive"]) == ("refer", True, False)
        assert found["heat_words"].endswith("for PNEUMONIA")
        text = ask(port, method="GET", path="/")[2].decode()
    assert "from 0.010 to below that is referred to a radiologist" in text
    assert re.findall(r'data-at="([\d.]+)"', text) == ["0.01", "0.99999"]
    with running(whole(model, Stated(threshold=0.3))) as port:
        found = classified(port, content)
        assert (found["decision"], found["referred"]) == ("PNEUMONIA", False)
        assert re.findall(r'data-at="([\d.]+)"', ask(port, method="GET", path="/")[2].decode()) == ["0.3"]


def test_a_model_of_three_classes_answers_with_the_likeliest_and_all_probabilities(model):
    card = replace(
        model.card, classes=("A", "B", "C"), positive=None, calibration=calibration.none(3).to_json(), outliers={}
    )
    loaded = Classifier(card, [lambda images: np.tile(np.float32([0.2, 0.7, 0.1]), (len(images), 1))])
    found = answered(loaded, predict_files.PLAIN, encoded(chest(1)))
    assert (found["decision"], found["shown"], found["positive"], found["compared"]) == ("B", "B", False, False)
    assert found["probabilities"] == [("A", pytest.approx(0.2)), ("B", pytest.approx(0.7)), ("C", pytest.approx(0.1))]
    text = page(loaded, predict_files.PLAIN, LARGEST).text
    assert "The most probable class is predicted." in text
    assert 'class="threshold"' not in text


def test_another_prevalence_moves_probability_and_threshold_and_no_decision(model):
    content = encoded(chest(1))
    with running(whole(model, Stated(prevalence=0.1))) as port:
        rare, text = classified(port, content), ask(port, method="GET", path="/")[2].decode()
    plain = answered(model, predict_files.PLAIN, content)
    assert (rare["decision"], rare["probability"] < plain["probability"]) == (plain["decision"], True)
    assert "stated for a prevalence of 10 %" in text
    assert re.findall(r'data-at="([\d.]+)"', text) == ["0.1"]


RUNS = np.array([2, 64, 66, *[0] * 13], "<u4").tobytes() + b"\0\0" + b"\x81\0" * 4000
BAD = {
    "empty": lambda: b"",
    "text": lambda: b"name,label\n1,2\n" * 40,
    "truncated JPEG": lambda: encoded(chest(1, size=400), "JPEG")[:4000],
    "damaged PNG": lambda: encoded(chest(1))[:-200] + bytes(200),
    "many pixels": lambda: encoded(Image.new("1", (9000, 9000))),
    "few pixels": lambda: encoded(Image.new("L", (4, 4))),
    "TIFF": lambda: encoded(chest(1), "TIFF"),
    "WebP": lambda: encoded(chest(1), "WEBP"),
    "page": lambda: b"<!doctype html><script>alert(1)</script>",
    "DICOM bomb": lambda: made_dicom.encapsulated(np.zeros((64, 64), np.uint16), "1.2.840.10008.1.2.5", RUNS),
    "DICOM without pixels": lambda: made_dicom.dicom(np.zeros((64, 64), np.uint16), PixelData=b""),
    "truncated DICOM": lambda: as_dicom(chest(1))[:-3000],
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_can_not_be_used_gets_the_message_of_predict(port, model, tmp_path, kind):
    if "DICOM" in kind:
        pytest.importorskip("pydicom")
    content = BAD[kind]()
    (tmp_path / "image.png").write_bytes(content)
    ((_, _, why),) = predict_files.classify(model, [tmp_path / "image.png"])
    assert why
    assert refused(port, content) == (422, f"This file can't be used: {why}.")
