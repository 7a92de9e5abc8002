"""The steps of one retraining, in their order."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from search.cli import console, progress_bars
from search.cli.live_view import Progress
from search.reporting import final_metrics, html_report
from search.retraining import announce, records, recreate
from search.retraining.confirmation import cost_estimate, cross_validation, finalists
from search.retraining.confirmation import plan as planning
from search.retraining.confirmation.cross_validation import Listener
from search.retraining.confirmation.plan import ConfirmationPlan
from search.retraining.confirmation.schedule import Request
from search.retraining.final_model import choice as winner
from search.retraining.final_model import model_folder, operating_point, refit
from search.retraining.final_model.refit import EnsembleMember
from search.retraining.options import RetrainingOptions, check, referral_asked
from search.retraining.records import Confirmed, TrainingSetup
from search.retraining.test_evaluation import evaluation, published_recipes
from search.retraining.test_evaluation.evaluation import FinalModel
from search.retraining.test_evaluation.published_recipes import Retrained
from search.retraining.workers.tasks import FoldTask, RefitTask
from search.retraining.workers.worker_pool import Workers
from search.study import own_space
from search.study.lock import StudyLock
from search.study.studies import Studies
from search.study.view import StudyView, TrialRecord, open_study, search_seconds
from search.tracking.callbacks import Callback, RetrainEnd
from xraytune import artifacts, data, hardware
from xraytune.data.dataset import Dataset
from xraytune.errors import InputError, classify
from xraytune.evaluation import thresholds
from xraytune.evaluation.predictions import Predictions
from xraytune.evaluation.referral.pair import WORD
from xraytune.records import Objective

FLUSH = 300.0
"""Seconds that callbacks have for the final model: a tracker may send hundreds of megabytes."""
DEMONSTRATION_SECONDS, DEMONSTRATION_MOST = 75.0, 180.0
"""Default time budget of the demonstration's retraining: two minutes with imports, test evaluation and report; on a
machine that is too slow to train the best finalist in it, three minutes."""


class Retraining:
    """One call of `search.retrain`.

    Args:
        study: the study.
        finalists: those that matter most first.
        options: what was asked for.
    """

    def __init__(self, study: StudyView, finalists: Sequence[TrialRecord], options: RetrainingOptions) -> None:
        self.study = study
        self.spec = study.spec
        self.finalists = list(finalists)
        self.options = options
        self.started = time.monotonic()
        self.cache = study.folder / "confirmation"
        self.phases: dict[str, float] = {}

    def run(self) -> dict[str, Any]:
        """Confirm the finalists, train the final model, evaluate it on the test set, save it; all of `metrics.json`."""
        options = self.options
        most = DEMONSTRATION_SECONDS if self.study.spec.demonstration else math.inf
        budget = options.time or min(most, max(60.0, search_seconds(self.study)))
        workers = options.workers or min(hardware.MOST_WORKERS, hardware.gpus() or hardware.cores())
        aims = referral_asked(options)
        dataset = recreate.dataset(self.study, options)
        images = len(dataset.select("train"))
        compared = published_recipes.compared(self.study, images, budget) if options.compare_recipes else []
        setup = recreate.setup(self.study, [*self.finalists, *(t for _, t in compared)], options, dataset)
        labels, patients = np.asarray(setup.data.labels), np.asarray(setup.data.patients)
        plan = self._plan(setup, labels, patients, budget, workers)
        budget = plan.budget
        recipes = published_recipes.refits(compared, refit.everything(setup), self.cache)
        announce.announce_plan(self.study, plan, self.finalists, options, budget, dataset, [t for _, t, _ in recipes])
        if aims:
            announce.referral(labels == dataset.positive, patients, aims)
        folds = (
            [(fold.train, fold.validation) for fold in setup.data.by_site(dataset).values()]
            or data.folds(labels.tolist(), patients.tolist(), plan.request.folds, self.spec.seed)
        )  # fmt: skip
        at_once = min(workers, max(plan.request.trainings, plan.request.refits, len(recipes)))
        with Workers(at_once, max(1, hardware.cores() // workers)) as pool:
            confirmed = self._confirm(plan, setup, folds, pool, budget)
            announce.confirmed(confirmed, plan, self.study)
            judged = winner.Judged(
                labels, patients, folds, self.spec.objective, positive=dataset.positive, beta=self.spec.beta
            )
            choice = winner.choose(confirmed, options.final, judged, plan.request.refits)
            announce.ensemble(choice)
            raw = Predictions(
                labels, choice.out_of_fold(), patients, dataset.classes, dataset.positive, beta=self.spec.beta
            )
            policy = thresholds.check(options.threshold)
            fitted = operating_point.fit(
                choice, raw, folds, policy=policy, objective=self.spec.objective, refer=aims
            )  # fmt: skip
            networks = self._networks(choice, plan, setup, pool, budget)
            retrained = self._recipes(recipes, pool)
            made = model_folder.provenance(self.study, options.which, choice, [n.epochs for n in networks])
            with artifacts.whole(self.study.folder / "winner") as folder:
                model_folder.save(folder, networks, fitted, dataset, setup.data, tta=options.tta, made=made)
                model = FinalModel(folder, choice, fitted, confirmed, plan, retrained)
                found = self._evaluate(model, dataset, setup, pool)
        final_metrics.results(found, self.study.folder / "winner")
        return found

    def _plan(self, setup: TrainingSetup, labels: Any, patients: Any, budget: float, workers: int) -> ConfirmationPlan:
        fewest = min(len(set(patients[labels == c].tolist())) for c in set(labels.tolist()))
        if fewest < 3 and not self.spec.sites:
            raise InputError(f"Three folds need three patients of each class; the smallest class has {fewest}.")
        options, spec = self.options, self.spec
        prices = {
            trial.number: cost_estimate.of_folds(
                trial,
                images=len(labels), validation=len(labels) - setup.context.images, classes=len(spec.classes),
                robust=spec.objective == Objective.ROBUST, tta=options.tta,
            )
            for trial in self.finalists
        }  # fmt: skip
        folds = len(spec.sites) or min(options.folds, fewest)
        request = Request(
            tuple(self.finalists), folds, options.seeds, workers, options.refits, options.final, prices,
            images=len(labels), fewest_folds=folds if spec.sites else 3,
            decides=options.site_decides if spec.sites else "mean",
        )  # fmt: skip
        about = [setup.data.fingerprint, options.tta, options.time]
        most = DEMONSTRATION_MOST if spec.demonstration and not options.time else budget
        return planning.kept(self.cache / "plan.json", request, about, budget, time.monotonic() - self.started, most)

    def _confirm(
        self, plan: ConfirmationPlan, setup: TrainingSetup, folds: Any, pool: Workers, budget: float
    ) -> list[Confirmed]:
        keep = self.options.final == "folds"
        wanted = cross_validation.tasks(plan.request, setup, folds, self.cache, keep_models=keep, tta=self.options.tta)
        begun = time.monotonic()
        left = plan.seconds - plan.after - (begun - self.started)
        with progress_bars.trainings(plan.trainings, "confirming on folds", left) as bar:
            expected = {t.number for t in plan.finalists}
            told = Listener(
                on_event=lambda task, event: bar.event(_name(task), event),
                on_done=lambda task, result, error: bar.done(
                    _name(task), error or f"{result.result.value:.3f}" if result else error, failed=bool(error)
                ),
                on_left_out=lambda task: (
                    bar.left_out() if task.trial in expected and task.repeat < plan.seeds else None
                ),
            )
            found = cross_validation.run(plan.request, wanted, pool, self.started + budget, told)
        self.phases["confirmation"] = time.monotonic() - begun
        return found

    def _networks(
        self, choice: records.Choice, plan: ConfirmationPlan, setup: TrainingSetup, pool: Workers, budget: float
    ) -> list[EnsembleMember]:
        """The final model's networks."""
        begun = time.monotonic()
        found = refit.final(choice, plan.request, setup, self.cache, pool, self.started + budget - cost_estimate.AFTER)
        if choice.kind != "folds":
            self.phases["final training"] = time.monotonic() - begun
        return found

    def _recipes(self, recipes: Sequence[tuple[str, TrialRecord, RefitTask]], pool: Workers) -> list[Retrained]:
        """The study's recipes, trained as the final model was."""
        begun = time.monotonic()
        found = published_recipes.train(recipes, pool)
        if recipes:
            self.phases["recipes"] = time.monotonic() - begun
        return found

    def _evaluate(self, model: FinalModel, dataset: Dataset, setup: TrainingSetup, pool: Workers) -> dict[str, Any]:
        """Evaluate the saved model on the test set, once; write `metrics.json` and the report beside it."""
        begun = time.monotonic()
        found = evaluation.evaluate_test_set(
            self.study, self.options.which, model, dataset, setup, pool, with_names=self.options.with_names
        )
        self.phases["test set"] = time.monotonic() - begun
        found["seconds"] = {**self.phases, "all": time.monotonic() - self.started}
        artifacts.write_json(model.folder / "metrics.json", artifacts.finite(found))
        try:
            html_report.write(self.study, model.folder, with_names=self.options.with_names)
        except OSError:
            raise
        except Exception as error:  # the test set was evaluated: the model must not be lost for its report
            console.err.say(
                f"The report could not be made ({classify(error)[1]}). The model is saved. Try: "
                f"python -m search.report {self.study.name}",
                style="yellow",
            )
        return found


def _name(task: FoldTask) -> str:
    return f"trial {task.trial} ({task.config.family}) fold {task.fold + 1}/{task.folds} seed {task.repeat + 1}"


def _check_referral(study: StudyView) -> None:
    """Refuse a referral where there are no two sides to decide between.

    Raises:
        InputError: the study has no positive class, or a class is called as the answer is.
    """
    if study.spec.positive is None:
        raise InputError(
            f"--refer needs a positive class, and study {study.name} has none: search again with --positive CLASS."
        )
    if any(name.lower() == WORD for name in study.spec.classes):
        raise InputError(f"--refer answers {WORD!r}, which is a class of study {study.name}: rename that class.")


def retrain(options: RetrainingOptions, callbacks: Sequence[Callback] = ()) -> dict[str, Any]:
    """All of it, callable from Python; returns the figures that `metrics.json` holds.

    Args:
        options: what is asked for.
        callbacks: told of the final model, beside the trackers that `options` ask for.

    Raises:
        InputError: an option, the study, the data or the weights can't be used.
        FatalError: no finalist could be trained, or the disk is full.
    """
    check(options)
    options.check_tracking(callbacks)
    if options.cache:
        os.environ["XRAYTUNE_CACHE"] = str(options.cache.absolute())  # for the workers too
    study = open_study(options.study, options.results, options.storage)
    if options.refer:
        _check_referral(study)
    own_space.check(study.name, study.spec.space, options.space, Studies(options.results, options.storage))
    chosen = finalists.choose(study, options.which, options.finalists)
    lock = StudyLock(study.results, study.name, "retrained")
    try:
        found = Retraining(study, chosen, options).run()
        _tell(study, options, callbacks, found)
    finally:
        lock.release()
    return found


def _tell(study: StudyView, options: RetrainingOptions, callbacks: Sequence[Callback], found: dict[str, Any]) -> None:
    """Tell callbacks and trackers of the final model, and wait until they have it."""
    for line in options.followed_at(study.folder):
        console.out.say(line)
    progress = Progress(target=console.err)
    progress.log_to(study.folder)
    dispatcher = options.dispatcher(callbacks, progress.warn)
    dispatcher.send(RetrainEnd(study.spec, study.folder, study.folder / "winner", found))
    dispatcher.close(FLUSH)
