"""Retraining in its other ways, whole: three classes, an ensemble, the folds' networks, shifts of each image."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from search.study import access_log, image_names
from search.study.view import open_study
from tests.searching import command

CLASSES = ("Covid", "Normal", "Viral")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("finals")
    done = command("tests.e2e.retraining.made_study", home, ",".join(CLASSES), home=home)
    assert done.returncode == 0, done.stderr
    return home


@pytest.mark.parametrize(
    ("options", "kind", "networks"),
    [
        (("--final", "ensemble", "--tta"), "ensemble", {1, 2}),
        pytest.param(("--final", "folds"), "folds", {3}, marks=pytest.mark.long),
    ],
)
def test_three_classes_go_through_every_final_model(
    home: Path, options: tuple[str, ...], kind: str, networks: set[int]
):
    asked = ("best", "--results", home / "results", "--folds", 3, "--seeds", 1, "--time", "4m")
    done = command("search.retrain", *asked, *options, home=home)
    assert done.returncode == 0, done.stderr
    winner = home / "results" / "made" / "winner"
    figures = json.loads((winner / "metrics.json").read_text())
    assert figures["model"]["final"] == kind
    assert len(list(winner.glob("model*.keras"))) in networks
    assert figures["test"]["positive"] is None
    with (winner / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == figures["test"]["images"] == 36
    for row in rows:
        p = [float(row[f"probability_{name}"]) for name in CLASSES]
        assert sum(p) == pytest.approx(1, abs=1e-5)
        assert row["decision"] == CLASSES[p.index(max(p))]
    page = (winner / "report.html").read_text()
    assert all(name in page for name in CLASSES)
    assert page.count('<polygon class="band') == 2 * len(CLASSES)  # of each class's ROC and precision-recall curve
    for shown in (page.replace("<small>", ""), done.stdout):
        assert "AUC against the rest" in shown
        value, low, high = (f"{v:.2f}" for v in figures["test"]["by_class"]["Viral"]["auc"])
        assert f"{value} [{low}, {high}]" in shown or f"{value} ({low} – {high})" in shown
    assert access_log.read(home / "results" / "made")[-1]["final"] == kind

    radiographs = sorted((home / "radiographs" / "test" / "Viral").iterdir())[:3]
    broken = home / "broken.jpeg"
    broken.write_bytes(radiographs[0].read_bytes()[:200])
    said = command("search.predict", winner, *radiographs, broken, "--csv", home / "answers.csv", home=home)
    assert said.returncode == 1, said.stderr
    assert "broken.jpeg" in said.stderr
    with (home / "answers.csv").open() as file:
        answers = list(csv.DictReader(file))
    paths = image_names.read(winner.parent)  # predictions.csv has numbers, no names
    known = {Path(paths[int(row["image"])]).name: row["decision"] for row in rows}
    assert [answer["decision"] for answer in answers] == [known[Path(answer["path"]).name] for answer in answers]
    assert set(answers[0]) >= {f"probability_{name}" for name in CLASSES}


@pytest.mark.long
def test_every_opening_of_both_is_in_the_ledger(home: Path) -> None:
    entries = access_log.read(home / "results" / "made")
    assert [entry["final"] for entry in entries] == ["ensemble", "folds"]
    assert open_study("made", home / "results").name == "made"
    assert all("figures" in entry for entry in entries)
