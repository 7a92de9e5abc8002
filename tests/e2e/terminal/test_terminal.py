"""Every command at a terminal: it ends well, its last lines are right, and no cell of a table is cut."""

from __future__ import annotations

import json
import re
import shutil
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.inputs import made_radiographs
from tests.inputs.made_models import brightness_model, hospital
from tests.terminals import Seen, seen
from xraytune.inference.model_card import read_card

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, when it saves

SMALL, LARGE = {"columns": 80, "lines": 24}, {"columns": 200, "lines": 50}
SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x50"])


@pytest.fixture(scope="session")
def own(home: Path, retrained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared study and its retraining, copied, so that what is run here does not change them."""
    own = tmp_path_factory.mktemp("terminal")
    shutil.copytree(home / "results", own / "results")
    shutil.copytree(home / "cache", own / "cache")
    (own / "radiographs").symlink_to(home / "radiographs")
    return own


@SIZES
def test_a_leaderboard_shows_as_many_columns_as_there_is_room_for(own: Path, size: dict[str, int]) -> None:
    shown = seen("search.leaderboard", "made", "--results", own / "results", home=own, **size).check()
    assert shown.row("rank")[:5] == ["rank", "trial", "family", "state", "F2"]
    assert shown.row("1", "1")[:5] == ["1", "1", "cnn", "complete", "0.850"]
    assert {"AUC", "time"} <= set(shown.row("rank"))
    assert ("worst view" in shown.row("rank")) == (size is LARGE)
    assert ("sensitivity" if size is LARGE else "sens.") in shown.row("rank")
    assert "Baseline: always predicting PNEUMONIA scores F2 0.830." in shown.words
    assert shown.row("family", "trials")


def test_a_retraining_ends_with_the_verdict_the_figures_and_what_to_do_next(own: Path) -> None:
    small = ("--folds", 3, "--seeds", 1, "--time", "5m", "--refits", 1, "--refer")
    shown = seen("search.retrain", "best", "--results", own / "results", *small, home=own, **SMALL).check()
    winner = own / "results" / "made" / "winner"
    verdict, report, title = (shown.words.index(w) for w in ("test images", "Report: ", "Held-out test set"))
    assert verdict < report < title
    assert "xdg-open" in shown.words
    assert "search.predict" in shown.words
    assert len(shown.row("sensitivity")) == 4
    assert (winner / "report.html").exists()
    assert "3 folds grouped by patient" in shown.words
    few = "need at least 161 patients with positive and 79 with negative images, and there are 12 and 12."
    assert shown.words.count(few) == 2  # before the training, and after it
    assert "Referral: search.predict" not in shown.words
    assert read_card(winner).referral == {}


def test_a_prediction_has_a_row_per_image_and_the_counts_last(own: Path) -> None:
    radiographs = own / "radiographs" / "test" / "NORMAL"
    shown = seen("search.predict", own / "results" / "made" / "winner", radiographs, home=own, **SMALL).check()
    assert shown.row("image")[1:] == ["P(PNEUMONIA)", "prediction"]
    assert len([line for line in shown.lines if line.startswith("IM-")]) == 12
    assert "Not a medical device" in shown.words
    assert any(f"{count} NORMAL" in shown.words or f"{count} PNEUMONIA" in shown.words for count in range(1, 13))


def test_a_data_set_is_verified_with_a_row_per_class(own: Path) -> None:
    shown = seen("search.verify", own / "radiographs", home=own).check()
    assert shown.row("class") == ["class", "train", "validation", "test"]
    assert shown.last.startswith("The data can be used")


def test_a_report_is_written_again(own: Path) -> None:
    shown = seen("search.report", "made", "--results", own / "results", home=own).check()
    assert "report.html" in shown.words.replace(" ", "")


def test_a_model_is_exported(own: Path) -> None:
    pytest.importorskip("tf2onnx")
    shown = seen("search.export", own / "results" / "made" / "winner", home=own).check()
    assert "differs from Keras by at most" in shown.words


def test_augmentation_is_drawn(own: Path, tmp_path: Path) -> None:
    out = tmp_path / "drawn.png"
    shown = seen(
        "search.show_augmentation", own / "radiographs", "--out", out, "--images", 2, "--size", 28, home=own
    ).check()
    assert "2 training images" in shown.words
    assert out.exists()


def test_a_dashboard_says_where_it_is_and_ends_with_ctrl_c(own: Path) -> None:
    shown = seen(
        "search.dashboard", "--port", 0, "--results", own / "results", home=own, interrupt_at="Ctrl-C ends it"
    ).check(130)
    assert "http://127.0.0.1:" in shown.words


def test_a_page_of_a_model_answers_one_image_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    model, (radiograph, *_) = (
        brightness_model(tmp_path / "served"),
        sorted((hospital(tmp_path / "images", 1)).rglob("*.png")),
    )
    answers: list[dict[str, Any]] = []

    def classify(lines: list[str]) -> None:
        address = re.search(r"http://127\.0\.0\.1:\d+", "\n".join(lines))
        if address and not answers:
            body = {"data": radiograph.read_bytes(), "headers": {"Content-Type": "application/octet-stream"}}
            with urllib.request.urlopen(urllib.request.Request(f"{address[0]}/answer", **body), timeout=60) as found:
                answers.append(json.load(found))

    shown = seen(
        "search.serve", model, "--port", 0, home=tmp_path, watch=classify, interrupt_at="Ctrl-C ends it"
    ).check()
    assert answers[0]["decision"] == radiograph.parent.name
    assert shown.words.index("Loading ") < shown.words.index("Not a medical device") < shown.words.index("http://127")
    assert shown.last.rstrip("^C").endswith("(this machine alone; Ctrl-C ends it)")
    assert radiograph.name not in shown.raw


def test_a_page_that_can_not_be_made_is_one_message(tmp_path: Path) -> None:
    model = brightness_model(tmp_path / "served")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        shown = seen("search.serve", model, "--port", port, home=tmp_path).check(2)
    assert shown.words == f"error: --port {port}: Address already in use. Give another, or 0 for a free one."
    shown = seen("search.serve", model, "--port", 0, "--threshold", 2, home=tmp_path).check(2)
    assert shown.words.count("error: ") == 1
    assert "--threshold 2: a threshold lies between 0 and 1" in shown.words
    assert "http://" not in shown.raw


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Seen, list[str]]:
    """A search of two trials on images at 80 columns, and the lines that its live view ever showed."""
    own = tmp_path_factory.mktemp("searched")
    data = made_radiographs.kaggle(own / "chest_xray", train=24, test=6)
    drawn: list[str] = []
    shown = seen(
        "search.run", "--data", data, "--space", "smoke", "--trials", 2, "--time", "4m", "--study", "seen",
        "--results", own / "results", home=own, watch=drawn.extend, **SMALL,
    )  # fmt: skip
    return own, shown, drawn


def test_a_search_opens_with_at_most_ten_lines_and_the_rest_is_in_its_log(searched: Any) -> None:
    own, shown, drawn = searched
    shown.check()
    first = next(i for i, line in enumerate(shown.lines) if line.startswith("trial "))
    opening = shown.lines[:first]
    assert 3 <= len(opening) <= 10, opening
    said = " ".join(" ".join(opening).split())
    for words in (
        "60 images of 30 patients",
        "12 test images (held out)",
        "Families: ",
        "time budget 4m00s",
        "Results: ",
    ):
        assert words in said
    log = (own / "results" / "seen" / "search.log").read_text()
    assert "trial   0" in log
    assert "Data: " in log
    assert any(line.startswith("preparing") for line in drawn), "what is being done is not said"
    assert any("of 4m00s left" in line for line in drawn)


def test_the_live_view_shows_epochs_and_ended_trials_stay(searched: Any) -> None:
    _, shown, drawn = searched
    assert any("dense" in line and "/" in line for line in drawn)
    assert len([line for line in shown.lines if line.startswith("trial ") and "complete" in line]) == 2
    assert shown.row("rank")[:4] == ["rank", "trial", "family", "state"]
    assert shown.words.count("Stopped: all 2 trials are done.") == 1
    assert "python -m search.retrain best --study seen" in shown.words


def test_a_search_goes_on_in_a_large_terminal(searched: Any) -> None:
    own, _, _ = searched
    shown = seen(
        "search.run", "--study", "seen", "--resume", "--trials", 3, "--results", own / "results", home=own, **LARGE
    ).check()
    assert "continues after 2 trials" in shown.words
    assert {"epochs", "worst view"} <= set(shown.row("rank"))


def test_a_search_in_which_no_trial_finished_ends_with_1_and_says_what_to_do(tmp_path: Path) -> None:
    shown = seen(
        "search.run", "--space", "search.testing.synthetic_space:Faulty", "--time", "1s", "--study", "none",
        "--results", tmp_path / "results", home=tmp_path,
    ).check(1)  # fmt: skip
    assert "No trial finished: preparation took" in shown.words
    assert "Give at least TIME=" in shown.words


def test_an_evaluation_begins_with_the_verdict_and_ends_with_the_notice(own: Path) -> None:
    model, images = brightness_model(own / "alone"), hospital(own / "hospital")
    shown = seen("search.evaluate", model, images, home=own, **SMALL).check()
    verdict, title, report = (shown.words.index(w) for w in ("can't be told", "80 images of 40 patients", "Report: "))
    assert verdict < title < report
    assert shown.row("sensitivity")[0] == "sensitivity"
    assert shown.last.startswith("Not a medical device")
    assert list((model / "evaluations").glob("hospital-*/report.html"))


def test_a_shift_report_begins_with_the_verdict_and_ends_with_the_notice(own: Path) -> None:
    model, images = brightness_model(own / "unlabelled"), hospital(own / "plain")
    shown = seen("search.shift", model, images, home=own, **SMALL).check()
    verdict, title, report = (shown.words.index(w) for w in ("no sign against", "80 images of 40 patients", "Report: "))
    assert verdict < title < report
    assert "estimated sensitivity" in shown.words
    assert shown.row("property")[:2] == ["property", "ROC AUC"]
    assert shown.last.startswith("Not a medical device")
    assert list((model / "evaluations").glob("shift-plain-*/report.html"))


def test_a_folder_without_images_is_one_message_at_the_terminal(own: Path) -> None:
    model = brightness_model(own / "nothing")
    (own / "no-images").mkdir()
    shown = seen("search.shift", model, own / "no-images", home=own).check(2)
    assert "holds no image" in shown.raw
    assert not (model / "evaluations").exists()


def test_classes_that_do_not_fit_are_one_message_at_the_terminal(own: Path) -> None:
    model = brightness_model(own / "refused")
    images = hospital(own / "named", names=("A", "B"))
    shown = seen("search.evaluate", model, images, home=own).check(2)
    assert "(A, B) are not those of the model (NORMAL, PNEUMONIA)" in shown.raw
    assert not (model / "evaluations").exists()
