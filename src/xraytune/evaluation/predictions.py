"""What a model answered on a set of images, beside the truth: the one record that figures are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xraytune.evaluation import metrics
from xraytune.evaluation.intervals import DRAWS
from xraytune.evaluation.metrics import Ints


@dataclass(frozen=True, eq=False)
class Predictions:
    """One model's probabilities on `n` images of `k` classes, and how they become decisions.

    Raises:
        ValueError: the lengths differ, or there is no prediction.
    """

    labels: NDArray[np.integer]
    """Class indices `(n,)`."""
    probabilities: NDArray[np.floating]
    """`(n, k)`."""
    patients: NDArray[np.generic]
    """Who each image shows, `(n,)`: intervals draw patients, not images."""
    classes: Sequence[str]
    """Their `k` names."""
    positive: int | None
    """Index of the class that the threshold decides on; None: the likeliest class is the decision."""
    threshold: float = 0.5
    """Operating threshold of the positive class's probability."""
    beta: float = 2.0
    """Of F-beta."""
    prevalence: Sequence[float] | None = None
    """Shares of the classes `(k,)` that the probabilities are stated for: Brier's score and the calibration error are
    judged at them. None: as frequent as the classes are in `labels`."""
    draws: int = DRAWS
    """Bootstrap resamples of an interval."""

    def __post_init__(self) -> None:
        labels = np.asarray(self.labels, dtype=np.int64)
        probabilities = np.asarray(self.probabilities, dtype=np.float64)
        patients = np.asarray(self.patients)
        if probabilities.shape != (len(labels), len(self.classes)) or patients.shape != labels.shape:
            raise ValueError(
                f"{len(labels)} labels and {len(patients)} patients of {len(self.classes)} classes, "
                f"but probabilities of shape {probabilities.shape}"
            )
        if not len(labels):
            raise ValueError("no predictions")
        for name, array in (("labels", labels), ("probabilities", probabilities), ("patients", patients)):
            object.__setattr__(self, name, array)

    @property
    def decided(self) -> Ints:
        """Class indices `(n,)` at the threshold."""
        return metrics.decide(self.probabilities, self.positive, self.threshold)

    def rows(self, chosen: NDArray[np.integer] | NDArray[np.bool_]) -> Predictions:
        """Those of some images."""
        return replace(
            self,
            labels=self.labels[chosen],
            probabilities=self.probabilities[chosen],
            patients=self.patients[chosen],
        )

    def answered(self, probabilities: ArrayLike, threshold: float = 0.5) -> Predictions:
        """Another model's probabilities `(n, k)` on the same images."""
        return replace(self, probabilities=np.asarray(probabilities, dtype=np.float64), threshold=threshold)

    def trivial(self) -> Predictions:
        """The answer that looks at no image: always the positive class; without one, always the largest class."""
        k = len(self.classes)
        always = self.positive if self.positive is not None else int(np.bincount(self.labels, minlength=k).argmax())
        return self.answered(np.eye(k)[np.full(len(self.labels), always)])
