"""When a model is said to be not usable on other images."""

import pytest

from xraytune.evaluation import external

STUDY = {"auc": [0.95, 0.93, 0.97], "sensitivity": [0.93, 0.9, 0.96], "specificity": [0.9, 0.87, 0.93]}


def here(**changes):
    return STUDY | changes


@pytest.mark.parametrize(
    ("figures", "verdict", "says"),
    [
        (here(), external.NO_SIGN, "tells the classes apart"),
        (here(auc=[0.54, 0.49, 0.59]), external.NOT_USABLE, "includes 0.5"),
        (here(auc=[0.3, 0.25, 0.35]), external.NOT_USABLE, "wrong order"),
        (here(sensitivity=[0.6, 0.5, 0.7]), external.NOT_USABLE, "Sensitivity is 0.33"),
        (here(specificity=[0.5, 0.4, 0.6]), external.NOT_USABLE, "Specificity is 0.40"),
        (here(sensitivity=[0.88, 0.7, 0.97]), external.NO_SIGN, "tells the classes apart"),
        (here(auc=[0.9, None, None]), external.UNCLEAR, "undefined"),
    ],
)
def test_the_verdict_names_what_it_rests_on(figures, verdict, says):
    found = external.verdict(figures, STUDY)
    assert found.verdict == verdict
    assert says in " ".join(found.reasons)


def test_without_the_study_s_figures_only_the_ranking_can_speak_against_a_model():
    assert external.verdict(here(), None).verdict == external.UNCLEAR
    assert external.verdict(here(auc=[0.5, 0.45, 0.55]), None).verdict == external.NOT_USABLE


def test_a_gap_is_told_with_its_interval_and_whether_chance_explains_it():
    lines = external.gap(here(sensitivity=[0.6, 0.5, 0.7]), STUDY)
    assert len(lines) == 3
    assert "not statistically significant" in lines[0]
    assert "statistically significant" in lines[1]
