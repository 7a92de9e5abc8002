"""Training a whole network with `model.fit`: what a space's `fit` hook does for KerasTuner's tuners and plain scripts.

Our own trials go through `xraytune.training.trainer` instead, which stops, reports and resumes at every epoch.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xraytune.framework import keras
from xraytune.models.file_backbones import network as file_network
from xraytune.models.file_backbones.backbone import FileBackbone
from xraytune.training.inputs import batches
from xraytune.training.inputs.augmentation import Augmentation
from xraytune.training.optimization import logistic_regression
from xraytune.training.optimization.compiling import adjusted, compile_network, jit_compile
from xraytune.training.optimization.fused_batch_norm import fuse
from xraytune.training.optimization.settings import PLATEAU_EPOCHS, TrainingSettings


def one_hot(labels: ArrayLike, classes: int) -> NDArray[np.float32]:
    """Integer labels `(n,)` as `(n, classes)`; what is two-dimensional already stays."""
    array = np.asarray(labels)
    return array.astype(np.float32) if array.ndim == 2 else np.eye(classes, dtype=np.float32)[array]


def class_weights(labels: NDArray[np.int32], classes: int) -> NDArray[np.float32]:
    """Weights `(classes,)` inverse to the classes' frequencies, 1 on average over the images."""
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    return (labels.size / (classes * np.maximum(counts, 1))).astype(np.float32)


def resized(images: Any, model: keras.Model | file_network.Backbone) -> Any:
    """Images `(n, h, w, c)` at the size the model takes."""
    size = model.input_shape[1:3]
    if images.shape[1:3] == size:
        return images
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.image.resize(images, size, antialias=True)))


def features(backbone: FileBackbone, images: NDArray[Any]) -> NDArray[np.float32]:
    """The features `(n, h, w, c)` that a backbone by file makes of images `(n, h, w, 1 or 3)` of any size.

    What has the shape of its features already stays.
    """
    if images.shape[1:] == backbone.features:
        return np.asarray(images, np.float32)
    ready = file_network.Backbone(backbone, images.shape[-1])
    parts = [ready.predict_on_batch(resized(images[i : i + 64], ready)) for i in range(0, len(images), 64)]
    return np.concatenate(parts)


def augmented(model: keras.Model, layers: list[keras.layers.Layer]) -> keras.Model:
    """The model behind augmentation layers, its weights shared; the model itself where there are none."""
    if not layers:
        return model
    x = start = keras.Input(model.input_shape[1:], name="pixels")
    for layer in layers:
        x = layer(x)
    return keras.Model(start, model(x), name="augmented")


def head_only(model: keras.Model) -> list[keras.layers.Layer]:
    """Freeze everything trainable below the head; returns the layers frozen, to thaw them later."""
    frozen = [
        layer
        for layer in model.layers
        if layer.trainable_weights and not layer.name.startswith(("head", "predictions"))
    ]
    for layer in frozen:
        layer.trainable = False
    return frozen


def fit_plainly(
    model: keras.Model,
    plan: TrainingSettings,
    classes: int,
    x: NDArray[Any],
    y: ArrayLike,
    validation_data: tuple[NDArray[Any], ArrayLike] | None = None,
    **options: Any,
) -> keras.callbacks.History:
    """Train `model`, compiled by `compile_network`, by the plan on arrays.

    Args:
        plan: batch size, epochs, rate and its schedule, augmentation, class weights, early stopping, head's warm-up.
        classes: how many there are.
        x: images `(n, h, w, c)` of pixels 0–255; resized to the model's input if need be. Random crops are cut from
            them as they are: larger images show more detail. A model that takes the features of a backbone by file is
            trained on those of the images as they are, or on features that are given instead of images.
        y: integer labels `(n,)` or one-hot `(n, classes)`.
        validation_data: the same pair, for early stopping and a tuner's objective.
        options: for `model.fit`; `epochs`, `batch_size`, `callbacks` and `class_weight` win over the plan.

    Returns Keras's history of all epochs.
    """
    fuse(model)
    if file_network.backbone_of(model):
        plan, x, validation_data = _on_features(model, plan, x, validation_data)
    cropping = plan.augmentation.cropping
    images = np.clip(np.rint(x), 0, 255).astype(np.uint8) if cropping else resized(x, model)
    labels = one_hot(y, classes)
    if validation_data is not None:
        options["validation_data"] = (resized(validation_data[0], model), one_hot(validation_data[1], classes))
    first, epochs = int(options.pop("initial_epoch", 0)), int(options.pop("epochs", plan.epochs))
    callbacks = [*(options.pop("callbacks", None) or []), keras.callbacks.TerminateOnNaN(), _Rate(plan)]
    if plan.imbalance == "class_weights":
        options.setdefault("class_weight", dict(enumerate(map(float, class_weights(labels.argmax(1), classes)))))
    options |= _batches(model, images, labels, plan, int(options.pop("batch_size", None) or plan.batch_size))

    def train(begin: int, end: int, patience: int) -> keras.callbacks.History:
        stopping = keras.callbacks.EarlyStopping("val_loss", patience=patience, restore_best_weights=True)
        early = [stopping] if "validation_data" in options and end == epochs else []
        return model.fit(initial_epoch=begin, epochs=end, callbacks=[*callbacks, *early], **options)

    _adjust_loss(model, plan, labels)
    if plan.solver:
        each = np.arange(len(labels))
        logistic_regression.solve(model, images, each, labels.argmax(1), each)
    head_until = min(plan.head_epochs, epochs)
    if head_until <= first:
        return train(first, epochs, plan.patience)
    thaw = head_only(model)
    compile_network(model, plan)
    _adjust_loss(model, plan, labels)
    history = train(first, head_until, epochs)  # a head that is being warmed up is not given up on
    for layer in thaw:
        layer.trainable = True
    compile_network(model, plan)
    _adjust_loss(model, plan, labels)
    if head_until < epochs and not model.stop_training:
        _extend(history, train(head_until, epochs, plan.patience))
    return history


def _on_features(
    model: keras.Model, plan: TrainingSettings, x: NDArray[Any], held: tuple[NDArray[Any], ArrayLike] | None
) -> tuple[TrainingSettings, NDArray[Any], tuple[NDArray[Any], ArrayLike] | None]:
    """A plan without augmentation, and features in place of training and validation images."""
    backbone = file_network.backbone_of(model)
    assert backbone is not None
    plain = dataclasses.replace(plan, augmentation=Augmentation())
    return plain, features(backbone, x), held and (features(backbone, held[0]), held[1])


def _adjust_loss(model: keras.Model, plan: TrainingSettings, labels: NDArray[np.float32]) -> None:
    """Compile the network anew where the plan balances classes in the loss; `labels` are one-hot `(n, classes)`."""
    loss = adjusted(model.loss, plan, labels.argmax(1), labels.shape[1])
    if loss is not model.loss:
        model.compile(optimizer=model.optimizer, loss=loss, metrics=["accuracy"], jit_compile=jit_compile())


def _batches(
    model: keras.Model, images: NDArray[Any], labels: NDArray[np.float32], plan: TrainingSettings, size: int
) -> dict[str, Any]:
    """The training images for `model.fit`: arrays, or batches that are augmented or balanced as they are taken."""
    layers = plan.augmentation.layers(seed=0)
    if layers or plan.augmentation.cropping or plan.imbalance == "balanced_batches":
        return {"x": _AugmentedBatches(images, labels, plan, size, layers, int(model.input_shape[1]))}
    return {"x": images, "y": labels, "batch_size": size}


def _extend(history: keras.callbacks.History, rest: keras.callbacks.History) -> None:
    """Append the epochs of `rest` to `history`."""
    history.epoch += rest.epoch
    history.history = {name: values + rest.history.get(name, []) for name, values in history.history.items()}


class _Rate(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """The plan's learning rate in every epoch; schedule `plateau` lowers it by the validation loss, where there is one.

    An epoch counts as better with a loss lower by 1e-4, as in Keras's own ReduceLROnPlateau.
    """

    def __init__(self, plan: TrainingSettings) -> None:
        super().__init__()
        self._plan = plan
        self._best, self._waited, self._drops = math.inf, 0, 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate = self._plan.rate(epoch + 0.5, self._drops)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        loss = (logs or {}).get("val_loss")
        if loss is None:
            return
        self._best, self._waited = (loss, 0) if loss < self._best - 1e-4 else (self._best, self._waited + 1)
        if self._waited and self._waited % PLATEAU_EPOCHS == 0:
            self._drops += 1


class _AugmentedBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Shuffled batches, augmented and balanced as they are taken, so that callbacks save the bare network."""

    def __init__(
        self,
        images: NDArray[Any],
        labels: NDArray[np.float32],
        plan: TrainingSettings,
        size: int,
        layers: list[keras.layers.Layer],
        edge: int,
    ) -> None:
        super().__init__()
        self._augmentation, self._edge = plan.augmentation, edge
        self._images, self._labels, self._size, self._layers = images, labels, size, layers
        self._balanced, self._epoch = plan.imbalance == "balanced_batches", 0
        self.on_epoch_end()

    def __len__(self) -> int:
        return math.ceil(len(self._labels) / self._size)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        rows = self._order[index * self._size : (index + 1) * self._size]
        cropping = self._augmentation.cropping
        source = self._augmentation.crops_of(self._images, self._edge, 0, self._epoch) if cropping else self._images
        x = keras.ops.cast(source[rows], "float32")
        for layer in self._layers:
            x = layer(x, training=True)
        return np.asarray(keras.ops.convert_to_numpy(x)), self._labels[rows]

    def on_epoch_end(self) -> None:
        n, self._epoch = len(self._labels), self._epoch + 1
        if self._balanced:
            self._order = batches.balanced_order(self._labels.argmax(1).astype(np.int32), n, self._epoch, seed=0)
        else:
            self._order = batches.epoch_order(n, n, self._epoch, seed=0)
