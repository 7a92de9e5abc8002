"""A space that a study's database names is imported only where it was named on this installation."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from search.driver import session
from search.driver.options import SessionOptions, StudyOptions
from search.retraining import steps
from search.retraining.options import RetrainingOptions
from search.study import own_space
from search.study.view import open_study
from xraytune.errors import InputError

FILE = "radiographs.py:Space"


class ReachedError(Exception):
    """What comes after the check was asked for."""


@pytest.fixture(autouse=True)
def _installation(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def received(make, tmp_path, monkeypatch):
    """A study of somebody else whose space is a file beside it, which says when it is run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "radiographs.py").write_text("from pathlib import Path\nPath('it_ran').touch()\nclass Space: pass\n")

    def of(space=FILE, **noted):
        study = make(space=space)
        study.begin(1.0)
        study.note(request={"space": space, "trials": 1}, **noted)
        study.close()
        return tmp_path

    return of


def resume(results, space=None):
    session.search(StudyOptions(study="mine", resume=True, space=space, trials=1), SessionOptions(results=results))


def retrain(results, space=None):
    steps.retrain(RetrainingOptions(study="mine", space=space, results=results))


@pytest.mark.parametrize("space", [FILE, "radiographs:Space", "./radiographs.py:Space", "os:system"])
@pytest.mark.parametrize("call", [resume, retrain])
def test_a_received_study_s_own_space_is_refused_before_it_runs(received, call, space):
    results = received(space)
    for named in (None, "other.py:Space"):
        with pytest.raises(InputError, match=r"--space"):
            call(results, named)
    assert not (results / "it_ran").exists()


@pytest.mark.parametrize("forged", ["", "0" * 16, 7, None, ["x"], "é"])
def test_a_forged_mark_does_not_count(received, forged):
    with pytest.raises(InputError, match=r"--space radiographs\.py:Space"):
        resume(received(**{own_space.ATTRIBUTE: forged}))


@pytest.mark.parametrize("statement", ["UPDATE", "DELETE"])
def test_a_request_alone_names_no_program(received, statement):
    results = received("smoke")
    open_study("mine", results)._study.set_user_attr("request", {"space": FILE})
    if statement == "DELETE":  # a study without a specification
        with closing(sqlite3.connect(results / "studies.db")) as other:
            other.execute("DELETE FROM study_user_attributes WHERE key = 'spec'")
            other.commit()
    with pytest.raises(InputError, match="--space"):
        resume(results)
    assert not (results / "it_ran").exists()


@pytest.mark.parametrize("named", [FILE, None])
def test_a_space_that_the_user_names_or_named_here_is_let_in(received, named, monkeypatch):
    results = received(**({} if named else {own_space.ATTRIBUTE: own_space.mark("mine", FILE)}))

    def reached(*_):
        raise ReachedError

    monkeypatch.setattr(steps.finalists, "choose", reached)
    with pytest.raises(ReachedError):
        retrain(results, named)


def test_a_mark_of_another_study_space_or_installation_does_not_count(tmp_path, monkeypatch):
    first = own_space.mark("mine", FILE)
    assert first != own_space.mark("other", FILE)
    assert first != own_space.mark("mine", "radiographs.py:Other")
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "elsewhere" / "cache"))
    assert first != own_space.mark("mine", FILE)
    assert own_space.mark("mine", "chest_xray") == ""
