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


def clustered(
    patients: int, kind: str = "normal", seed: int = 0, *, apart: float = 3.4, share: float = 0.5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibrated-looking answers of a two-class model with several images a patient: event, score and patient `(n,)`.

    Args:
        patients: how many; each has 1 to 6 images, and its images resemble each other (correlation 0.5 of the logits).
        kind: of the logits' spread. `normal`: as it is. `heavy`: Student's t of 3 degrees of freedom. `noisy`: in one
            patient of fifty the label is wrong. `large`: patients with more images are the harder ones. `sided`: one
            in ten patients has images of both sides.
        seed: of everything drawn.
        apart: difference of the classes' means in standard deviations; 3.4 is a ROC AUC of 0.99, 2.5 one of 0.96.
        share: of positive patients.
    """
    rng = np.random.default_rng(seed)
    images = rng.choice([1, 2, 3, 6], patients, p=[0.5, 0.25, 0.15, 0.1])
    who = np.repeat(np.arange(patients), images)
    event = (rng.random(patients) < share)[who]
    if kind == "sided":
        event = event ^ ((rng.random(patients) < 0.1)[who] & (rng.random(len(who)) < 0.5))
    spread = (lambda n: rng.standard_t(3, n) / np.sqrt(3)) if kind == "heavy" else rng.standard_normal
    noise = np.sqrt(0.5) * (spread(patients)[who] + spread(len(who)))
    level = np.where(event, 0.5, -0.5) * apart
    if kind == "large":
        level = level * np.where(images[who] > 2, 0.6, 1.1)
    if kind == "noisy":
        event = event ^ (rng.random(patients) < 0.02)[who]
    return event, 1 / (1 + np.exp(-apart * (level + noise))), np.array([f"p{w}" for w in who])
