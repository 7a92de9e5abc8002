"""The last layer of a network by logistic regression on what it is given, instead of by gradient steps.

The features are standardised for the solver and the standardisation is folded into the layer's weights, so that the
network needs no further layer. Classes weigh equally. The strength of the L2 penalty is chosen by the log loss of a
fifth of the patients, who are left out for it; then all images are fitted.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytune.framework import keras
from xraytune.training.inputs import batches, shifted_views

SOLVER = "logistic_regression"
"""The value of a family's hyperparameter `solver` that asks for it."""

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Choices of scikit-learn's C, smaller is a stronger penalty, on standardised features; the second is taken where too
few patients are there to choose by."""

USUAL = PENALTIES[1]

HELD_OUT = 0.2
"""Share of the patients by whom the penalty is chosen."""

MOST_IMAGES = 20_000
"""Images that are fitted, at most, classes equally: more take longer and change a few hundred weights little."""

ITERATIONS = 200

BATCH = 256

Features = NDArray[np.float32]


def solve(
    model: keras.Model,
    images: NDArray[Any],
    rows: NDArray[np.int64],
    labels: NDArray[Any],
    patients: NDArray[Any],
    *,
    seed: int = 0,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Set the weights of a network's last layer, a dense softmax.

    Args:
        model: the network; the layers before the last stay as they are.
        images: `(n, s, s, c)`, pixel values 0–255.
        rows: which of them are training images, `(m,)`.
        labels: theirs, `(m,)`.
        patients: who they show, `(m,)`.
        seed: of which patients are left out to choose the penalty by.
        check: called between steps of some seconds; raises to stop (a deadline).
    """
    classes, labels = int(model.output_shape[-1]), labels.astype(np.int32)
    chosen = np.arange(len(rows)) if len(rows) <= MOST_IMAGES else shifted_views.subset(labels, MOST_IMAGES // classes)
    below = keras.Model(model.inputs, model.layers[-1].input)
    parts = []
    for batch, count in batches.padded_batches(np.asarray(rows)[chosen], BATCH):
        check()
        parts.append(np.asarray(below.predict_on_batch(images[batch]))[:count])
    kernel, bias = fit(np.concatenate(parts), labels[chosen], patients[chosen], classes, seed=seed, check=check)
    model.layers[-1].set_weights([kernel, bias])


def fit(
    features: Features,
    labels: NDArray[np.int32],
    patients: NDArray[Any],
    classes: int,
    *,
    seed: int = 0,
    check: Callable[[], None] = lambda: None,
) -> tuple[Features, Features]:
    """Weights `(d, classes)` and bias `(classes,)` of a softmax layer on features `(n, d)`.

    Args:
        features: as the layer gets them.
        labels: `(n,)`; every class has an image.
        patients: `(n,)`; no patient's images are both fitted and used to choose the penalty.
        classes: how many there are.
        seed: of which patients are left out to choose the penalty by.
        check: called before each fit; raises to stop.
    """
    mean, deviation = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
    scaled = (features - mean) / deviation
    model = _regression(scaled, labels, _penalty(scaled, labels, patients, seed, check), check)
    kernel, bias = model.coef_.T / deviation[:, None], model.intercept_
    if classes == 2:  # scikit-learn has the log odds of the second class: half of it for one, half against the other
        kernel, bias = np.concatenate([-kernel, kernel], axis=1) / 2, np.concatenate([-bias, bias]) / 2
    bias = bias - mean @ kernel
    return kernel.astype(np.float32), bias.astype(np.float32)


def _penalty(
    scaled: Features, labels: NDArray[np.int32], patients: NDArray[Any], seed: int, check: Callable[[], None]
) -> float:
    """The penalty of the smallest log loss on patients who were left out, classes weighing equally."""
    known = np.unique(patients)
    held = np.isin(patients, np.random.default_rng(seed).permutation(known)[: round(HELD_OUT * len(known))])
    if any(len(np.unique(labels[part])) < len(np.unique(labels)) for part in (held, ~held)):
        return USUAL
    truth = labels[held]
    weights = 1.0 / np.bincount(truth)[truth]
    losses = []
    for penalty in PENALTIES:
        model = _regression(scaled[~held], labels[~held], penalty, check)
        chances = model.predict_proba(scaled[held])[np.arange(len(truth)), np.searchsorted(model.classes_, truth)]
        losses.append(float(-(weights * np.log(np.maximum(chances, 1e-12))).sum()))
    return PENALTIES[int(np.argmin(losses))]


def _regression(scaled: Features, labels: NDArray[np.int32], penalty: float, check: Callable[[], None]) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    check()
    model = LogisticRegression(C=penalty, class_weight="balanced", max_iter=ITERATIONS)
    with warnings.catch_warnings():  # the last iterations change no answer
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(scaled, labels)
