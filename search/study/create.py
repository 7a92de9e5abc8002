"""A new study, or one that is gone on with: compared with what is asked, refused with every difference named.

`search.study.study` then asks and tells it; `search.study.view` knows where it lies.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from search.hyperparameters.suggestion import Declaration
from search.study.database import open_database, readable
from search.study.lock import StudyLock
from search.study.objectives import directions
from search.study.pages import Pages
from search.study.studies import Studies, find, is_whole, taken
from search.study.study import Study
from search.study.view import spec_of
from xraytune import artifacts
from xraytune.data import compare, keep_lists
from xraytune.errors import FatalError, StudyError
from xraytune.records import StudySpec


def create(
    spec: StudySpec,
    declaration: Declaration,
    lock: StudyLock,
    *,
    resume: bool,
    storage: str | None = None,
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
    pages: Pages | None = None,
) -> Study:
    """Make a new study, or go on with one that is there.

    Args:
        spec: what is asked now; compared with what the study was made with.
        declaration: the space's `declare_hyperparameters`.
        lock: the study's lock, held; the study is made in its results folder. The caller releases it if this raises.
        resume: whether to go on with a study of that name.
        storage: an Optuna RDB URL; None for SQLite in the results folder.
        sampler: proposes configurations.
        pruner: Optuna's pruner; None where Ray's schedulers prune.
        pages: what is shown of it in the dashboard; None shows its rows alone.

    Raises:
        StudyError: it exists and `resume` was not asked; it was made with something else (every difference is named).
        FatalError: the results folder or the database can't be written.
    """
    results = lock.results
    try:
        database = open_database(results, storage)
        found = find(database, spec.name)
        if found is not None and not is_whole(database, spec.name, found):  # killed before its spec was recorded
            optuna.delete_study(study_name=spec.name, storage=database)
            found = None
        folder = results / spec.name
        if found is None and (folder / "trials").exists():
            raise StudyError(
                f"{folder} contains trials, but the database has no study {spec.name!r}. Remove the folder, restore "
                "the database, or give another name with --study."
            )
        if found is None:
            _make(database, spec)
        else:
            _check(database, spec, folder, resume)
        with readable(database, spec.name):
            study = optuna.load_study(study_name=spec.name, storage=database, sampler=sampler, pruner=pruner)
        if found is None:
            folder.mkdir(parents=True, exist_ok=True)
            keep_lists(filter(None, (spec.train_fingerprint, spec.test_fingerprint)), folder)
            artifacts.write_json(folder / "study.json", spec.to_json())
            study.set_user_attr("spec", spec.to_json())
            with warnings.catch_warnings():  # Optuna calls the names experimental; the dashboard shows them
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names([spec.label, *spec.objectives[1:]])
        owned = Study(study, database, results, spec, declaration, lock, pages)
        owned.recover()
    except OSError as error:
        raise FatalError(f"{results} can't be written: {error.strerror}. Choose another with --results.") from None
    return owned


def _make(database: BaseStorage, spec: StudySpec) -> None:
    try:
        optuna.create_study(study_name=spec.name, storage=database, directions=directions(spec.objectives))
    except optuna.exceptions.DuplicatedStudyError:
        raise StudyError(taken(spec.name)) from None


def check_existing(spec: StudySpec, studies: Studies) -> None:
    """Refuse to go on with a study that was made with something else, early: before Ray is started.

    Raises:
        StudyError: every difference is named.
    """
    if not studies.exists(spec.name):
        return
    _check(studies.database(), spec, studies.results / spec.name, True)


def _check(database: BaseStorage, spec: StudySpec, folder: Path, resume: bool) -> None:
    with readable(database, spec.name):
        found = optuna.load_study(study_name=spec.name, storage=database)
        attributes = found.user_attrs
        if "spec" not in attributes:
            raise StudyError(
                f"Study {spec.name!r} is in the database but was not made by this program. Take another name."
            )
        stored = spec_of(spec.name, attributes)
    differences = stored.differences(spec)
    if differences:
        differences += [
            f"  {said}"
            for test, then, now in (
                (False, stored.train_fingerprint, spec.train_fingerprint),
                (True, stored.test_fingerprint, spec.test_fingerprint),
            )
            if then and now and (said := compare(then, now, test=test, kept=folder))
        ]
        listed = "\n".join(f"  {line}" for line in differences)
        raise StudyError(
            f"Study {spec.name!r} exists and was made with other settings:\n{listed}\n"
            "Give the same settings to continue it, or give another name with --study."
        )
    if not resume:
        raise StudyError(taken(spec.name))
    if not (folder / "study.json").exists():
        raise StudyError(
            f"The database has study {spec.name!r}, but its folder {folder} is missing. Restore the folder (at least "
            "its study.json), or give another name with --study."
        )
