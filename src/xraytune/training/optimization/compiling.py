"""A plan's optimiser and loss: `compile_network` is what `build` ends with and what training repeats after thawing.

Losses take one-hot labels `(n, k)`, so that label smoothing and the focal loss are Keras's own and a saved model names
no class of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytune.framework import keras
from xraytune.training.optimization.settings import FOCAL_GAMMA, IMBALANCE, MOMENTUM, TrainingSettings


def optimizer_of(plan: TrainingSettings) -> keras.optimizers.Optimizer:
    """The plan's optimiser, unbuilt.

    Raises:
        ValueError: the name is none of adam, adamw and sgd.
    """
    if plan.optimizer == "adam":
        return keras.optimizers.Adam(plan.learning_rate)
    if plan.optimizer == "adamw":
        return keras.optimizers.AdamW(plan.learning_rate, weight_decay=plan.weight_decay)
    if plan.optimizer == "sgd":
        # decay decoupled from the rate, as AdamW has it; None where there is none: Keras then leaves the op out
        return keras.optimizers.SGD(plan.learning_rate, momentum=MOMENTUM, weight_decay=plan.weight_decay or None)
    raise ValueError(f"unknown optimizer {plan.optimizer!r}: adam, adamw or sgd")


class LogitAdjusted(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """A loss of probabilities that were moved to the training images' prevalence (Menon et al. 2021, with τ = 1).

    The network then learns to answer at equal prevalence. Only what is trained is compiled with it: a saved network
    keeps the loss inside.

    Args:
        inner: the loss, as `keras.Model.loss` has it, of probabilities `(n, k)` or of one sigmoid `(n, 1)`.
        shares: of the classes among the training images, `(k,)`, each above 0.
    """

    def __init__(self, inner: Any, shares: NDArray[np.floating]) -> None:
        super().__init__(name=str(getattr(inner, "name", inner)))
        known = keras.losses.get(inner)
        self._inner = known.call if isinstance(known, keras.losses.Loss) else known
        self._logits = np.log(np.asarray(shares, dtype=np.float32))

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each image, `(n,)`."""
        single = y_pred.shape[-1] == 1
        p = keras.ops.concatenate([1 - y_pred, y_pred], axis=-1) if single else y_pred
        moved = keras.ops.softmax(keras.ops.log(keras.ops.maximum(p, keras.config.epsilon())) + self._logits, axis=-1)
        return self._inner(y_true, moved[:, 1:] if single else moved)


def adjusted(loss: Any, plan: TrainingSettings, labels: NDArray[np.integer], classes: int) -> Any:
    """The loss that a plan trains with, where `loss` is the network's own and `labels` those of its training images."""
    if plan.imbalance != "logit_adjusted" or isinstance(loss, LogitAdjusted):
        return loss
    return LogitAdjusted(loss, np.maximum(np.bincount(labels, minlength=classes), 1) / len(labels))


def loss_of(plan: TrainingSettings) -> keras.losses.Loss:
    """The plan's loss over one-hot labels; what `IMBALANCE` does beside focal stands outside.

    Raises:
        ValueError: the plan's `imbalance` is none of `IMBALANCE`.
    """
    if plan.imbalance not in IMBALANCE:
        raise ValueError(f"unknown imbalance {plan.imbalance!r}: {', '.join(IMBALANCE)}")
    if plan.imbalance == "focal":
        return keras.losses.CategoricalFocalCrossentropy(
            alpha=1.0, gamma=FOCAL_GAMMA, label_smoothing=plan.label_smoothing
        )
    return keras.losses.CategoricalCrossentropy(label_smoothing=plan.label_smoothing)


def jit_compile() -> bool:
    """Whether XLA compiles the training step: always with JAX, never with TensorFlow.

    With TensorFlow 2.21 on a CPU it makes a step 16–50 % slower, and adds seconds to the first (measured).
    """
    return bool(keras.backend.backend() == "jax")


def compile_network(model: keras.Model, plan: TrainingSettings) -> None:
    """Compile in place, with accuracy as the one metric: an area under a curve costs a step more than a small step."""
    model.compile(optimizer=optimizer_of(plan), loss=loss_of(plan), metrics=["accuracy"], jit_compile=jit_compile())


@contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Networks built inside compute in `precision`; their weights are float32 either way.

    Raises:
        ValueError: it is neither float32 nor bfloat16.
    """
    policies = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
    if precision not in policies:
        raise ValueError(f"unknown precision {precision!r}: {', '.join(policies)}")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policies[precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def to_float32(model: keras.Model) -> None:
    """Have a network that was trained in bfloat16 compute in float32 from now on, as it is saved and used."""
    for layer in model.layers:
        layer.dtype_policy = "float32"
    model.compile(optimizer=model.optimizer, loss=model.loss, jit_compile=jit_compile())


def targets(labels: NDArray[np.int32], model: keras.Model, one_hot: NDArray[np.float32]) -> NDArray[Any]:
    """Labels `(n,)` as the network's loss wants them: rows of `one_hot`; for a foreign one integers or one column."""
    loss = model.loss
    name = loss if isinstance(loss, str) else getattr(loss, "name", getattr(loss, "__name__", ""))
    if "sparse" in name:
        return labels
    if model.output_shape[-1] == 1:
        return labels[:, None].astype(np.float32)
    return one_hot[labels]
