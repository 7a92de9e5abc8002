"""A study's database as its only writer has it: read once, then answered from memory; each step written as one.

Optuna's own storage asks the database before every answer, since others may have written, and writes each parameter and
attribute in a transaction of its own, after a look at what is there. A search has its study to itself (`search.lock`),
so that none of this is needed: at 10,000 trials it was half of what the engine cost.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState

from search.database import PatientStorage
from xraytune.errors import FatalError

Row = tuple[type[Any], int, str, str | int]
"""A table's model, a trial's number, the column that tells a trial's rows apart, and its value."""


class OwnedStorage(optuna.storages.InMemoryStorage):
    """Optuna's storage in memory, filled from one study of a database; all that is set is written there too.

    Trials are known by their number here; the database's own ids stay inside. What is written goes through
    `PatientStorage`: tried again while the database is locked, else a `FatalError`. Memory then knows more than the
    database, so that nothing is written after it: what is set raises the same error, and a resume reads anew.

    Args:
        database: where the study is.
        name: the study's.

    Raises:
        FatalError: the study's trials are not numbered as one writer numbers them.
    """

    def __init__(self, database: PatientStorage, name: str) -> None:
        super().__init__()
        self.database = database
        self._row = database.get_study_id_from_name(name)
        study = self.create_new_study(database.get_study_directions(self._row), name)
        for key, value in database.get_study_user_attrs(self._row).items():
            super().set_study_user_attr(study, key, value)
        for key, value in database.get_study_system_attrs(self._row).items():
            super().set_study_system_attr(study, key, value)
        self._ids: dict[int, int] = {}
        """The database's id of each trial, by number."""
        self._held: _Writes | None = None
        self._failed: FatalError | None = None
        for trial in database.get_all_trials(self._row, deepcopy=False):
            number = super().create_new_trial(study, trial)
            if trial.number != number:
                raise FatalError(
                    f"The database's study {name!r} has a trial {trial.number} where {number} should be: something "
                    "else has written it. Take another name."
                )
            self._ids[number] = trial._trial_id
            for parameter, distribution in trial.distributions.items():
                self._studies[study].param_distribution.setdefault(parameter, distribution)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Write what is set on trials inside in one transaction, at the end.

        Where the inside raises, none of it is written, though memory keeps it: whoever goes on must end that trial.

        Raises:
            FatalError: the database can't be written.
        """
        if self._held is not None:  # inside another
            yield
            return
        self._held = writes = _Writes()
        try:
            yield
        finally:
            self._held = None
        self._write(writes)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[_Writes]:
        """Where a step's writes are noted: with those of `together`, or written at the end; none after a failed one."""
        if self._failed is not None:
            raise self._failed
        if self._held is not None:
            yield self._held
            return
        writes = _Writes()
        yield writes
        self._write(writes)

    def _write(self, writes: _Writes) -> None:
        if not writes:
            return
        try:
            self._ids |= self.database.write(lambda session: writes.put(session, self._row, self._ids))
        except FatalError as error:
            self._failed = error
            raise

    # -- what Optuna sets --------------------------------------------------------------------------------------------

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """In the database, then here."""
        self.database.set_study_user_attr(self._row, key, value)
        super().set_study_user_attr(study_id, key, _plain(value))

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """In the database, then here."""
        self.database.set_study_system_attr(self._row, key, value)
        super().set_study_system_attr(study_id, key, _plain(value))

    def delete_study(self, study_id: int) -> None:
        """In the database, then here."""
        self.database.delete_study(self._row)
        super().delete_study(study_id)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """A trial that runs, or one as the template is: queued, say."""
        if template_trial is not None:
            template_trial = copy.copy(template_trial)
            template_trial.user_attrs = _plain(template_trial.user_attrs)
            template_trial.system_attrs = _plain(template_trial.system_attrs)
        with self._writing() as writes:
            number = super().create_new_trial(study_id, template_trial)
            writes.trial(number, self.get_trial(number))
        return number

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """A parameter in Optuna's internal representation."""
        with self._writing() as writes:
            super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
            writes.parameter(trial_id, param_name, param_value_internal, distribution)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """An attribute of ours, as JSON has it."""
        text = json.dumps(value)
        with self._writing() as writes:
            super().set_trial_user_attr(trial_id, key, json.loads(text))
            writes.attribute(models.TrialUserAttributeModel, trial_id, key, text)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """An attribute of Optuna's, as JSON has it."""
        text = json.dumps(value)
        with self._writing() as writes:
            super().set_trial_system_attr(trial_id, key, json.loads(text))
            writes.attribute(models.TrialSystemAttributeModel, trial_id, key, text)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """The objective after an epoch."""
        with self._writing() as writes:
            super().set_trial_intermediate_value(trial_id, step, intermediate_value)
            writes.intermediate(trial_id, step, intermediate_value)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """How a trial ended, or that one that was queued runs."""
        with self._writing() as writes:
            done = super().set_trial_state_values(trial_id, state, values)
            if done:
                writes.state(trial_id, self.get_trial(trial_id), values)
        return done


def _plain(value: Any) -> Any:
    """As the database will give it back."""
    return json.loads(json.dumps(value))


class _Writes:
    """What one transaction writes."""

    def __init__(self) -> None:
        self.made: dict[int, FrozenTrial] = {}
        """New trials as they were made, by number."""
        self.rows: dict[Row, Mapping[str, Any]] = {}
        """What a trial has, the newest of each; the other columns."""
        self.states: dict[int, FrozenTrial] = {}
        """Trials whose state changed, as they are."""
        self._tried = False

    def __bool__(self) -> bool:
        return bool(self.made or self.rows or self.states)

    def trial(self, number: int, trial: FrozenTrial) -> None:
        """A new one, with all that its template has."""
        self.made[number] = trial
        for name, value in trial.params.items():
            distribution = trial.distributions[name]
            self.parameter(number, name, distribution.to_internal_repr(value), distribution)
        for key, value in trial.user_attrs.items():
            self.attribute(models.TrialUserAttributeModel, number, key, json.dumps(value))
        for key, value in trial.system_attrs.items():
            self.attribute(models.TrialSystemAttributeModel, number, key, json.dumps(value))
        for step, value in trial.intermediate_values.items():
            self.intermediate(number, step, value)
        self._values(number, trial.values)

    def parameter(self, number: int, name: str, value: float, distribution: BaseDistribution) -> None:
        """In Optuna's internal representation."""
        columns = {"param_value": value, "distribution_json": distribution_to_json(distribution)}
        self.rows[models.TrialParamModel, number, "param_name", name] = columns

    def attribute(self, model: type[Any], number: int, key: str, text: str) -> None:
        """One of ours, or of Optuna's."""
        self.rows[model, number, "key", key] = {"value_json": text}

    def intermediate(self, number: int, step: int, value: float) -> None:
        """After an epoch."""
        model = models.TrialIntermediateValueModel
        stored, kind = model.intermediate_value_to_stored_repr(value)
        self.rows[model, number, "step", step] = {"intermediate_value": stored, "intermediate_value_type": kind}

    def state(self, number: int, trial: FrozenTrial, values: Sequence[float] | None) -> None:
        """A state, with its time and what it came to."""
        self.states[number] = trial
        self._values(number, values)

    def _values(self, number: int, values: Sequence[float] | None) -> None:
        for objective, value in enumerate(values or ()):
            stored, kind = models.TrialValueModel.value_to_stored_repr(value)
            self.rows[models.TrialValueModel, number, "objective", objective] = {"value": stored, "value_type": kind}

    def put(self, session: Any, study: int, ids: Mapping[int, int]) -> dict[int, int]:
        """Write all of it; may be called again where it was rolled back, or where that is not known.

        Args:
            session: SQLAlchemy's, whose end is the transaction's.
            study: the study's row.
            ids: the database's ids of trials by number.

        Returns:
            The ids of new trials.

        Raises:
            LookupError: a trial is gone from the database.
        """
        new: dict[int, int] = {}
        there = set(ids)
        for number, trial in self.made.items():
            made = self._again(session, study, number) if self._tried else None
            if made is not None:  # the answer to the first commit was lost, not the commit
                there.add(number)
            else:
                made = models.TrialModel(study_id=study, number=number, state=trial.state)
                made.datetime_start, made.datetime_complete = trial.datetime_start, trial.datetime_complete
                session.add(made)
                session.flush()
            new[number] = int(made.trial_id)
        self._tried = True
        known = {**ids, **new}
        tables: dict[tuple[type[Any], int, str], dict[str | int, Mapping[str, Any]]] = {}
        for (model, number, column, key), columns in self.rows.items():
            tables.setdefault((model, number, column), {})[key] = columns
        for (model, number, column), rows in tables.items():
            if number in there:
                older = getattr(model, column).in_(list(rows))
                gone = sqlalchemy.delete(model).where(model.trial_id == known[number], older)
                session.execute(gone, execution_options={"synchronize_session": False})
            added = [{"trial_id": known[number], column: key, **columns} for key, columns in rows.items()]
            session.execute(sqlalchemy.insert(model.__table__), added)
        for number, trial in self.states.items():
            row = session.get(models.TrialModel, known[number])
            if row is None:
                raise LookupError(f"trial {number} is gone")
            row.state = trial.state
            if trial.state.is_finished():
                row.datetime_complete = trial.datetime_complete
            elif trial.state == TrialState.RUNNING:
                row.datetime_start = trial.datetime_start
        return new

    @staticmethod
    def _again(session: Any, study: int, number: int) -> Any:
        """The trial of that number where an earlier try wrote it after all."""
        found = sqlalchemy.select(models.TrialModel).where(
            models.TrialModel.study_id == study, models.TrialModel.number == number
        )
        return session.execute(found).scalars().first()


def together(study: optuna.Study) -> contextlib.AbstractContextManager[None]:
    """`OwnedStorage.together` of an owned study's storage."""
    storage: OwnedStorage = study._storage  # type: ignore[assignment]  # Optuna knows it as any storage
    return storage.together()
