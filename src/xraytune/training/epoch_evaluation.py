"""What an epoch is worth: the objective's value and every metric, from the clean validation images and shifted views.

A fixed, balanced subset of the validation images is drawn once as each of the study's views and kept beside the image
cache; every trial of that size maps the same file. Every epoch is judged on the clean images; the views are looked at
at rungs (`course.is_rung`), where trials are compared, and at the end. How many images a rung looks at follows from
what was trained since the last one, so that views stay under a fifth of a trial's time; the end looks at all.

Under the robust objective an epoch's own value is F-beta on the clean images as the robust score takes it: classes
weighted equally, at the best threshold. The best epoch is chosen by it, and at a rung the views judge the weights of
the best epoch so far: what a trial that stopped there would be worth.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from numpy.typing import NDArray

from xraytune import artifacts
from xraytune.evaluation import metrics, robust_score
from xraytune.evaluation.robust_score import RobustScore
from xraytune.records import LAYOUT, Objective
from xraytune.training.inputs import shifted_views
from xraytune.training.inputs.batches import Rows
from xraytune.training.inputs.shifted_views import View
from xraytune.training.inputs.trial_data import TrialData

PER_CLASS = 100
"""Validation images of each class that views are drawn of: specificity is known to ± 0.04 a view, and the score
averages several views."""

PER_CLASS_PREFIX = 40
"""The same for a network with a frozen prefix, through which every view must go: 12 views of 80 images cost VGG16 at
64 px about twenty core seconds, once a prefix."""

SHARE = 0.2
"""Part of a trial's time that views may take: half of it at rungs, half at the end."""

STEP_COST = 3.0
"""A training step costs about three forward passes (one forward, two backward)."""

Predict = Callable[[NDArray[Any], Rows], NDArray[np.float32]]
"""Probabilities `(m, k)` of rows `(m,)` of a pool `(n, s, s, c)`."""


@dataclass(frozen=True)
class ViewedImages:
    """The views of a subset of one pool's validation images."""

    names: tuple[str, ...]
    """The views, the clean one first."""

    pool: NDArray[np.uint8]
    """`(views · m, s, s, c)`, one view after another, mapped read-only."""

    labels: NDArray[np.int32]
    """`(m,)`."""

    positions: NDArray[np.intp]
    """`(m,)`: where each image stands among the validation images."""

    key: str
    """sha256 of what the pool was made from; fingerprint of its features."""

    def chosen(self, per_class: int) -> NDArray[np.intp]:
        """Which of the `m` images a look at `per_class` of each class takes; a smaller look is part of a larger one."""
        return shifted_views.subset(self.labels, per_class)

    def predictions(self, predict: Predict, chosen: NDArray[np.intp]) -> dict[str, NDArray[np.float32]]:
        """Probabilities `(len(chosen), k)` of each view."""
        m = len(self.labels)
        rows = np.concatenate([view * m + chosen for view in range(len(self.names))]).astype(np.int64)
        answers = predict(self.pool, rows).reshape(len(self.names), len(chosen), -1)
        return dict(zip(self.names, answers, strict=True))


def per_rung(trained: int, shown: int, classes: int, most: int) -> int:
    """Images of each class to look at at a rung.

    Args:
        trained: images trained on since the last rung.
        shown: how many views there are.
        classes: how many classes.
        most: never more than so many; never fewer than 10.
    """
    return int(np.clip(SHARE / 2 * STEP_COST * trained / (shown * classes), 10, most))


def draw(
    pool: NDArray[np.uint8],
    validation: Rows,
    labels: NDArray[np.int32],
    planned: Sequence[View],
    *,
    per_class: int,
    fingerprint: str,
    cache: Path,
) -> ViewedImages:
    """Draw the views of a balanced subset of the validation images, or map those drawn before.

    Args:
        pool: `(n, s, s, c)`, uint8.
        validation: which of them are validation images.
        labels: `(n,)`, of the whole pool.
        planned: from `views.plan`.
        per_class: images of each class.
        fingerprint: of the pool's data.
        cache: the cache folder.
    """
    positions = shifted_views.subset(labels[validation], per_class)
    rows = np.asarray(validation)[positions]
    about = [LAYOUT, fingerprint, list(map(int, pool.shape)), [v.to_json() for v in planned], rows.tolist()]
    key = hashlib.sha256(json.dumps(about).encode()).hexdigest()
    path = cache / "views" / f"{key[:32]}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                drawn = shifted_views.draw_all(np.asarray(pool[rows]), planned)
                with artifacts.atomic_write(path) as temporary, temporary.open("wb") as file:
                    np.save(file, drawn.reshape(-1, *drawn.shape[2:]))
    return ViewedImages(
        names=tuple(v.name for v in planned),
        pool=np.load(path, mmap_mode="r"),
        labels=labels[rows],
        positions=positions,
        key=key,
    )


class EpochEvaluator:
    """Judges the epochs of one training.

    Args:
        data: what is trained on and judged by.
        pool: the images at the network's size, `(n, s, s, c)`, uint8.
        objective: `clean` or `robust`.
        beta: of F-beta.
        trained: images that an epoch trains on; how many images of the views a rung looks at follows from it.
        prefix: whether the network has a frozen prefix, through which every view must go.

    Raises:
        ValueError: objective robust without views.
    """

    def __init__(
        self, data: TrialData, pool: NDArray[np.uint8], *, objective: str, beta: float, trained: int, prefix: bool
    ) -> None:
        if objective == Objective.ROBUST and len(data.validation) and not data.views:
            raise ValueError("objective robust needs data with views: with_views(data, seed)")
        self.data, self.pool, self.objective, self.beta = data, pool, objective, beta
        self._per_class = PER_CLASS_PREFIX if prefix else PER_CLASS
        self._trained = trained
        self._viewed: ViewedImages | None = None

    @property
    def labels(self) -> NDArray[np.int32]:
        """Of the validation images."""
        return np.asarray(self.data.labels[self.data.validation])

    def trivial(self, first: Mapping[str, float]) -> float:
        """The objective of the best answer that looks at no image; `first` is the first epoch's metrics."""
        if self.objective == Objective.ROBUST:
            return robust_score.trivial(len(self.data.classes), self.data.positive, self.beta)
        return first.get("val_trivial_f_beta", 0.0)

    def clean(self, probabilities: NDArray[np.float32], loss: float) -> tuple[float, dict[str, float]]:
        """What an epoch is worth on the clean images, and every metric.

        Args:
            probabilities: of the validation images, `(n, k)`.
            loss: of the epoch's training batches.
        """
        labels = self.labels
        figures = metrics.summary(labels, probabilities, self.data.positive, beta=self.beta)
        chosen = np.clip(probabilities[np.arange(len(labels)), labels], 1e-7, 1.0)
        measured = {"loss": loss, "val_loss": float(-np.log(chosen).mean())}
        measured |= {f"val_{name}": float(value) for name, value in figures.items() if np.isfinite(value)}
        if self.objective != Objective.ROBUST:
            return float(figures["f_beta"]), measured
        value = robust_score.score(labels, {"clean": probabilities}, self.data.positive, beta=self.beta).value
        return value, measured | {"val_balanced_f_beta": value}

    def best_threshold(self, probabilities: NDArray[np.float32]) -> dict[str, float]:
        """The threshold where F-beta is best on the clean images, and F-beta there; empty without a positive class."""
        if self.data.positive is None:
            return {}
        scores = probabilities[:, self.data.positive]
        threshold, value = metrics.best_threshold(self.labels == self.data.positive, scores, self.beta)
        return {"best_threshold": float(threshold), "f_beta_best_threshold": float(value)}

    def look(self, predict: Predict, epochs: int | None = None) -> tuple[RobustScore, dict[str, NDArray[np.float32]]]:
        """The robust score, and the predictions it is made of, by view.

        Args:
            predict: probabilities of rows of the views' pool.
            epochs: trained since the last look: as many images are looked at as they allow; None: all that were drawn.
        """
        viewed, most = self.views(), self._per_class
        if epochs is not None:
            most = per_rung(epochs * self._trained, max(len(self.data.views), 1), len(self.data.classes), most)
        chosen = viewed.chosen(most)
        answers = viewed.predictions(predict, chosen)
        return robust_score.score(viewed.labels[chosen], answers, self.data.positive, beta=self.beta), answers

    def views(self) -> ViewedImages:
        """The views of some of the validation images, drawn when first asked for."""
        if self._viewed is None:
            self._viewed = draw(
                self.pool,
                np.asarray(self.data.validation),
                self.data.labels,
                self.data.views,
                per_class=self._per_class,
                fingerprint=self.data.fingerprint,
                cache=self.data.cache,
            )
        return self._viewed

    @property
    def viewed(self) -> ViewedImages | None:
        """What `views` has drawn so far."""
        return self._viewed


def measure(score: robust_score.RobustScore) -> dict[str, float]:
    """A robust score as metrics: `robust`, `robust_threshold` (two classes), and for each view `view_NAME`.

    A view's name stands as it is, blanks too: classes' names are part of some, and may have underscores.
    """
    measured = {"robust": score.value}
    if np.isfinite(score.threshold):
        measured["robust_threshold"] = score.threshold
    return measured | {f"view_{name}": value for name, value in score.by_view.items()}
