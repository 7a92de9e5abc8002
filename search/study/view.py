"""Studies as they are kept: their trials, read without Optuna's types, and the folder of each.

`search.study.study` writes; this module names and reads. Everything that looks at a study without owning it
(leaderboard, report, retrain) comes in through `open_study`.
"""

from __future__ import annotations

import datetime
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.study import sessions
from search.study.database import is_there, open_database, readable
from search.study.lock import check_name
from search.study.studies import Studies, is_made_by_us
from search.study.trial_files import PREDICTIONS, Outcome, read_config, read_outcome, trial_folder
from xraytune.errors import InputError, StudyError
from xraytune.evaluation.sites import held_out_sites
from xraytune.records import LAYOUT, FailureCause, StudySpec, TrialConfig, TrialResult


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
    """The objective after each epoch at which it was measured; under the robust objective at rungs."""
    started: datetime.datetime | None
    ended: datetime.datetime | None
    attributes: Mapping[str, Any]
    standing: Mapping[int, float] = field(default_factory=dict)
    """The objective that it would have had if it had stopped after each epoch."""
    ran: Mapping[str, Any] = field(default_factory=dict)
    """Its machine and its seconds by phase, where it left no result that says so."""
    easier: float = 0.0
    """How much more trials reach that hold out the same site than those of all sites, by their medians; 0 where
    validation is by patient."""

    @property
    def site(self) -> str:
        """The site that it held out, empty where validation is by patient."""
        return self.config.site if self.config else ""

    @property
    def compared(self) -> float | None:
        """The objective by which it is compared with trials that hold out other sites."""
        return None if self.value is None else self.value - self.easier

    @property
    def value(self) -> float | None:
        """The objective, None where the trial has none."""
        return self.values[0] if self.values else None

    @property
    def rank(self) -> tuple[float, int]:
        """Sorting key for the best first: the higher objective, then the earlier trial; without an objective last."""
        return (-self.compared if self.compared is not None else math.inf), self.number

    @property
    def family(self) -> str:
        """Its architecture family, `-` before it was suggested."""
        return self.config.family if self.config else "-"

    @property
    def params(self) -> dict[str, Any]:
        """Its hyperparameters by name, empty before it was suggested."""
        return dict(self.config.values) if self.config else {}

    @property
    def recipe(self) -> str:
        """The published configuration that it tried, empty where it tried none."""
        return str(self.attributes.get("recipe", ""))

    @property
    def interrupted(self) -> bool:
        """Ended by an interruption of the search: no failure, counted nowhere."""
        return self.cause == FailureCause.INTERRUPTED

    @property
    def counts(self) -> bool:
        """Whether it is part of the budget: COMPLETE, PRUNED, or FAIL by its own fault."""
        return self.state in {"COMPLETE", "PRUNED"} or (self.state == "FAIL" and not self.interrupted)

    @property
    def seconds(self) -> float | None:
        """Wall time from suggestion to record; of the training alone where that is known."""
        if self.result and self.result.seconds:
            return sum(self.result.seconds.values())
        return (self.ended - self.started).total_seconds() if self.started and self.ended else None


def record_of(trial: FrozenTrial, folder: Path) -> TrialRecord:
    """Optuna's trial as ours, with what its files say.

    Args:
        trial: Optuna's.
        folder: the study's.

    Raises:
        ArtifactError: a file that must be there is missing or damaged.
        ValueError, TypeError, LookupError, AttributeError: what the database has of it is not what a search writes.
    """
    attributes = trial.user_attrs
    config = read_config(folder, trial.number) if "family" in attributes else None
    outcome, result = read_outcome(folder, trial.number) if "ending" in attributes else (Outcome(), None)
    values = tuple(trial.values or ())
    if trial.state == TrialState.PRUNED and result:
        values = (result.value, *values[1:])
    curve: Mapping[int, float] = trial.intermediate_values
    if not curve and result:
        curve = {int(point["epoch"]): float(point["value"]) for point in result.curve if "value" in point}
    elif not curve:  # several objectives, and no result
        curve = {int(epoch): float(value) for epoch, value in outcome.curve.items()}
    cause = FailureCause(attributes["cause"]) if attributes.get("cause") else ""
    record = TrialRecord(
        number=trial.number,
        state=trial.state.name,
        values=values,
        config=config,
        result=result,
        cause=cause or (FailureCause.ERROR if trial.state == TrialState.FAIL else ""),
        message=outcome.message,
        curve=curve,
        started=trial.datetime_start,
        ended=trial.datetime_complete,
        attributes=attributes,
        standing={int(epoch): float(value) for epoch, value in outcome.standing.items()},
        ran=outcome.ran,
    )
    if not isinstance(attributes.get("retry_of", 0), int) or not isinstance(attributes.get("origin", ""), str):
        raise TypeError(
            f"trial {record.number} comes from {attributes.get('origin', attributes.get('retry_of'))!r:.40}"
        )
    return record


def records(study: optuna.Study, storage: BaseStorage, folder: Path) -> list[TrialRecord]:
    """Every trial of a study, by number.

    Args:
        study: Optuna's study.
        storage: where it is, as `open_database` gave it.
        folder: the study's.

    Raises:
        FatalError: what the database or the folder has of one can't be read, or trials are missing.
    """
    with readable(storage, study.study_name):
        found = study.get_trials(deepcopy=False)
        for number, trial in enumerate(found):
            if trial.number != number:
                raise LookupError(f"it has a trial {trial.number} where {number} should be")
        return by_site([record_of(trial, folder) for trial in found])


def by_site(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The same trials, each with how much easier its held-out site is by the COMPLETE ones among them."""
    values = {t.number: t.values[0] for t in trials if t.state == "COMPLETE" and t.values}
    easier = held_out_sites.easier(values, {t.number: t.site for t in trials})
    return [replace(t, easier=off) if (off := easier.get(t.site, 0.0)) != t.easier else t for t in trials]


def folder_name(name: str) -> str:
    """The name of a study in a database, if it may be a folder in the results.

    Raises:
        StudyError: it may not, so that nothing is read or written under it.
    """
    try:
        return check_name(name)
    except InputError:
        raise StudyError(
            f"The database has a study {name!r}, which can't be the name of a folder: it was not made by this program."
        ) from None


class StudyView:
    """A study as it stands, read-only; for the leaderboard, the report and `retrain`.

    Args:
        study: Optuna's study.
        storage: where it is, as `open_database` gave it.
        results: the results folder.

    Raises:
        StudyError: its name can't be a folder's.
        FatalError: what the database has of it can't be read.
    """

    def __init__(self, study: optuna.Study, storage: BaseStorage, results: Path) -> None:
        self._study = study
        self._storage = storage
        self.results = results
        self.name = folder_name(str(study.study_name))
        self.folder = results / self.name
        with readable(storage, self.name):
            self.attributes: Mapping[str, Any] = study.user_attrs
            self.spec = spec_of(self.name, self.attributes)
            self.seconds = sessions.seconds(self.attributes)
            """The wall time of all sessions of the search."""
            self.directions = tuple(
                "maximize" if d == StudyDirection.MAXIMIZE else "minimize" for d in study.directions
            )

    def trials(self) -> list[TrialRecord]:
        """Every trial, by number.

        Raises:
            FatalError: what the database or the folder has of one can't be read.
        """
        return records(self._study, self._storage, self.folder)

    def ranked(self) -> list[TrialRecord]:
        """The COMPLETE trials, the best first (the earlier on a tie)."""
        return sorted((t for t in self.trials() if t.state == "COMPLETE"), key=lambda t: t.rank)

    def best(self) -> TrialRecord:
        """The first of `ranked`.

        Raises:
            StudyError: none is complete.
        """
        ranked = self.ranked()
        if not ranked:
            raise StudyError(
                f"Study {self.name!r} has no complete trial yet. Continue the search: "
                f"python -m search.run --study {self.name} --resume"
            )
        return ranked[0]

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
        return [t for t in self.ranked() if t.number in front]

    def predictions(self, number: int) -> Path:
        """The file of that trial's predictions of the validation images."""
        return trial_folder(self.folder, number) / PREDICTIONS


def exclusions(attributes: Mapping[str, Any]) -> list[str]:
    """A line on each value that was found to be too slow while the study was searched, or fast enough again."""
    kept = attributes.get("exclusions")
    return [str(line) for line in kept] if isinstance(kept, list) else []


def spec_of(name: str, attributes: Mapping[str, Any]) -> StudySpec:
    """What a study was made with.

    Raises:
        StudyError: it is of another layout.
    """
    plain = attributes["spec"]
    if isinstance(plain, Mapping) and "name" in plain and (layout := plain.get("layout", 1)) != LAYOUT:
        raise StudyError(
            f"Study {name!r} has layout {layout}, this version {LAYOUT}: it can't be read, and its scores can't be "
            "compared. Make a new study with --study."
        )
    return StudySpec.from_json(plain)


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
    missing = StudyError(f"There is no study in {results} yet. Make one: python -m search.run (or: make search)")
    if not is_there(results, storage):
        raise missing
    database = open_database(results, storage)
    if name is None:
        with readable(database):
            ours = {s.study_name: s.user_attrs for s in database.get_all_studies() if "spec" in s.user_attrs}
            if not ours:
                raise missing
            name = max(ours, key=lambda n: float(ours[n].get("touched", 0.0)))
    elif not is_made_by_us(database, name):
        with readable(database):
            known = sorted(s.study_name for s in database.get_all_studies() if "spec" in s.user_attrs)
        if not known:
            raise missing
        listed = ", ".join(one if one.isprintable() else repr(one) for one in known)
        raise StudyError(f"There is no study {name!r} in {results}. There are: {listed}.")
    with readable(database, name):
        study = optuna.load_study(study_name=name, storage=database)
    return StudyView(study, database, results)


def stored_spec(name: str, studies: Studies) -> StudySpec | None:
    """What the study was made with, None where it is not there."""
    if not studies.are_there or not is_made_by_us(studies.database(), name):
        return None
    return open_study(name, studies.results, studies.storage).spec


def search_seconds(study: StudyView) -> float:
    """The wall time that the search took."""
    if study.seconds:
        return study.seconds
    spans = sorted((t.started, t.ended) for t in study.trials() if t.started and t.ended)
    total, until = 0.0, None
    for start, end in spans:
        begin = start if until is None or start > until else until
        if until is None or end > until:
            total += (end - begin).total_seconds()
            until = end
    return total


def recipes_of(study: StudyView) -> list[tuple[str, TrialRecord]]:
    """The published configurations that the study tried, with their names."""
    return [(trial.recipe, trial) for trial in study.trials() if trial.recipe and trial.counts]
