"""The data rooms on the real images: Kermany's set and covid19, as `XRAYTUNE_DATA` holds them; a search of covid19."""

import csv
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.inputs.made_radiographs import corrupt, encoded, pillow_decodes, write
from tests.searching import command
from xraytune import data
from xraytune.evaluation import shortcut_audit


@pytest.fixture(scope="module")
def shared():
    folder = os.environ.get("XRAYTUNE_DATA")
    assert folder, "set XRAYTUNE_DATA to the folder that holds chest_xray and covid19"
    assert (Path(folder) / "chest_xray").is_dir(), f"{folder} holds no chest_xray"
    return Path(folder)


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XRAYTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def kermany(shared):
    return data.examine(str(shared / "chest_xray"))


def test_the_kermany_set_is_usable_by_patient_with_its_tiny_validation_merged(kermany):
    assert kermany.errors == ()
    dataset = kermany.dataset
    assert dataset.grouped_by == "patient"
    assert dataset.classes[dataset.positive] == "PNEUMONIA"
    assert any("16 images" in note for note in dataset.notes)
    sides = {}
    for image in dataset.images:
        assert sides.setdefault(image.patient, image.split) == image.split
    share = dataset.counts("val")["NORMAL"] / sum(dataset.counts(s)["NORMAL"] for s in ("train", "val"))
    assert share == pytest.approx(0.15, abs=0.01)
    assert {image.group for image in dataset.images} == {"", "bacteria", "virus"}


def test_identical_files_of_the_kermany_set_are_said_and_no_look_alike_is_called_a_copy(kermany):
    assert [problem.kind for problem in kermany.warnings].count("copies") == 1
    assert not [problem for problem in kermany.warnings if problem.kind == "near copy"]
    assert any("perceptual hash" in note for note in kermany.notes)


def test_the_audit_reports_the_gradient_ratio_with_its_auc(kermany):
    found = shortcut_audit.audit(kermany.dataset)
    finding = next(f for f in found.findings if f.name == "gradient_ratio")
    assert finding.auc == pytest.approx(0.87, abs=0.02)
    assert "ratio of horizontal to vertical gradients alone separates the classes with ROC AUC" in found.summary
    assert "Shape jitter" in found.summary
    assert found.auc > 0.9


def test_two_hundred_seeded_corruptions_over_real_files_are_named_if_pillow_cannot_decode_them(shared, tmp_path):
    radiographs = sorted((shared / "chest_xray").rglob("*.jpeg"))[::13]
    radiographs += (
        sorted((shared / "chest_xray/val").rglob("*.jpeg")) + sorted((shared / "covid19").rglob("*.png"))[:20]
    )
    chosen = [radiographs[i] for i in np.random.default_rng(0).permutation(len(radiographs))[:200]]
    undecodable, bad = set(), set()
    for number, path in enumerate(chosen):
        content, suffix = corrupt(path.read_bytes(), number)
        key = f"{'covid' if number % 2 else 'healthy'}/{number:03d}{suffix or path.suffix}"
        write(tmp_path / "d" / key, content)
        bad.add(key)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not pillow_decodes(content):
                undecodable.add(key)
    for number, path in enumerate(radiographs[:60]):
        name = "covid" if number % 2 else "healthy"
        write(tmp_path / "d" / name / f"good{number:02d}{path.suffix}", path.read_bytes())
    found = data.examine(str(tmp_path / "d"))
    named = {file for problem in found.errors if problem.kind == "unreadable" for file in problem.files}
    assert len(undecodable) > 80
    assert undecodable <= named <= bad


def test_leaks_planted_among_real_images_are_found(shared, tmp_path):
    from PIL import Image

    root = tmp_path / "d"
    for split, count in (("train", 60), ("test", 20)):
        for name in ("NORMAL", "PNEUMONIA"):
            (root / split / name).mkdir(parents=True)
            for path in sorted((shared / "chest_xray" / split / name).iterdir())[:count]:
                shutil.copy(path, root / split / name)
    train = sorted((root / "train/PNEUMONIA").iterdir())
    exact, again, patient = train[10], train[20], train[30]
    shutil.copy(exact, root / "test/PNEUMONIA/person9001_virus_1.jpeg")
    with Image.open(again) as image:
        small = image.convert("L").resize((150, 150))
    write(root / "test/PNEUMONIA/person9002_virus_1.jpeg", encoded(small, "JPEG", quality=40))
    with Image.open(sorted((root / "test/PNEUMONIA").iterdir())[3]) as image:
        turned = image.convert("L").rotate(90)
    write(root / f"test/PNEUMONIA/{patient.stem.rsplit('_', 1)[0]}_99.jpeg", encoded(turned, "JPEG"))
    found = data.examine(str(root))
    kinds = {problem.kind for problem in found.errors}
    assert {"leak", "patient leak"} <= kinds
    cured = data.examine(str(root), quarantine=True)
    near = [problem for problem in cured.warnings if problem.kind == "near copy"]
    assert [problem.where for problem in near] == ["test/PNEUMONIA/person9002_virus_1.jpeg"]
    assert again.name in near[0].what


def test_covid19_has_three_classes_mixed_modes_and_no_patients(shared):
    found = data.examine(str(shared / "covid19"))
    assert found.errors == ()
    dataset = found.dataset
    assert dataset.classes == ("Covid", "Normal", "Viral Pneumonia")
    assert dataset.positive is None
    assert dataset.grouped_by == "image"
    assert len(set(found.inspection.rows["mode"].tolist())) > 1
    pool = np.load(data.arrays.pool(dataset, 64), mmap_mode="r")
    assert len(pool) == len(dataset.select("train")) + len(dataset.select("val"))
    assert shortcut_audit.audit(dataset).findings


@pytest.mark.timeout(700)
def test_covid19_goes_through_search_retraining_and_prediction(shared, tmp_path):
    radiographs, results, answers = shared / "covid19", tmp_path / "results", tmp_path / "answers.csv"
    study = ("--study", "covid", "--results", results)
    budget = ("--trials", 3, "--time", "3m")  # about a minute; a busy machine takes longer
    searched = command("search.run", "--data", radiographs, *budget, *study, home=tmp_path)
    assert searched.returncode == 0, searched.stdout + searched.stderr
    retrained = command("search.retrain", "best", "--time", "30s", *study, home=tmp_path)
    assert retrained.returncode == 0, retrained.stdout + retrained.stderr
    chosen = radiographs / "train" / "Viral Pneumonia"
    predicted = command("search.predict", results / "covid" / "winner", chosen, "--csv", answers, home=tmp_path)
    assert predicted.returncode == 0, predicted.stdout + predicted.stderr
    with answers.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(list(chosen.iterdir()))
    classes = ("Covid", "Normal", "Viral Pneumonia")
    for row in rows:
        probabilities = [float(row[f"probability_{name}"]) for name in classes]
        assert sum(probabilities) == pytest.approx(1, abs=1e-3)
        assert row["decision"] == classes[probabilities.index(max(probabilities))]
