"""What a database does to a search: locks, failures in the middle, one message."""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import sys
import threading
import time

import optuna
import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError

from search.driver.options import SessionOptions, StudyOptions
from search.driver.session import search
from search.reporting.search_summary import summarize
from search.samplers import factory
from search.study import database as databases
from search.study.database import with_note
from search.study.studies import Studies
from search.study.view import open_study
from tests.inputs.made_studies import SPACE, result
from xraytune.errors import FatalError, InputError, StudyError


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
    for _ in range(factory.STARTUP + 2):
        asked = study.ask()
        study.complete(asked.number, result(SPACE.value(asked.config.values)))
    made, failed = [], []

    def execute(connection, cursor, statement, *rest):
        if statement.startswith("INSERT INTO trials "):
            made.append("trial")
        elif made[-1:] == ["commit"] and not failed:  # its parameters, once the trial is there
            failed.append(statement)
            raise sqlite3.OperationalError("database is locked")

    engine = study._study._storage._backend.engine
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


def raised(kind, *arguments):
    """An error as Optuna raises what a driver raised."""
    error = StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = kind("INSERT …", {}, Exception(*arguments))
    return error


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (sqlalchemy.exc.DataError, "(1406, \"Data too long for column 'value_json' at row 1\")"),
        (sqlalchemy.exc.DataError, "value too long for type character varying(512)"),
        (sqlalchemy.exc.IntegrityError, "duplicate key value violates unique constraint"),
        (sqlalchemy.exc.ProgrammingError, 'relation "trials" does not exist'),
        (sqlalchemy.exc.OperationalError, "no such table: trials"),
        (sqlalchemy.exc.OperationalError, 'connection to server failed: FATAL: password authentication failed for "u"'),
        (sqlalchemy.exc.OperationalError, "(1045, \"Access denied for user 'u'@'h'\")"),
        (sqlalchemy.exc.OperationalError, "database disk image is malformed"),
        (sqlalchemy.exc.DatabaseError, "file is not a database"),
    ],
)
def test_what_never_heals_is_said_at_once_and_blames_what_failed(kind, said):
    calls = []

    def fail():
        calls.append(1)
        raise raised(kind, said)

    with pytest.raises(FatalError) as refused:
        databases.patiently(fail, "studies.db")
    assert len(calls) == 1
    assert said in str(refused.value)
    assert "did not answer" not in str(refused.value)
    assert "end other programs" not in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (sqlalchemy.exc.OperationalError, "database is locked"),
        (sqlalchemy.exc.OperationalError, "FATAL: the database system is starting up"),
        (sqlalchemy.exc.OperationalError, "FATAL: the database system is not yet accepting connections"),
        (sqlalchemy.exc.OperationalError, "FATAL: the database system is shutting down"),
        (sqlalchemy.exc.OperationalError, "terminating connection due to administrator command"),
        (sqlalchemy.exc.OperationalError, "connection failed: Connection refused"),
        (sqlalchemy.exc.OperationalError, "(2013, 'Lost connection to MySQL server during query')"),
        (sqlalchemy.exc.OperationalError, "(1205, 'Lock wait timeout exceeded; try restarting transaction')"),
        (sqlalchemy.exc.InterfaceError, "connection already closed"),
    ],
)
def test_what_heals_is_waited_for(kind, said):
    errors = [raised(kind, said), raised(kind, said)]

    def act():
        if errors:
            raise errors.pop()
        return "done"

    assert databases.patiently(act, "studies.db") == "done"


def test_an_error_that_sqlalchemy_puts_a_hint_before_is_told_by_its_cause(monkeypatch):
    monkeypatch.setattr(databases, "PATIENCE", 0.2)
    error = raised(sqlalchemy.exc.OperationalError, "database is locked")
    error.__cause__.add_detail("raised as a result of Query-invoked autoflush")

    def fail():
        raise error

    with pytest.raises(FatalError, match=r"did not answer .*database is locked"):
        databases.patiently(fail, "studies.db")


# ── URLs and their passwords ─────────────────────────────────────────────────────────────────────────────────────────

SECRETS = {
    "postgresql+psycopg://u:S3cret@127.0.0.1:1/x": "postgresql+psycopg://u:***@127.0.0.1:1/x",
    "postgresql://u:S3cret@h:port/x": "postgresql://u:***@h:port/x",
    "postgres://u:S3cret@h/x": "postgres://u:***@h/x",
    "mysql://u:S3cret@h/x": "mysql://u:***@h/x",
    "mysql+pymysql://u:S3cret@h/x?charset=utf8": "mysql+pymysql://u:***@h/x?charset=utf8",
    "oracle://u:S3cret@h/x": "oracle://u:***@h/x",
    "sqlite://u:S3cret@/x": "sqlite://u:***@/x",
    "postgresql://:S3cret@h/x": "postgresql://:***@h/x",
    "postgresql://u:a@S3cret@h/x": "postgresql://u:***@h/x",
    "postgresql://u:a/S3cret@h/x": "postgresql://u:***@h/x",
    "postgresql://u:a:S3cret@h:x/y": "postgresql://u:***@h:x/y",
    "postgresql://u:S3cret%21@h:x/y": "postgresql://u:***@h:x/y",
    "postgresql://h/x?user=u&password=S3cret": "postgresql://h/x?user=u&password=***",
    "mysql://h/x?passwd=S3cret&a=b": "mysql://h/x?passwd=***&a=b",
    "postgresql://h/x?sslpassword=S3cret": "postgresql://h/x?sslpassword=***",
}


@pytest.mark.parametrize(("url", "shown"), SECRETS.items())
def test_a_password_in_a_url_is_shown_nowhere(url, shown, tmp_path):
    assert databases.shown_url(url) == shown
    where = SessionOptions(results=tmp_path / "a b", storage=url).where
    assert "S3cret" not in where
    assert shlex.split(where)[-1] == shown
    assert "XRAYTUNE_STORAGE" in with_note(f"python -m search.leaderboard{where}")
    for call in (
        lambda: databases.open_database(tmp_path, url),
        lambda: open_study("mine", tmp_path, url),
        lambda: search(StudyOptions(study="mine"), SessionOptions(results=tmp_path, storage=url)),
    ):
        with pytest.raises(FatalError) as refused:
            call()
        assert "S3cret" not in str(refused.value)
        assert refused.value.__cause__ is None
        assert refused.value.__suppress_context__


@pytest.mark.parametrize(
    "url", ["sqlite:////home/u:x/a@b.db", "postgresql://h:5432/x", "postgresql://u@h:5432/x", "mysql+pymysql://h/x?a=b"]
)
def test_a_url_without_a_password_is_shown_as_it_is(url):
    assert databases.shown_url(url) == url


def test_a_driver_s_message_that_quotes_the_url_or_parts_of_its_password_is_shown_without():
    url = "postgresql://u:p%40ss@w0rd@h/x"
    for said in (f"can't parse {url}", 'no host "w0rd@h"', "wrong password 'p@ss@w0rd'", "p%40ss@w0rd"):
        hidden = databases.hide_password(said, url)
        assert "w0rd" not in hidden
        assert "p@ss" not in hidden


def test_a_database_that_fails_in_the_middle_is_named_without_its_password(tmp_path, monkeypatch):
    url = "postgresql://u:S3cret@h/x"
    stock = optuna.storages.get_storage(f"sqlite:///{tmp_path}/x.db")
    storage = databases.PatientStorage(stock, url)

    def fail(*arguments, **options):
        raise raised(sqlalchemy.exc.OperationalError, f"bad conninfo {url}")

    monkeypatch.setattr(stock, "get_all_studies", fail)
    with pytest.raises(FatalError) as refused:
        storage.get_all_studies()
    assert "postgresql://u:***@h/x" in str(refused.value)
    assert "S3cret" not in str(refused.value)


def test_the_database_can_be_named_by_an_environment_variable(tmp_path, monkeypatch, make):
    make().close()
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(StudyError):
        open_study("mine", elsewhere)
    monkeypatch.setenv("XRAYTUNE_STORAGE", f"sqlite:///{tmp_path}/studies.db")
    assert open_study("mine", elsewhere).name == "mine"
    assert Studies(elsewhere).exists("mine")
    assert databases.database_url(elsewhere, "sqlite:///other.db") == "sqlite:///other.db"
    monkeypatch.setenv("XRAYTUNE_STORAGE", "")
    with pytest.raises(StudyError):
        open_study("mine", elsewhere)


def test_a_url_copied_with_its_password_hidden_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(InputError, match="XRAYTUNE_STORAGE"):
        databases.open_database(tmp_path, "postgresql://u:***@h/x")


@pytest.mark.parametrize(
    ("url", "package"),
    [
        ("postgresql://u@h/x", r"psycopg\[binary\].*EXTRAS=postgres"),
        ("postgresql+psycopg://u@h/x", r"psycopg\[binary\].*postgresql\+psycopg://"),
        ("postgresql+psycopg2://u@h/x", r"psycopg\[binary\]"),
        ("mysql://u@h/x", r"pymysql.*mysql\+pymysql://"),
        ("mysql+pymysql://u@h/x", "pymysql.*EXTRAS=mysql"),
        ("mariadb+pymysql://u@h/x", "pymysql"),
        ("oracle://u@h/x", "oracledb"),
    ],
)
def test_a_missing_driver_is_named_with_its_package(tmp_path, monkeypatch, url, package):
    for driver in ("psycopg", "psycopg2", "pymysql", "MySQLdb", "oracledb"):
        monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(InputError, match=package):
        databases.open_database(tmp_path, url)


def test_nothing_a_search_keeps_or_prints_holds_the_password(make, tmp_path, monkeypatch, capsys):
    """The database is SQLite, whose URL has no password, under the name of a server."""
    url = "postgresql://u:S3cret@h/x"

    class Local(optuna.storages.RDBStorage):
        def __init__(self, url, engine_kwargs):
            super().__init__(f"sqlite:///{tmp_path}/x.db")

    monkeypatch.setattr(optuna.storages, "RDBStorage", Local)
    study = make(storage=url)
    number = study.ask().number
    study.begin(1.0, address=None)
    study.complete(number, result(0.5))
    study.close()
    summarize(study.view(), "all is done", SessionOptions(storage=url).where)
    printed = capsys.readouterr()
    assert "u:***@h/x" in printed.out
    assert "XRAYTUNE_STORAGE" in printed.out
    assert "S3cret" not in printed.out + printed.err
    kept = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert tmp_path / "mine" / "study.json" in kept
    assert not [p for p in kept if b"S3cret" in p.read_bytes()]


@pytest.fixture
def read_only(tmp_path, make, monkeypatch):
    """A results folder with a study of one trial, in which this process may write nothing."""
    study = make()
    asked = study.ask()
    study.complete(asked.number, result(0.5))
    study.close()
    study._study._storage._backend.engine.dispose()
    folder = tmp_path / "a folder ?#% é"
    shutil.copytree(tmp_path, folder, ignore=shutil.ignore_patterns("a folder*"))
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: allowed(path, mode) and not (mode & os.W_OK))
    return folder


def test_a_study_is_read_where_nothing_may_be_written_and_nothing_is(read_only):
    before = {path: path.stat().st_mtime_ns for path in read_only.rglob("*")}
    assert [trial.value for trial in open_study("mine", read_only).trials()] == [0.5]
    assert open_study(None, read_only).best().number == 0
    assert {path: path.stat().st_mtime_ns for path in read_only.rglob("*")} == before


def test_a_study_that_may_only_be_read_refuses_what_writes_in_one_message(read_only):
    database = databases.open_database(read_only)
    with pytest.raises(FatalError, match=r"can't be written: .*readonly"):
        database.set_study_user_attr(1, "text", "x")


def test_a_log_that_a_killed_search_left_where_nothing_may_be_written_is_one_message(read_only):
    """The system alone refuses to make the file that a log is read with; so the place of it is taken here."""
    shutil.copy(read_only / "studies.db", read_only / "studies.db-wal")
    (read_only / "studies.db-shm").mkdir()
    with pytest.raises(FatalError, match=r"studies\.db-wal beside it\. Copy the folder"):
        open_study("mine", read_only)
