"""The Optuna study of one search: asked, told and written by this process alone.

The driver makes one `Study` and holds its lock to the end. Workers never see it; Ray can be thrown away at any moment,
since a fresh search on the same study goes on from what is told here. States are told truly: COMPLETE with the value
of the weights that are kept, PRUNED with every intermediate value, FAIL with a named cause. `interrupted` is no
failure: it counts nowhere and its configuration is queued again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from search.cli import clock
from search.hyperparameters.declaration import ambiguous_names, declared_parameters
from search.hyperparameters.suggestion import Declaration, Narrowing, RecordedHyperParameters, SuggestedHyperParameters
from search.study import sessions
from search.study.database import readable
from search.study.lock import StudyLock
from search.study.objectives import objective_value
from search.study.pages import Pages, StudyState, write_note, write_picture
from search.study.tally import Tally
from search.study.trial_files import PREDICTIONS, Outcome, writable_folder, write_config, write_outcome
from search.study.view import StudyView, TrialRecord, exclusions, records
from xraytune import artifacts
from xraytune.errors import FatalError, InputError
from xraytune.evaluation.sites import held_out_sites
from xraytune.records import EpochReport, FailureCause, StudySpec, TrialConfig, TrialResult, Value


@dataclass(frozen=True)
class Asked:
    """A suggestion: what the next trial is to try."""

    number: int
    config: TrialConfig


EXCLUSIONS = 200
"""Lines on excluded values that a study keeps, the newest."""


class Study:
    """One study, owned.

    Args:
        study: Optuna's study.
        storage: where it is, as `search.study.database.open_database` gave it.
        results: the results folder.
        spec: what was asked.
        declaration: the space's `declare_hyperparameters`.
        lock: the study's lock, already held.
        pages: what is shown of it in the dashboard; None shows its rows alone.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: BaseStorage,
        results: Path,
        spec: StudySpec,
        declaration: Declaration,
        lock: StudyLock,
        pages: Pages | None = None,
    ) -> None:
        self._study = study
        self._storage = storage
        self._declaration = declaration
        self._lock = lock
        self._pages = pages
        self._narrowing = Narrowing(spec.fixed, spec.narrowed)
        self._ambiguous = ambiguous_names(declared_parameters(declaration))
        self._open: dict[int, optuna.Trial] = {}
        self._config: dict[int, TrialConfig] = {}
        self._curve: dict[int, dict[int, float]] = {}
        self._standing: dict[int, dict[int, float]] = {}
        self._ran: dict[int, dict[str, Any]] = {}
        self._outcome: dict[int, Outcome] = {}
        self._predictions: dict[int, Mapping[str, Any]] = {}
        self.spec = spec
        self.results = results
        self.folder = results / spec.name
        self._retried = {t.attributes.get("retry_of") for t in records(study, storage, self.folder)}
        self.multi_objective = len(study.directions) > 1
        self.tally = Tally(by_site=bool(spec.sites))
        self._session = ""  # its attribute
        self._settings: dict[str, Any] = {}
        self.left: dict[str, Sequence[Value]] = {}
        """The values that the sampler proposes of the parameters that are bounded."""
        self._exclusions = exclusions(study.user_attrs)

    # -- asking ------------------------------------------------------------------------------------------------------

    def ask(self) -> Asked:
        """The next suggestion, recorded as RUNNING.

        Raises:
            InputError: the space's declaration raised.
            FatalError: the study can't be written.
        """
        trial = self._study.ask()
        hp = SuggestedHyperParameters(trial, self._narrowing, self._ambiguous)
        try:
            self._declaration(hp)
            family = str(hp.values.get("family", self.spec.space))
            seed = trial.user_attrs.get("seed", trial_seed(self.spec.seed, trial.number))
            site = trial.user_attrs.get("site", self._next_site(family))
            config = TrialConfig(family=family, values=dict(hp.values), seed=seed, site=site)
            write_config(self.folder, trial.number, config)
            if site:
                trial.set_user_attr("site", site)
            trial.set_user_attr("family", family)
        except FatalError:
            raise
        except Exception as error:
            self._study.tell(trial, state=TrialState.FAIL)
            raise InputError(f"The space {self.spec.space!r} failed while it declared: {error!r}.") from error
        self._open[trial.number], self._config[trial.number] = trial, config
        self._curve[trial.number], self._standing[trial.number] = {}, {}
        return Asked(trial.number, config)

    def _next_site(self, family: str) -> str:
        """The site that the next trial of a family holds out; trials that are run again do not count."""
        if not self.spec.sites:
            return ""
        known = [t.user_attrs for t in self._study.get_trials(deepcopy=False)]
        same = sum("retry_of" not in a and a.get("family") == family for a in known)
        return held_out_sites.turn(self.spec.sites, same)

    def leave(self, choices: Mapping[str, Sequence[Value]], why: Sequence[str]) -> None:
        """Have the sampler propose these values alone of parameters by name; the study keeps why.

        Args:
            choices: of each parameter that is bounded.
            why: a line on each value that is excluded or comes back.
        """
        self.left = dict(choices)
        sampler: Any = self._study.sampler
        sampler.leave(self.left)
        before = f"before trial {len(self._study.get_trials(deepcopy=False))}"
        self._exclusions = [*self._exclusions, *(f"{before}: {line}" for line in why)][-EXCLUSIONS:]
        self.note(exclusions=self._exclusions)

    def enqueue(self, values: Mapping[str, Value], origin: str, recipe: str = "") -> bool:
        """Queue a configuration to be tried before the sampler is asked, once over all resumes.

        Args:
            values: hyperparameters by their declared names; what lies outside the space is left to the sampler.
            origin: why it is queued (`recipe kermany`, `family cnn`, `study mine #7`); kept on the trial.
            recipe: the published configuration that it is; kept on the trial.

        Returns:
            Whether it was queued (it is not, when that origin was queued before).
        """
        if any(t.user_attrs.get("origin") == origin for t in self._study.get_trials(deepcopy=False)):
            return False
        params = self.encode(values)
        self._study.enqueue_trial(params, user_attrs={"origin": origin} | ({"recipe": recipe} if recipe else {}))
        return True

    def encode(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Hyperparameters by their declared names as Optuna's parameters."""
        hp = RecordedHyperParameters(values, self._narrowing, self._ambiguous)
        self._declaration(hp)
        return hp.optuna_params

    # -- telling -----------------------------------------------------------------------------------------------------

    def report(self, number: int, report: EpochReport) -> None:
        """Record an epoch, and where the objective was measured, the objective.

        With several objectives Optuna takes none, so it is kept for `tell`.
        """
        if report.epoch in self._curve[number]:  # told before: an epoch repeated after a lost worker
            return
        self._curve[number][report.epoch] = report.value
        if report.judged:
            self._standing[number][report.epoch] = report.standing
        seconds = self._ran.setdefault(number, {}).setdefault("seconds", {})
        for phase, taken in report.seconds.items():
            seconds[phase] = seconds.get(phase, 0.0) + taken
        if report.judged and not self.multi_objective:
            self._open[number].report(report.value, report.epoch)

    def ran_on(self, number: int, machine: Mapping[str, Any]) -> None:
        """Note on what a trial runs: kept with it where it leaves no result that says so."""
        self._ran.setdefault(number, {}).update(machine)

    def reported(self, number: int) -> bool:
        """Whether the trial has reported any epoch."""
        return bool(self._curve.get(number))

    def has_epoch(self, number: int, epoch: int) -> bool:
        """Whether the trial has reported that epoch."""
        return epoch in self._curve.get(number, {})

    def should_prune(self, number: int) -> bool:
        """What the study's Optuna pruner says of the trial now."""
        return not self.multi_objective and self._open[number].should_prune()

    def complete(self, number: int, result: TrialResult) -> None:
        """The trial ended by itself.

        Raises:
            TrialError: the result lacks a further objective of the search; nothing was told.
        """
        values = [result.value, *self._others(result)]
        self._keep(number, result=result.to_json())
        self._attributes(number, **_shown(result))
        self.tally.add(self._end(number, TrialState.COMPLETE, result, values))
        if not self.tally.since_best:
            self.describe()

    def pruned(self, number: int, result: TrialResult | None) -> None:
        """The trial was stopped early (by the pruner, or because the time ended) after it had reported."""
        if result:
            self._keep(number, result=result.to_json())
            self._attributes(number, **_shown(result))
        else:
            self._keep(number, ran=self._ran.get(number, {}))
        self.tally.add(self._end(number, TrialState.PRUNED, result))

    def failed(self, number: int, cause: FailureCause, message: str) -> None:
        """The trial failed, or (`interrupted`) was cut off; what was cut off is queued again with its own seed."""
        self._keep(number, ran=self._ran.get(number, {}), message=message[:2000])
        self._attributes(number, cause=str(cause))
        if cause is FailureCause.INTERRUPTED:
            self._requeue(number, self._open[number].params, self._config.get(number))
        ended = self._end(number, TrialState.FAIL, cause=cause)
        if ended.counts:
            self.tally.add(ended)

    def keep_predictions(self, number: int, **arrays: Any) -> None:
        """Write a trial's validation predictions into its folder.

        Raises:
            FatalError: the study's folder is gone, can't be written, or the disk is full.
        """
        import numpy as np

        self._predictions[number] = arrays
        try:
            folder = writable_folder(self.folder, number)
            with artifacts.atomic_write(folder / PREDICTIONS) as path, path.open("wb") as stream:
                np.savez_compressed(stream, **arrays)
        except OSError as error:
            raise FatalError(f"{self.folder} can't be written: {error.strerror}. Continue with --resume.") from None

    @property
    def running(self) -> int:
        """Trials asked and not told."""
        return len(self._open)

    def seconds_spent(self) -> float:
        """Wall time of earlier sessions, up to the last sign of life of each."""
        return sessions.seconds(self._study.user_attrs)

    def begin(self, start: float, **settings: Any) -> None:
        """Note that a session begins at `start` (seconds since 1970), and what it alone runs with."""
        with readable(self._storage, self.spec.name):
            self._session = sessions.key(len(sessions.kept(self._study.user_attrs)))
        self._settings = {"begun": start, **settings}
        self.touch()

    def touch(self) -> None:
        """Note that this session is alive."""
        now = clock.now()
        if self._session:
            self._study.set_user_attr(self._session, {**self._settings, "alive": now})
        self._study.set_user_attr("touched", now)

    def note(self, **attributes: Any) -> None:
        """Keep facts about the search with the study (why it stopped, where time went)."""
        for name, value in attributes.items():
            self._study.set_user_attr(name, value)

    def describe(self, stopped: str = "") -> None:
        """Bring the note of the study up to date.

        Args:
            stopped: why the search ended, empty while it runs.
        """
        if self._pages:
            state = StudyState(dict(self.tally.counts), self.tally.best, self.seconds_spent(), stopped)
            write_note(self._storage, self._study._study_id, self._pages.of_study(self.spec, state))

    def view(self) -> StudyView:
        """The study for reading."""
        return StudyView(self._study, self._storage, self.results)

    def close(self) -> None:
        """Release the lock; nothing may be told afterwards."""
        self._lock.release()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _others(self, result: TrialResult) -> list[float]:
        """The further objectives of a multi-objective search, read off the result."""
        return [objective_value(name, result) for name in self.spec.objectives[1:]]

    def _keep(self, number: int, **found: Any) -> None:
        """Write how a trial ended into its folder, with what was written of it before.

        What it stood at after each epoch is for the rungs of a resumed search; its curve is only written where Optuna
        takes no intermediate values, with several objectives.
        """
        standing = self._standing.get(number, {})
        curve = self._curve[number] if standing and self.multi_objective else {}
        found |= {"standing": {str(e): v for e, v in standing.items()}, "curve": {str(e): v for e, v in curve.items()}}
        self._outcome[number] = replace(self._outcome.get(number, Outcome()), **found)
        write_outcome(self.folder, number, self._outcome[number])

    def _attributes(self, number: int, **attributes: Any) -> None:
        for name, value in attributes.items():
            self._open[number].set_user_attr(name, value)

    def _end(
        self,
        number: int,
        state: TrialState,
        result: TrialResult | None = None,
        values: Sequence[float] | None = None,
        cause: str = "",
    ) -> TrialRecord:
        """Tell how a trial ended, once all else of it is recorded; after a kill in between `recover` tells it.

        Raises:
            FatalError: it could not be told; the trial counts as running here too.
        """
        outcome, reported = self._outcome[number], self._curve.get(number, {})
        kept = values or ([result.value] if result else [])
        ended = TrialRecord(
            number, state.name, tuple(kept), self._config.get(number), result, cause, outcome.message,
            {epoch: reported[epoch] for epoch in self._standing.get(number, {})}, None, None, {}, ran=outcome.ran,
        )  # fmt: skip
        self._show(ended, self._open[number]._trial_id)
        self._attributes(number, ending=state.name)
        self._study.tell(number, values, state, skip_if_finished=True)
        for table in (
            self._open, self._config, self._curve, self._standing, self._ran, self._outcome, self._predictions
        ):  # fmt: skip
            table.pop(number, None)
        return ended

    def _show(self, ended: TrialRecord, trial_id: int) -> None:
        """Write the note and the pictures of a trial; only one that has not ended yet takes pictures."""
        if not self._pages:
            return
        page = self._pages.of_trial(self.spec, ended, self._predictions.get(ended.number, {}))
        write_note(self._storage, self._study._study_id, page.note, trial_id)
        for name, drawing in page.pictures.items():
            write_picture(self._storage, self.folder, trial_id, name, drawing)

    def _requeue(self, number: int, params: Mapping[str, Any], config: TrialConfig | None) -> None:
        """Queue a cut-off trial again, once: a kill between this and `tell` must not queue it twice."""
        if number in self._retried:
            return
        self._retried.add(number)
        kept: dict[str, Any] = {"retry_of": number}
        told = self._study.get_trials(deepcopy=False)[number].user_attrs
        kept |= {name: told[name] for name in ("origin", "recipe", "seed", "site") if name in told}
        if config:
            kept["seed"] = config.seed
            kept |= {"site": config.site} if config.site else {}
        self._study.enqueue_trial(dict(params), user_attrs=kept)

    def recover(self) -> int:
        """End what a killed search left RUNNING, then count what ended earlier; returns how many were running.

        A trial whose ending was recorded gets its state; any other is an interrupted one and queued again.
        """
        left = [t for t in records(self._study, self._storage, self.folder) if t.state == "RUNNING"]
        running = {t.number: t for t in self._study.get_trials(deepcopy=False) if t.state == TrialState.RUNNING}
        for record in left:
            trial, ending = running[record.number], record.attributes.get("ending")
            if ending and not record.interrupted:
                values = [record.result.value, *self._others(record.result)] if record.result else None
                complete = ending == "COMPLETE"
                self._study.tell(record.number, values if complete else None, TrialState[ending], skip_if_finished=True)
                continue
            # one killed between its start and its first parameter has what it was queued with
            params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            optuna_trial = optuna.Trial(self._study, trial._trial_id)
            if not ending:
                write_outcome(self.folder, record.number, Outcome(message="the search was killed while this trial ran"))
            optuna_trial.set_user_attr("cause", str(FailureCause.INTERRUPTED))
            self._requeue(record.number, params, record.config)
            self._show(replace(record, state="FAIL", cause=str(FailureCause.INTERRUPTED)), trial._trial_id)
            optuna_trial.set_user_attr("ending", "FAIL")
            self._study.tell(record.number, state=TrialState.FAIL, skip_if_finished=True)
        for record in records(self._study, self._storage, self.folder):
            if record.counts:
                self.tally.add(record)
        self.tally.begin_session()
        return len(left)


def trial_seed(study_seed: int, number: int) -> int:
    """The seed of a trial: its own for every study seed and number, below 2³¹."""
    return (study_seed * 1_000_003 + number * 7919 + 1) % (2**31)


def _shown(result: TrialResult) -> dict[str, Any]:
    """What the dashboard shows of a trial in columns of their own: both scores, and the worst view."""
    metrics, weakest = result.metrics, result.weakest_view
    found: dict[str, Any] = {
        title: round(metrics[key], 4)
        for title, key in (("clean F-beta", "val_f_beta"), ("robust F-beta", "robust"), ("AUC", "val_auc"))
        if key in metrics
    }
    return found | ({"worst view": f"{weakest[0]} {weakest[1]:.3f}"} if weakest else {})
