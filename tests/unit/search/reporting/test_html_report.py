"""What the report says of a model in words, from figures alone; the page itself is looked at in tests/browser."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from search.reporting import figures, final_metrics, formats, html_report, report_tables
from search.reporting.report_tables import Column, Table
from tests.inputs.made_predictions import clustered
from xraytune.evaluation.predictions import Predictions
from xraytune.evaluation.referral import pair as pairs
from xraytune.evaluation.referral import selection


def network(family: str, size: int) -> dict[str, Any]:
    return {"family": family, "values": {"family": family, f"{family}/image_size": size}}


@pytest.mark.parametrize(
    ("final", "configurations", "epochs", "says"),
    [
        ("refit", [network("cnn", 64)], [7], "one network: cnn (64 px)"),
        (
            "refit", [network("cnn", 64)], [7, 7, 7],
            "the mean of 3 networks that differ only in their seeds, all cnn (64 px)",
        ),
        (
            "folds", [network("cnn", 64)], [3, 4, 5, 3, 4, 5],
            "the mean of 6 networks, one of each fold and seed, all cnn (64 px)",
        ),
        (
            "ensemble", [network("cnn", 64), network("dense", 28), network("cnn", 64)], [1, 2, 3],
            "the weighted mean of 3 networks: 2 cnn (64 px), 1 dense (28 px)",
        ),
    ],
)  # fmt: skip
def test_what_the_model_is_in_one_phrase(final: str, configurations: Any, epochs: Any, says: str) -> None:
    model = {"final": final, "configurations": configurations, "epochs": epochs, "trials": [0, 1, 2]}
    assert html_report._made_of({"model": model}) == says


def test_hyperparameters_that_only_some_trials_have_are_counted() -> None:
    def trial(*names: str, state: str = "COMPLETE") -> Any:
        return SimpleNamespace(state=state, config=SimpleNamespace(values=dict.fromkeys(names, 1)))

    trials = [trial("rate", "cnn/width"), trial("rate", "cnn/width"), trial("rate"), trial("vgg/cut", state="FAIL")]
    study: Any = SimpleNamespace(trials=lambda: trials)
    assert html_report._partial(study) == ["cnn/width (2 of 3)"]


def test_the_final_model_s_images_are_those_of_train_and_validation() -> None:
    counts = {"train": {"a": 3, "b": 4}, "val": {"a": 1, "b": 2}, "test": {"a": 9, "b": 9}}
    assert html_report._pool_counts({"data_card": {"counts": counts}, "test": {"classes": ["a", "b"]}}) == {
        "a": 4,
        "b": 6,
    }


def test_a_difference_on_which_all_draws_agree_is_shown_without_an_interval() -> None:
    assert formats.difference([0.5, None, None]) == "+0.500"
    assert formats.difference([-0.0312, -0.1, 0.04]) == "-0.031 [-0.100, +0.040]"
    assert formats.difference([None, None, None]) == "–"
    assert formats.html_cell("difference", [0.5, None, None]) == "+0.500"
    assert formats.html_cell("difference", [-0.0312, -0.1, 0.04]) == "−0.031 <small>[−0.100, +0.040]</small>"
    assert formats.significant([0.5, None, None]) == ""


@pytest.mark.parametrize(
    ("triple", "mark", "name"), [([0.2, 0.1, 0.3], "▲", "better"), ([-0.2, -0.3, -0.1], "▼", "worse")]
)
def test_a_significant_difference_is_marked_by_a_sign_beside_its_colour(
    triple: list[float], mark: str, name: str
) -> None:
    assert f" {mark} " in formats.html_cell("difference", triple)
    assert formats.significant(triple) == name


def test_a_cell_is_shown_by_its_kind_and_a_missing_one_is_a_dash() -> None:
    assert formats.html_cell("interval", [0.9, 0.85, 0.95], 2) == "0.90 <small>[0.85, 0.95]</small>"
    assert formats.html_cell("interval", [0.9, None, None]) == formats.html_cell("number", 0.9) == "0.900"
    assert formats.html_cell("p", 0.0001) == "< 0.001"
    assert formats.html_cell("count", 0) == "0"
    for kind in ("interval", "difference", "number", "count", "text", "p"):
        assert formats.html_cell(kind, None) == "–"
    assert not hasattr(formats.html_cell("text", "<b>"), "__html__")  # the template escapes it


@pytest.mark.parametrize(
    "name",
    ["<img src=x onerror=alert(1)>", "[x](javascript:alert(1))", "a\n# H1", "a|b", "`x`", "*b*", "~~x~~", "a_b_"],
)
def test_a_name_in_markdown_is_text(name: str) -> None:
    shown = formats.markdown(name)
    assert "\n" not in shown
    plain = re.sub(r"\\(.)", "", shown)
    assert not set(plain) & set("<>[]|`*_#~")
    assert re.sub(r"\\(.)", r"\1", shown) == " ".join(name.split())


def test_a_time_is_written_as_a_date() -> None:
    assert formats.when("2026-11-30T08:19:40+00:00") == "30 Nov 2026, 08:19 UTC"
    assert formats.when("2026-03-01T23:30:00-02:00") == "2 Mar 2026, 01:30 UTC"


def test_a_table_is_written_with_every_digit_and_three_columns_an_interval(tmp_path: Path) -> None:
    columns = [Column("name"), Column("AUC", "interval", 2), Column("p", "p")]
    Table("t", "T", columns, [["=a", [0.123456, 0.1, 0.2], 0.00001], ["b", None, None]]).write(tmp_path)
    assert (tmp_path / "t.csv").read_text() == "name,AUC,AUC low,AUC high,p\n'=a,0.123456,0.1,0.2,1e-05\nb,,,,\n"


def test_subgroups_of_a_variable_stand_together_in_the_order_of_their_values() -> None:
    values = ["over 131 px", "to 131 px", "up to 121 px"]
    rows = [{"column": "size", "value": v} for v in values] + [{"column": "age", "value": "old"}]
    ordered = report_tables.ordered_subgroups({"subgroups": rows})
    assert [row["value"] for row in ordered] == ["old", "up to 121 px", "to 131 px", "over 131 px"]


def made_figures(**changes: Any) -> dict[str, Any]:
    overall = {name: [0.9, 0.85, 0.95] for name in ("sensitivity", "specificity", "auc")}
    overall["calibration_error"] = [0.02, 0.01, 0.04]
    found = {
        "test": {"overall": overall}, "validation": {"overall": {"auc": [0.97, 0.9, 1.0]}}, "subgroups": [],
        "changes": {}, "sites": None,
    }  # fmt: skip
    return found | changes


def test_the_limit_is_the_gravest_thing_that_was_found() -> None:
    assert "is unknown" in final_metrics.limit(made_figures())
    small = made_figures()
    small["test"]["overall"]["specificity"] = [0.8, 0.6, 0.95]
    assert final_metrics.limit(small) == "The test set is small: the 95 % interval of specificity is 0.60 to 0.95."
    small["test"]["overall"]["calibration_error"] = [0.173, 0.1, 0.2]
    assert final_metrics.limit(small) == "Its probabilities are unreliable: calibration error 0.17."
    small["changes"] = {"auc": [-0.07, -0.1, -0.02], "sensitivity": [-0.2, -0.5, 0.1]}
    assert "ROC AUC is significantly lower on the test images (0.90) than in cross-validation (0.97)" in (
        final_metrics.limit(small)
    )
    group = {"column": "sex", "value": "F", "figure": "sensitivity", "judged": [0.7, 0.6, 0.8], "everywhere": 0.9}
    small["subgroups"] = [group | {"difference": [-0.3, -0.4, 0.1]}, group | {"difference": [-0.2, -0.3, -0.1]}]
    assert final_metrics.limit(small) == (
        "It is significantly weaker for sex F: sensitivity 0.70, 0.90 for all images."
    )


@pytest.mark.parametrize(
    ("openings", "says"),
    [({"mine": 2}, "evaluated 2×"), ({"mine": 2, "other": 3}, "evaluated 2×, 5× by 2 studies of this folder")],
)
def test_the_terminal_counts_the_openings_of_other_studies_too(openings: dict[str, int], says: str) -> None:
    assert final_metrics.opened({"opened": 2, "openings": openings}) == says


def referral_figures(pair: pairs.Referral | None) -> dict[str, Any]:
    """Figures as `metrics.json` has them of made predictions and a pair."""
    event, score, patients = clustered(500, "normal", 1, apart=2.7)
    given = Predictions(event.astype(int), np.stack([1 - score, score], axis=1), patients, ("a", "b"), 1, draws=50)
    at = {"referred": 0.2, "sensitivity": 0.97, "specificity": 0.93} if pair else {}
    line = selection.curve(event, score, 0.9)
    found = selection.Fitted(selection.Aims(), pair, "" if pair else "Too few patients.", at, line)
    test = pairs.judged(given, pair) if pair else None
    return {"referral": {**found.to_json(), "test": test}, "test": {"classes": ["a", "b"], "positive": 1}}


def test_a_referral_has_its_sentences_its_table_and_its_curve_with_the_chosen_pair_marked() -> None:
    found = referral_figures(pairs.Referral(0.2, 0.7, 0.95, 0.9, 0.05, 250, 250))
    rule, test = final_metrics.referral(found["referral"], found["test"])
    assert "answers b at a probability of at least 0.700, another class below 0.200" in rule
    assert "sensitivity is at least 0.95 and specificity at least 0.9; the risk that this fails is 0.05" in rule
    share = formats.interval(found["referral"]["test"]["referred"])
    assert f"a share of {share} is referred" in test
    table = report_tables.referral(found)
    assert table is not None
    assert [row[:3] for row in table.rows[:3]] == [
        ["sensitivity among answered", 0.95, 0.97],
        ["specificity among answered", 0.9, 0.93],
        ["share referred", None, 0.2],
    ]
    chart = figures.referral_chart(found)
    assert "0.200 referred, 0.030 missed" in chart
    assert chart.count("<title>") == 2
    nothing = referral_figures(pairs.Referral(0.5, 0.5, 0.95, 0.9, 0.05, 250, 250))
    assert "refers no image" in final_metrics.referral(nothing["referral"], nothing["test"])[0]


def test_without_a_valid_pair_the_reason_and_the_curve_are_shown_and_without_a_request_nothing() -> None:
    found = referral_figures(None)
    assert final_metrics.referral(found["referral"], found["test"]) == ["Too few patients."]
    assert report_tables.referral(found) is None
    assert "<title>" not in figures.referral_chart(found)
    assert "<polyline" in figures.referral_chart(found)
    empty = {**found, "referral": None}
    assert final_metrics.referral(None, found["test"]) == []
    assert report_tables.referral(empty) is None
    assert figures.referral_chart(empty) == ""
