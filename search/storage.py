"""Where studies are kept: the database, the folder of a study, the lock that makes one process its only writer.

`search.study` writes; this module opens, names and reads. Everything that looks at a study without owning it
(leaderboard, report, retrain, dashboard) comes in through `open_study`.
"""

from __future__ import annotations

import datetime
import functools
import sqlite3
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages._rdb import storage as rdb
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from xraytune.errors import FatalError, InputError, StudyError
from xraytune.records import FailureCause, StudySpec, TrialConfig, TrialResult

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
    # what Optuna's cache in front of a database calls beside the methods of every storage
    *("_create_new_trial", "_set_trial_param", "_get_trials", "_get_best_trial_id"),
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


@dataclass(frozen=True)
class TrialRecord:
    """One trial as the study has it, without Optuna's types."""

    number: int
    state: str
    """COMPLETE, PRUNED, FAIL, RUNNING or WAITING."""
    values: tuple[float, ...]
    """The objective first; for a pruned trial, the best it had reached when stopped; empty without one."""
    config: TrialConfig | None
    result: TrialResult | None
    cause: str
    """A `FailureCause` for FAIL, else empty."""
    message: str
    curve: Mapping[int, float]
    """The objective after each epoch."""
    started: datetime.datetime | None
    ended: datetime.datetime | None
    attributes: Mapping[str, Any]

    @property
    def value(self) -> float | None:
        """The objective, None where the trial has none."""
        return self.values[0] if self.values else None

    @property
    def family(self) -> str:
        """Its architecture family, `-` before it was suggested."""
        return self.config.family if self.config else "-"

    @property
    def interrupted(self) -> bool:
        """Ended by an interruption of the search: no failure, counted nowhere."""
        return self.cause == FailureCause.INTERRUPTED

    @property
    def counts(self) -> bool:
        """Whether it is part of the budget: COMPLETE, PRUNED, or FAIL by its own fault."""
        return self.state in {"COMPLETE", "PRUNED"} or (self.state == "FAIL" and not self.interrupted)

    @property
    def standing(self) -> Mapping[int, float]:
        """The objective that it would have had if it had stopped after each epoch."""
        return {int(epoch): float(value) for epoch, value in self.attributes.get("standing", {}).items()}

    @property
    def seconds(self) -> float | None:
        """Wall time from suggestion to record; of the training alone where that is known."""
        if self.result and self.result.seconds:
            return sum(self.result.seconds.values())
        return (self.ended - self.started).total_seconds() if self.started and self.ended else None


def record_of(trial: FrozenTrial) -> TrialRecord:
    """Optuna's trial as ours."""
    attributes = trial.user_attrs
    result = TrialResult.from_json(attributes["result"]) if "result" in attributes else None
    values = tuple(trial.values or ())
    if trial.state == TrialState.PRUNED and result:
        values = (result.value, *values[1:])
    curve: Mapping[int, float] = trial.intermediate_values
    if not curve and result:
        curve = {int(point["epoch"]): float(point["value"]) for point in result.curve if "value" in point}
    elif not curve:  # several objectives, and no result
        curve = {int(epoch): float(value) for epoch, value in attributes.get("curve", {}).items()}
    cause = attributes.get("cause", "")
    return TrialRecord(
        number=trial.number,
        state=trial.state.name,
        values=values,
        config=TrialConfig.from_json(attributes["config"]) if "config" in attributes else None,
        result=result,
        cause=cause or (FailureCause.ERROR if trial.state == TrialState.FAIL else ""),
        message=attributes.get("message", ""),
        curve=curve,
        started=trial.datetime_start,
        ended=trial.datetime_complete,
        attributes=attributes,
    )


class StudyView:
    """A study as it stands, read-only; for the leaderboard, the report and `retrain`."""

    def __init__(self, study: optuna.Study, results: Path) -> None:
        self._study = study
        self.results = results
        self.name = str(study.study_name)
        self.folder = results / study.study_name
        self.spec = StudySpec.from_json(study.user_attrs["spec"])
        self.directions = tuple("maximize" if d == StudyDirection.MAXIMIZE else "minimize" for d in study.directions)
        self.attributes: Mapping[str, Any] = study.user_attrs

    def trials(self) -> list[TrialRecord]:
        """Every trial, by number."""
        return [record_of(trial) for trial in self._study.get_trials(deepcopy=False)]

    def best(self) -> TrialRecord:
        """The COMPLETE trial with the highest objective (the earlier on a tie).

        Raises:
            StudyError: none is complete.
        """
        done = [t for t in self.trials() if t.state == "COMPLETE"]
        if not done:
            raise StudyError(
                f"Study {self.name!r} has no complete trial yet. Search on: "
                f"python -m search.run --study {self.name} --resume"
            )
        return max(done, key=lambda t: (t.value or 0.0, -t.number))

    def trial(self, number: int) -> TrialRecord:
        """The trial of that number.

        Raises:
            StudyError: there is none.
        """
        trials = self.trials()
        if not 0 <= number < len(trials):
            have = f"it has trials 0 to {len(trials) - 1}" if trials else "it has none"
            raise StudyError(f"Study {self.name!r} has no trial {number}: {have}. See: python -m search.leaderboard")
        return trials[number]

    def importances(self) -> dict[str, float]:
        """How much each hyperparameter tells the best tenth of the trials from the others, largest first, summing to 1.

        PED-ANOVA (Watanabe et al. 2023), by the first objective; it handles conditions.

        Raises:
            ValueError: too few complete trials, or all of one value.
        """
        # of several objectives one must be named, and a named one is taken as better where it is lower
        target = (lambda t: -t.values[0]) if len(self.directions) > 1 else None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*to achieve low `target` values")
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            found = optuna.importance.get_param_importances(self._study, evaluator=evaluator, target=target)
        return dict(found)

    def pareto(self) -> list[TrialRecord]:
        """The trials no other trial beats in every objective, the highest first objective first."""
        front = {trial.number for trial in self._study.best_trials}
        chosen = [t for t in self.trials() if t.number in front]
        return sorted(chosen, key=lambda t: (-(t.value or 0.0), t.number))

    def trial_folder(self, number: int) -> Path:
        """Where that trial's predictions lie."""
        return trial_folder(self.folder, number)


def trial_folder(study_folder: Path, number: int) -> Path:
    """`results/<study>/trials/0007`."""
    return study_folder / "trials" / f"{number:04d}"


def open_study(name: str | None = None, results: str | Path = "results", storage: str | None = None) -> StudyView:
    """A study by name, or the one searched last.

    Args:
        name: the study; None for the latest.
        results: the results folder.
        storage: an Optuna RDB URL; None for SQLite in the results folder.

    Raises:
        StudyError: there is none, none of that name (those there are listed), or it was not made by `search.run`.
    """
    results = Path(results)
    if storage is None and not (results / "studies.db").exists():
        raise StudyError(f"There is no study in {results} yet. Make one: python -m search.run (or: make search)")
    database = open_database(results, storage)
    known = {s.study_name: s for s in optuna.get_all_study_summaries(database, include_best_trial=False)}
    ours = {n: s for n, s in known.items() if "spec" in s.user_attrs}
    if not ours:
        raise StudyError(f"There is no study in {results} yet. Make one: python -m search.run (or: make search)")
    if name is None:
        name = max(ours, key=lambda n: float(ours[n].user_attrs.get("touched", 0.0)))
    elif name not in ours:
        raise StudyError(f"There is no study {name!r} in {results}. There are: {', '.join(sorted(ours))}.")
    return StudyView(optuna.load_study(study_name=name, storage=database), results)


def exists(name: str, results: Path, storage: str | None = None) -> bool:
    """Whether the study was made (a search killed while it made one left nothing that counts)."""
    if storage is None and not (results / "studies.db").exists():
        return False
    summaries = optuna.get_all_study_summaries(open_database(results, storage), include_best_trial=False)
    return any(s.study_name == name and made(s) for s in summaries)


def request(name: str, results: Path, storage: str | None = None) -> dict[str, Any]:
    """The options the study was last searched with, empty where it is not there."""
    if storage is None and not (results / "studies.db").exists():
        return {}
    summaries = optuna.get_all_study_summaries(open_database(results, storage), include_best_trial=False)
    return next((dict(s.user_attrs.get("request", {})) for s in summaries if s.study_name == name), {})


def stored_spec(name: str, results: Path, storage: str | None = None) -> StudySpec | None:
    """What the study was made with, None where it is not there."""
    if not exists(name, results, storage):
        return None
    return StudyView(optuna.load_study(study_name=name, storage=open_database(results, storage)), results).spec


def count(name: str, results: Path, storage: str | None = None) -> int:
    """Trials in the study, of any state."""
    summaries = optuna.get_all_study_summaries(open_database(results, storage), include_best_trial=False)
    return next((int(s.n_trials) for s in summaries if s.study_name == name), 0)


def check_free(name: str, results: Path, storage: str | None = None) -> None:
    """Refuse a taken name early, before data is read.

    Raises:
        StudyError: the study exists.
    """
    if exists(name, results, storage):
        raise StudyError(taken(name))


def made(found: Any) -> bool:
    """Whether a study's summary is of one that was made whole."""
    return "spec" in found.user_attrs or found.n_trials > 0


def taken(name: str) -> str:
    """What to do about a name that is taken."""
    return (
        f"Study {name!r} exists already. Go on with it:\n"
        f"  python -m search.run --study {name} --resume      (or: make search STUDY={name} RESUME=1)\n"
        "or make a new one: give another name with --study, or none for a dated one."
    )
