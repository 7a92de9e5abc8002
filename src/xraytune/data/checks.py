"""What can be wrong with a data set whose files have been read. Each check returns problems."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xraytune.data import copies, dicom_levels
from xraytune.data.dataset import Dataset
from xraytune.data.inspection import Inspection
from xraytune.data.items import Item
from xraytune.data.problems import Problem

FEW_PATIENTS = 30
"""Patients of a class below which its figures are anecdotes: one patient is then 3 points of sensitivity or more."""

IMBALANCE = 4.0
"""Largest over smallest class above which it is said; Kermany's training set has 2.9."""

_GIVES_WAY = {"train": 0, "val": 1, "test": 2}  # a leak is cured on the side that comes first


def damaged(inspection: Inspection) -> list[Problem]:
    """Every file that can't be used as an image."""
    return [
        Problem("unreadable", inspection.keys[row], problem, files=(inspection.keys[row],))
        for row, problem in sorted(inspection.problems.items())
    ]


def remarks(inspection: Inspection) -> list[Problem]:
    """What DICOM headers hold that could not be applied: for each kind a count and an example."""
    problems = []
    for bit, what in dicom_levels.REMARKS.items():
        rows = np.flatnonzero(inspection.rows["remark"] & bit)
        if len(rows):
            example, count = inspection.keys[int(rows[0])], f"{len(rows)} image{'s' if len(rows) > 1 else ''}"
            problems.append(Problem("DICOM levels", example, f"{count} like this one: {what}", warning=True))
    return problems


def same_content(digests: NDArray[np.uint8]) -> list[NDArray[np.int64]]:
    """The groups of files that are equal byte for byte.

    Args:
        digests: `(n, 32)`, the sha256 of each file.

    Returns:
        The indices of each group of two or more.
    """
    first = np.ascontiguousarray(digests[:, :8]).view(np.uint64)[:, 0]
    values, counts = np.unique(first, return_counts=True)
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index in np.flatnonzero(np.isin(first, values[counts > 1])).tolist():
        groups[digests[index].tobytes()].append(index)
    return [np.array(group) for group in groups.values() if len(group) > 1]


def leaks(items: Sequence[Item], same: Sequence[NDArray[np.int64]]) -> list[Problem]:
    """One file's content in two splits or under two labels, and a patient in two splits; copies inside a split.

    Args:
        items: every image.
        same: the groups of those that are equal byte for byte, as indices.
    """
    problems, inside = [], []
    for group in ([items[index] for index in indices] for indices in same):
        keys = sorted(item.key for item in group)
        named = " = ".join(keys[:4]) + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")
        if len({item.label for item in group}) > 1:
            what = f"one file's content under two labels: {named}"
            problems.append(Problem("two labels", keys[0], what, files=tuple(keys)))
        elif len({item.split for item in group}) > 1:
            splits = _ordered({item.split for item in group})
            files = tuple(sorted(item.key for item in group if item.split != splits[-1]))
            what = f"one file's content in {' and '.join(splits)}: {named}"
            problems.append(Problem("leak", keys[0], what, files=files))
        else:
            inside.append(keys)
    problems.sort(key=lambda problem: problem.where)
    if inside:
        inside.sort()
        example = " = ".join(inside[0][:3])
        what = f"{len(inside)} groups of files with the same content ({sum(map(len, inside))} files), e.g. {example}"
        problems.append(
            Problem("copies", "inside a split", what + "; they stay on one side of every split", warning=True)
        )
    return problems + _patients_across(items, {file for problem in problems for file in problem.files})


def _patients_across(items: Sequence[Item], known: set[str]) -> list[Problem]:
    """Patients with films in two splits, beyond those whose files are equal anyway."""
    first: dict[str, str] = {}
    across: dict[str, set[str]] = defaultdict(set)
    for item in items:
        if item.patient and item.split and item.key not in known:
            before = first.setdefault(item.patient, item.split)
            if before != item.split:
                across[item.patient] |= {before, item.split}
    films: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if item.patient in across:
            films[item.patient].append(item)
    problems = []
    for patient in sorted(across):
        order = _ordered(across[patient])
        mine = sorted(i.key for i in films[patient])
        files = tuple(sorted(i.key for i in films[patient] if i.split != order[-1]))
        what = f"films of one patient in {' and '.join(order)}: {', '.join(mine[:4])}"
        more = f" and {len(mine) - 4} more" if len(mine) > 4 else ""
        problems.append(Problem("patient leak", patient, what + more, files=files))
    return problems


def emptied(before: Sequence[Item], after: Sequence[Item]) -> list[Problem]:
    """Classes that have no image left once bad files are out."""
    return [
        Problem("empty class", name, "all of its images are bad")
        for name in sorted({i.label for i in before} - {i.label for i in after})
    ]


def one_class(classes: Sequence[str], name: str) -> list[Problem]:
    """A data set needs two classes."""
    if len(classes) >= 2:
        return []
    what = f"has one class, {classes[0]}: a second one is needed" if classes else "has no class"
    return [Problem("one class", name, what)]


def advice(dataset: Dataset, inspection: Inspection) -> tuple[list[Problem], list[str]]:
    """What one should know about data that can be used: warnings, and sentences that warn of nothing."""
    problems, facts = copies.across_splits(dataset, inspection)
    if dataset.grouped_by == "image":
        what = (
            "no patient is known, so the split is by image: films of one patient may lie on both sides, and every "
            "figure may then be too good. Name them with --patient-regex or a manifest"
        )
        problems.append(Problem("patients", "all splits", what, warning=True))
    images = dataset.images
    sealed = images.splits == "test"
    counts = np.bincount(images.labels[~sealed], minlength=len(dataset.classes))
    most, fewest = int(counts.argmax()), int(counts.argmin())
    if counts[most] > IMBALANCE * counts[fewest]:
        what = (
            f"{counts[most]} images of {dataset.classes[most]}, {counts[fewest]} of {dataset.classes[fewest]}: "
            "class weights are searched"
        )
        problems.append(Problem("imbalance", "training", what, warning=True))
    unit = "patients" if dataset.grouped_by == "patient" else "images"
    for index, name in enumerate(dataset.classes):
        for part, side in (("training", ~sealed), ("test", sealed)):
            found = len(set(images.patients[side & (images.labels == index)]))
            if found < FEW_PATIENTS:
                what = f"{found} {unit}: figures on them are anecdotes (30 or more are wanted)"
                problems.append(Problem("few patients", f"{name}, {part}", what, warning=True))
    return problems, facts


def _ordered(splits: set[str]) -> list[str]:
    return sorted(splits, key=lambda split: _GIVES_WAY.get(split, 3))
