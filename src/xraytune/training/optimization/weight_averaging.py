"""Averaged weights: what an epoch is judged by, and what is kept of it.

The weights after one more step are a draw of a lottery: with a strong augmentation and a constant rate a network's
scores drift up and down from epoch to epoch, its ROC AUC falls and recovers, and a threshold that fitted one epoch
fits the next no more. What is judged and kept is therefore the average of the weights over about half an epoch
(Polyak & Juditsky 1992; Keras's optimisers keep it), with batch normalisation's statistics measured anew for the
averaged weights, on augmented training images (Izmailov et al. 2018, "Averaging weights leads to wider optima and
better generalization"). Training goes on from the weights as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytune.framework import keras
from xraytune.training.optimization.fused_batch_norm import normalisations

WINDOW = 0.5
"""Epochs that the average looks back on (its mean age). After the first epoch e⁻² of it, a seventh, is where the
network began; with one epoch it would be a third."""


def statistics_images(epoch: int) -> int:
    """How many images batch normalisation's statistics come from: a sixteenth of an epoch's, from 32 to 64.

    They are augmented and run outside of the compiled step, so 320 took up to 30 % of a small network's time. On
    synthetic images at 48 and 64 px (two networks, two seeds, five epochs each) the mean ROC AUC with 64 is within
    0.002, the robust F2 within 0.001 of that with 320. Moving statistics cost nothing, but at a learning rate of 0.01
    the ROC AUC of a convolutional network with them was 0.03 lower.

    Args:
        epoch: images that an epoch trains on.
    """
    return min(max(epoch // 16, 32), 64)


def optimizer(template: keras.optimizers.Optimizer, steps: int) -> keras.optimizers.Optimizer:
    """A fresh optimiser like `template` that keeps the average of the weights.

    Args:
        template: where the settings come from; one that averages already stays as it is.
        steps: of an epoch.
    """
    config = dict(template.get_config())
    if not config.get("use_ema"):
        momentum = max(0.0, 1 - 1 / max(WINDOW * steps, 1.0))
        config |= {"use_ema": True, "ema_momentum": momentum, "ema_overwrite_frequency": None}
    return type(template).from_config(config)


@contextmanager
def averaged(model: keras.Model, images: Callable[[], NDArray[Any]]) -> Iterator[None]:
    """Inside, `model` has its averaged weights and statistics that fit them; afterwards all is as it was.

    Args:
        model: compiled with an `optimizer` of this module and trained for a step at least.
        images: gives training images as the model takes them; called only where statistics have to be measured.
    """
    swap = keras.callbacks.SwapEMAWeights()
    swap.set_model(model)
    swap.on_test_begin()
    before = [np.array(variable.numpy()) for variable in model.non_trainable_variables]
    try:
        _measure_statistics(model, images)
        yield
    finally:
        for variable, value in zip(model.non_trainable_variables, before, strict=True):
            variable.assign(value)
        swap.on_test_end()


def _measure_statistics(model: keras.Model, images: Callable[[], NDArray[Any]]) -> None:
    """Every batch normalisation that is trained gets the images' statistics."""
    layers = [layer for layer in normalisations(model) if layer.trainable]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.momentum = 0.0
        model(images(), training=True)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
