"""The studies of a results folder: whether one exists, what is kept of it beside its trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Studies:
    """All studies of a results folder, by their names."""

    results: Path
    storage: str | None = None
    """Optuna's URL of their database; None for SQLite in the results folder."""

    @property
    def are_there(self) -> bool:
        """Whether there is a database to read: one that was given is taken to be there."""
        return is_there(self.results, self.storage)

    def database(self) -> BaseStorage:
        """Open the database, and make it if need be.

        Raises:
            InputError: the URL is wrong, or its driver is not installed.
            FatalError: the folder can't be written, the disk is full or the server does not answer.
        """
        return open_database(self.results, self.storage)

    def _found(self, name: str) -> tuple[BaseStorage, int] | None:
        """The database and Optuna's id of a study in it, None where it is not there."""
        if not self.are_there:
            return None
        database = self.database()
        number = find(database, name)
        return None if number is None else (database, number)

    def exists(self, name: str) -> bool:
        """Whether the study was made (a search killed while it made one left nothing that counts)."""
        found = self._found(name)
        return found is not None and is_whole(found[0], name, found[1])

    def attributes(self, name: str) -> Mapping[str, Any]:
        """What is kept of the study beside its trials, empty where it is not there.

        Raises:
            FatalError: it can't be read.
        """
        if (found := self._found(name)) is None:
            return {}
        database, number = found
        with readable(database, name):
            return database.get_study_user_attrs(number)

    def request(self, name: str) -> dict[str, Any]:
        """The options the study was last searched with, empty where it is not there.

        Raises:
            StudyError: they are no options.
        """
        kept = self.attributes(name).get("request", {})
        if not isinstance(kept, Mapping):
            raise StudyError(f"The options of study {name!r} can't be read: another program changed them.")
        return dict(kept)

    def count(self, name: str) -> int:
        """Trials in the study, of any state; 0 where it is not there.

        Raises:
            FatalError: it can't be read.
        """
        if (found := self._found(name)) is None:
            return 0
        database, number = found
        with readable(database, name):
            return database.get_n_trials(number)

    def check_free(self, name: str) -> None:
        """Refuse a taken name early, before data is read.

        Raises:
            StudyError: the study exists.
        """
        if self.exists(name):
            raise StudyError(taken(name))


def taken(name: str) -> str:
    """What to do about a name that is taken."""
    return (
        f"Study {name!r} already exists. Continue it:\n"
        f"  python -m search.run --study {name} --resume      (or: make search STUDY={name} RESUME=1)\n"
        "or make a new one: give another name with --study, or none (then data and date are the name)."
    )
