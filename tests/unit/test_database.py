"""What a database does to a search: locks, failures in the middle, one message."""

from __future__ import annotations

import sqlite3
import threading
import time

import pytest
import sqlalchemy

from search import database as databases
from search import samplers
from tests.made_studies import SPACE, result
from xraytune.errors import FatalError


def test_a_locked_database_is_waited_for(tmp_path):
    database = tmp_path / "x.db"
    holder = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    holder.execute("CREATE TABLE t (x)")
    holder.execute("BEGIN EXCLUSIVE")
    threading.Timer(0.5, lambda: holder.execute("COMMIT")).start()
    writer = sqlite3.connect(database, timeout=0)
    begun = time.monotonic()
    databases.patiently(lambda: writer.execute("INSERT INTO t VALUES (1)"), "x.db")
    assert time.monotonic() - begun > 0.3
    writer.close()
    holder.close()


@pytest.mark.filterwarnings("ignore")  # Optuna's own, about options of its sampler; commands silence them
def test_an_ask_that_the_database_fails_in_the_middle_leaves_no_trial_that_nobody_runs(make):
    study = make(sampler="tpe")
    for _ in range(samplers.STARTUP + 2):
        asked = study.ask()
        study.complete(asked.number, result(SPACE.value(asked.config.values)))
    made, failed = [], []

    def execute(connection, cursor, statement, *rest):
        if statement.startswith("INSERT INTO trials "):
            made.append("trial")
        elif made[-1:] == ["commit"] and not failed:  # its parameters, once the trial is there
            failed.append(statement)
            raise sqlite3.OperationalError("database is locked")

    engine = study._study._storage.database.engine
    sqlalchemy.event.listen(engine, "before_cursor_execute", execute)
    sqlalchemy.event.listen(engine, "commit", lambda connection: made and made.append("commit"))
    asked = study.ask()
    assert failed
    assert [t.number for t in study._study.get_trials() if not t.state.is_finished()] == [asked.number]


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("database or disk is full", "The disk is full"),
        ("attempt to write a readonly database", "can't be written"),
        ("database is locked", "did not answer"),
    ],
)
def test_what_the_database_can_do_wrong_is_one_message(monkeypatch, cause, words):
    monkeypatch.setattr(databases, "PATIENCE", 0.2)

    def fail():
        raise sqlite3.OperationalError(cause)

    with pytest.raises(FatalError, match=words):
        databases.patiently(fail, "studies.db")
