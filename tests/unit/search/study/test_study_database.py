"""A study in its database: what is told is there, a failed write is one message, and nothing is written twice."""

from __future__ import annotations

import sqlite3
import threading

import numpy as np
import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from search.study import database
from search.study.studies import Studies
from search.study.view import open_study, stored_spec
from tests.inputs.made_studies import report, result, trials
from xraytune.errors import FatalError, StudyError
from xraytune.records import FailureCause


@pytest.fixture
def place(tmp_path):
    """A database with two studies."""
    opened = database.open_database(tmp_path)
    for name in ("other", "mine"):
        optuna.create_study(study_name=name, storage=opened, direction="maximize")
    optuna.load_study(study_name="other", storage=opened).ask()
    return tmp_path


def load(place, name="mine") -> optuna.Study:
    sampler = optuna.samplers.RandomSampler(seed=1)
    return optuna.load_study(study_name=name, storage=database.open_database(place), sampler=sampler)


def alike(one: optuna.trial.FrozenTrial, other: optuna.trial.FrozenTrial) -> None:
    """All that a trial has but the storages' own ids."""
    fields = ("number", "state", "values", "params", "distributions", "user_attrs", "system_attrs")
    for field in (*fields, "datetime_start", "datetime_complete"):
        assert getattr(one, field) == getattr(other, field), field
    assert one.intermediate_values.keys() == other.intermediate_values.keys()
    for step, value in one.intermediate_values.items():
        np.testing.assert_equal(other.intermediate_values[step], value)


def change(place, *statements) -> None:
    """Do to the database what another program might do."""
    with sqlite3.connect(place / "studies.db") as other:
        for statement, *values in statements:
            other.execute(statement, values)
    other.close()


def test_what_the_owner_reads_is_what_another_reader_has(place):
    study = load(place)
    first, second, third = (study.ask() for _ in range(3))
    first.suggest_categorical("family", ["cnn", "dense", None, True])
    for epoch, value in enumerate((0.5, np.nan, np.inf, -np.inf), start=1):
        first.report(value, epoch)
    first.set_user_attr("result", {"a": [1, 2.5, None, {"1": True}]})
    study.tell(first, 0.25)
    study.tell(second, state=TrialState.FAIL)
    third.suggest_float("rate", 1e-4, 1.0, log=True)
    study.enqueue_trial({"blocks": 3}, user_attrs={"origin": "recipe"})
    for one, other in zip(study.get_trials(), load(place).get_trials(), strict=True):
        alike(one, other)
    assert len(load(place, "other").trials) == 1


def test_a_search_goes_on_where_another_ended(place):
    first = load(place)
    first.tell(first.ask(), 0.25)
    first.enqueue_trial({"blocks": 3})
    second = load(place)
    asked = second.ask()
    assert asked.number == 1
    assert asked.suggest_int("blocks", 1, 5) == 3
    second.tell(asked, 0.5)
    assert [t.values for t in load(place).trials] == [[0.25], [0.5]]
    assert second.best_trial.number == 1


def test_choices_that_changed_are_refused_after_a_resume_too(place):
    load(place).ask().suggest_categorical("family", ["cnn", "dense"])
    with pytest.raises(ValueError, match="does not support dynamic value space"):
        load(place).ask().suggest_categorical("family", ["cnn", "vgg"])


def test_readers_see_each_step_while_the_owner_writes(place):
    study, seen = load(place), []
    trial = study.ask()
    trial.report(0.5, 1)
    reader = threading.Thread(target=lambda: seen.append(load(place).trials[0].intermediate_values))
    reader.start()
    reader.join()
    assert seen == [{1: 0.5}]


# ── a database that fails ────────────────────────────────────────────────────────────────────────────────────────────


def fails(study, statement, cause="database or disk is full", times=None):
    """Have every statement that begins so fail, or the first `times`; what is returned ends that."""
    broken = [True] * (times or 1)

    def execute(connection, cursor, said, *rest):
        if broken and said.startswith(statement):
            if times:
                broken.pop()
            raise sqlite3.OperationalError(cause)

    sqlalchemy.event.listen(study._storage._backend.engine, "before_cursor_execute", execute)
    return broken.clear


@pytest.mark.parametrize("statement", ["UPDATE trials", "INSERT INTO trial_values", "INSERT INTO trial_user_attr"])
def test_a_result_that_can_t_be_written_is_not_counted_and_not_lost(make, tmp_path, statement):
    study = make()
    number = study.ask().number
    fails(study._study, statement)
    with pytest.raises(FatalError, match="disk is full"):
        study.complete(number, result(0.5))
    assert (study.running, study.tally.ended, study.tally.best) == (1, 0, None)
    study.close()
    assert [(t.state, t.values) for t in trials(tmp_path)] == [("RUNNING", ())]
    again = make(resume=True)
    if statement == "INSERT INTO trial_user_attr":  # not even the result was written: it is tried again
        assert [t.state for t in trials(tmp_path)] == ["FAIL", "WAITING"]
        assert again.ask().number == 1
    else:
        assert [(t.state, t.values) for t in trials(tmp_path)] == [("COMPLETE", (0.5,))]


def test_a_trial_that_neither_result_nor_interruption_could_be_told_of_is_run_again(make, tmp_path):
    study = make()
    number = study.ask().number
    fails(study._study, "UPDATE trials")
    with pytest.raises(FatalError, match="disk is full"):
        study.complete(number, result(0.5))
    with pytest.raises(FatalError, match="disk is full"):
        study.failed(number, FailureCause.INTERRUPTED, "the search stopped")
    study.close()
    again = make(resume=True)
    assert [t.state for t in trials(tmp_path)] == ["FAIL", "WAITING"]
    assert again.tally.ended == 0
    assert again.ask().number == 1


def test_after_a_trial_that_could_not_be_made_no_number_is_left_out(place):
    study = load(place)
    study.ask()
    mended = fails(study, "INSERT INTO trials ")
    with pytest.raises(FatalError, match="disk is full"):
        study.ask()
    mended()
    load(place).enqueue_trial({"blocks": 2})
    assert [t.number for t in load(place).trials] == [0, 1]


@pytest.mark.parametrize(
    "statement",
    ["INSERT INTO trial_user_attributes", "INSERT INTO trial_params", "INSERT INTO trials ", "UPDATE trials"],
)
def test_a_call_that_a_lock_stops_in_the_middle_is_written_once_and_whole(place, statement):
    study = load(place)
    fails(study, statement, "database is locked", times=2)
    study.enqueue_trial({"blocks": 2})
    trial = study.ask()
    trial.suggest_int("blocks", 1, 5)
    trial.set_user_attr("config", {"family": "cnn"})
    study.tell(trial, 0.5)
    [kept] = load(place).get_trials()
    alike(study.get_trials()[0], kept)
    assert (kept.values, kept.params, kept.user_attrs) == ([0.5], {"blocks": 2}, {"config": {"family": "cnn"}})


@pytest.mark.parametrize("lost_commit", range(1, 12))
def test_a_commit_whose_answer_was_lost_is_not_written_twice(place, monkeypatch, lost_commit):
    study = load(place)
    dialect = study._storage._backend.engine.dialect
    commit, commits = dialect.do_commit, []

    def answered(connection):
        commit(connection)
        commits.append(connection)
        if len(commits) == lost_commit:
            raise sqlite3.OperationalError("server closed the connection")

    monkeypatch.setattr(dialect, "do_commit", answered)
    study.enqueue_trial({"blocks": 2}, user_attrs={"origin": "recipe"})
    for value in (0.5, 0.25):
        trial = study.ask()
        trial.suggest_int("blocks", 1, 5)
        trial.set_user_attr("config", 1)
        study.tell(trial, value)
    assert len(commits) >= lost_commit
    kept = load(place).get_trials()
    assert [(t.state, t.values) for t in kept] == [(TrialState.COMPLETE, [0.5]), (TrialState.COMPLETE, [0.25])]
    assert kept[0].params == {"blocks": 2}
    for one, other in zip(study.get_trials(), kept, strict=True):
        alike(one, other)


def test_a_database_that_stays_locked_is_one_message(place, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 0.2)
    monkeypatch.setattr(database, "WAIT", 0.05)
    study = load(place)
    holder = sqlite3.connect(place / "studies.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(FatalError, match="did not answer"):
        study.ask()
    holder.execute("ROLLBACK")
    holder.close()


# ── a database that something else changed, or that is damaged ───────────────────────────────────────────────────────


@pytest.mark.parametrize("statement", ["DELETE FROM trials", "UPDATE trials SET state = 'COMPLETE'"])
def test_a_trial_that_something_else_deleted_or_ended_is_one_message(place, statement):
    study = load(place)
    trial = study.ask()
    change(place, (statement,))
    with pytest.raises(FatalError, match=r"was changed, perhaps by another program"):
        trial.set_user_attr("config", 1)


def test_a_study_whose_numbers_something_else_mixed_up_is_refused(make, tmp_path):
    study = make()
    study.ask()
    study.close()
    change(tmp_path, ("UPDATE trials SET number = 7",))
    with pytest.raises(FatalError, match=r"'mine'.*a trial 7 where 0 should be"):
        make(resume=True)


SPEC = "UPDATE study_user_attributes SET value_json = ? WHERE key = 'spec'"
DAMAGE = {
    "spec no JSON": (SPEC, "{"),
    "spec a list": (SPEC, "[1, 2]"),
    "spec a number": (SPEC, "7"),
    "spec null": (SPEC, "null"),
    "spec without its keys": (SPEC, "{}"),
    "spec with more": (SPEC, '{"more": 1}'),
    "spec bytes": (SPEC, b"\xff\xfe{"),
    "state": ("UPDATE trials SET state = ?", "C0MPLETE"),
    "time": ("UPDATE trials SET datetime_start = ?", "yesterday"),
    "value": ("UPDATE trial_values SET value_type = ?", "FINTE"),
    "distribution": ("UPDATE trial_params SET distribution_json = ?", "{}"),
    "distribution no JSON": ("UPDATE trial_params SET distribution_json = ?", '{"name": '),
    "parameter": ("UPDATE trial_params SET param_value = ? WHERE param_name = 'family'", 99.0),
    "direction": ("UPDATE study_directions SET direction = ?", "UP"),
    "origin": ("UPDATE trial_user_attributes SET key = 'origin', value_json = ? WHERE key = 'AUC'", "[1]"),
    "what was retried": ("UPDATE trial_user_attributes SET key = 'retry_of', value_json = ? WHERE key = 'AUC'", "[1]"),
    "cause": ("UPDATE trial_user_attributes SET key = 'cause', value_json = ? WHERE key = 'AUC'", '"bad luck"'),
}


def searched(make):
    study = make()
    study.begin(1.0)
    number = study.ask().number
    study.report(number, report(1, 0.5))
    study.complete(number, result(0.5, metrics={"val_auc": 0.5}))
    study.close()


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_content_is_one_message_that_names_the_study_and_the_database(make, tmp_path, damage):
    searched(make)
    change(tmp_path, damage)
    for read in (lambda: open_study("mine", tmp_path).trials(), lambda: make(resume=True)):
        with pytest.raises(FatalError) as refused:
            read()
        said = str(refused.value)
        assert "'mine'" in said
        assert "studies.db" in said
        assert "can't be read" in said


def test_another_study_that_is_damaged_keeps_nobody_from_reading_a_whole_one_by_name(make, tmp_path):
    searched(make)
    opened = database.open_database(tmp_path)
    optuna.create_study(study_name="broken", storage=opened).set_user_attr("spec", {})
    change(tmp_path, (SPEC.replace("WHERE", "WHERE study_id = 2 AND"), "{"))
    assert len(open_study("mine", tmp_path).trials()) == 1
    assert Studies(tmp_path).exists("mine")
    assert Studies(tmp_path).request("mine") == {}
    assert stored_spec("mine", Studies(tmp_path)) is not None
    with pytest.raises(FatalError, match=r"A study in the database \(.*studies.db\) can't be read"):
        open_study(None, tmp_path)


@pytest.mark.parametrize(
    ("key", "value"), [("touched", '"now"'), ("session 0", "[1, 2]"), ("session 0", '{"begun": "a", "alive": "b"}')]
)
def test_times_of_sessions_that_are_no_numbers_are_one_message(make, tmp_path, key, value):
    searched(make)
    change(tmp_path, ("UPDATE study_user_attributes SET value_json = ? WHERE key = ?", value, key))
    with pytest.raises(FatalError, match="can't be read"):
        open_study(None, tmp_path)


@pytest.mark.parametrize("name", ["../../outside", "/etc", "-x", ".hidden", "studies.db", "a\x1b[31mb"])
def test_a_study_in_the_database_whose_name_can_t_be_a_folder_is_refused(make, tmp_path, name):
    searched(make)
    change(tmp_path, ("UPDATE studies SET study_name = ?", name))
    for asked in (name, None):
        with pytest.raises(StudyError) as refused:
            open_study(asked, tmp_path)
        assert "can't be the name of a folder" in str(refused.value)
        assert "\x1b" not in str(refused.value)
