"""The database of all studies: Optuna's own storage, opened and waited for while it is locked or does not answer.

Whatever it does wrong is one message, and a password in its URL appears in none. `search.study.study` writes one study,
`search.study.view` reads.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import sqlite3
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from xraytune.errors import FOREIGN, FatalError, InputError

optuna.logging.set_verbosity(optuna.logging.ERROR)

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds a locked or slow database is waited for before the search stops."""

WAIT = 5.0
"""Seconds that SQLite itself waits for a lock before a call is tried again."""

ENVIRONMENT = "XRAYTUNE_STORAGE"
"""The environment variable that holds the database's URL where `--storage` is not given."""

DRIVERS = {
    "postgresql": ("postgresql+psycopg", "psycopg[binary]", "postgres"),
    "mysql": ("mysql+pymysql", "pymysql", "mysql"),
    "mariadb": ("mariadb+pymysql", "pymysql", "mysql"),
}
"""For each kind of server: the URL's scheme, the driver's package and our extra that installs it."""

_STARTING = r"locked|busy|starting up|accepting connections|in recovery|too many (connections|clients)"
_HEALS = (
    _STARTING + r"|connect|shutting down|shutdown|time(d )?-?out|deadlock|serializ|reset|broken pipe|closed|lost|"
    r"gone away|terminat|unreachable"
)
_NEVER_HEALS = r"password|denied|does not exist|unknown database|doesn't exist"

_CHANGED = (LookupError, UpdateFinishedTrialError, json.JSONDecodeError, UnicodeDecodeError)
"""What a storage raises of rows that are gone, that were changed or that are damaged."""


# -- the URL ----------------------------------------------------------------------------------------------------------


def given_url(storage: str | None) -> str | None:
    """The database's URL as the user gave it: `storage`, else `XRAYTUNE_STORAGE`; None for SQLite in the results."""
    return storage or os.environ.get(ENVIRONMENT) or None


def database_url(results: Path, storage: str | None = None) -> str:
    """The Optuna storage URL: the given one, else SQLite in the results folder."""
    return given_url(storage) or f"sqlite:///{(results / 'studies.db').resolve()}"


def is_there(results: Path, storage: str | None = None) -> bool:
    """Whether there is a database to read: one that was given is taken to be there."""
    return given_url(storage) is not None or (results / "studies.db").exists()


_PASSWORD = re.compile(r"(?P<before>://[^:/?#@]*:)(?P<secret>.*)(?P<after>@)")
_QUERY = re.compile(r"(?P<before>[?&;][^=&;]*(?:pass|pwd|secret|token)[^=&;]*=)(?P<secret>[^&;]*)(?P<after>)", re.I)


def shown_url(url: str) -> str:
    """A database's URL as it may be shown: passwords are `***`, in its user part and in its query."""
    for pattern in (_PASSWORD, _QUERY):
        url = pattern.sub(r"\g<before>***\g<after>", url)
    return url


def hide_password(text: str, url: str) -> str:
    """A driver's message without the password of `url`, whole or in the parts that a wrong URL is cut into."""
    text = text.replace(url, shown_url(url))
    secrets = {match["secret"] for pattern in (_PASSWORD, _QUERY) for match in pattern.finditer(url)}
    secrets |= {urllib.parse.unquote_plus(secret) for secret in secrets}
    secrets |= {part for secret in secrets for part in re.split(r"[@/:?#&]", secret)}
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
    return text


# -- waiting ----------------------------------------------------------------------------------------------------------


def patiently(
    action: Callable[[], T], what: str, patience: float | None = None, *, heals: str = _HEALS, url: str = ""
) -> T:
    """Do `action`, again and again while the database is locked or does not answer.

    Args:
        action: leaves nothing behind where it raises, or notices at its next call what it left.
        what: the database, for the message.
        patience: seconds in which to try again, None for `PATIENCE`.
        heals: a pattern of the messages of operational errors that are waited for.
        url: the database's; its password is removed from messages.

    Raises:
        FatalError: the disk is full, the file can't be written or is damaged, a value was refused (at once), or the
            database stayed locked.
    """
    end, pause = time.monotonic() + (PATIENCE if patience is None else patience), 0.1
    while True:
        try:
            return action()
        except (StorageInternalError, sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError, sqlite3.Error) as error:
            found = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
            cause = hide_password(_first_line(found), url)
            if not _can_heal(found, cause, heals):
                raise _refusal(found, cause, what) from None
            if time.monotonic() + pause > end:
                raise FatalError(
                    f"The database ({what}) did not answer for {PATIENCE:.0f} s: {cause}. Finished trials are kept; "
                    "end other programs that use the database, then continue with --resume."
                ) from None
            time.sleep(pause)
            pause = min(2 * pause, 5.0)


def _can_heal(error: BaseException, cause: str, heals: str) -> bool:
    """Whether waiting may help: a lock, a lost connection, a server that starts."""
    if isinstance(error, sqlalchemy.exc.TimeoutError):  # no connection of the pool was free
        return True
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.connection_invalidated:
        return True
    operational = (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError, sqlite3.OperationalError)
    if not isinstance(error, operational) or re.search(_NEVER_HEALS, cause, re.I):
        return False
    return re.search(heals, cause, re.I) is not None


class ChangedError(FatalError):
    """The database is not as this program left it.

    Args:
        what: the database, for the message.
        cause: what was found.
    """

    def __init__(self, what: str, cause: str) -> None:
        super().__init__(
            f"The database ({what}) was changed, perhaps by another program: {cause}. Finished trials are kept."
        )
        self.cause = cause


def _refusal(error: BaseException, cause: str, what: str) -> FatalError:
    """The message about an error that waiting does not end."""
    if isinstance(error, (sqlalchemy.exc.IntegrityError, sqlite3.IntegrityError)):
        return ChangedError(what, cause)
    if "is full" in cause or "No space left" in cause:
        said = f"The disk is full ({what}). Every finished trial is recorded. Free disk space, then use --resume."
    elif isinstance(error, sqlalchemy.exc.DataError):
        small = "long" in cause and what.startswith(("mysql", "mariadb"))
        hint = " It stores at most 64 KiB in one text; SQLite and PostgreSQL store more." if small else ""
        said = f"The database ({what}) refuses a value of this search: {cause}. Finished trials are kept.{hint}"
    elif "readonly" in cause or "unable to open" in cause or "I/O" in cause:
        said = f"The database ({what}) can't be written: {cause}."
    elif "malformed" in cause or "not a database" in cause:
        said = f"The database ({what}) is damaged: {cause}. Restore it from a copy, or choose other --results."
    else:
        said = (
            f"The database ({what}) can't be used: {cause}. Recorded trials are kept: correct this and call the "
            "command again, a search with --resume."
        )
    return FatalError(said)


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("(raised as a result of")]
    return lines[0].strip() if lines else type(error).__name__


# -- the storage ------------------------------------------------------------------------------------------------------


class PatientStorage:
    """Optuna's storage, each call of which is tried again by itself while the database is locked or slow.

    What Optuna makes of several calls must not be repeated as a whole: an `ask` takes a trial off the queue, then reads
    what its sampler needs. Were it asked again, that trial would stay RUNNING with nobody at work on it. A call whose
    answer was lost when it was committed is not written twice: this relies on the study having one writer.

    Args:
        storage: Optuna's, by `optuna.storages.get_storage`.
        url: of the database.
    """

    def __init__(self, storage: BaseStorage, url: str) -> None:
        self._storage = storage
        self._url = url
        self.what = _what(url)
        """The database as messages name it."""
        self.patience: float | None = None
        """Seconds a call is tried for, None for `PATIENCE`; none once that was in vain, so that a search ends soon."""

    def __getattr__(self, name: str) -> Any:
        if name == "_storage":  # not made yet, as while it is copied
            raise AttributeError(name)
        found = getattr(self._storage, name)
        return functools.partial(self._call, found) if callable(found) else found

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """A new trial's id; as `optuna.storages.BaseStorage` has it."""
        before, tried = len(self._call(self._storage.get_all_trials, study_id, deepcopy=False)), False

        def once() -> int:
            nonlocal tried
            if tried and len(made := self._storage.get_all_trials(study_id, deepcopy=False)) > before:
                return made[before]._trial_id
            tried = True
            return self._storage.create_new_trial(study_id, template_trial)

        return self._call(once)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Whether the trial has the state now; as `optuna.storages.BaseStorage` has it."""
        tried = False

        def once() -> bool:
            nonlocal tried
            if tried and self._storage.get_trial(trial_id).state == state:
                return True
            tried = True
            return self._storage.set_trial_state_values(trial_id, state, values)

        return self._call(once)

    def _call(self, method: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """One call, waited for.

        Raises:
            FatalError: it can't be written or read, or something else changed what this search wrote.
        """
        try:
            return patiently(lambda: method(*arguments, **options), self.what, self.patience, url=self._url)
        except FatalError:
            self.patience = 0.0
            raise
        except _CHANGED as error:
            raise ChangedError(self.what, f"{type(error).__name__}: {_first_line(error)}") from None


BaseStorage.register(PatientStorage)


def _what(url: str) -> str:
    return shown_url(url).removeprefix("sqlite:///")


@contextlib.contextmanager
def readable(storage: Any, study: str | None = None) -> Iterator[None]:
    """Read a study: what damaged or foreign rows raise becomes one message that names the study and the database.

    Args:
        storage: of `open_database`.
        study: its name; None while all studies are read.

    Raises:
        FatalError: it can't be read.
    """
    try:
        yield
    except ChangedError as error:
        cause = error.cause
    except FOREIGN as error:
        cause = f"{type(error).__name__}: {_first_line(error)}"
    else:
        return
    named = "A study" if study is None else f"Study {study!r}"
    raise FatalError(
        f"{named} in the database ({storage.what}) can't be read: {cause[:200]}. The database is damaged, or another "
        "program changed it. Restore it from a copy, or give another name with --study."
    )


def open_database(results: Path, storage: str | None = None) -> BaseStorage:
    """Open (and make, if need be) the database of all studies: a `PatientStorage`.

    SQLite runs with a write-ahead log: readers (a dashboard) never block the search, and a commit costs no wait for the
    disk; killing any process loses nothing, only a power cut may lose the last commits (never the file).

    Raises:
        InputError: the URL is wrong, or its driver is not installed.
        FatalError: the folder can't be written, the disk is full or the server does not answer.
    """
    url = database_url(results, storage)
    shown = shown_url(url)
    if shown == url and ":***@" in url:
        raise InputError(
            f"The database's URL {url!r} has *** where its password should be. Put the URL with the password into the "
            f"environment variable {ENVIRONMENT} and leave --storage out."
        )
    options: dict[str, Any] = {"pool_pre_ping": True}
    try:
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            options = {"creator": functools.partial(_connect, url.removeprefix("sqlite:///"))}

        def make() -> BaseStorage:
            return optuna.storages.get_storage(optuna.storages.RDBStorage(url, engine_kwargs=dict(options)))

        opened = patiently(make, _what(url), heals=_STARTING, url=url)
    except OSError as error:
        raise FatalError(f"{results} can't be written: {error.strerror}. Choose another with --results.") from None
    except ImportError as error:
        raise InputError(_no_driver(url, error)) from None
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:  # a port that is no number, say
        raise InputError(
            f"--storage {shown!r} is no database URL ({hide_password(_first_line(error), url)}). Write it like "
            "sqlite:////path/studies.db, postgresql+psycopg://user@host/studies or mysql+pymysql://user@host/studies."
        ) from None
    except (RuntimeError, LookupError, TypeError, sqlalchemy.exc.SQLAlchemyError) as error:  # of another Optuna, say
        raise FatalError(f"The database {shown} can't be opened: {hide_password(_first_line(error), url)}") from None
    return cast(BaseStorage, PatientStorage(opened, url))


def _connect(path: str) -> sqlite3.Connection:
    """A connection; one that only reads where the file or its folder may not be written.

    A reader of a write-ahead log writes beside it. Where nothing can, the file alone is read, as it is: it is whole
    unless a log lies beside it, as after a kill.
    """
    if _is_read_only(path):
        return _connect_to_read(path)
    connection = sqlite3.connect(path, timeout=WAIT, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def _connect_to_read(path: str) -> sqlite3.Connection:
    log = Path(f"{path}-wal")
    alone = "" if log.exists() else "&immutable=1"
    where = f"file:{urllib.parse.quote(path)}?mode=ro{alone}"
    connection = sqlite3.connect(where, uri=True, timeout=WAIT, check_same_thread=False)
    try:
        connection.execute("SELECT 1 FROM sqlite_master")
    except sqlite3.OperationalError:
        if not log.exists():
            raise
        raise FatalError(
            f"The database ({path}) can't be read in a read-only folder: a running or killed search left {log.name} "
            "beside it. Copy the folder to a writable place, and give it with --results."
        ) from None
    return connection


def _is_read_only(path: str) -> bool:
    """Whether the database is there, and it or its folder may not be written."""
    file = Path(path)
    return file.is_file() and not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK))


def _no_driver(url: str, error: ImportError) -> str:
    """Which package to install for a URL whose driver is missing."""
    kind = re.split(r"[+:]", url, maxsplit=1)[0]
    missing = getattr(error.__cause__, "name", None) or "the driver"
    if kind not in DRIVERS:
        return f"The database {shown_url(url)} needs a driver that is not installed: {missing}. Install it with pip."
    scheme, package, extra = DRIVERS[kind]
    return (
        f"The database {shown_url(url)} needs a driver that is not installed ({missing}). Install {package}: "
        f".venv/bin/pip install '{package}' (or: make setup EXTRAS={extra}), and write the URL like "
        f"{scheme}://user@host/studies."
    )


PASSWORD_NOTE = "Instead of --storage with ***, put the URL with its password into the environment: XRAYTUNE_STORAGE."
"""Said under printed commands whose `--storage` hides a password."""


def with_note(commands: str) -> str:
    """Commands as they are printed, with the note about a hidden password where they need it."""
    return f"{commands}\n{PASSWORD_NOTE}" if "***" in commands else commands
