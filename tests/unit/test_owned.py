"""What the owner of a study has in memory is what the database has."""

from __future__ import annotations

import sqlite3
import threading

import numpy as np
import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from search import database
from search.owned import OwnedStorage, together
from tests.made_studies import result, trials
from xraytune.errors import FatalError
from xraytune.records import FailureCause

PARAMETERS = {
    "family": CategoricalDistribution(["cnn", "dense", None, True]),
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "blocks": IntDistribution(1, 5),
}


@pytest.fixture
def place(tmp_path):
    """A database with two studies, of which `mine` is owned."""
    opened = database.open_database(tmp_path)
    for name in ("other", "mine"):
        optuna.create_study(study_name=name, storage=opened, direction="maximize")
    optuna.load_study(study_name="other", storage=opened).ask()
    return tmp_path


def owned(place) -> optuna.Study:
    sampler = optuna.samplers.RandomSampler(seed=1)
    return optuna.load_study(
        study_name="mine", storage=OwnedStorage(database.open_database(place), "mine"), sampler=sampler
    )


def kept(place, name="mine") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=database.open_database(place))


def alike(one: optuna.trial.FrozenTrial, other: optuna.trial.FrozenTrial) -> None:
    """All that a trial has but the storages' own ids."""
    fields = ("number", "state", "values", "params", "distributions", "user_attrs", "system_attrs")
    for field in (*fields, "datetime_start", "datetime_complete"):
        assert getattr(one, field) == getattr(other, field), field
    assert one.intermediate_values.keys() == other.intermediate_values.keys()
    for step, value in one.intermediate_values.items():
        np.testing.assert_equal(other.intermediate_values[step], value)


def step(study: optuna.Study, trial: optuna.Trial, rng: np.random.Generator) -> None:
    """Something that a search does to a running trial."""
    kind = rng.integers(4)
    if kind == 0:
        name = str(rng.choice(list(PARAMETERS)))
        trial._suggest(name, PARAMETERS[name])
    elif kind == 1:
        values = ("text", 1.5, None, [1, (2, 3)], {"a": {"1": True}})
        trial.set_user_attr(str(rng.choice(["config", "result"])), values[rng.integers(5)])
    elif kind == 2:
        epochs = trial.storage.get_trial(trial._trial_id).intermediate_values
        trial.report(float(rng.choice([0.5, np.nan, np.inf, -np.inf])), len(epochs) + 1)
    else:
        study.enqueue_trial({"blocks": int(rng.integers(1, 6))}, user_attrs={"origin": "recipe"})


def end(study: optuna.Study, trial: optuna.Trial, rng: np.random.Generator) -> None:
    state = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)[rng.integers(3)]
    study.tell(trial, float(rng.choice([0.25, np.inf])) if state == TrialState.COMPLETE else None, state)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_done_memory_the_database_and_a_second_owner_have_the_same(place, seed):
    rng = np.random.default_rng(seed)
    study, running = owned(place), []
    for _ in range(40):
        if rng.random() < 0.3 or not running:
            running.append(study.ask())
        trial = running[rng.integers(len(running))]
        with together(study):
            for _ in range(rng.integers(4)):
                step(study, trial, rng)
        step(study, trial, rng)
        if rng.random() < 0.3:
            running.remove(trial)
            end(study, trial, rng)
    study.set_user_attr("spec", {"names": ("a", "b")})
    mine = study.get_trials()
    assert {t.state for t in mine} >= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.WAITING}
    for read in (kept(place), owned(place)):
        assert read.user_attrs == study.user_attrs == {"spec": {"names": ["a", "b"]}}
        assert read.directions == study.directions
        for one, other in zip(mine, read.get_trials(), strict=True):
            alike(one, other)
    assert len(kept(place, "other").trials) == 1


def test_an_owner_goes_on_where_another_ended(place):
    first = owned(place)
    first.tell(first.ask(), 0.25)
    first.enqueue_trial({"blocks": 3})
    second = owned(place)
    asked = second.ask()
    assert asked.number == 1
    assert asked.suggest_int("blocks", 1, 5) == 3
    second.tell(asked, 0.5)
    assert [t.values for t in kept(place).trials] == [[0.25], [0.5]]
    assert second.best_trial.number == 1


def test_of_what_raises_together_nothing_is_written(place):
    study = owned(place)
    trial = study.ask()

    def half():
        with together(study):
            trial.set_user_attr("config", 1)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        half()
    assert kept(place).trials[0].user_attrs == {}
    trial.set_user_attr("cause", "error")
    assert kept(place).trials[0].user_attrs == {"cause": "error"}


def test_a_transaction_that_a_lock_stops_in_the_middle_is_written_once_and_whole(place):
    study = owned(place)
    trial = study.ask()
    stopped = []

    def execute(connection, cursor, statement, *rest):
        if statement.startswith("INSERT INTO trial_user_attributes") and len(stopped) < 2:
            stopped.append(statement)
            raise sqlite3.OperationalError("database is locked")

    sqlalchemy.event.listen(study._storage.database.engine, "before_cursor_execute", execute)
    with together(study):
        trial.suggest_int("blocks", 1, 5)
        trial.set_user_attr("config", {"family": "cnn"})
        study.enqueue_trial({"blocks": 2})
    assert len(stopped) == 2
    for one, other in zip(study.get_trials(), kept(place).get_trials(), strict=True):
        alike(one, other)


def test_inside_another_together_is_one_transaction_and_the_newest_value_counts(place):
    study = owned(place)
    trial = study.ask()
    with together(study):
        trial.set_user_attr("x", 1)
        with together(study):
            trial.set_user_attr("x", 2)
        assert kept(place).trials[0].user_attrs == {}
    assert kept(place).trials[0].user_attrs == study.trials[0].user_attrs == {"x": 2}


def test_what_is_queued_is_in_memory_as_the_database_will_give_it_back(place):
    study = owned(place)
    study.enqueue_trial({"blocks": 2}, user_attrs={"origin": ("a", 1), "by": {1: "x"}})
    alike(study.trials[0], kept(place).trials[0])
    with pytest.raises(TypeError):
        study.enqueue_trial({"blocks": 2}, user_attrs={"origin": object()})
    assert [t.number for t in study.trials] == [0]


def test_choices_that_changed_are_refused_after_a_resume_too(place):
    owned(place).ask().suggest_categorical("family", ["cnn", "dense"])
    with pytest.raises(ValueError, match="does not support dynamic value space"):
        owned(place).ask().suggest_categorical("family", ["cnn", "vgg"])


# ── a database that fails ────────────────────────────────────────────────────────────────────────────────────────────


def fails(study, statement, cause="database or disk is full"):
    """Have every statement that begins so fail; what is returned ends that."""
    engine, broken = study._storage.database.engine, [True]

    def execute(connection, cursor, said, *rest):
        if broken and said.startswith(statement):
            raise sqlite3.OperationalError(cause)

    sqlalchemy.event.listen(engine, "before_cursor_execute", execute)
    return broken.clear


@pytest.mark.parametrize(
    "statement", ["UPDATE trials", "INSERT INTO trial_values", "DELETE FROM trial_user_attributes"]
)
def test_a_result_that_can_t_be_written_ends_the_search_with_one_message_and_is_run_again(make, tmp_path, statement):
    study = make()
    number = study.ask().number
    mended = fails(study._study, statement)
    with pytest.raises(FatalError, match="disk is full"):
        study.complete(number, result(0.5))
    with pytest.raises(FatalError, match="disk is full"):
        study.failed(number, FailureCause.INTERRUPTED, "the search stopped")
    mended()
    with pytest.raises(FatalError, match="disk is full"):
        study.ask()
    study.close()
    assert [(t.state, t.values) for t in trials(tmp_path)] == [("RUNNING", ())]
    again = make(resume=True)
    assert [t.state for t in trials(tmp_path)] == ["FAIL", "WAITING"]
    assert again.ask().number == 1


def test_after_a_trial_that_could_not_be_made_nothing_is_written_and_no_number_is_left_out(place):
    study = owned(place)
    study.ask()
    mended = fails(study, "INSERT INTO trials ")
    with pytest.raises(FatalError, match="disk is full"):
        study.ask()
    mended()
    with pytest.raises(FatalError, match="disk is full"):
        study.enqueue_trial({"blocks": 2})
    resumed = owned(place)
    resumed.enqueue_trial({"blocks": 2})
    assert [t.number for t in kept(place).trials] == [0, 1]


def test_a_commit_whose_answer_was_lost_is_not_written_twice(place, monkeypatch):
    study = owned(place)
    dialect = study._storage.database.engine.dialect
    commit, lost = dialect.do_commit, []

    def answered(connection):
        commit(connection)
        if not lost:
            lost.append(connection)
            raise sqlite3.OperationalError("server closed the connection")

    monkeypatch.setattr(dialect, "do_commit", answered)
    study.enqueue_trial({"blocks": 2}, user_attrs={"origin": "recipe"})
    assert lost
    [queued] = kept(place).trials
    alike(study.trials[0], queued)
    lost.clear()
    trial = study.ask()
    assert trial.suggest_int("blocks", 1, 5) == 2
    study.tell(trial, 0.5)
    alike(study.trials[0], kept(place).trials[0])


def test_a_trial_that_something_else_deleted_is_one_message(place):
    study = owned(place)
    trial = study.ask()
    with sqlite3.connect(place / "studies.db") as other:
        other.execute("DELETE FROM trials")
    other.close()
    with pytest.raises(FatalError, match=r"not as this search left it.*another program"):
        study.tell(trial, 0.5)


def test_a_study_whose_numbers_something_else_mixed_up_is_refused(place):
    owned(place).ask()
    with sqlite3.connect(place / "studies.db") as other:
        other.execute("UPDATE trials SET number = 7")
    other.close()
    with pytest.raises(FatalError, match="a trial 7 where 0 should be"):
        owned(place)


def test_a_database_that_stays_locked_is_one_message(place, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 0.2)
    monkeypatch.setattr(database, "WAIT", 0.05)
    study = owned(place)
    holder = sqlite3.connect(place / "studies.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(FatalError, match="did not answer"):
        study.ask()
    holder.execute("ROLLBACK")
    holder.close()


def test_readers_see_each_step_while_the_owner_writes(place):
    study, seen = owned(place), []
    trial = study.ask()
    trial.report(0.5, 1)
    reader = threading.Thread(target=lambda: seen.append(kept(place).trials[0].intermediate_values))
    reader.start()
    reader.join()
    assert seen == [{1: 0.5}]
