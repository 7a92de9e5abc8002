"""The database of all studies: opened, waited for while it is locked, written in one transaction a step.

Whatever it does wrong is one message. `search.owned` writes one study, `search.storage` reads.
"""

from __future__ import annotations

import functools
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages._rdb import storage as rdb

from xraytune.errors import FatalError, InputError

optuna.logging.set_verbosity(optuna.logging.ERROR)

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds a locked or slow database is waited for before the search stops."""


def database_url(results: Path, storage: str | None = None) -> str:
    """The Optuna storage URL: `storage` if given, else SQLite in the results folder."""
    return storage or f"sqlite:///{(results / 'studies.db').resolve()}"


WAIT = 5.0
"""Seconds that SQLite itself waits for a lock before a call is tried again."""


class PatientStorage(optuna.storages.RDBStorage):
    """Optuna's database, each call of which is tried again by itself while the database is locked or slow.

    What Optuna makes of several calls must not be repeated as a whole: an `ask` takes a trial off the queue, then reads
    what its sampler needs. Were it asked again, that trial would stay RUNNING with nobody at work on it.
    """

    patience: float | None = None
    """Seconds a call is tried for, None for `PATIENCE`; none once that was in vain, so that a search ends soon."""

    def __init__(self, url: str, engine_kwargs: dict[str, Any], what: str) -> None:
        self._what = what
        super().__init__(url, engine_kwargs=engine_kwargs)

    def write(self, put: Callable[[Any], T]) -> T:
        """Let `put` write in one transaction; it is called again where the database was locked or did not answer.

        Args:
            put: takes SQLAlchemy's session.

        Raises:
            FatalError: the disk is full, the file can't be written, the database stayed locked, or something else has
                written or removed what this search wrote.
        """
        try:
            return self._patiently(lambda: self._write(put))
        except (sqlalchemy.exc.IntegrityError, LookupError) as error:
            raise FatalError(
                f"The database ({self._what}) is not as this search left it: {_first_line(error)}. Does another "
                "program write or delete its studies? Finished trials are kept."
            ) from None

    def _write(self, put: Callable[[Any], T]) -> T:
        with rdb._create_scoped_session(self.scoped_session) as session:
            return put(session)

    def _patiently(self, call: Callable[[], T]) -> T:
        try:
            return patiently(call, self._what, self.patience)
        except FatalError:
            self.patience = 0.0
            raise


def _patient(method: Callable[..., T]) -> Callable[..., T]:
    @functools.wraps(method)
    def call(self: PatientStorage, *arguments: Any, **options: Any) -> T:
        return self._patiently(lambda: method(self, *arguments, **options))

    return call


for _name in (
    # what Optuna's cache in front of a database reads beside the methods of every storage
    *("_get_trials", "_get_best_trial_id"),
    *(name for name in optuna.storages.BaseStorage.__abstractmethods__),
):
    setattr(PatientStorage, _name, _patient(getattr(optuna.storages.RDBStorage, _name)))


def open_database(results: Path, storage: str | None = None) -> PatientStorage:
    """Open (and make, if need be) the database of all studies.

    SQLite runs with a write-ahead log: readers (a dashboard) never block the search, and a commit costs no wait for the
    disk; killing any process loses nothing, only a power cut may lose the last commits (never the file).

    Raises:
        FatalError: the folder can't be written, the disk is full, the URL is wrong or the server does not answer.
    """
    url = database_url(results, storage)
    try:
        if not url.startswith("sqlite:///"):
            return PatientStorage(url, {"pool_pre_ping": True}, url)
        path = url.removeprefix("sqlite:///")
        Path(path).parent.mkdir(parents=True, exist_ok=True)

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(path, timeout=WAIT, check_same_thread=False)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            return connection

        return patiently(lambda: PatientStorage(url, {"creator": connect}, path), path)
    except OSError as error:
        raise FatalError(f"{results} can't be written: {error.strerror}. Choose another with --results.") from None
    except sqlalchemy.exc.ArgumentError:
        raise InputError(f"--storage {url!r} is no database URL. Write it like sqlite:////path/studies.db.") from None
    except (sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, ImportError) as error:
        raise FatalError(f"The database {url} can't be opened: {_first_line(error)}") from None


def patiently(action: Callable[[], T], what: str, patience: float | None = None) -> T:
    """Do `action`, again and again while the database is locked or does not answer.

    Args:
        action: leaves nothing behind where it raises.
        what: the database, for the message.
        patience: seconds in which to try again, None for `PATIENCE`.

    Raises:
        FatalError: the disk is full, the file can't be written or is damaged (at once), or the database stayed locked.
    """
    end, pause = time.monotonic() + (PATIENCE if patience is None else patience), 0.1
    while True:
        try:
            return action()
        except (StorageInternalError, sqlalchemy.exc.OperationalError, sqlite3.OperationalError) as error:
            cause = _first_line(error.__cause__ or error)
            if "full" in cause:
                raise FatalError(
                    f"The disk is full ({what}). Every finished trial is recorded; make room and go on with --resume."
                ) from None
            if "readonly" in cause or "unable to open" in cause or "malformed" in cause or "I/O" in cause:
                raise FatalError(f"The database ({what}) can't be written: {cause}.") from None
            if time.monotonic() + pause > end:
                raise FatalError(
                    f"The database ({what}) did not answer for {PATIENCE:.0f} s: {cause}. Finished trials are kept; "
                    "end whatever holds it (another program that has it open?) and go on with --resume."
                ) from None
            time.sleep(pause)
            pause = min(2 * pause, 5.0)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
