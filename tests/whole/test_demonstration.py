"""The demonstration through all of it: a real search, both final models, prediction from files, export."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from search.study import access_log, image_names
from search.study.view import open_study
from tests.searching import command
from xraytune import artifacts
from xraytune.data.decoding.reading import read_image
from xraytune.inference.classifier import load_model

pytestmark = pytest.mark.timeout(900)

WARNING = "DEMONSTRATION"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a search of four small trials on phantoms, which says what it is."""
    home = tmp_path_factory.mktemp("demonstration")
    done = command(
        "search.run", "--space", "smoke", "--trials", 4, "--study", "shown", "--results", home / "results", home=home
    )
    assert done.returncode == 0, done.stderr
    assert WARNING in done.stdout + done.stderr
    study = open_study("shown", home / "results")
    assert study.spec.demonstration
    assert sum(t.state in {"COMPLETE", "PRUNED"} for t in study.trials()) == 4
    return home


def answers(path: Path) -> dict[str, tuple[str, float]]:
    """Decision and probability by file name."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if "path" in rows[0]:
        return {Path(row["path"]).name: (row["decision"], float(row["probability"])) for row in rows}
    paths = image_names.read(path.parents[1])
    return {Path(paths[int(row["image"])]).name: (row["decision"], float(row["probability_PNEUMONIA"])) for row in rows}


@pytest.mark.parametrize(("final", "opening"), [("refit", 1), pytest.param("ensemble", 2, marks=pytest.mark.long)])
def test_the_demonstration_goes_through_all_of_it_and_says_so_everywhere(home: Path, final: str, opening: int) -> None:
    plan = ("--folds", 3, "--seeds", 1, "--finalists", 2, "--time", "2m")
    done = command("search.retrain", "best", "--final", final, *plan, "--results", home / "results", home=home)
    assert done.returncode == 0, done.stderr
    winner = home / "results" / "shown" / "winner"
    figures = artifacts.read_json(winner / "metrics.json")
    assert figures["model"]["final"] == final
    assert len(list(winner.glob("model*.keras"))) == len(figures["model"]["epochs"])
    if final == "refit":
        assert "the mean of 3 networks that differ only in their seeds" in (winner / "MODEL_CARD.md").read_text()
    assert (figures["demonstration"], figures["opened"], figures["published"]) == (True, opening, [])
    assert [entry["final"] for entry in access_log.read(winner.parent)] == ["refit", "ensemble"][:opening]
    assert f"evaluated {opening}×" in done.stdout
    for said in (done.stdout, (winner / "report.html").read_text(), (winner / "MODEL_CARD.md").read_text()):
        assert WARNING in said

    (tests,) = (home / "cache").rglob("chest_phantoms-*/test")
    sample = [*sorted((tests / "NORMAL").iterdir())[:6], *sorted((tests / "PNEUMONIA").iterdir())[:6]]
    known = answers(winner / "predictions.csv")
    asked = ("--csv", home / "answers.csv", "--json", "--overlays", home / final)
    told = command("search.predict", winner, *sample, *asked, home=home)
    assert told.returncode == 0, told.stderr
    assert WARNING in told.stderr
    for name, (decision, probability) in answers(home / "answers.csv").items():
        assert decision == known[name][0]
        assert probability == pytest.approx(known[name][1], abs=1e-4)
    radiographs = json.loads(told.stdout)
    assert radiographs["demonstration"]
    assert len(radiographs["images"]) == len(list((home / final).glob("*.png"))) == len(sample)

    exported = command("search.export", winner, "--images", tests, home=home)
    assert exported.returncode == 0, exported.stderr
    networks = sorted(path.name for path in winner.glob("model*.onnx"))
    assert networks == [path.stem + ".onnx" for path in sorted(winner.glob("model*.keras"))]
    onnx = load_model(winner / networks[0])
    squares = [read_image(path, 224, fit=onnx.card.fit, channels=1)[..., 0] for path in sample]
    assert np.abs(onnx.predict(squares) - load_model(winner).predict(squares)).max() <= 1e-4
