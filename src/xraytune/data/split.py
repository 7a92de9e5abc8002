"""Who goes where: patients, never images, are dealt to training, validation and test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

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
    number: dict[str, int] = {}
    codes = np.fromiter((number.setdefault(patient, len(number)) for patient in patients), np.int64, len(label))
    counts = np.zeros((len(number), classes), np.int64)
    np.add.at(counts, (codes, label), 1)
    total = np.bincount(label, minlength=classes)
    target, scale = total * share, np.maximum(total, 1)
    drawn = bytearray()
    for patient in number:
        drawn += hashlib.sha256(f"{seed}/{patient}".encode()).digest()
    order = np.lexsort(np.frombuffer(drawn, ">u8").reshape(-1, 4).T[::-1]).tolist()
    held = np.zeros(len(number), np.bool_)
    now = np.zeros(classes, np.int64)

    def distance(count: NDArray[np.int64]) -> float:
        return float((np.abs(count - target) / scale).sum())

    def empties(count: NDArray[np.int64], of: NDArray[np.int64]) -> bool:
        """Whether holding `count` would leave the other side without a class that the patient has."""
        return bool(((of > 0) & (count >= total)).any())

    left = distance(now)
    for code in order:
        after = now + counts[code]
        if (then := distance(after)) < left and not empties(after, counts[code]):
            held[code] = True
            now, left = after, then
    for index in np.flatnonzero((now == 0) & (total > 0)):
        candidates = [p for p in order if counts[p][index] and not empties(now + counts[p], counts[p])]
        if candidates:
            patient = min(candidates, key=lambda p: int(counts[p].sum()))
            held[patient] = True
            now = now + counts[patient]
    return held[codes]


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


def site_folds(sites: Sequence[str], patients: Sequence[str]) -> dict[str, tuple[Indices, Indices]]:
    """One fold a site, held out whole (internal-external cross-validation: Steyerberg & Harrell 2016).

    Whoever has images at the held-out site is not trained on at the other sites either.

    Args:
        sites: of each image, `(n,)`.
        patients: patient key of each image, `(n,)`.

    Returns:
        by site, in alphabetical order: (training indices, validation indices). Each image is held out once.
    """
    site, group = np.asarray(sites, object), np.asarray(patients, object)
    found = {}
    for name in sorted(set(sites)):
        held = site == name
        shared = np.isin(group.astype(str), np.unique(group[held].astype(str)))
        found[name] = (np.flatnonzero(~held & ~shared), np.flatnonzero(held))
    return found


def bind(patients: Sequence[str], same: Iterable[NDArray[np.int64]]) -> list[str]:
    """Groups that must not be parted: images of one patient, and images whose files are the same byte for byte.

    Args:
        patients: patient key of each image.
        same: the groups of images whose files are equal, as indices.

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

    for group in same:
        for index in group[1:]:
            a, b = find(patients[index]), find(patients[group[0]])
            if a != b:
                parent[max(a, b)] = min(a, b)
    return [find(patient) if patient in parent else patient for patient in patients]
