"""Studies as they are kept: their trials, read without Optuna's types, and the folder of each.

`search.study` writes; this module names and reads. Everything that looks at a study without owning it (leaderboard,
report, retrain) comes in through `open_study`.
"""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.database import open_database
from xraytune.errors import StudyError
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
        self.spec = spec_of(self.name, study.user_attrs)
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


def spec_of(name: str, attributes: Mapping[str, Any]) -> StudySpec:
    """What a study was made with.

    Raises:
        StudyError: its trials were judged on views of another layout.
    """
    plain = attributes["spec"]
    if (layout := plain.get("layout", 1)) != LAYOUT:
        raise StudyError(
            f"Study {name!r} has layout {layout} of the shifted views, this version {LAYOUT}; scores of both can't be "
            "compared: make a new study with --study."
        )
    return StudySpec.from_json(plain)


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
