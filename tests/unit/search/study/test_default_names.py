"""The name of a study that the user gave none."""

from __future__ import annotations

import datetime
import itertools

import pytest

from search.driver import session
from search.driver.options import SessionOptions, StudyOptions
from search.study.lock import StudyLock, check_name, default_names

TODAY = f"{datetime.date.today():%Y-%m-%d}"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("demo", "demo"),
        ("/data/chest_xray", "chest_xray"),
        ("/data/chest_xray/", "chest_xray"),
        ("/data/chest.zip", "chest"),
        ("/data/chest.tar.gz", "chest"),
        ("/data/v1.2", "v1.2"),
        ("/data/images.csv", "images"),
        ("pneumoniamnist:64", "pneumoniamnist_64"),
        ("/data/Röntgen Bilder (2)", "R_ntgen_Bilder_2"),
        ("/data/-x", "x"),
        ("/data/.hidden", "hidden"),
        ("/data/日本", "study"),
        ("/", "study"),
        ("/data/a\nb\x1b[31m`<img>", "a_b_31m_img"),
        ("/data/" + "x" * 300, "x" * 60),
        ("/data/studies.db", "study-studies.db"),
    ],
)
def test_it_is_the_data_and_the_date_and_may_name_a_folder(data, name):
    names = list(itertools.islice(default_names(data), 3))
    assert names == [f"{name}-{TODAY}", f"{name}-{TODAY}-2", f"{name}-{TODAY}-3"]
    assert [check_name(one) for one in names] == names


def test_a_name_that_a_folder_or_another_search_has_is_passed_over(tmp_path):
    (tmp_path / f"demo-{TODAY}").mkdir()
    taken = StudyLock(tmp_path, f"demo-{TODAY}-2")
    lock = session._locked(StudyOptions(), SessionOptions(results=tmp_path))
    assert lock.name == f"demo-{TODAY}-3"
    taken.release()
    lock.release()


def test_a_name_that_only_the_database_has_is_passed_over(make, tmp_path, monkeypatch):
    make().close()
    (tmp_path / "mine").rename(tmp_path / "elsewhere")
    monkeypatch.setattr(session, "default_names", lambda data: iter(["mine", "other"]))
    lock = session._locked(StudyOptions(), SessionOptions(results=tmp_path))
    assert lock.name == "other"
    lock.release()


def test_a_name_that_was_given_is_taken_as_it_is(tmp_path):
    lock = session._locked(StudyOptions(study="mine"), SessionOptions(results=tmp_path))
    assert lock.name == "mine"
    lock.release()
