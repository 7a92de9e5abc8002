"""The study: told truly, counted rightly, owned by one process, resumed without loss."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from search.reporting.trial_tables import leaderboard
from search.study import lock as locks
from search.study import sessions
from search.study.view import exclusions, open_study
from search.tuner.pruning import OptunaRule
from tests.inputs.made_studies import SPACE, report, result, trials
from xraytune.errors import FatalError, InputError, StudyError
from xraytune.records import LAYOUT, FailureCause


def test_states_values_and_curves_are_told_truly(make, tmp_path):
    study = make()
    numbers = [study.ask().number for _ in range(4)]
    for epoch, value in enumerate((0.2, 0.5, 0.4), start=1):
        study.report(numbers[0], report(epoch, value))
    study.complete(numbers[0], result(0.5, 3, best_epoch=2))
    study.report(numbers[1], report(1, 0.3))
    study.pruned(numbers[1], result(0.3))
    study.failed(numbers[2], FailureCause.OOM, "out of memory")
    study.failed(numbers[3], FailureCause.INTERRUPTED, "interrupted")
    done, pruned, failed, cut, queued = trials(tmp_path)
    assert (done.state, done.value, dict(done.curve)) == ("COMPLETE", 0.5, {1: 0.2, 2: 0.5, 3: 0.4})
    assert (pruned.state, pruned.value, dict(pruned.curve)) == ("PRUNED", 0.3, {1: 0.3})
    assert (failed.state, failed.cause, failed.message) == ("FAIL", "oom", "out of memory")
    assert cut.interrupted
    assert not cut.counts
    assert queued.state == "WAITING"
    assert study.tally.ended == 3
    assert dict(study.tally.counts) == {"COMPLETE": 1, "PRUNED": 1, "FAIL": 1}


def test_what_is_excluded_while_a_search_runs_is_kept_in_the_study_and_proposed_no_more(make, tmp_path):
    study, (first, second) = make(), SPACE.families[:2]
    study.leave({"family": (first,)}, [f"family {second}: too slow"])
    assert {study.ask().config.family for _ in range(6)} == {first}
    assert exclusions(open_study(None, tmp_path).attributes) == [f"before trial 0: family {second}: too slow"]
    study.close()
    again = make(resume=True)
    again.leave({}, [f"family {second}: proposed again"])
    assert exclusions(open_study(None, tmp_path).attributes)[1].endswith(f"family {second}: proposed again")
    assert len({again.ask().config.family for _ in range(30)}) > 1


def test_what_was_cut_off_is_tried_again_with_its_values_and_seed(make):
    study = make()
    first = study.ask()
    study.failed(first.number, FailureCause.INTERRUPTED, "")
    again = study.ask()
    assert again.config == first.config


def test_trials_that_a_killed_search_left_running_are_queued_again_once(make, tmp_path):
    study = make()
    first = study.ask()
    study.close()  # as the kernel does after SIGKILL
    second = make(resume=True)
    assert [t.state for t in trials(tmp_path)] == ["FAIL", "WAITING"]
    second.close()
    third = make(resume=True)
    assert [t.state for t in trials(tmp_path)] == ["FAIL", "WAITING"]
    assert third.ask().config == first.config
    assert third.tally.ended == 0


def test_a_recipe_whose_trial_was_killed_before_its_first_parameter_is_queued_again_as_it_was(make, tmp_path):
    study = make()
    queued = study.ask().config
    study.failed(0, FailureCause.INTERRUPTED, "")
    study._study.ask()  # taken off the queue, then the process is killed
    study.close()
    again = make(resume=True)
    assert again.ask().config == queued


def test_of_a_suggestion_that_fails_the_space_is_named_and_the_trial_failed(make, monkeypatch):
    study = make()

    def half(hp):
        hp.Choice("family", ["low"])
        raise ValueError("no")

    monkeypatch.setattr(study, "_declaration", half)
    with pytest.raises(InputError, match="no"):
        study.ask()
    [trial] = trials_of(study)
    assert trial.state.name == "FAIL"


def killed_before_its_end_is_told(study, monkeypatch, call, *given):
    """Do as a process that is killed between the last attribute of a trial and its state."""

    class KilledError(BaseException):
        pass

    def tell(*arguments, **options):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(study._study, "tell", tell)
        with pytest.raises(KilledError):
            call(*given)
    study.close()


def test_a_result_whose_state_a_kill_kept_from_being_told_is_not_lost(make, monkeypatch, tmp_path):
    study = make()
    number = study.ask().number
    study.report(number, report(1, 0.5))
    killed_before_its_end_is_told(study, monkeypatch, study.complete, number, result(0.5))
    assert trials(tmp_path)[0].state == "RUNNING"
    again = make(resume=True)
    [trial] = trials(tmp_path)
    assert (trial.state, trial.values, trial.counts) == ("COMPLETE", (0.5,), True)
    assert dict(again.tally.counts) == {"COMPLETE": 1}
    assert (again.tally.best.number, again.tally.best.compared) == (number, 0.5)


@pytest.mark.parametrize("given", [result(0.3), None])
def test_a_pruned_trial_whose_state_a_kill_kept_from_being_told_is_pruned(make, monkeypatch, tmp_path, given):
    study = make()
    number = study.ask().number
    study.report(number, report(1, 0.3))
    killed_before_its_end_is_told(study, monkeypatch, study.pruned, number, given)
    again = make(resume=True)
    [trial] = trials(tmp_path)
    assert (trial.state, trial.value, dict(again.tally.counts)) == ("PRUNED", 0.3, {"PRUNED": 1})


def test_a_failure_whose_state_a_kill_kept_from_being_told_keeps_its_cause(make, monkeypatch, tmp_path):
    study = make()
    killed_before_its_end_is_told(study, monkeypatch, study.failed, study.ask().number, FailureCause.OOM, "too large")
    again = make(resume=True)
    [trial] = trials(tmp_path)
    assert (trial.state, trial.cause, trial.message) == ("FAIL", "oom", "too large")
    assert dict(again.tally.counts) == {"FAIL": 1}


def test_an_interruption_whose_state_a_kill_kept_from_being_told_is_queued_again_once(make, monkeypatch, tmp_path):
    study = make()
    first = study.ask()
    killed_before_its_end_is_told(study, monkeypatch, study.failed, first.number, FailureCause.INTERRUPTED, "")
    again = make(resume=True)
    assert [t.state for t in trials(tmp_path)] == ["FAIL", "WAITING"]
    assert again.ask().config == first.config


def trials_of(study):
    return study._study.get_trials(deepcopy=False)


def test_an_epoch_repeated_after_a_lost_worker_is_recorded_once(make, tmp_path):
    study = make()
    number = study.ask().number
    study.report(number, report(1, 0.2))
    study.report(number, report(1, 0.9))
    study.complete(number, result(0.2))
    assert dict(trials(tmp_path)[0].curve) == {1: 0.2}


def test_half_of_the_trials_failing_after_five_stops_a_search(make):
    study = make()
    for i in range(4):
        study.failed(study.ask().number, FailureCause.NAN if i else FailureCause.OOM, f"message {i}")
    assert study.tally.failing(0.5) is None
    study.failed(study.ask().number, FailureCause.NAN, "message 4")
    said = study.tally.failing(0.5)
    assert said is not None
    assert "4 × nan: message 4" in said
    assert "1 × oom: message 0" in said


@pytest.mark.parametrize(("share", "stops"), [(0.2, True), (0.3, False), (1.0, False)])
def test_the_share_of_failures_that_stops_a_search_can_be_chosen(make, share, stops):
    study = make()
    study.failed(study.ask().number, FailureCause.NAN, "message")
    for _ in range(4):
        study.complete(study.ask().number, result(0.2))
    assert bool(study.tally.failing(share)) is stops


def test_a_study_that_its_failures_stopped_goes_on_and_is_stopped_by_new_ones(make):
    study = make()
    for _ in range(5):
        study.failed(study.ask().number, FailureCause.OOM, "too little memory")
    assert study.tally.failing(0.5)
    study.close()
    again = make(resume=True)
    assert again.tally.ended == 5
    assert again.tally.failing(0.5) is None
    assert again.tally.failing(1.0, least=1) is None
    for _ in range(5):
        assert again.tally.failing(0.5) is None
        again.failed(again.ask().number, FailureCause.NAN, "no number")
    assert again.tally.failing(0.5) == "5 of 5 trials failed since the search was resumed:\n  5 × nan: no number"


def test_interrupted_trials_are_no_failures(make):
    study = make()
    for _ in range(9):
        study.failed(study.ask().number, FailureCause.INTERRUPTED, "")
    assert study.tally.failing(0.5) is None


def test_a_study_that_exists_names_both_ways_out(make):
    make().close()
    with pytest.raises(StudyError) as refused:
        make()
    assert "--study mine --resume" in str(refused.value)
    assert "another name" in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"beta": 1.0}, "beta: 2.0 in the study, 1.0 now"),
        ({"space_signature": "t"}, "space_signature: s in the study, t now"),
        ({"train_fingerprint": "z"}, "train_fingerprint: a in the study, z now"),
        ({"weights": {"vgg16": "0"}}, "weights"),
        ({"objectives": ("f_beta", "parameters")}, "objectives: "),
    ],
)
def test_a_study_made_with_something_else_is_refused_and_the_difference_named(make, changes, words):
    make().close()
    with pytest.raises(StudyError) as refused:
        make(resume=True, **changes)
    assert words in str(refused.value)


def test_a_study_of_another_layout_is_refused_in_one_line_to_go_on_with_and_to_read(make, tmp_path):
    study = make()
    plain = study.spec.to_json()
    for layout in ({}, {"layout": LAYOUT + 1}):
        earlier = {key: value for key, value in plain.items() if key != "layout"} | layout
        study._study.set_user_attr("spec", earlier)
        study.close()
        for act in (lambda: make(resume=True), lambda: open_study("mine", tmp_path)):
            with pytest.raises(StudyError, match=f"has layout {layout.get('layout', 1)}, this version") as refused:
                act()
            assert "\n" not in str(refused.value)
            assert "--study" in str(refused.value)


def test_only_epochs_at_which_the_objective_was_measured_are_compared(make, tmp_path):
    study = make()
    number = study.ask().number
    for epoch, value, judged in ((1, 0.6, True), (2, 0.6, False), (3, 0.8, True), (4, 0.8, False)):
        study.report(number, dataclasses.replace(report(epoch, value), best_value=value, judged=judged))
    assert study.has_epoch(number, 4)
    study.complete(number, result(0.85, 4))
    [trial] = trials(tmp_path)
    assert dict(trial.curve) == dict(trial.standing) == {1: 0.6, 3: 0.8}


def test_a_deleted_folder_is_said(make, tmp_path):
    make().close()
    shutil.rmtree(tmp_path / "mine")
    with pytest.raises(StudyError, match="is missing"):
        make(resume=True)


def test_a_folder_deleted_in_mid_search_stops_it_with_a_message(make, tmp_path):
    study = make()
    shutil.rmtree(tmp_path / "mine")
    with pytest.raises(FatalError, match="was removed"):
        study.keep_predictions(0, probabilities=np.zeros(3))


def test_a_second_process_is_refused_and_told_who_holds_the_study(make, tmp_path):
    make()
    code = (
        f"from pathlib import Path; from search.study.lock import StudyLock; StudyLock(Path({str(tmp_path)!r}), 'mine')"
    )
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"is being searched by process {os.getpid()} on" in second.stderr


def test_a_lock_that_came_to_nothing_leaves_nothing(tmp_path):
    results = tmp_path / "results"
    locks.StudyLock(results, "mine").release(remove=True)
    assert not results.exists()


def test_missing_studies_and_trials_are_said(make, tmp_path):
    with pytest.raises(StudyError, match="There is no study"):
        open_study(None, tmp_path)
    make()
    with pytest.raises(StudyError, match="There are: mine"):
        open_study("other", tmp_path)
    with pytest.raises(StudyError, match="has no complete trial"):
        open_study("mine", tmp_path).best()
    with pytest.raises(StudyError, match="has no trial 999"):
        open_study("mine", tmp_path).trial(999)


NAMES = [
    "",
    ".hidden",
    "a/b",
    "a b",
    "x" * 101,
    "-x",
    "--help",
    "studies.db",
    "studies.db-wal",
    "Studies.DB",
    "..",
    "a\n",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_cant_be_folders_are_refused(name):
    with pytest.raises(InputError):
        locks.check_name(name)


def test_both_scores_and_the_worst_view_stand_beside_a_trial_for_the_dashboard(make):
    study = make(objective="robust")
    metrics = {"val_f_beta": 0.97, "robust": 0.84, "val_auc": 0.99, "view_clean": 0.96, "view_border hidden": 0.7}
    study.complete(study.ask().number, result(0.84, metrics=metrics))
    (trial,) = study._study.get_trials()
    shown = {name: trial.user_attrs[name] for name in ("clean F-beta", "robust F-beta", "worst view")}
    assert shown == {"clean F-beta": 0.97, "robust F-beta": 0.84, "worst view": "border hidden 0.700"}
    columns = {column.title: column.cells for column in leaderboard(study.view().trials(), study.spec)}
    assert list(columns)[4:6] == ["robust F2", "clean"]
    assert columns["worst view"] == ["border hidden (0.70)"]


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_optunas_pruners_stop_what_is_far_behind_after_its_grace(make, pruner):
    study = make(pruner=pruner)
    rule = OptunaRule(study, grace={"slow": 9})
    for _ in range(12):
        number = study.ask().number
        for epoch in range(1, 10):
            study.report(number, report(epoch, 0.8 + 0.01 * epoch))
            rule.prune(number, "quick", epoch, 0.8 + 0.01 * epoch)
        study.complete(number, result(0.89))
    stopped = {}
    for family in ("quick", "slow") * 6:
        number = study.ask().number
        for epoch in range(1, 9):
            study.report(number, report(epoch, 0.1))
            if rule.prune(number, family, epoch, 0.1):
                stopped.setdefault(family, []).append(epoch)
                break
        study.pruned(number, result(0.1))
    assert "slow" not in stopped
    assert stopped["quick"]


def test_the_sessions_of_a_study_are_all_kept_and_none_of_its_values_grows_with_them(make, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("search.cli.clock.now", lambda: now)
    study = make()
    longest = []
    for number in range(6):
        study.begin(now, concurrency=number, versions={"keras": "3"})
        now += 2
        study.touch()
        now += 5
        longest.append(max(len(json.dumps(value)) for value in study.view().attributes.values()))
        study.close()
        study = make(resume=True)
    assert study.seconds_spent() == 12
    assert [session["concurrency"] for session in sessions.kept(study.view().attributes)] == list(range(6))
    assert longest[0] + 10 > longest[-1]


def test_a_study_without_a_session_took_no_time(make):
    assert make().seconds_spent() == 0
