"""The steps of one retraining, in their order."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import spaces
from search.cli import progress_bars
from search.hyperparameters.declaration import declared_parameters, signature
from search.reporting import final_metrics, html_report
from search.retraining import announce, records
from search.retraining.confirmation import cost_estimate, cross_validation, finalists
from search.retraining.confirmation import plan as planning
from search.retraining.confirmation.plan import ConfirmationPlan
from search.retraining.final_model import choice as winner
from search.retraining.final_model import operating_point, refit
from search.retraining.final_model.refit import EnsembleMember
from search.retraining.options import RetrainingOptions, check
from search.retraining.records import Confirmed, TrainingSetup, image_size
from search.retraining.test_evaluation import comparison, evaluation, example_images, published_recipes
from search.retraining.test_evaluation.published_recipes import Retrained
from search.retraining.workers import tasks
from search.retraining.workers.tasks import FoldTask, PredictTask, RefitTask
from search.retraining.workers.worker_pool import Workers
from search.study import access_log, view
from search.study.lock import StudyLock
from search.study.view import StudyView, TrialRecord, open_study
from xraytune import artifacts, data, hardware
from xraytune.data import arrays, cache
from xraytune.data.dataset import Dataset, difference
from xraytune.errors import FatalError, InputError, StudyError, WeightsError
from xraytune.evaluation import thresholds
from xraytune.evaluation.predictions import Predictions
from xraytune.inference import outliers
from xraytune.inference.model_card import Member, ModelCard, read_card, write_card
from xraytune.models import backbones
from xraytune.records import Objective
from xraytune.training.inputs.trial_data import TrialData

if TYPE_CHECKING:
    from search.retraining.options import RetrainingOptions


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
        self._compared: list[tuple[str, TrialRecord]] = []
        """The published configurations that are trained beside the final model."""

    def run(self) -> dict[str, Any]:
        """Confirm, train, open the test set, save; the figures of `metrics.json`."""
        from search.study.view import search_seconds

        budget = self.options.time or max(60.0, search_seconds(self.study))
        workers = self.options.workers or min(hardware.MOST_WORKERS, hardware.gpus() or hardware.cores())
        dataset = self._data()
        recipe = self._recipe(dataset)
        labels, patients = np.asarray(recipe.data.labels), np.asarray(recipe.data.patients)
        plan = self._plan(recipe, labels, patients, budget, workers)
        recipes = (
            published_recipes.refits(self._compared, refit.everything(recipe), self.cache) if self._compared else []
        )
        announce.announce_plan(
            self.study, plan, self.finalists, self.options, budget, dataset, [t for _, t, _ in recipes]
        )
        folds = data.folds(labels.tolist(), patients.tolist(), plan.folds, self.spec.seed)
        target = self.study.folder / "winner"
        at_once = min(workers, max(plan.trainings, plan.refits, len(recipes)))
        with Workers(at_once, max(1, hardware.cores() // workers)) as pool:
            confirmed = self._confirm(plan, recipe, folds, pool, budget)
            choice = winner.choose(
                confirmed, self.options.final, labels,
                objective=self.spec.objective, positive=dataset.positive, beta=self.spec.beta, refits=plan.refits,
            )  # fmt: skip
            announce.confirmed(confirmed, plan, self.study)
            raw = Predictions(
                labels, choice.out_of_fold(), patients, dataset.classes, dataset.positive, beta=self.spec.beta
            )
            policy = thresholds.check(self.options.threshold)
            fitted = operating_point.fit(choice, raw, folds, policy=policy, objective=self.spec.objective)
            members = self._networks(choice, plan, recipe, pool, budget)
            retrained = self._rivals(recipes, pool)
            with artifacts.whole(target) as folder:
                self._save(folder, choice, fitted, members, recipe, dataset)
                found = self._judge(folder, pool, choice, fitted, confirmed, plan, dataset, recipe, retrained)
                begun = time.monotonic()
                html_report.write(self.study, folder)
                self.phases["report"] = time.monotonic() - begun
        final_metrics.results(found, target)
        return found

    def _data(self) -> Dataset:
        """The study's data, verified and compared with its fingerprints."""
        spec = self.spec
        positive = None if spec.positive is None else spec.classes[spec.positive]
        where = self.options.data or spec.data
        extra: dict[str, Any] = {k: v for k, v in spec.options.items() if k in {"patient_regex", "quarantine"}}
        with progress_bars.progress() as progress:
            dataset = data.load(where, fit=spec.fit, positive=positive, seed=spec.seed, progress=progress, **extra)
        kept = self.study.folder
        changed = difference(dataset, spec.train_fingerprint, kept=kept) or difference(
            dataset, spec.test_fingerprint, test=True, kept=kept
        )
        if changed:
            raise StudyError(
                f"The data are not those that study {spec.name!r} was made with. {changed} Bring them back, or search "
                "anew on the data as they are: python -m search.run"
            )
        if not dataset.select("test"):
            raise StudyError(f"{dataset.name} has no test images: there is nothing to judge a final model on.")
        return dataset

    def _recipe(self, dataset: Dataset) -> TrainingSetup:
        spec = self.spec
        files = backbones.reachable(self.options.weights_dir, names=tuple(spec.weights)) if spec.weights else {}
        for name, expected in spec.weights.items():
            if name in files and artifacts.sha256(files[name]) != expected:
                raise WeightsError(
                    f"{files[name]} is not the file that study {spec.name!r} was searched with (sha256 differs). "
                    "Give the folder of the right one with --weights-dir."
                )
        if self.options.compare_recipes:
            seconds = self.options.time or max(60.0, view.search_seconds(self.study))
            self._compared = published_recipes.compared(self.study, len(dataset.select("train")), seconds)
        trained = [t for t in [*self.finalists, *(t for _, t in self._compared)] if t.config]
        named = {value for t in trained if t.config for value in t.config.values.values()}
        missing = [name for name in spec.weights if name in named and name not in files]
        if missing:
            raise WeightsError(backbones.missing(missing, self.options.weights_dir))
        context = spaces.SpaceContext(
            classes=len(spec.classes),
            channels=dataset.channels,
            counts=tuple(dataset.counts("train").values()),
            families=spec.families,
            weights={name: str(path) for name, path in files.items()},
            narrowed=spec.narrowed,
            images=len(dataset.select("train")),
        )
        self._check_space(context)
        sizes = {image_size(t) for t in trained}
        with progress_bars.progress() as progress:
            pools = arrays.pools(dataset, sizes, progress)
        trial_data = TrialData.of(
            dataset, pools,
            refit=True, cache=cache.folder(), cache_limit=self.options.cache_limit,
            weights_dir=self.options.weights_dir,
        )  # fmt: skip
        return TrainingSetup(
            spec.space, context, trial_data, spec.objective, spec.beta, spec.max_epochs, spaces.fingerprint(spec.space)
        )

    def _check_space(self, context: spaces.SpaceContext) -> None:
        """Refuse a space that declares something else than the study's did.

        Raises:
            StudyError: it does.
        """
        spec = self.spec
        whole = dataclasses.replace(context, weights=dict.fromkeys(spec.weights, ""))  # at hand or not: it names them
        with progress_bars.progress() as progress:
            space = spaces.to_search(spec.space, whole, progress)
        if signature(declared_parameters(space.declare_hyperparameters)) != spec.space_signature:
            raise StudyError(
                f"The space {spec.space!r} is not the one that study {spec.name!r} was searched with: it declares "
                "other hyperparameters, ranges or defaults now. Bring it back, or search anew: python -m search.run"
            )

    def _plan(self, recipe: TrainingSetup, labels: Any, patients: Any, budget: float, workers: int) -> ConfirmationPlan:
        fewest = min(len(set(patients[labels == c].tolist())) for c in set(labels.tolist()))
        if fewest < 3:
            raise InputError(f"Three folds need three patients of each class; the smallest class has {fewest}.")
        price = functools.partial(
            cost_estimate.of_folds,
            images=len(labels), validation=len(labels) - recipe.context.images, classes=len(self.spec.classes),
            robust=self.spec.objective == Objective.ROBUST, shifts=self.options.tta,
        )  # fmt: skip
        options, gone = self.options, time.monotonic() - self.started
        asked: dict[str, Any] = {
            "folds": min(options.folds, fewest), "seeds": options.seeds, "workers": workers,
            "final": options.final, "refits": options.refits,
        }  # fmt: skip
        make = functools.partial(planning.make_plan, self.finalists, **asked, budget=budget, price=price, gone=gone)
        about = [recipe.data.fingerprint, options.tta, options.time, asked]
        return planning.kept(self.cache / "plan.json", about, self.finalists, gone, make)

    def _confirm(
        self, plan: ConfirmationPlan, recipe: TrainingSetup, folds: Any, pool: Workers, budget: float
    ) -> list[Confirmed]:
        keep = self.options.final == "folds"
        wanted = cross_validation.tasks(plan, recipe, folds, self.cache, keep_models=keep, shifts=self.options.tta)
        begun = time.monotonic()
        left = plan.seconds - plan.after - (begun - self.started)
        with progress_bars.trainings(len(wanted), "confirming on folds", left) as bar:
            found = cross_validation.run(
                plan, wanted, pool,
                end=self.started + budget,
                on_event=lambda task, event: bar.event(_name(task), event),
                on_done=lambda task, result, error: bar.done(
                    _name(task), error or f"{result.result.value:.3f}" if result else error, failed=bool(error)
                ),
                on_left_out=lambda task: bar.left_out(),
            )  # fmt: skip
        self.phases["confirmation"] = time.monotonic() - begun
        return found

    def _networks(
        self, choice: records.Choice, plan: ConfirmationPlan, recipe: TrainingSetup, pool: Workers, budget: float
    ) -> list[EnsembleMember]:
        """The final model's networks."""
        begun = time.monotonic()
        found = refit.final(choice, plan, recipe, self.cache, pool, self.started + budget - cost_estimate.AFTER)
        if choice.kind != "folds":
            self.phases["final training"] = time.monotonic() - begun
        return found

    def _rivals(self, recipes: Sequence[tuple[str, TrialRecord, RefitTask]], pool: Workers) -> list[Retrained]:
        """The study's recipes, trained as the final model was."""
        begun = time.monotonic()
        found = published_recipes.train(recipes, pool)
        if recipes:
            self.phases["recipes"] = time.monotonic() - begun
        return found

    def _save(
        self,
        folder: Path,
        choice: records.Choice,
        fitted: records.OperatingPoint,
        shares: Sequence[EnsembleMember],
        recipe: TrainingSetup,
        dataset: Dataset,
    ) -> None:
        """The model's files and card."""
        members = []
        for i, share in enumerate(shares):
            name = "model.keras" if len(shares) == 1 else f"model-{i + 1}.keras"
            shutil.copyfile(share.path, folder / name)
            member = Member(name, artifacts.sha256(folder / name), image_size(share.trial), share.weight)
            members.append(member.to_json())
        artifacts.write_text(folder / "SHA256SUMS", "".join(f"{m['sha256']}  {m['file']}\n" for m in members))
        first = tasks.pool_of(recipe.data, members[0]["image_size"])
        card = ModelCard(
            classes=dataset.classes,
            positive=dataset.positive,
            channels=dataset.channels,
            fit=dataset.fit,
            threshold=fitted.threshold,
            policy=fitted.policy.name if fitted.policy else "likeliest class",
            calibration=fitted.calibration.to_json(),
            makeup=outliers.fit(first).to_json(),
            members=tuple(members),
            shifts=self.options.tta,
            demonstration=dataset.demonstration,
            made=self._provenance(choice, [share.epochs for share in shares]),
        )
        write_card(folder, card)

    def _provenance(self, choice: records.Choice, epochs: Sequence[int]) -> dict[str, Any]:
        trials = [c.trial for c, _ in choice.finalists]
        return {
            "study": self.study.name,
            "asked": self.options.which,
            "final": choice.kind,
            "trials": [t.number for t in trials],
            "configurations": [t.config.to_json() for t in trials if t.config],
            "epochs": list(epochs),
            "train_fingerprint": self.spec.train_fingerprint,
            "test_fingerprint": self.spec.test_fingerprint,
            "weights": dict(self.spec.weights),
            "versions": dict(choice.winner.results[0].result.versions),
            "device": choice.winner.results[0].result.device,
            "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }

    def _judge(
        self,
        folder: Path,
        pool: Workers,
        choice: records.Choice,
        fitted: records.OperatingPoint,
        confirmed: Sequence[Confirmed],
        plan: ConfirmationPlan,
        dataset: Dataset,
        recipe: TrainingSetup,
        compared_with: Sequence[Retrained],
    ) -> dict[str, Any]:
        """Open the test set; every figure of it, kept as `metrics.json` and `predictions.csv`."""
        card = read_card(folder)
        members = [Member.from_json(m) for m in card.members]
        self._try(folder, pool, {m.image_size: recipe.data.pools[m.image_size] for m in members})
        opened = access_log.append(
            self.study.folder,
            {
                "what": f"retrain {self.options.which}",
                "final": choice.kind,
                "trials": [c.trial.number for c, _ in choice.finalists],
                "policy": card.policy,
                "sha256": [m.sha256 for m in members],
                "test_fingerprint": dataset.test_fingerprint,
                **({"compared": [r.name for r in compared_with]} if compared_with else {}),
            },
        )
        begun = time.monotonic()
        with progress_bars.progress() as progress:
            sizes = {m.image_size for m in members} | {r.image_size for r in compared_with}
            squares = {size: arrays.test(dataset, size, progress) for size in sizes}
        outcome = next(pool.run([PredictTask(folder, squares)]))
        if outcome.error:
            raise FatalError(f"The saved model could not be used: {outcome.error}")
        raw: Any = outcome.value
        probabilities = fitted.calibration.apply(raw).astype(np.float32)
        labels = np.array([i.label for i in dataset.select("test")], dtype=np.int32)
        audit = evaluation.audit(dataset)
        about: Any = {"classes": dataset.classes, "positive": dataset.positive, "threshold": fitted.threshold}
        about |= {"beta": self.spec.beta, "prevalence": fitted.calibration.prevalence}
        tested = Predictions(labels, probabilities, np.array([i.patient for i in dataset.select("test")]), **about)
        pooled = Predictions(
            np.asarray(recipe.data.labels), fitted.probabilities, np.asarray(recipe.data.patients), **about,
            draws=evaluation.DRAWS_OUT_OF_FOLD,
        )  # fmt: skip
        judged: Mapping[str, Any] = evaluation.judge(dataset, fitted, tested, raw, pooled, audit)
        access_log.keep_figures(self.study.folder, opened, judged["test"]["overall"])
        compared = {
            "out_of_fold": comparison.out_of_fold(pooled, choice, confirmed),
            "recipes": comparison.on_validation(
                pooled, self.study, choice.winner.trial, spaces.offered(self.spec.space, ()).recipe_names()
            ),
            "test": comparison.on_test(
                tested, published_recipes.answers(compared_with, pool, squares, self.spec.max_epochs)
            ),
            "untrained": [{"name": r.name, "why": r.network.error} for r in compared_with if r.network.error],
        }
        self.phases["test set"] = time.monotonic() - begun
        full = {
            "demonstration": dataset.demonstration,
            "study": self.study.name,
            "data": dataset.name,
            "grouped_by": dataset.grouped_by,
            "opened": opened,
            "openings": access_log.openings(self.study.folder.parent, dataset.test_fingerprint),
            "model": {"policy": card.policy, "threshold": card.threshold, **dict(card.made)},
            **judged,
            "comparisons": compared,
            "data_card": {
                "counts": {split: dataset.counts(split) for split in ("train", "val", "test")},
                "fit": dataset.fit,
                "notes": list(dataset.notes),
            },
            "audit": audit,
            "confirmation": evaluation.confirmation(confirmed, choice, plan, self.study),
            "views": list(fitted.views),
            "seconds": {**self.phases, "all": time.monotonic() - self.started},
        }
        artifacts.write_json(folder / "metrics.json", artifacts.finite(full))
        example_images.write(folder, pool, squares, dataset, labels, probabilities)
        evaluation.write_predictions(folder / "predictions.csv", dataset, tested)
        return full

    @staticmethod
    def _try(folder: Path, pool: Workers, pools: Mapping[int, Any]) -> None:
        """Load the saved model and let it answer on a few films that it was trained on.

        Raises:
            FatalError: it can't be loaded, or does not answer with probabilities.
        """
        outcome = next(pool.run([PredictTask(folder, pools, first=4)]))
        if outcome.error or not np.isfinite(outcome.value).all():
            why = outcome.error or "its probabilities are not finite"
            raise FatalError(f"The saved model can't be used, so the test set stays closed: {why}")


def _name(task: FoldTask) -> str:
    return f"trial {task.trial} ({task.config.family}) fold {task.fold + 1}/{task.folds} seed {task.repeat + 1}"


def retrain(options: RetrainingOptions) -> dict[str, Any]:
    """All of it, callable from Python; returns the figures that `metrics.json` holds.

    Raises:
        InputError: an option, the study, the data or the weights can't be used.
        FatalError: no finalist could be trained, or the disk is full.
    """
    check(options)
    if options.cache:
        os.environ["XRAYTUNE_CACHE"] = str(options.cache.absolute())  # for the workers too
    study = open_study(options.study, options.results, options.storage)
    chosen = finalists.choose(study, options.which, options.finalists)
    lock = StudyLock(study.results, study.name, "retrained")
    try:
        pass

        return Retraining(study, chosen, options).run()
    finally:
        lock.release()
