"""What `search.predict` takes from folders, writes and says, with a tiny model of two networks made here."""

import csv
import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image

from search import export, predict
from xraytune import artifacts
from xraytune.data.decoding import image_files
from xraytune.errors import ArtifactError, InputError
from xraytune.evaluation import calibration
from xraytune.evaluation.referral.pair import Referral
from xraytune.inference import outliers, predict_files
from xraytune.inference.classifier import Classifier, load_model
from xraytune.inference.model_card import Member, ModelCard, read_card, write_card

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, when it saves


def run(model, images, *, as_json=False, **asked):
    return predict.main(model, images, asked=predict.PredictionOptions(**asked), as_json=as_json)


def network(path, size):
    start = keras.Input((size, size, 1))
    x = keras.layers.Rescaling(1 / 255)(start)
    x = keras.layers.ReLU()(keras.layers.Conv2D(2, 3, padding="same")(x))
    out = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(start, out).save(path)
    return Member(path.name, artifacts.sha256(path), size, 0.5).to_json()


def drawn(rng, size=200):
    y = np.linspace(60, 200, size)[:, None]
    return np.clip(y + rng.normal(0, 6, (size, size)) + rng.normal(0, 5), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of two networks of 28 and 32 px, whose training images are bright below."""
    folder = tmp_path_factory.mktemp("winner")
    keras.utils.set_random_seed(3)
    members = tuple(network(folder / f"model-{i}.keras", size) for i, size in enumerate((28, 32)))
    rng = np.random.default_rng(0)
    radiographs = [Image.fromarray(drawn(rng)).resize((28, 28), Image.Resampling.BILINEAR) for _ in range(100)]
    known = outliers.fit(np.stack([np.asarray(radiograph)[..., None] for radiograph in radiographs]))
    card = ModelCard(
        ("NORMAL", "PNEUMONIA"), 1, 1, "crop", 0.5, "0.5", calibration.none(2).to_json(), known.to_json(), members
    )
    write_card(folder, card)
    return folder


@pytest.fixture
def radiographs(tmp_path):
    folder = tmp_path / "radiographs"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(drawn(np.random.default_rng(i))).save(folder / f"{i}.png")
    return folder


def write_dicom(path, pixels):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    radiograph = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    radiograph.Rows, radiograph.Columns = pixels.shape
    radiograph.SamplesPerPixel, radiograph.PhotometricInterpretation = 1, "MONOCHROME2"
    radiograph.BitsAllocated = radiograph.BitsStored = 8
    radiograph.HighBit, radiograph.PixelRepresentation = 7, 0
    radiograph.PixelData = pixels.tobytes()
    radiograph.save_as(path, enforce_file_format=True)


def test_dicom_files_without_a_suffix_are_found_in_folders_and_read(model, radiographs, capsys):
    write_dicom(radiographs / "IM000001", drawn(np.random.default_rng(7)))
    (radiographs / "notes").write_text("nothing")
    (radiographs / "list.csv").write_text("a,b\n")
    assert [p.name for p in image_files.find([radiographs])] == ["0.png", "1.png", "IM000001"]
    assert run(model, [radiographs], as_json=True) == 0
    assert len(json.loads(capsys.readouterr().out)["images"]) == 3


def test_images_that_can_not_be_read_are_listed_as_skipped_and_end_with_1(model, radiographs, capsys):
    radiograph = Image.fromarray(drawn(np.random.default_rng(7)))
    for name in ("scan.tif", "scan.bmp", "scan.webp"):
        radiograph.save(radiographs / name)
    radiograph.save(radiographs / "unnamed", "TIFF")
    assert run(model, [radiographs]) == 1
    err = " ".join(capsys.readouterr().err.split())
    assert "4 could not be read" in err
    for name, why in (
        ("scan.tif", "a TIFF image"),
        ("scan.bmp", "a BMP image"),
        ("scan.webp", ""),
        ("unnamed", ""),
    ):
        assert f"{name}: {why}" in err


def test_the_flag_is_the_last_column_of_the_csv_and_in_table_json_and_stderr(model, radiographs, tmp_path, capsys):
    Image.fromarray(255 - drawn(np.random.default_rng(9))).save(radiographs / "inverted.png")
    target = tmp_path / "out.csv"
    assert run(model, [radiographs], csv_file=target) == 0
    assert "inverted.png: " in " ".join(capsys.readouterr().err.split())
    with target.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "probability", "decision", "flag"]
    assert [bool(row["flag"]) for row in rows] == [False, False, True]
    run(model, [radiographs], as_json=True)
    assert [bool(radiograph["unusual"]) for radiograph in json.loads(capsys.readouterr().out)["images"]] == [
        False,
        False,
        True,
    ]


def test_every_way_to_predict_says_that_it_is_no_medical_device(model, radiographs, tmp_path, capsys):
    run(model, [radiographs])
    assert "Not a medical device" in capsys.readouterr().out
    run(model, [radiographs], as_json=True)
    assert "Not a medical device" in json.loads(capsys.readouterr().out)["notice"]
    run(model, [radiographs], csv_file=tmp_path / "out.csv")
    assert "Not a medical device" in " ".join(capsys.readouterr().err.split())


def test_two_images_of_one_name_get_two_overlays(model, tmp_path):
    paths = []
    for i, suffix in enumerate((".png", ".jpeg")):
        for folder in ("x/a/b", "y/a/b"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            paths.append(tmp_path / folder / f"radiograph{suffix}")
            Image.fromarray(drawn(np.random.default_rng(i))).save(paths[-1])
    names = predict_files.picture_names(paths)
    assert len({name.lower() for name in names}) == 4
    assert all(name.endswith(".png") and not name.startswith((".", "-")) for name in names)
    assert run(model, paths, csv_file=tmp_path / "o.csv", overlays=tmp_path / "heat") == 0
    assert sorted(p.name for p in (tmp_path / "heat").iterdir()) == sorted(names)


def test_an_overlay_is_drawn_on_the_image_itself_and_says_what_its_numbers_are_of(
    model, radiographs, tmp_path, monkeypatch
):
    from xraytune.inference import grad_cam

    said = []
    monkeypatch.setattr(grad_cam, "captioned", lambda picture, lines: said.append(lines) or picture)
    assert run(model, [radiographs / "0.png"], csv_file=tmp_path / "o.csv", overlays=tmp_path / "heat") == 0
    (picture,) = (tmp_path / "heat").iterdir()
    with Image.open(picture) as drawing:
        assert drawing.size == (grad_cam.EDGE, grad_cam.EDGE)
    answers, where = said[0]
    assert answers.startswith("probability of PNEUMONIA 0.")
    assert "decided " in answers
    assert where.startswith("Grad-CAM for ")


def test_every_network_of_an_ensemble_is_explained(model):
    loaded = load_model(model)
    radiograph = loaded.prepare(drawn(np.random.default_rng(0)))
    squares = {size: square[None] for size, square in radiograph.items()}
    assert set(squares) == {28, 32}
    assert loaded.heat_maps(squares, np.array([1]), 100).shape == (1, 100, 100)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda f: f.astype(np.uint16) * 257, "uint16"),
        (lambda f: f.astype(np.int64), "int64"),
        (lambda f: f > 100, "bool"),
        (lambda f: (f / 255).astype(np.float32), r"in 0–1"),
        (lambda f: f * 16.0, r"from .* to"),
        (lambda f: f - 128.0, r"from -"),
        (lambda f: np.where(f > 100, np.nan, f), "nan"),
    ],
)
def test_pixel_values_that_are_not_0_to_255_are_refused_with_what_was_given(model, made, says):
    radiograph = drawn(np.random.default_rng(0))
    with pytest.raises(ValueError, match=f"uint8, or float in 0–255.*{says}"):
        load_model(model).predict([made(radiograph)])


def test_floats_in_0_to_255_answer_as_their_bytes_do(model):
    radiograph, loaded = drawn(np.random.default_rng(0)), load_model(model)
    assert (loaded.predict([radiograph.astype(np.float64)]) == loaded.predict([radiograph])).all()
    assert loaded.predict([np.zeros((40, 40), np.float32)]).shape == (1, 2)


def test_a_model_s_card_that_differs_in_any_byte_is_refused(model, tmp_path):
    content = (model / "model.json").read_bytes()
    (tmp_path / "model.json").write_bytes(content)
    assert read_card(tmp_path) == read_card(model)
    spaces = [at for at in range(len(content)) if content[at : at + 1] in b" \n"]
    changed = [content[:at] + b"\t" + content[at + 1 :] for at in spaces[::20]]
    changed += [content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] for at in range(0, len(content), 97)]
    changed += [
        content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] for at in range(len(content) - 90, len(content))
    ]
    for other in [
        *changed,
        content + b"\n",
        content + b" ",
        b" " + content,
        content[:-1],
        content.replace(b"\n", b"\r\n"),
    ]:
        (tmp_path / "model.json").write_bytes(other)
        with pytest.raises(ArtifactError, match=r"model\.json"):
            read_card(tmp_path)


def test_a_card_of_another_format_says_what_to_do(model, tmp_path):
    text = (model / "model.json").read_text()
    (tmp_path / "model.json").write_text(text.replace('"format": 2', '"format": 1'))
    with pytest.raises(ArtifactError, match=r"format 1; this version reads 2.*search\.retrain"):
        read_card(tmp_path)


@pytest.mark.parametrize("command", [export.main, load_model])
@pytest.mark.parametrize("name", ["nothing", "nothing.onnx", "no/thing/model.keras"])
def test_a_model_that_is_not_there_is_said_by_the_name_that_was_given(tmp_path, command, name):
    with pytest.raises(ArtifactError, match=f"{name} does not exist"):
        command(tmp_path / name)


def test_loading_an_export_that_was_not_made_says_how_to_make_it(model):
    with pytest.raises(ArtifactError, match=r"python -m search\.export"):
        load_model(model / "model.onnx")


def test_images_to_compare_an_export_on_are_read_as_prediction_reads_them(tmp_path):
    write_dicom(tmp_path / "radiograph.dcm", drawn(np.random.default_rng(0)))
    assert export.decoded(tmp_path / "radiograph.dcm", 1, 64).shape == (200, 200)
    (tmp_path / "radiograph.jpeg").write_bytes(b"\xff\xd8\xff damaged")
    with pytest.raises(InputError, match=r"radiograph\.jpeg can't be used for the comparison: "):
        export.decoded(tmp_path / "radiograph.jpeg", 1, 64)


@pytest.fixture
def stated(model, tmp_path):
    """The model with probabilities that are stated for a prevalence of one half and spread around the threshold."""
    folder = tmp_path / "stated"
    shutil.copytree(model, folder)
    fitted = calibration.Calibration("platt", 3.0, (0.0, 0.2), (0.5, 0.5))
    write_card(folder, replace(read_card(folder), calibration=fitted.to_json(), threshold=0.4))
    return folder


def test_probabilities_are_restated_by_bayes_and_the_threshold_stays_the_same_operating_point(stated):
    model, rng = load_model(stated), np.random.default_rng(0)
    raw = rng.random(20_000)
    own = model.calibration.apply(np.stack([1 - raw, raw], axis=1))
    for share in (0.001, 0.1, 0.5, 0.97):
        other = model.restated(own, share)
        odds = (other[:, 1].astype(float) / other[:, 0]) / (own[:, 1] / own[:, 0])
        assert np.median(odds) == pytest.approx(share / (1 - share), rel=1e-5)
        clear = np.abs(own[:, 1] - 0.4) > 1e-6
        at = model.restated_threshold(share)
        assert ((other[:, 1] >= at) == (own[:, 1] >= 0.4))[clear].all()
    assert model.restated(own, 0.5) == pytest.approx(own, abs=1e-6)


def test_an_image_exactly_at_the_threshold_is_decided_alike_at_every_prevalence(stated, radiographs, capsys):
    probability = next(predict_files.classify(load_model(stated), image_files.find([radiographs])))[0].probability
    write_card(stated, replace(read_card(stated), threshold=probability))
    model, paths = load_model(stated), image_files.find([radiographs])
    plain = [answer.decision for answer, _, _ in predict_files.classify(model, paths)]
    assert plain[0] == "PNEUMONIA"
    for share in np.linspace(0.01, 0.99, 25):
        rare = predict_files.classify(model, paths, stated=predict_files.Stated(float(share)))
        assert [answer.decision for answer, _, _ in rare] == plain


def test_predict_says_for_which_prevalence_probabilities_are_stated(stated, radiographs, capsys):
    def call(**options):
        code = run(stated, [radiographs], as_json=True, **options)
        out, err = capsys.readouterr()
        assert code == 0
        return json.loads(out), err

    plain, quiet = call()
    rare, said = call(prevalence=0.1)
    assert (plain["prevalence"], rare["prevalence"]) == (0.5, pytest.approx(0.1))
    assert "prevalence" not in quiet
    assert "prevalence of 10 % (the model's own: 50 %)" in said
    assert "no decision changes" in said
    assert [f["decision"] for f in rare["images"]] == [f["decision"] for f in plain["images"]]
    assert all(r["probability"] < p["probability"] for r, p in zip(rare["images"], plain["images"], strict=True))
    assert rare["threshold"] == pytest.approx(0.4 / 0.6 / 9 / (1 + 0.4 / 0.6 / 9))
    lowest = min(f["probability"] for f in rare["images"])
    asked, said = call(prevalence=0.1, threshold=lowest * 0.99)
    assert "no decision changes" not in said
    assert {f["decision"] for f in asked["images"]} == {"PNEUMONIA"}


def test_the_table_says_threshold_and_prevalence_as_they_are_shown(stated, radiographs, capsys):
    assert run(stated, [radiographs], prevalence=0.2) == 0
    shown = " ".join(capsys.readouterr().out.split())
    at = load_model(stated).restated_threshold(0.2)
    assert f"its probability is at least {at:.3f} (0.5). Probabilities are stated for a prevalence of 20 %." in shown
    assert run(stated, [radiographs], threshold=0.7) == 0
    assert (
        "its probability is at least 0.700 (asked for). Probabilities are stated for a prevalence of 50 %."
        in " ".join(capsys.readouterr().out.split())
    )
    with pytest.raises(InputError, match="between 0 and 1"):
        run(stated, [radiographs], threshold=1.5)


@pytest.mark.parametrize("share", [0.0, 1.0, 10.0])
def test_a_prevalence_that_is_no_share_is_refused(stated, share):
    with pytest.raises(InputError, match="between 0 and 1"):
        load_model(stated).restated_threshold(share)


def test_a_prevalence_needs_a_positive_class_and_a_model_that_keeps_its_own(model, stated):
    with pytest.raises(InputError, match="does not say for which prevalence"):
        load_model(model).restated_threshold(0.1)
    write_card(stated, replace(read_card(stated), positive=None))
    with pytest.raises(InputError, match="has none"):
        load_model(stated).restated_threshold(0.1)


REFERRAL = Referral(0.3, 0.6, 0.95, 0.9, 0.05, 200, 180)


@pytest.fixture
def referring(stated, monkeypatch):
    """The model with a referral, and one image of each answer: probabilities 0.1, 0.45 and 0.8."""
    write_card(stated, replace(read_card(stated), referral=REFERRAL.to_json(), threshold=0.5))
    p = np.array([0.1, 0.45, 0.8], np.float32)
    monkeypatch.setattr(
        Classifier, "predict_squares", lambda self, squares: np.stack([1 - p, p], axis=1)[: len(squares[28])]
    )
    return stated


@pytest.fixture
def three(radiographs):
    Image.fromarray(drawn(np.random.default_rng(5))).save(radiographs / "2.png")
    return radiographs


def test_an_image_between_the_two_thresholds_is_referred_in_csv_json_and_table(referring, three, tmp_path, capsys):
    assert run(referring, [three]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "1 NORMAL, 1 PNEUMONIA, 1 referred" in shown
    assert "from 0.300 to below that is referred to a radiologist" in shown
    target = tmp_path / "answers.csv"
    assert run(referring, [three], csv_file=target) == 0
    capsys.readouterr()
    with target.open() as file:
        assert [row["decision"] for row in csv.DictReader(file)] == ["NORMAL", "refer", "PNEUMONIA"]
    assert run(referring, [three], as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert [radiograph["decision"] for radiograph in found["images"]] == ["NORMAL", "refer", "PNEUMONIA"]
    assert found["referral"] == REFERRAL.to_json()


def test_another_prevalence_moves_the_thresholds_of_a_referral_and_refers_the_same_images(referring, three, capsys):
    assert run(referring, [three], as_json=True, prevalence=0.1) == 0
    found = json.loads(capsys.readouterr().out)
    assert [radiograph["decision"] for radiograph in found["images"]] == ["NORMAL", "refer", "PNEUMONIA"]
    low, high = found["referral"]["low"], found["referral"]["high"]
    assert (low, high) == (pytest.approx(0.3 / 0.7 / 9 / (1 + 0.3 / 0.7 / 9)), pytest.approx(1.5 / 9 / (1 + 1.5 / 9)))
    assert [low <= radiograph["probability"] < high for radiograph in found["images"]] == [False, True, False]


def test_a_threshold_that_was_asked_for_refers_nothing(referring, three, capsys):
    assert run(referring, [three], as_json=True, threshold=0.4) == 0
    found = json.loads(capsys.readouterr().out)
    assert [radiograph["decision"] for radiograph in found["images"]] == ["NORMAL", "PNEUMONIA", "PNEUMONIA"]
    assert found["referral"] is None


def test_a_referred_image_is_explained_for_the_positive_class(referring, three, tmp_path, monkeypatch):
    from xraytune.inference import grad_cam

    said = []
    monkeypatch.setattr(grad_cam, "captioned", lambda picture, lines: said.append(lines) or picture)
    assert run(referring, [three], csv_file=tmp_path / "o.csv", overlays=tmp_path / "heat") == 0
    assert said[1][0].endswith("decided refer")
    assert "for PNEUMONIA" in said[1][1]


def test_a_model_answers_and_decides_by_its_own_rules(referring):
    model = load_model(referring)
    p = np.array([[0.7, 0.3], [0.71, 0.29], [0.41, 0.59], [0.4, 0.6]])
    assert model.answer(p).tolist() == [-1, 0, -1, 1]
    assert model.decide(p).tolist() == [0, 0, 1, 1]
    write_card(referring, replace(read_card(referring), referral={}))
    plain = load_model(referring)
    assert plain.answer(p).tolist() == plain.decide(p).tolist()
    assert plain.restated_referral(0.1) is None
