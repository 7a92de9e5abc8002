"""Made answers of a model, drawn from seeds, for the tests of what is fitted on them and of figures."""

from __future__ import annotations

import numpy as np

from xraytune.data import folds


def predictions(n: int = 600, sharpness: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of a model that is right on average but `sharpness` times too sure."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 2, n)
    labels = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
    p = 1 / (1 + np.exp(-sharpness * logit))
    return labels, np.stack([1 - p, p], axis=1)


def split(labels: np.ndarray, k: int = 5) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds of these images, each a patient of its own."""
    return folds(labels.tolist(), [str(i) for i in range(len(labels))], k, 0)
