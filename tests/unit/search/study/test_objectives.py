"""Two objectives: which way is better, curves and front, what matters; and the first objective alone."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from search import leaderboard
from search.driver import initial_trials
from search.reporting import figures, html_report
from search.study import objectives
from search.study.studies import Studies
from search.study.view import open_study
from search.tuner.messages import TrialOutcome
from search.tuner.orchestrator import Budget, Orchestrator
from tests.inputs.made_studies import Silent, prepared, report, result, trial
from xraytune.records import FailureCause, TrialConfig


def test_two_objectives_keep_their_curves_and_their_front(make, tmp_path):
    study = make(objectives=("f_beta", "parameters"))
    assert study._study.metric_names == ["F2", "parameters"]
    for value, parameters in ((0.9, 100), (0.8, 10), (0.7, 50)):
        number = study.ask().number
        study.report(number, report(1, value))
        study.complete(number, result(value, parameters=parameters))
    view = open_study("mine", tmp_path)
    assert [(t.value, t.values[1]) for t in view.pareto()] == [(0.9, 100.0), (0.8, 10.0)]
    assert view.best().value == 0.9
    assert dict(view.trial(0).curve) == {1: 0.9}


def test_the_report_draws_the_front_of_two_objectives_and_says_which_trial_a_point_is(make, tmp_path):
    study = make(objectives=("f_beta", "parameters"))
    for value, parameters in ((0.9, 100), (0.8, 10), (0.7, 50)):
        study.complete(study.ask().number, result(value, parameters=parameters))
    view = open_study("mine", tmp_path)
    page = ElementTree.fromstring(str(f"<page>{figures.pareto_chart(view, view.trials())}</page>"))
    said = {"c0": []}
    for circle in (one for one in page.iter("circle") if one.find("title") is not None):
        said["c0"].append((circle.findtext("title"), float(circle.get("cx")), float(circle.get("cy"))))
    beaten = [one for one in page.iter("polygon") if one.get("class") == "c7" and one.find("title") is not None]
    assert [one.findtext("title") for one in beaten] == ["trial 2"]
    (best, small) = said["c0"]
    assert (best[0], small[0]) == ("trial 0", "trial 1")
    assert best[1] > small[1]  # more parameters lie further right
    assert best[2] < small[2]  # and a higher objective higher up


def test_the_report_of_one_objective_has_no_front(make, tmp_path):
    study = make()
    study.complete(study.ask().number, result(0.9))
    view = open_study("mine", tmp_path)
    assert figures.pareto_chart(view, view.trials()) == ""


def test_objectives_below_zero_rank_as_all_others(make, tmp_path, capsys):
    """An objective of one's own may be a negated loss, also below -1."""
    study = make()
    values = (-2.5, -0.25, -1.5, -0.25)
    for value in values:
        study.complete(study.ask().number, result(value))
    study.failed(study.ask().number, FailureCause.OOM, "out of memory")
    study.pruned(study.ask().number, None)
    view = open_study("mine", tmp_path)
    assert [t.number for t in view.ranked()] == [1, 3, 2, 0]
    assert view.best().number == 1
    assert (study.tally.best.number, study.tally.best.compared) == (1, -0.25)
    study.close()
    leaderboard.main("mine", as_json=True, results=tmp_path)
    listed = [(t["number"], t["state"]) for t in json.loads(capsys.readouterr().out)["trials"]]
    assert listed == [(1, "COMPLETE"), (3, "COMPLETE"), (2, "COMPLETE"), (0, "COMPLETE"), (5, "PRUNED"), (4, "FAIL")]
    warm = initial_trials.warm(prepared(), "mine", Studies(tmp_path))
    assert [origin for origin, *_ in warm] == [f"study mine #{number}" for number in (1, 3, 2, 0)]


def test_the_report_draws_objectives_below_zero_and_lists_families_without_any_last():
    trials = [trial(0, -2.5), trial(1, -0.5), trial(2, None, "FAIL"), trial(3, -1.5)]
    page = ElementTree.fromstring(f"<page>{figures.history_chart(trials, 'F2')}</page>")
    heights = [float(circle.get("cy")) for circle in page.iter("circle")]
    assert heights[1] < heights[2] < heights[0]
    families = {"cnn": -0.5, "dense": None, "vgg": -0.1}
    tried = [
        replace(trial(n, value, "COMPLETE" if value else "FAIL"), config=TrialConfig(family, {}, n))
        for n, (family, value) in enumerate(families.items())
    ]
    assert [row["family"] for row in html_report._families(tried)] == ["vgg", "cnn", "dense"]


def test_a_second_objective_is_minimised_or_maximised_by_what_it_is():
    assert objectives.directions(["f_beta"]) == ["maximize"]
    assert objectives.directions(["f_beta", "parameters"]) == ["maximize", "minimize"]
    assert objectives.directions(["f_beta", "val_auc"]) == ["maximize", "maximize"]
    assert objectives.directions(["f_beta", "val_brier"]) == ["maximize", "minimize"]


def test_a_result_without_the_second_objective_is_a_failure_that_names_what_there_is(make, tmp_path):
    study = make(objectives=("f_beta", "val_acu"))
    decides = Orchestrator(study, Silent(), Budget())
    asked = decides.next()
    decides.heard(asked.number, TrialOutcome(report=report(1, 0.5), result=result(0.5, metrics={"val_auc": 0.7})))
    trial = open_study("mine", tmp_path).trial(asked.number)
    assert (trial.state, trial.cause) == ("FAIL", "bad_config")
    assert trial.message == "the result has no 'val_acu'; it has parameters, val_auc"


def test_with_two_objectives_the_curve_of_a_trial_without_result_is_kept_too(make, tmp_path):
    study = make(objectives=("f_beta", "parameters"))
    for end in (
        lambda number: study.failed(number, FailureCause.NAN, "loss is nan"),
        lambda number: study.pruned(number, None),
    ):
        number = study.ask().number
        study.report(number, report(1, 0.25))
        end(number)
        assert dict(open_study("mine", tmp_path).trial(number).curve) == {1: 0.25}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("second", [(), ("minimize",)])
def test_what_matters_is_what_the_best_trials_have_in_common_with_one_objective_or_two(make, tmp_path, second):
    """The best trials lie together in `shared`; the worst, all alike but for noise, lie anywhere."""
    options = {"objectives": ("f_beta", "parameters")} if second else {}
    study = make(**options)
    for _ in range(60):
        asked = study.ask()
        noise = asked.number * 37 % 61 / 6100
        value = max(0.0, 0.9 - 4 * abs(float(asked.config.values["shared"]) - 0.8)) + noise
        study.complete(asked.number, result(value))
    found = open_study("mine", tmp_path).importances()
    assert next(iter(found)) == "shared"
    assert sum(found.values()) == pytest.approx(1)
