"""Who goes where: patients, never images, are dealt to training, validation and test. Called by verify and retrain."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xraytune.errors import InputError

Indices = NDArray[np.int64]

SHARE = 0.15
"""Of the images, what a flat folder gives to validation and to test each (70/15/15)."""


def hold_out(labels: Sequence[int], patients: Sequence[str], share: float, seed: int) -> NDArray[np.bool_]:
    """Choose patients that hold about `share` of every class's images.

    Patients are taken in the order of a seeded hash of their key, so that the choice does not depend on the order of
    the files, and one is held out where that brings the classes' counts closer to their targets. For patients of one
    class each, a class's count ends within half its largest patient of the target. A class with two patients or more
    is on both sides.

    Args:
        labels: class index of each image, `(n,)`.
        patients: patient key of each image, `(n,)`.
        share: between 0 and 1.
        seed: of the order.

    Returns:
        bool `(n,)`, true for images held out.
    """
    label = np.asarray(labels, dtype=np.int64)
    classes = int(label.max(initial=-1)) + 1
    counts: dict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros(classes, np.int64))
    for patient, index in zip(patients, label, strict=True):
        counts[patient][index] += 1
    total = np.bincount(label, minlength=classes)
    target, scale = total * share, np.maximum(total, 1)
    order = sorted(counts, key=lambda patient: hashlib.sha256(f"{seed}/{patient}".encode()).digest())
    held: set[str] = set()
    now = np.zeros(classes, np.int64)

    def distance(count: NDArray[np.int64]) -> float:
        return float((np.abs(count - target) / scale).sum())

    def empties(count: NDArray[np.int64], of: NDArray[np.int64]) -> bool:
        """Whether holding `count` would leave the other side without a class that the patient has."""
        return bool(((of > 0) & (count >= total)).any())

    for patient in order:
        after = now + counts[patient]
        if distance(after) < distance(now) and not empties(after, counts[patient]):
            held.add(patient)
            now = after
    for index in np.flatnonzero((now == 0) & (total > 0)):
        candidates = [p for p in order if counts[p][index] and not empties(now + counts[p], counts[p])]
        if candidates:
            patient = min(candidates, key=lambda p: int(counts[p].sum()))
            held.add(patient)
            now = now + counts[patient]
    return np.fromiter((patient in held for patient in patients), bool, len(label))


def folds(labels: Sequence[int], patients: Sequence[str], k: int, seed: int) -> list[tuple[Indices, Indices]]:
    """Patient-grouped, stratified folds (scikit-learn's StratifiedGroupKFold).

    Args:
        labels: class index of each image, `(n,)`.
        patients: patient key of each image, `(n,)`.
        k: number of folds, 2 or more.
        seed: of the shuffle.

    Returns:
        k pairs (training indices, validation indices).

    Raises:
        InputError: a class has fewer patients than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    label, group = np.asarray(labels), np.asarray(patients)
    fewest = min(len(set(group[label == index].tolist())) for index in set(label.tolist()))
    if k < 2 or fewest < k:
        raise InputError(
            f"{k} folds can't be made: the smallest class has {fewest} patients. Take 2 to {fewest} folds."
        )
    splitter = StratifiedGroupKFold(n_splits=k, shuffle=True, random_state=seed)
    return [(np.asarray(a), np.asarray(b)) for a, b in splitter.split(np.zeros(len(label)), label, group)]


def bind(patients: Sequence[str], contents: Sequence[str]) -> list[str]:
    """Groups that must not be parted: images of one patient, and images whose files are the same byte for byte.

    Args:
        patients: patient key of each image.
        contents: sha256 of each image's file.

    Returns:
        For each image, the smallest patient key of its group.
    """
    parent: dict[str, str] = {}

    def find(key: str) -> str:
        root = key
        while parent.setdefault(root, root) != root:
            root = parent[root]
        while parent[key] != root:
            parent[key], key = root, parent[key]
        return root

    first: dict[str, str] = {}
    for patient, content in zip(patients, contents, strict=True):
        a, b = find(patient), find(first.setdefault(content, patient))
        if a != b:
            parent[max(a, b)] = min(a, b)
    return [find(patient) for patient in patients]
