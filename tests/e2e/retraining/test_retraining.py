"""A retraining end to end on drawn images, with real workers; then the model, its report, and what is refused."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from search import predict, shift
from search.cli import console
from search.reporting import html_report
from search.retrain import main as retrain_main
from search.retraining import recreate
from search.retraining.options import RetrainingOptions
from search.retraining.steps import Retraining, retrain
from search.retraining.test_evaluation import evaluation
from search.study import access_log, image_names
from search.study.view import open_study
from tests.e2e.retraining import made_study
from tests.inputs.made_networks import write_weights
from tests.searching import command
from xraytune import artifacts, data
from xraytune.data import property_table
from xraytune.data.decoding import image_files
from xraytune.data.sources.listing import MARKER
from xraytune.errors import ArtifactError, InputError, StudyError, WeightsError
from xraytune.evaluation import evaluate, metrics
from xraytune.evaluation.predictions import Predictions
from xraytune.inference import training_sample
from xraytune.inference.classifier import load_model
from xraytune.inference.model_card import read_card

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


@pytest.fixture
def winner(retrained: tuple[Path, Any], tmp_path: Path) -> Iterator[Path]:
    """A copy that a test may damage."""
    return shutil.copytree(retrained[0], tmp_path / "winner")  # type: ignore[return-value]


def test_the_plan_comes_first_and_the_figures_last(retrained: tuple[Path, Any]) -> None:
    folder, done = retrained
    out = done.stdout
    assert out.index("3 folds grouped by patient") < out.index("Held-out test set") < out.index("Confusion matrix")
    for word in ("sensitivity", "specificity", "F2", "ROC AUC", "PR AUC", "always PNEUMONIA", "macro", "weighted"):
        assert word in out
    assert f"python -m search.predict {folder}" in out
    assert "Traceback" not in done.stderr


def test_limits_of_referral_that_few_patients_show_are_kept_with_the_model(retrained: tuple[Path, Any]) -> None:
    folder, done = retrained
    assert "Referral: search.predict" in done.stdout
    assert read_card(folder).referral
    assert (folder / "tables" / "referral.csv").is_file()
    assert len((folder / "referral.csv").read_text().splitlines()) == 49


def test_metrics_json_and_predictions_csv_are_the_same_figures(retrained: tuple[Path, Any]) -> None:
    folder, _ = retrained
    figures = artifacts.read_json(folder / "metrics.json")
    labels, p, patients = html_report.read_predictions(folder / "predictions.csv", figures["test"]["classes"])
    again = metrics.summary(labels, p, figures["test"]["positive"], figures["test"]["threshold"])
    for name, (value, low, high) in figures["test"]["overall"].items():
        assert value == pytest.approx(again[name], abs=1e-4)
        assert low is None or low <= high
    assert len(set(patients)) == figures["test"]["patients"] == 12
    assert figures["confirmation"]["folds"] == 3
    assert len(figures["views"]) > 5
    used = [row["test"] for row in figures["policies"] if row["used"]]
    assert used == [{name: figures["test"]["overall"][name] for name in evaluate.NAMES}]
    error, interval = (figures["calibration"][name] for name in ("test_error_without", "interval_without"))
    assert interval[0] <= error <= interval[1]


def test_the_winner_is_compared_with_the_trivial_answer_and_all_others(retrained: tuple[Path, Any]) -> None:
    folder, done = retrained
    figures = artifacts.read_json(folder / "metrics.json")
    compared, test = figures["comparisons"], figures["test"]["overall"]
    assert [row["with"] for row in compared["test"]] == ["the trivial answer", "recipe dense", "recipe cnn"]
    for row in compared["test"]:  # a difference is that of the two models' own figures
        for name in ("auc", "specificity"):
            value, low, high = row["difference"][name]
            assert value == pytest.approx(test[name][0] - row["figures"][name], abs=1e-6)
            assert low is None or low <= value <= high
    assert compared["test"][0]["figures"]["specificity"] == 0
    assert [row["name"] for row in compared["recipes"]] == ["dense", "cnn"]
    winners = [row["winner"] for row in compared["recipes"]]
    assert sorted(winners) == [False, True]
    other = compared["recipes"][winners.index(False)]
    assert len(other["difference"]["auc"]) == 3
    assert len(compared["out_of_fold"]) == 2
    assert compared["out_of_fold"][1]["with"] == "the trivial answer"
    assert "recipe dense" in done.stderr  # trained for it, like the winner
    assert access_log.read(folder.parent)[0]["compared"] == ["dense", "cnn"]
    page = (folder / "report.html").read_text()
    assert 'id="comparisons"' in page
    for c in figures["confirmation"]["finalists"]:
        assert 0 <= c["robust"] <= 1
        assert "darker" in c["by_view"]


def test_the_opening_is_in_the_ledger_with_the_model_s_sha256(retrained: tuple[Path, Any]) -> None:
    folder, _ = retrained
    entries = access_log.read(folder.parent)
    assert entries[0]["what"] == "retrain best"
    assert entries[0]["sha256"] == [m["sha256"] for m in read_card(folder).members]
    figures = artifacts.read_json(folder / "metrics.json")
    kept = entries[0]["figures"]
    assert kept["accuracy"] == pytest.approx(figures["test"]["overall"]["accuracy"], abs=1e-4)
    assert set(kept) == set(access_log.FIGURES)
    assert not list(folder.parent.glob(".winner*"))


def test_numpy_in_numpy_out_and_the_same_answers_as_the_evaluation(
    retrained: tuple[Path, Any], home: Path, tmp_path: Path
) -> None:
    folder, _ = retrained
    model = load_model(folder)
    with (folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    paths = image_names.read(folder.parent)
    radiographs = [np.asarray(Image.open(home / "radiographs" / paths[int(row["image"])])) for row in rows]
    p = model.predict(np.stack(radiographs))
    assert p.dtype == np.float32
    assert p[:, 1] == pytest.approx([float(row["probability_PNEUMONIA"]) for row in rows], abs=1e-4)
    assert [model.card.classes[i] for i in model.decide(p)] == [row["decision"] for row in rows]
    assert model.predict([np.zeros((70, 50), np.uint8), np.zeros((40, 60, 3), np.uint8)]).shape == (2, 2)
    with pytest.raises(ValueError, match="height, width"):
        model.predict([np.zeros((4, 4, 4, 4))])


def test_a_final_model_keeps_a_sample_of_its_training_images_with_which_others_are_compared(
    retrained: tuple[Path, Any], home: Path, tmp_path: Path
) -> None:
    folder, _ = retrained
    sample = training_sample.load(folder, read_card(folder))
    assert sample is not None
    dataset = data.load(str(home / "radiographs"))
    kept = dataset.select("train") + dataset.select("val")
    assert sorted(sample.labels.tolist()) == sorted(kept.labels.tolist())
    assert len(set(sample.patients.tolist())) == len(set(kept.patients.tolist()))
    widths = sample.table[:, property_table.NAMES.index("width")]
    np.testing.assert_allclose(np.sort(widths), np.sort(kept.shapes[:, 0]), rtol=0.01)
    np.testing.assert_allclose(sample.probabilities.sum(axis=1), 1, atol=1e-5)
    assert shift.main(folder, home / "radiographs" / "test", out=tmp_path) == 0
    report = json.loads(next(tmp_path.glob("*/shift.json")).read_text())
    assert report["seen"]["left_out"] == 0
    assert report["images"] == len(dataset.select("test"))
    assert sum(report["predicted"][c][0] for c in dataset.classes) == pytest.approx(1)


def test_prediction_lists_what_it_can_not_read_and_marks_what_is_unusual(
    retrained: tuple[Path, Any], home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = retrained
    mixed = tmp_path / "radiographs"
    shutil.copytree(home / "radiographs" / "test" / "NORMAL", mixed)
    (mixed / "letter.jpeg").write_text("Dear colleague")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(mixed / "zz-black.png")
    (mixed / ".hidden.png").write_text("")
    asked = predict.PredictionOptions(csv_file=tmp_path / "out.csv", overlays=tmp_path / "heat")
    code = predict.main(folder, [mixed], asked=asked)
    assert code == 1
    err = " ".join(capsys.readouterr().err.split())
    assert "letter.jpeg: a text file" in err
    assert "zz-black.png" in err
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "probability", "decision", "flag"]
    assert len(rows) == 13
    assert len(list((tmp_path / "heat").glob("*.png"))) == 13
    assert (
        predict.main(
            folder, [home / "radiographs" / "test" / "NORMAL"], asked=predict.PredictionOptions(), as_json=True
        )
        == 0
    )
    answers = json.loads(capsys.readouterr().out)
    assert len(answers["images"]) == 12
    with pytest.raises(InputError, match="does not exist"):
        image_files.find([tmp_path / "nowhere"])


@pytest.mark.parametrize("file", ["model.keras", "model.json"])
def test_a_model_changed_by_one_byte_is_refused(winner: Path, file: str) -> None:
    content = bytearray((winner / file).read_bytes())
    at = len(content) // 2
    content[at] = content[at] ^ 1 if file != "model.json" else ord("7" if chr(content[at]) != "7" else "8")
    (winner / file).write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match=r"changed|can't be read"):
        load_model(winner)


@pytest.mark.parametrize("file", ["model.keras", "model.json"])
def test_a_truncated_or_missing_file_is_refused_by_name(winner: Path, file: str) -> None:
    content = (winner / file).read_bytes()
    (winner / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match=file.replace(".", r"\.")):
        load_model(winner)
    (winner / file).unlink()
    with pytest.raises(ArtifactError, match=r"missing"):
        load_model(winner)
    with pytest.raises(ArtifactError, match="does not exist"):
        load_model(winner / "nowhere")


def test_a_threshold_that_was_edited_is_refused(winner: Path) -> None:
    card = json.loads((winner / "model.json").read_text())
    card["threshold"] = 0.01
    (winner / "model.json").write_text(json.dumps(card))
    with pytest.raises(ArtifactError, match="changed"):
        load_model(winner)


def test_the_report_stands_alone_and_tells_the_figures(retrained: tuple[Path, Any]) -> None:
    folder, _ = retrained
    page = (folder / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    for section in ("summary", "data", "search", "results", "threshold", "subgroups", "examples", "reproducibility"):
        assert f'id="{section}"' in page
    assert "Not a medical device" in page
    card = (folder / "MODEL_CARD.md").read_text()
    head = yaml.safe_load(card.split("---\n")[1])
    assert (head["license"], head["license_name"]) == ("other", "not-stated")
    assert head["model-index"][0]["results"][0]["dataset"]["name"] == "radiographs"
    assert str(folder.parents[2]) not in card  # no path of this machine
    assert "24 NORMAL, 24 PNEUMONIA images of train and validation together" in card
    assert "patients: not known." in card
    assert "The model is one network: " in page
    assert "within each fold it is" in page
    assert "Not a medical device" in card
    figures = artifacts.read_json(folder / "metrics.json")
    assert f"{figures['test']['overall']['auc'][0]:.3f}" in page
    each = page.partition('<details id="each">')[2].partition("</details>")[0]
    for name, words in evaluate.BY_CLASS.items():
        row = each.partition(f">{words}</th>")[2].partition("</tr>")[0]
        shown = [figures["test"]["by_class"][c][name][0] for c in figures["test"]["classes"]]
        shown += [figures["test"]["averages"][f"{kind}/{name}"][0] for kind in ("macro", "weighted")]
        assert re.findall(r"<span>([^ <]+)", row) == [f"{v:.3f}" for v in shown]


def test_the_report_is_made_again_without_opening_the_test_set(
    retrained: tuple[Path, Any], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = retrained
    before = len(access_log.read(folder.parent))
    (folder / "report.html").unlink()
    html_report.write(open_study("made", home / "results"), folder)
    assert (folder / "report.html").stat().st_size > 20_000
    assert len(list((folder / "tables").glob("*.csv"))) >= 14
    assert len(list((folder / "figures").glob("*.svg"))) >= 8
    assert len(access_log.read(folder.parent)) == before


def test_the_figure_that_the_study_is_judged_by_has_its_row_in_report_and_card(winner: Path, home: Path) -> None:
    figures = artifacts.read_json(winner / "metrics.json")
    test = figures["test"]
    labels, p, patients = html_report.read_predictions(winner / "predictions.csv", test["classes"])
    given = Predictions(labels, p, patients, test["classes"], test["positive"], test["threshold"], beta=3.0, draws=100)
    for part in ("test", "validation"):
        figures[part] = evaluate.evaluate(given)
    artifacts.write_json(winner / "metrics.json", figures)
    html_report.write(open_study("made", home / "results"), winner)
    value = f"{figures['test']['overall']['f_beta'][0]:.3f}"
    assert re.search(rf">F3</th><td[^>]*><span>{value}", (winner / "report.html").read_text())
    assert f"| F3 | {value}" in (winner / "MODEL_CARD.md").read_text()


def test_what_is_shared_names_no_file_and_no_patient_unless_that_was_asked_for(winner: Path, home: Path) -> None:
    study = open_study("made", home / "results")
    paths = image_names.read(study.folder)
    assert sorted(paths) == list(range(1, 25))
    names = {path for p in paths.values() for path in (p, Path(p).name, Path(p).stem)}
    shared = [p for p in winner.rglob("*") if p.suffix in {".html", ".csv", ".json", ".md", ".svg"}]
    assert len(shared) > 20
    for file in shared:
        text = file.read_text(encoding="utf-8")
        assert [name for name in names if name in text] == [], file
    html_report.write(study, winner, with_names=True)
    page = (winner / "report.html").read_text(encoding="utf-8")
    assert "do not share it" in page
    assert sum(Path(p).stem in page.replace("\u200b", "") for p in paths.values()) >= 4


def test_predictions_with_names_have_them_in_columns_of_their_own(home: Path, tmp_path: Path) -> None:
    dataset = data.load(str(home / "radiographs"), seed=0)
    images = dataset.select("test")
    labels = np.array([image.label for image in images])
    p = np.eye(2)[labels] * 0.8 + 0.1
    given = Predictions(labels, p, [image.patient for image in images], dataset.classes, dataset.positive)
    for with_names in (False, True):
        evaluation.write_predictions(tmp_path / "p.csv", dataset, given, with_names=with_names)
        with (tmp_path / "p.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert ("path" in rows[0]) == ("patient_name" in rows[0]) == with_names
        assert [int(row["image"]) for row in rows] == list(range(1, 25))
        assert len({row["patient"] for row in rows}) == 12
    assert [row["path"] for row in rows] == [image.key for image in images]


@pytest.mark.parametrize("victim", ["predictions.csv", "metrics.json", "gradcam/00.jpg"])
def test_a_report_of_files_that_are_not_what_was_written_is_refused_in_words(
    winner: Path, home: Path, victim: str
) -> None:
    study = open_study("made", home / "results")
    (winner / victim).unlink()
    with pytest.raises(ArtifactError, match=victim):
        html_report.again(study, winner)
    if victim != "gradcam/00.jpg":
        (winner / victim).write_text("{}")
        with pytest.raises(ArtifactError, match="Retrain"):
            html_report.again(study, winner)


def test_onnx_says_the_same_and_runs_without_keras(winner: Path) -> None:
    pytest.importorskip("tf2onnx")
    from xraytune.inference.onnx_export import TOLERANCE, drawn_images, export

    files, worst = export(winner)
    assert worst <= TOLERANCE
    squares = drawn_images(64, 1, seed=9)[..., 0]
    ours, theirs = load_model(winner).predict(squares), load_model(files[0]).predict(squares)
    assert np.abs(ours - theirs).max() <= TOLERANCE
    files[0].write_bytes(files[0].read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="changed or cut off"):
        load_model(files[0])


def test_what_can_not_be_retrained_ends_with_one_message_and_exit_code_2(home: Path) -> None:
    done = command("search.retrain", "999", "--results", home / "results", home=home)
    assert done.returncode == 2, done.stderr
    assert "no trial 999" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1
    for options, says in (
        (RetrainingOptions(results=home / "empty"), "no study"),
        (RetrainingOptions(study="other", results=home / "results"), "no study 'other'"),
    ):
        with pytest.raises(StudyError, match=says):
            retrain(options)


def test_drawn_images_in_a_folder_are_retrained_from_that_folder(tmp_path: Path) -> None:
    radiographs = made_study.draw_radiographs(tmp_path / "radiographs", each=8)
    (radiographs / MARKER).write_text("drawn", encoding="utf-8")
    study = made_study.make(tmp_path / "results", radiographs)
    assert study.spec.demonstration
    dataset = recreate.dataset(study, RetrainingOptions(results=tmp_path / "results"))
    assert dataset.root == radiographs
    assert dataset.demonstration


def made_to_retrain(home: Path, **spec: Any) -> tuple[Any, Any]:
    """A small study's view with these fields of its specification, and its data as they were loaded."""
    study = made_study.make(home / "results", made_study.draw_radiographs(home / "radiographs", each=8))
    changed = SimpleNamespace(spec=dataclasses.replace(study.spec, **spec), folder=study.folder, trials=study.trials)
    return changed, recreate.dataset(study, RetrainingOptions(results=home / "results"))


def test_a_retraining_keeps_what_it_makes_where_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "usual"))
    _, dataset = made_to_retrain(tmp_path)
    seen = []

    def kept(self: Retraining) -> dict[str, Any]:
        seen.append(recreate.setup(self.study, self.finalists, self.options, dataset).data)
        return {}

    monkeypatch.setattr(Retraining, "run", kept)
    told = ["--cache", str(tmp_path / "told"), "--cache-limit", "3GB", "--results", str(tmp_path / "results")]

    program = console.application(retrain_main)
    assert CliRunner().invoke(program, ["best", *told]).exit_code == 0
    [data] = seen
    assert data.cache_limit == 3 * 10**9
    assert data.cache == tmp_path / "told"
    assert {path.parent for path in data.pools.values()} == {tmp_path / "told" / "arrays"}


def test_weights_other_than_those_of_the_search_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))
    for folder in ("searched", "other"):
        (tmp_path / folder).mkdir()
    searched = write_weights("vgg16", tmp_path / "searched" / "vgg16_imagenet_notop.weights.h5", seed=0)
    other = write_weights("vgg16", tmp_path / "other" / "vgg16_imagenet_notop.weights.h5", seed=1)
    study, dataset = made_to_retrain(tmp_path, weights={"vgg16": artifacts.sha256(searched)})

    def with_weights(folder: Path) -> Any:
        return recreate.setup(study, study.trials(), RetrainingOptions(weights_dir=folder), dataset)

    with pytest.raises(WeightsError, match=f"{other} is not the file .* searched with .* --weights-dir"):
        with_weights(other.parent)
    assert with_weights(searched.parent).context.weights == {"vgg16": str(searched)}


def test_changed_data_are_refused_with_the_file_that_changed(
    retrained: tuple[Path, Any], home: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "radiographs"
    shutil.copytree(home / "radiographs", moved)
    victim = sorted((moved / "train" / "NORMAL").iterdir())[0]
    Image.fromarray(np.full((48, 48), 7, np.uint8)).save(victim)
    before = len(access_log.read(home / "results" / "made"))
    done = command("search.retrain", "best", "--results", home / "results", "--data", moved, home=home)
    assert done.returncode == 2
    assert victim.name in done.stderr
    assert len(access_log.read(home / "results" / "made")) == before
