"""Trainings of a retraining as tasks for `worker_pool`: a fold, a final model, and a saved network's predictions.

What a fold leaves (out-of-fold predictions, of shifted views too, its curve and result) is a file named by the digest
of everything that went into it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.retraining.records import FoldResult, TrainingSetup
from search.retraining.workers.worker_pool import Report
from xraytune import __version__, artifacts
from xraytune.errors import FOREIGN, TrialError
from xraytune.records import FailureCause, TrialConfig, TrialResult
from xraytune.training.inputs.trial_data import TrialData, with_views

VIEWS_SEED = 0
"""Of the sample on which a fold's views are planned, whoever is trained on it."""


@dataclass(frozen=True)
class FoldTask:
    """One training on all folds but one."""

    recipe: TrainingSetup
    config: TrialConfig
    trial: int
    fold: int
    folds: int
    repeat: int
    """Which of the seeds, from 0."""
    path: Path
    """The `.npz` that it leaves."""
    keep_model: bool
    """Whether the fold's network is kept too, beside it as `.keras`."""
    tta: str = ""
    """Test-time augmentation of its answers, as the final model's will have it (`--tta`); empty: none."""
    deadline: float | None = None
    """`time.monotonic()` value (one clock for all processes of a machine) after which no batch is begun."""
    needed: bool = False
    """Whether no result is possible without it: at the deadline it then keeps the best of its whole epochs, the first
    of which is always finished; else it leaves nothing."""

    def __call__(self, report: Report) -> Path:
        """Train; write the predictions; return their file. Runs in a worker."""
        training, cut = _train(self.recipe, self.config, report, deadline=self.deadline, needed=self.needed)
        result = training.finish()
        validation = np.asarray(self.recipe.data.validation)
        probabilities, views = training.validation_predictions(), training.view_predictions
        if self.tta:
            with training.clock.phase("tta"):
                probabilities, views = _augmented_answers(training, validation, self.tta)
            result = replace(result, seconds=dict(training.clock.seconds))
        if self.keep_model:
            save_network(training.model, self.path.with_suffix(".keras"))
        with artifacts.atomic_write(self.path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(
                stream,
                probabilities=np.asarray(probabilities, dtype=np.float32),
                indices=validation,
                view_indices=validation[training.view_positions],
                result=np.array(json.dumps(result.to_json())),
                cut=np.array(cut),
                allow_pickle=False,
                **{f"view:{name}": p for name, p in views.items()},
            )
        return self.path


def _augmented_answers(
    training: Any, validation: NDArray[np.int64], kind: str
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
    """Probabilities of the validation images, and of each view's, by the whole network with this augmentation."""
    from xraytune.inference.networks import predict_with

    viewed = training.viewed
    answers = predict_with(training.whole, np.asarray(training.images.pool[validation]), kind)
    if viewed is None:
        return answers, {}
    each = np.split(predict_with(training.whole, np.asarray(viewed.pool), kind), len(viewed.names))
    return answers, dict(zip(viewed.names, each, strict=True))


def _train(
    recipe: TrainingSetup,
    config: TrialConfig,
    report: Report,
    *,
    epochs: int | None = None,
    rate_drops: Sequence[int] = (),
    deadline: float | None = None,
    needed: bool = True,
) -> tuple[Any, bool]:
    """A `Training` stepped until it ends by itself or after so many epochs, and whether the deadline cut it short.

    Raises:
        TrialError: the deadline cut a training that is not needed.
    """
    import spaces
    from xraytune.training.trainer import Trainer

    space = spaces.get(recipe.space, recipe.context)
    # views are planned on the fold's own training images: what is held out has no part in them; all finalists' alike
    data = with_views(recipe.data, VIEWS_SEED) if len(recipe.data.validation) else recipe.data
    training = Trainer(
        space, config, data,
        objective=recipe.objective, beta=recipe.beta, max_epochs=recipe.max_epochs,
        deadline=None if needed else deadline, rate_drops=rate_drops,
    )  # fmt: skip
    last = 0
    while True:
        epoch = training.step()
        cut = epoch.epoch == last  # the deadline came within an epoch: its last whole one is told again
        if cut and not needed:
            raise TrialError(FailureCause.INTERRUPTED, "the time was up")
        if not cut:
            report((epoch.epoch, epoch.value))
        last = epoch.epoch
        if epoch.done or (epochs is not None and last >= epochs):
            training.clock.deadline = None  # what `finish` looks at is needed
            return training, cut
        training.clock.deadline = deadline


def pool_of(data: TrialData, size: int) -> NDArray[np.uint8]:
    """The decoded images at one size, mapped read-only."""
    pool = data.pools[size]
    return np.load(pool, mmap_mode="r") if isinstance(pool, Path) else np.asarray(pool)


def save_network(model: Any, path: Path) -> None:
    """Keep a network without its optimiser's state, whole or not at all."""
    from xraytune.framework import keras

    try:
        plain = keras.Model(model.inputs, model.outputs, name=model.name)
    except (AttributeError, ValueError, TypeError):  # a subclassed network has no graph
        plain = model
    with artifacts.atomic_write(path) as temporary:
        plain.save(temporary)


@dataclass(frozen=True)
class RefitTask:
    """One network on train and validation together, for the epochs that the folds chose."""

    recipe: TrainingSetup
    config: TrialConfig
    epochs: int
    rate_drops: tuple[int, ...]
    """Epochs after which the plateau schedule lowered the rate on the folds."""
    path: Path
    deadline: float | None = None

    def __call__(self, report: Report) -> dict[str, Any]:
        """Train; save the network at `path`; return its result as JSON. Runs in a worker."""
        training, _ = _train(
            self.recipe, self.config, report, epochs=self.epochs, rate_drops=self.rate_drops, deadline=self.deadline
        )
        result = training.finish()
        save_network(training.model, self.path)
        plain: dict[str, Any] = result.to_json()
        return plain


@dataclass(frozen=True)
class PredictTask:
    """The saved model, loaded back and checked, on decoded images."""

    folder: Path
    """The model's."""
    arrays: Mapping[int, Path]
    """Decoded images by edge."""
    first: int | None = None
    """Only so many of them."""

    def __call__(self, report: Report) -> NDArray[np.float32]:
        """Probabilities `(n, k)` before calibration. Runs in a worker."""
        from xraytune.inference.classifier import load_model

        squares = {size: np.load(path, mmap_mode="r")[: self.first] for size, path in self.arrays.items()}
        return load_model(self.folder).raw_squares(squares)


@dataclass(frozen=True)
class NetworkTask:
    """One kept network on decoded images."""

    path: Path
    sha256: str
    images: Path
    """Decoded images of its size."""
    first: int | None = None
    """Only so many of them."""

    def __call__(self, report: Report) -> NDArray[np.float32]:
        """Probabilities `(n, k)` as it gives them. Runs in a worker."""
        from xraytune.inference.networks import load_network, predict_network

        artifacts.check_sha256(self.path, self.sha256)
        return predict_network(load_network(self.path), np.load(self.images, mmap_mode="r")[: self.first])


def load_fold(task: FoldTask, *, cut: bool = False) -> FoldResult | None:
    """What the task left, None where it has not run (or its file was damaged: then it runs again).

    Args:
        task: which.
        cut: whether one that was cut short will do.
    """
    try:
        with task.path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            result = TrialResult.from_json(json.loads(str(kept["result"])))
            views = {name.removeprefix("view:"): kept[name] for name in kept.files if name.startswith("view:")}
            found = FoldResult(
                task.fold, task.repeat, kept["indices"], kept["probabilities"], kept["view_indices"], views, result,
                task.path, bool(kept["cut"]),
            )  # fmt: skip
    except (OSError, *FOREIGN):
        return None
    if task.keep_model and not task.path.with_suffix(".keras").exists():
        return None
    return None if found.cut and not cut else found


def fold_digest(recipe: TrainingSetup, config: TrialConfig, fold: int, folds: int, tta: str) -> str:
    """Names a fold's training by everything that went into it."""
    data = recipe.data
    return _digest(
        [
            config.to_json(), fold, folds, tta, recipe.space, recipe.space_fingerprint, recipe.objective,
            recipe.beta, recipe.max_epochs, data.fingerprint, list(data.classes), data.positive, data.channels,
            __version__,
            hashlib.sha256(np.ascontiguousarray(data.validation, dtype=np.int64).tobytes()).hexdigest(),
        ]
    )  # fmt: skip


def refit_digest(task: RefitTask) -> str:
    """Names a refit by everything that goes into it."""
    data = task.recipe.data
    return _digest(
        [
            task.config.to_json(), task.epochs, list(task.rate_drops), task.recipe.space, task.recipe.space_fingerprint,
            task.recipe.max_epochs, data.fingerprint, list(data.classes), data.channels, __version__,
        ]
    )  # fmt: skip


def _digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
