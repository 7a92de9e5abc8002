"""A small model of image properties, cross-validated by patient: how far do they alone tell groups of images apart?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xraytune.data.split import folds

FOLDS = 5

VERSION = 1
"""Raised when the model changes: what was computed with another one is not used again."""


def fewest_patients(labels: NDArray[np.integer], patients: Sequence[str]) -> int:
    """Patients of the group that has the fewest."""
    return min(len({p for p, one in zip(patients, labels, strict=True) if one == c}) for c in set(labels.tolist()))


def out_of_fold(
    table: NDArray[np.float64], labels: NDArray[np.integer], patients: Sequence[str]
) -> NDArray[np.float64] | None:
    """Each image's probability of each group, by models that were fitted without its patient.

    The model is additive: a logistic regression on splines of each property's rank. On Kermany's images it separates
    the classes as well as boosted trees do, in a quarter of the time.

    Args:
        table: properties `(n, p)`.
        labels: the group of each image, `(n,)` of 0 to k - 1.
        patients: who each image shows.

    Returns:
        `(n, k)`; None where a group has fewer than two patients.
    """
    import threadpoolctl
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer, SplineTransformer

    fewest = fewest_patients(labels, patients)
    if fewest < 2:
        return None
    scores = np.zeros((len(labels), int(labels.max()) + 1))
    with threadpoolctl.threadpool_limits(1):  # a seventh of the time, where threads wait for each other
        for train, held in folds(labels.tolist(), patients, min(FOLDS, fewest), 0):
            ranks = QuantileTransformer(n_quantiles=min(100, len(train)), random_state=0)
            model = make_pipeline(ranks, SplineTransformer(n_knots=5), LogisticRegression(max_iter=500))
            model.fit(table[train], labels[train])
            scores[np.ix_(held, model.classes_)] = model.predict_proba(table[held])
    return scores
