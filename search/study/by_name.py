"""What a results folder holds of a study by its name, without reading trials: whether it exists, its attributes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage

from search.study.database import ChangedError, is_there, open_database, readable
from xraytune.errors import StudyError


def find(database: BaseStorage, name: str) -> int | None:
    """Optuna's id of the study of that name, None where the database has none.

    Raises:
        FatalError: the database can't be read.
    """
    try:
        return database.get_study_id_from_name(name)
    except ChangedError:
        return None


def is_made_by_us(database: BaseStorage, name: str) -> bool:
    """Whether the database has a study of that name that `search.run` made."""
    found = find(database, name)
    with readable(database, name):
        return found is not None and "spec" in database.get_study_user_attrs(found)


def is_whole(database: BaseStorage, name: str, found: int) -> bool:
    """Whether the study was made whole: a search that was killed while it made one left nothing that counts.

    Args:
        database: where it is.
        name: its name.
        found: Optuna's id of it.

    Raises:
        FatalError: it can't be read.
    """
    with readable(database, name):
        return "spec" in database.get_study_user_attrs(found) or database.get_n_trials(found) > 0


def exists(name: str, results: Path, storage: str | None = None) -> bool:
    """Whether the study was made (a search killed while it made one left nothing that counts)."""
    if not is_there(results, storage):
        return False
    database = open_database(results, storage)
    found = find(database, name)
    return found is not None and is_whole(database, name, found)


def attributes(name: str, results: Path, storage: str | None = None) -> Mapping[str, Any]:
    """What is kept of the study beside its trials, empty where it is not there.

    Raises:
        FatalError: it can't be read.
    """
    if not is_there(results, storage):
        return {}
    database = open_database(results, storage)
    found = find(database, name)
    with readable(database, name):
        return {} if found is None else database.get_study_user_attrs(found)


def request(name: str, results: Path, storage: str | None = None) -> dict[str, Any]:
    """The options the study was last searched with, empty where it is not there.

    Raises:
        StudyError: they are no options.
    """
    kept = attributes(name, results, storage).get("request", {})
    if not isinstance(kept, Mapping):
        raise StudyError(f"What study {name!r} was asked for can't be read: another program changed it.")
    return dict(kept)


def count(name: str, results: Path, storage: str | None = None) -> int:
    """Trials in the study, of any state."""
    database = open_database(results, storage)
    found = find(database, name)
    with readable(database, name):
        return 0 if found is None else database.get_n_trials(found)


def check_free(name: str, results: Path, storage: str | None = None) -> None:
    """Refuse a taken name early, before data is read.

    Raises:
        StudyError: the study exists.
    """
    if exists(name, results, storage):
        raise StudyError(taken(name))


def taken(name: str) -> str:
    """What to do about a name that is taken."""
    return (
        f"Study {name!r} exists already. Go on with it:\n"
        f"  python -m search.run --study {name} --resume      (or: make search STUDY={name} RESUME=1)\n"
        "or make a new one: give another name with --study, or none for that of the data and the date."
    )
