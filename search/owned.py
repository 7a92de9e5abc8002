"""A study's database as its only writer has it: read once, then answered from memory; each step written as one.

Optuna's own storage asks the database before every answer, since others may have written, and writes each parameter and
attribute in a transaction of its own, after a look at what is there. A search has its study to itself (`search.lock`),
so that none of this is needed: at 10,000 trials it was half of what the engine cost. Called by `search.creation`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState

from search.storage import PatientStorage

Row = tuple[type[Any], int, str, str | int]
"""A table's model, a trial's number, the column that tells a trial's rows apart, and its value."""


class OwnedStorage(optuna.storages.InMemoryStorage):
    """Optuna's storage in memory, filled from one study of a database; all that is set is written there too.

    Trials are known by their number here; the database's own ids stay inside. What is written goes through
    `PatientStorage`: tried again while the database is locked, else a `FatalError`, after which memory knows more than
    the database and the search ends.

    Args:
        database: where the study is.
        name: the study's.
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
        for trial in database.get_all_trials(self._row, deepcopy=False):
            self._ids[super().create_new_trial(study, trial)] = trial._trial_id
        self._held: _Writes | None = None

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Write what is set on trials inside in one transaction, at the end. Where the inside raises, none is written.

        Raises:
            FatalError: the database can't be written.
        """
        self._held = writes = _Writes()
        try:
            yield
        finally:
            self._held = None
        self._write(writes)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[_Writes]:
        """Where a step's writes are noted: with those of `together`, or written at the end."""
        if self._held is not None:
            yield self._held
            return
        writes = _Writes()
        yield writes
        self._write(writes)

    def _write(self, writes: _Writes) -> None:
        if writes:
            self.database.write(lambda session: writes.put(session, self._row, self._ids))

    # -- what Optuna sets --------------------------------------------------------------------------------------------

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """In the database, then here."""
        self.database.set_study_user_attr(self._row, key, value)
        super().set_study_user_attr(study_id, key, json.loads(json.dumps(value)))

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """In the database, then here."""
        self.database.set_study_system_attr(self._row, key, value)
        super().set_study_system_attr(study_id, key, json.loads(json.dumps(value)))

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """A trial that runs, or one as the template is: queued, say."""
        number = super().create_new_trial(study_id, template_trial)
        with self._writing() as writes:
            writes.trial(number, self.get_trial(number))
        return number

    def set_trial_param(self, trial_id: int, name: str, value: float, distribution: BaseDistribution) -> None:
        """A parameter in Optuna's internal representation."""
        super().set_trial_param(trial_id, name, value, distribution)
        with self._writing() as writes:
            writes.parameter(trial_id, name, value, distribution)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """An attribute of ours, as JSON has it."""
        text = json.dumps(value)
        super().set_trial_user_attr(trial_id, key, json.loads(text))
        with self._writing() as writes:
            writes.attribute(models.TrialUserAttributeModel, trial_id, key, text)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """An attribute of Optuna's, as JSON has it."""
        text = json.dumps(value)
        super().set_trial_system_attr(trial_id, key, json.loads(text))
        with self._writing() as writes:
            writes.attribute(models.TrialSystemAttributeModel, trial_id, key, text)

    def set_trial_intermediate_value(self, trial_id: int, step: int, value: float) -> None:
        """The objective after an epoch."""
        super().set_trial_intermediate_value(trial_id, step, value)
        with self._writing() as writes:
            writes.intermediate(trial_id, step, value)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """How a trial ended, or that one that was queued runs."""
        done = super().set_trial_state_values(trial_id, state, values)
        if done:
            with self._writing() as writes:
                writes.state(trial_id, self.get_trial(trial_id), values)
        return done


class _Writes:
    """What one transaction writes."""

    def __init__(self) -> None:
        self.made: dict[int, FrozenTrial] = {}
        """New trials as they were made, by number."""
        self.rows: dict[Row, Mapping[str, Any]] = {}
        """What a trial has, the newest of each; the other columns."""
        self.states: dict[int, FrozenTrial] = {}
        """Trials whose state changed, as they are."""

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

    def put(self, session: Any, study: int, ids: dict[int, int]) -> None:
        """Write all of it; may be called again after it was rolled back.

        Args:
            session: SQLAlchemy's, whose end is the transaction's.
            study: the study's row.
            ids: the database's ids of trials by number; new ones are put in.
        """
        for number, trial in self.made.items():
            made = models.TrialModel(study_id=study, number=number, state=trial.state)
            made.datetime_start, made.datetime_complete = trial.datetime_start, trial.datetime_complete
            session.add(made)
            session.flush()
            ids[number] = int(made.trial_id)
        tables: dict[tuple[type[Any], int, str], dict[str | int, Mapping[str, Any]]] = {}
        for (model, number, column, key), columns in self.rows.items():
            tables.setdefault((model, number, column), {})[key] = columns
        for (model, number, column), rows in tables.items():
            trial_id = ids[number]
            if number not in self.made:
                there = sqlalchemy.delete(model).where(
                    model.trial_id == trial_id, getattr(model, column).in_(list(rows))
                )
                session.execute(there, execution_options={"synchronize_session": False})
            new = [{"trial_id": trial_id, column: key, **columns} for key, columns in rows.items()]
            session.execute(sqlalchemy.insert(model.__table__), new)
        for number, trial in self.states.items():
            row = session.get(models.TrialModel, ids[number])
            row.state, row.datetime_start, row.datetime_complete = (
                trial.state, trial.datetime_start, trial.datetime_complete
            )  # fmt: skip


def together(study: optuna.Study) -> contextlib.AbstractContextManager[None]:
    """`OwnedStorage.together` of the study's storage; nothing special for one that is not owned."""
    storage = study._storage
    return storage.together() if isinstance(storage, OwnedStorage) else contextlib.nullcontext()
