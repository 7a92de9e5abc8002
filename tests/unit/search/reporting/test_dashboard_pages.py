"""What the dashboard says of a study and of its trials: figures in three decimals, and nothing of others as markup."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from search.reporting.dashboard_pages import DashboardPages, code
from search.study.pages import StudyState
from search.study.view import TrialRecord
from tests.inputs.made_studies import result, spec
from xraytune.records import TrialConfig

NAN = float("nan")
METRICS = {
    "val_f_beta": 0.91234, "robust": 0.87654, "val_auc": 0.95, "val_sensitivity": 0.9301, "val_specificity": 0.8109,
    "view_clean": 0.9, "view_border masked": 0.70049,
}  # fmt: skip
CURVE = tuple(
    {"epoch": float(e), "value": 0.5 + 0.1 * e, "val_auc": 0.6 + 0.1 * e, "loss": 1.0 / e, "val_loss": 1.2 / e}
    for e in (1, 2, 3)
)
PREDICTIONS = {
    "labels": np.array([0, 1, 0, 1]),
    "probabilities": np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]]),
}
HOSTILE = (
    "![x](http://evil.example/a.png)", "<img src=x onerror=alert(1)>", "[a](javascript:alert(1))", "`` ` ```",
    "a\n\n# head\n- item", "www.evil.example", "| a | b |\n|---|---|", "\x1b[31m\u202e", "**bold**", "$x$", "`",
)  # fmt: skip


def trial(state="COMPLETE", cause="", message="", values=None, **changes):
    fields = {"metrics": METRICS, "curve": CURVE, "epochs": 3, "best_epoch": 3, "parameters": 123456, **changes}
    config = TrialConfig("cnn", {"family": "cnn", **(values or {"cnn/width": 16, "learning_rate": 0.00123456})}, seed=1)
    found = None if cause else result(0.87654, **fields)
    return TrialRecord(3, state, (0.87654,) if found else (), config, found, cause, message, {}, None, None, {})


def of_trial(one, predictions=PREDICTIONS, **changes):
    return DashboardPages().of_trial(spec(objective="robust", **changes), one, predictions)


def test_a_trial_s_note_has_family_figures_weak_points_and_hyperparameters_in_three_decimals():
    note = of_trial(trial()).note
    for words in ("`cnn`, robust F2 0.877: **complete**", "| 0.912 | 0.877 | 0.950 | 0.930 | 0.811 |",
                  "view `border masked` (F2 0.700)", "specificity 0.811", "Best epoch 3 of 3", "123,456 weights",
                  "`learning_rate` `0.001235`", "`cnn/width` `16`"):  # fmt: skip
        assert words in note
    assert len(note) < 2045


def test_hyperparameters_that_were_not_searched_are_left_out_and_of_many_the_first_are_named():
    values = {f"cnn/part_{i}": i for i in range(30)} | {"cnn/image_size": 64, "batch_size": 32, "optimizer": "adam"}
    note = of_trial(trial(values=values), fixed={"batch_size": 32}, narrowed={"cnn/part_0": (0,)}).note
    listed = note.partition("Hyperparameters: ")[2]
    assert listed.startswith("`cnn/image_size` `64`, `optimizer` `adam`, `cnn/part_1` `1`")
    assert "batch_size" not in listed
    assert "part_0" not in listed
    assert listed.endswith("and 19 more below")


def test_a_pruned_a_failed_and_an_interrupted_trial_say_what_happened():
    assert "**pruned: stopped early**" in of_trial(trial("PRUNED")).note
    failed = of_trial(trial("FAIL", "oom", "out of memory\nat line 3")).note
    assert "**failed**" in failed
    assert "Cause: `oom`: `out of memory`" in failed
    assert "line 3" not in failed
    interrupted = of_trial(trial("FAIL", "interrupted", "stopped")).note
    assert "**interrupted**" in interrupted
    assert "queued again" in interrupted
    assert "failed" not in interrupted


def test_its_pictures_are_whole_svg_files_with_the_curves():
    pictures = of_trial(trial()).pictures
    assert list(pictures) == ["learning_curve.svg", "loss.svg", "roc.svg"]
    for drawing in pictures.values():
        root = ET.fromstring(drawing)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.findall(".//{*}polyline")
    assert "high" in pictures["roc.svg"]


@pytest.mark.parametrize(
    ("changes", "predictions", "drawn"),
    [
        ({"curve": CURVE[:1], "epochs": 1, "best_epoch": 1}, {}, ["learning_curve.svg", "loss.svg"]),
        ({"curve": ({"epoch": 1.0, "value": 0.5},), "epochs": 1, "best_epoch": 1}, {}, ["learning_curve.svg"]),
        ({"curve": (), "epochs": 1, "best_epoch": 1}, PREDICTIONS, ["roc.svg"]),
        ({"curve": ({"epoch": 1.0, "value": NAN},), "epochs": 1, "best_epoch": 1}, {}, []),
        ({}, {**PREDICTIONS, "labels": np.zeros(4, int)}, ["learning_curve.svg", "loss.svg"]),
        ({}, {**PREDICTIONS, "labels": np.array([], int)}, ["learning_curve.svg", "loss.svg"]),
        ({"metrics": {}}, {}, ["learning_curve.svg", "loss.svg"]),
        ({"metrics": {"val_sensitivity": NAN, "val_specificity": 0.5}}, {}, ["learning_curve.svg", "loss.svg"]),
    ],
)  # fmt: skip
def test_what_is_not_known_is_not_drawn(changes, predictions, drawn):
    page = of_trial(trial(**changes), predictions)
    assert list(page.pictures) == drawn
    assert "can't be drawn" not in page.note


def test_curves_that_can_t_be_drawn_cost_the_pictures_and_not_the_trial():
    page = of_trial(trial(), {"labels": np.array([0, 1]), "probabilities": np.zeros((5, 2))})
    assert page.pictures == {}
    assert "Its curves can't be drawn" in page.note
    assert "robust F2 0.877" in page.note


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_others_is_one_code_span_on_one_line(text):
    shown = code(text)
    inside = shown.strip("`")
    fence = shown[: (len(shown) - len(shown.lstrip("`")))]
    assert shown.endswith(fence)
    assert fence not in inside.strip()
    assert "\n" not in shown
    assert shown.isprintable()


@pytest.mark.parametrize("text", HOSTILE)
def test_names_values_and_messages_appear_in_code_spans_only(text):
    one = trial("FAIL", "error", text, values={text: text, "b": 1})
    classes = ("low", text)
    note = of_trial(one).note + DashboardPages((text,)).of_study(
        spec(classes=classes, data=text, families=(text,)), StudyState({}, None, 0.0, text)
    )
    for shown in {code(text), code(text, 300)}:
        note = note.replace(shown, "")
    words = " ".join(text.split())
    assert words not in note or len(words) < 2


def test_long_names_are_shortened_in_the_middle():
    assert code("a" * 40 + "b" * 400) == f"`{'a' * 30}…{'b' * 30}`"


def test_the_study_s_note_has_data_classes_budget_best_and_commands():
    pages = DashboardPages(("Data: chest_xray, 300 images.", "Split by patient."), 24, 1800.0, " --results other")
    state = StudyState({"COMPLETE": 5, "PRUNED": 2}, trial(), 125.0, "")
    note = pages.of_study(spec(objective="robust", data="/data/chest_xray"), state)
    for words in ("`/data/chest_xray`", "`low`, `high` (positive)", "30m00s of time, at most 24 trials",
                  "5 complete, 2 pruned, 0 failed", "**Best robust F2**: **0.877** (trial 3, `cnn`)", "searching",
                  "`Split by patient.`", "python -m search.retrain best --study mine --results other"):  # fmt: skip
        assert words in note, words
    assert "DEMONSTRATION" not in note
    assert "DEMONSTRATION" in pages.of_study(spec(demonstration=True), state)


def test_without_a_complete_trial_the_study_s_note_names_no_retraining():
    note = DashboardPages().of_study(spec(), StudyState({"FAIL": 2}, None, 5.0, "time budget reached"))
    assert "no trial is complete yet" in note
    assert "retrain" not in note
    assert "ended: `time budget reached`" in note
