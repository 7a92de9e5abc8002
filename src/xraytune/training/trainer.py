"""One trial: a `TrialConfig` trained epoch by epoch into a `TrialResult`. Runs in a worker, and for `search.retrain`.

A step is one epoch: batches gathered from the mapped pool, augmented inside the compiled step, and one look at the
validation images; at rungs also at their shifted views (`judging`). Layers that never train are not run at all: their
outputs come from `xraytune.training.inputs.frozen_features`. Whatever goes wrong becomes a `TrialError` with its cause,
so that a trial fails and its worker lives.
"""

from __future__ import annotations

import dataclasses
import math
import socket
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
from numpy.typing import NDArray

from xraytune import errors
from xraytune.errors import TrialError
from xraytune.evaluation import metrics
from xraytune.framework import keras
from xraytune.models.file_backbones import network as file_network
from xraytune.models.file_backbones.network import Backbone
from xraytune.records import EpochReport, FailureCause, Objective, TrialConfig, TrialResult
from xraytune.training import checkpoints, epoch_evaluation, feasibility, machine, memory
from xraytune.training.clock import Clock
from xraytune.training.epoch_evaluation import EpochEvaluator, ViewedImages
from xraytune.training.epoch_images import EpochImages
from xraytune.training.history import Course, Weights, is_rung, rung_before
from xraytune.training.inputs import batches, frozen_features
from xraytune.training.inputs.batches import Rows
from xraytune.training.inputs.trial_data import TrialData
from xraytune.training.optimization import logistic_regression, weight_averaging
from xraytune.training.optimization.compiling import adjusted, jit_compile, targets, to_float32
from xraytune.training.optimization.fitting import augmented, class_weights, head_only
from xraytune.training.optimization.fused_batch_norm import fuse
from xraytune.training.optimization.settings import PLATEAU_EPOCHS, TrainingSettings

DIVERGED = 1e4
"""A mean training loss above this is called diverged. Chance costs 0.7; a head on VGG's raw features, which reach the
hundreds, may begin at 50 and recover."""

VALIDATION_BATCH = 64


class Trainer:
    """One configuration being trained.

    Args:
        space: builds the network.
        config: the point of the space and the seed.
        data: what it trains and is judged on.
        objective: `clean`: F-beta on the validation images; `robust`: the robust score over `data.views`.
        beta: F-beta's beta.
        max_epochs: the most epochs, 0 leaves it to the configuration.
        deadline: `time.monotonic()` value after which no further batch is begun.
        rate_drops: epochs after which schedule `plateau` lowers the rate where no validation images show a plateau.

    Attributes:
        clock: seconds by phase; its deadline may be moved.
        model: the network; after `finish` with the best epoch's weights. It takes images, or features of a backbone by
            file.
        whole: what takes images: the network, or the backbone and the network.
        view_predictions: after `finish`, by view's name the probabilities of the images at `view_positions`.

    Raises:
        TrialError: the configuration can't be built or trained on these data (bad_config, oom).
        FatalError: pretrained weights can't be used.
    """

    def __init__(
        self,
        space: keras_tuner.HyperModel,
        config: TrialConfig,
        data: TrialData,
        *,
        objective: str = "clean",
        beta: float = 2.0,
        max_epochs: int = 0,
        deadline: float | None = None,
        rate_drops: Sequence[int] = (),
    ) -> None:
        self.config, self.data, self.objective, self.beta = config, data, objective, beta
        self.clock = Clock(deadline)
        self.epoch, self.done = 0, False
        self._judged = len(data.validation) > 0
        self._course = Course(judged=self._judged)
        self._drops, self._known_drops = 0, tuple(rate_drops)
        self.view_predictions: dict[str, NDArray[np.float32]] = {}
        self._looked: dict[str, float] = {}
        self._last: EpochReport | None = None
        memory.clear()
        machine.forget_peak_memory()
        keras.utils.set_random_seed(config.seed % 2**32)
        with errors.named(), self.clock.phase("build"):
            hp = keras_tuner.HyperParameters()
            hp.values = dict(config.values)
            self.model: keras.Model = space.build(hp)
            fuse(self.model)
            self.plan = self._plan_of(self.model, max_epochs)
            self.whole = file_network.whole(self.model, data.channels)
            feasibility.check(self.whole, self.plan, self.data)
            self.images = EpochImages(data, self.plan, config.seed, int(self.whole.input_shape[1]), self.clock)
            self._one_hot = np.eye(len(data.classes), dtype=np.float32)
            weighted = self.plan.imbalance == "class_weights"
            self._sample_weights = class_weights(self.images.labels, len(data.classes)) if weighted else None
            self._thaw = head_only(self.model) if self.plan.head_epochs else []
            thawed_later = list(self._thaw)
            for layer in thawed_later:  # the prefix ends where the *second* phase begins to train
                layer.trainable = True
            self.prefix = self.images.prefix = frozen_features.of(self.whole)
            for layer in thawed_later:
                layer.trainable = False
            self.shell = self._make_shell()
            self._compile()
        self._judge = EpochEvaluator(
            data, self.images.pool,
            objective=objective, beta=beta, trained=self.images.seen_anew, prefix=self.prefix is not None,
        )  # fmt: skip

    # ── one epoch ────────────────────────────────────────────────────────────────────────────────────────────────

    def step(self) -> EpochReport:
        """Train one epoch and judge it.

        Returns:
            The epoch's report. Where the deadline cuts an epoch short, the last whole epoch's report again, `done`.

        Raises:
            TrialError: nan, oom, bad_config or error; `interrupted` where the deadline leaves not one whole epoch.
        """
        with errors.named():
            try:
                return self._step()
            except TrialError as error:
                if error.cause is FailureCause.INTERRUPTED and self._last is not None:
                    self.done = True
                    return dataclasses.replace(self._last, seconds=self.clock.since_report(), done=True)
                raise

    def _step(self) -> EpochReport:
        if self._thaw and self.epoch >= self.plan.head_epochs:
            with self.clock.phase("build"):
                self._thaw_all()
        loss = self._train()
        with ExitStack() as averaged:
            with self.clock.phase("average"):
                averaged.enter_context(weight_averaging.averaged(self.shell, self._for_statistics))
            probabilities = self._validate()
            self.epoch += 1
            value, measured = self._judge.clean(probabilities, loss) if self._judged else (0.0, {"loss": loss})
            weights = [np.array(w) for w in self.shell.get_weights()]
            measured |= {"rate_drops": float(self._drops)} if self.plan.schedule == "plateau" else {}
            self._course.add({"epoch": float(self.epoch), "value": value, **measured}, weights, probabilities)
            looked = self._look_at_rung(weights)
        waited = self._course.without_gain(self._judge.trivial(self.curve[0]))
        if self.plan.schedule == "plateau" and self._judged and waited and waited % PLATEAU_EPOCHS == 0:
            self._drops += 1
        elif not self._judged:
            self._drops = sum(epoch <= self.epoch for epoch in self._known_drops)
        # a head that is still being warmed up is not given up on
        spent = self.epoch >= self.plan.epochs
        stopped = self._judged and waited >= self.plan.patience and self.epoch > self.plan.head_epochs + 1
        self.done = spent or stopped
        best_value = self._course.best_value
        if self._looked:
            value = best_value = self._looked["robust"]
        measured |= self._looked if looked else {}
        judged = looked or not self._looked
        self._last = EpochReport(self.epoch, value, measured, self.clock.since_report(), best_value, self.done, judged)
        return self._last

    def _train(self) -> float:
        """Train on one epoch's share; the mean loss."""
        plan, epoch = self.plan, self.epoch + 1
        rows = self.images.rows(epoch)
        source = self.images.training(epoch, rows)
        steps = len(rows) // plan.batch_size
        loss = 0.0
        with self.clock.phase("train"):
            self._solve()
            self.shell.reset_metrics()
            for i, batch in enumerate(batches.full_batches(rows, plan.batch_size)):
                self._check_deadline()
                if self._managed_rate and (i == 0 or (plan.schedule == "cosine" and self.epoch == 0)):
                    self.shell.optimizer.learning_rate = plan.rate(self.epoch + i / steps, self._drops)
                labels = self.data.labels[batch]
                weights = None if self._sample_weights is None else self._sample_weights[labels]
                logs = self.shell.train_on_batch(
                    source[batch], targets(labels, self.model, self._one_hot), sample_weight=weights, return_dict=True
                )
                loss = float(logs["loss"])
                if not math.isfinite(loss):
                    raise TrialError(FailureCause.NAN, f"loss is {loss} in epoch {epoch}, batch {i + 1}")
        if loss > DIVERGED:
            raise TrialError(FailureCause.NAN, f"diverged: mean loss {loss:.3g} in epoch {epoch}")
        return loss

    def _solve(self) -> None:
        """Solve for the last layer, where the plan says so: the epoch that follows then changes nothing."""
        if self.plan.solver:
            train = np.asarray(self.data.train)
            logistic_regression.solve(
                self.model, self.images.pool, train, self.images.labels, np.asarray(self.data.patients)[train],
                seed=self.config.seed, check=self._check_deadline,
            )  # fmt: skip

    def _validate(self) -> NDArray[np.float32]:
        """Probabilities of the validation images, float32 `(n_val, k)`."""
        if not self._judged:
            return np.zeros((0, len(self.data.classes)), np.float32)
        validation = np.asarray(self.data.validation)
        source = self.images.plain(validation)
        with self.clock.phase("validate"):
            probabilities = self._predict(source, validation)
        if not np.isfinite(probabilities).all():
            raise TrialError(FailureCause.NAN, f"predictions are not finite after epoch {self.epoch + 1}")
        return probabilities

    def _predict(self, source: NDArray[Any], rows: Rows) -> NDArray[np.float32]:
        """Probabilities `(len(rows), k)` of those rows of what the shell takes."""
        out = [
            np.asarray(self.shell.predict_on_batch(source[batch]))[:n]
            for batch, n in batches.padded_batches(rows, VALIDATION_BATCH)
        ]
        return metrics.two_columns(np.concatenate(out).astype(np.float32))

    def _look(self, epochs: int | None = None) -> dict[str, NDArray[np.float32]]:
        """Judge the shell's weights over the views, on as many images as so many epochs allow; the predictions."""

        def of_view(pool: NDArray[Any], rows: Rows) -> NDArray[np.float32]:
            return self._predict(self.images.of_view(pool, rows, self._judge.views().key), rows)

        with self.clock.phase("views"):
            score, predictions = self._judge.look(of_view, epochs)
        self._looked = epoch_evaluation.measure(score)
        return predictions

    def _look_at_rung(self, newest: Weights) -> bool:
        """Judge the best epoch's weights over the views, where the objective asks for it now; whether it was done.

        Args:
            newest: the weights that the shell has.
        """
        if not (self._judged and self.objective == Objective.ROBUST and is_rung(self.epoch)):
            return False
        best, _ = self._course.restored()
        self.shell.set_weights(best)
        try:
            self._look(self.epoch - rung_before(self.epoch))
        except TrialError as error:
            if error.cause is not FailureCause.INTERRUPTED or not self._looked:
                raise
            return False  # no time left to look: what the last rung said stands
        finally:
            self.shell.set_weights(newest)
        return True

    # ── what it leaves ───────────────────────────────────────────────────────────────────────────────────────────

    def finish(self, *, timed: bool = False) -> TrialResult:
        """Restore the best epoch's weights and sum up.

        Args:
            timed: whether the whole network's prediction is timed (metric `inference_ms`).

        Raises:
            TrialError: no epoch was finished.
        """
        weights, probabilities = self._course.restored()
        self.shell.set_weights(weights)
        row = self.curve[self._course.best - 1]
        measured = {k: v for k, v in row.items() if k not in {"epoch", "value"}}
        measured |= self._judge.best_threshold(probabilities) if self._judged else {}
        if self._judged and self.data.views:
            with suppress(TrialError):  # no time left to look: what the last rung said stands
                self._check_deadline()
                self.view_predictions = self._look()
        measured |= self._looked
        robust = self.objective == Objective.ROBUST and self._looked
        if self.plan.precision != "float32":
            to_float32(self.model)
        if timed:
            some = np.asarray(self.images.pool[self.data.train[:32]])
            measured["inference_ms"] = machine.milliseconds_an_image(self.whole, some)
        return TrialResult(
            value=self._looked["robust"] if robust else row["value"],
            best_epoch=self._course.best,
            epochs=self.epoch,
            metrics=measured,
            curve=tuple(self.curve),
            seconds=dict(self.clock.seconds),
            parameters=int(self.model.count_params()),
            peak_memory_mb=machine.peak_memory_mb(),
            versions=machine.versions(),
            device=machine.device_name(),
            host=socket.gethostname(),
        )

    def validation_predictions(self) -> NDArray[np.float32]:
        """Probabilities `(n_val, k)` of the validation images at the best epoch.

        Raises:
            TrialError: no epoch was finished.
        """
        return self._course.restored()[1]

    @property
    def view_positions(self) -> NDArray[np.intp]:
        """Where the images of `view_predictions` stand among the validation images, `(m,)`."""
        return np.zeros(0, np.intp) if self.viewed is None else self.viewed.positions

    @property
    def viewed(self) -> ViewedImages | None:
        """The views of some of the validation images; None before they were first looked at."""
        return self._judge.viewed

    def save(self, folder: Path) -> None:
        """Write everything needed to go on with the next epoch elsewhere."""
        state = {
            "epoch": self.epoch,
            "thawed": not self._thaw,
            "done": self.done,
            "drops": self._drops,
            "best": self._course.best,
            "curve": self.curve,
            "seconds": self.clock.seconds,
            "looked": self._looked,
            "last": self._last.to_json() if self._last else None,
        }
        checkpoints.write(folder, self.shell, self._course.arrays(), state)

    def restore(self, folder: Path) -> None:
        """Go on where `save` left off: weights, optimiser, random generators, best epoch, curve."""
        state = checkpoints.read_state(folder)
        if self._thaw and state["thawed"]:  # as it was: what is still frozen is thawed by the next step
            self._thaw_all()
        with checkpoints.restored(folder, self.shell) as arrays:
            self._course.load(list(state["curve"]), int(state["best"]), arrays, len(self.shell.weights))
        self.epoch, self.done, self._drops = int(state["epoch"]), bool(state["done"]), int(state["drops"])
        self.clock.restore(state["seconds"])
        self._looked = dict(state["looked"])
        self._last = EpochReport.from_json(state["last"]) if state["last"] else None

    def _thaw_all(self) -> None:
        for layer in self._thaw:
            layer.trainable = True
        self._thaw = []
        self._compile()

    # ── making ready ─────────────────────────────────────────────────────────────────────────────────────────────

    def _plan_of(self, model: keras.Model, max_epochs: int) -> TrainingSettings:
        plan = TrainingSettings.of(self.config.values)
        # a foreign network brings its own optimiser: its rate is the plan's; a schedule of its own is left alone
        rate = getattr(model.optimizer, "_learning_rate", None)
        self._managed_rate = not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
        if self._managed_rate:
            plan = dataclasses.replace(plan, learning_rate=float(model.optimizer.learning_rate))
        return dataclasses.replace(plan, epochs=min(plan.epochs, max_epochs)) if max_epochs else plan

    def _make_shell(self) -> keras.Model:
        """What is trained: the network behind its augmentation, or what a kept prefix leaves of it."""
        if self.prefix is None:
            return augmented(self.model, self.plan.augmentation.layers(self.config.seed % 2**31))
        if isinstance(self.prefix.model, Backbone):
            return self.model
        return keras.Model(self.prefix.model.output, self.model.output, name="tail")

    def _compile(self) -> None:
        """(Re)compile the shell with a fresh optimiser, after layers were frozen or thawed."""
        optimizer = weight_averaging.optimizer(self.model.optimizer, self.images.epoch_size // self.plan.batch_size)
        loss = adjusted(self.model.loss, self.plan, self.images.labels, len(self.data.classes))
        self.shell.compile(optimizer=optimizer, loss=loss, jit_compile=jit_compile())

    @property
    def curve(self) -> list[dict[str, float]]:
        """One row an epoch: `epoch`, `value` and every metric."""
        return self._course.curve

    def _for_statistics(self) -> NDArray[Any]:
        """The first images of the epoch that was just trained."""
        epoch = self.epoch + 1
        rows = self.images.rows(epoch)[: weight_averaging.statistics_images(self.images.epoch_size)]
        return np.asarray(self.images.training(epoch, rows)[rows])

    def _check_deadline(self) -> None:
        self.clock.check(f"epoch {self.epoch + 1}")
