"""What can be wrong with a data set whose files have been read. Each check returns problems."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xraytune.data import cache, spelling
from xraytune.data.dataset import Dataset
from xraytune.data.decoding import dicom_levels
from xraytune.data.decoding.inspection import MISSING, Inspection
from xraytune.data.problems import Problem, some
from xraytune.data.sources.listing import Item
from xraytune.data.verification import near_copies, near_names

BLANK = 4
"""Gray levels: radiographs span 50 and more."""

_NEVER_PARTED = "images of one patient, and equal files, are always in the same split"
_ALIKE = 3  # files with one cause that are named one by one

FEW_PATIENTS = 30
"""Patients of a class below which its figures are anecdotes: one patient is then 3 points of sensitivity or more."""

IMBALANCE = 4.0
"""Largest over smallest class above which it is said; Kermany's training set has 2.9."""

_GIVES_WAY = {"train": 0, "val": 1, "test": 2}  # a leak is cured on the side that comes first


def damaged(inspection: Inspection, root: Path) -> list[Problem]:
    """The files that can't be used as images: one problem for each cause that many files share."""
    causes: dict[str, list[int]] = defaultdict(list)
    for row, problem in sorted(inspection.problems.items()):
        causes[re.sub(r"\d+", "0", problem)].append(row)
    problems = []
    for rows in causes.values():
        keys = [inspection.keys[row] for row in rows]
        hint = near_names.hint(root, keys) if inspection.problems[rows[0]] == MISSING else ""
        if len(rows) <= _ALIKE and not hint:
            problems += [
                Problem("unreadable", key, inspection.problems[row], files=(key,))
                for key, row in zip(keys, rows, strict=True)
            ]
        else:
            what = inspection.problems[rows[0]] + (f"; {hint}" if hint else "")
            problems.append(Problem("unreadable", some(keys), what, files=tuple(keys)))
    return sorted(problems, key=lambda problem: problem.where)


def blank(items: Sequence[Item], rows: NDArray[np.int64], thumbnails: NDArray[np.uint8]) -> list[Problem]:
    """Images without content: nine tenths of the 32 x 32 reduction lie within `BLANK` gray levels.

    They are errors, since no class can be seen on them; a whole class of them is learned as "blank".

    Args:
        items: the images.
        rows: of each in `thumbnails`.
        thumbnails: `(n, 32, 32)`.
    """
    found = np.zeros(len(rows), np.bool_)
    for part in cache.in_chunks(range(len(rows))):
        small = thumbnails[rows[part]].reshape(len(part), -1)
        ends = [small.shape[1] // 20, small.shape[1] - 1 - small.shape[1] // 20]
        ordered = np.partition(small, ends, axis=1)
        found[part] = ordered[:, ends[1]].astype(int) - ordered[:, ends[0]] < BLANK
    keys = tuple(items[index].key for index in np.flatnonzero(found).tolist())
    if not keys:
        return []
    what = f"blank: almost the same gray everywhere ({len(keys)} of {len(items)} images)"
    whole = []
    for name in ("label", "split"):
        total = Counter(getattr(item, name) for item in items)
        gone = Counter(getattr(items[index], name) for index in np.flatnonzero(found).tolist())
        whole += [value for value, count in gone.items() if value and count == total[value]]
    if whole:
        what += f"; all images of {' and of '.join(sorted(whole))} are"
    return [Problem("blank", some(keys, 3), what, files=keys)]


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
            what = f"the same file content under two labels: {named}"
            problems.append(Problem("two labels", keys[0], what, files=tuple(keys)))
        elif len({item.split for item in group}) > 1:
            splits = _ordered({item.split for item in group})
            files = tuple(sorted(item.key for item in group if item.split != splits[-1]))
            what = f"the same file content in {' and '.join(splits)}: {named}"
            problems.append(Problem("leak", keys[0], what, files=files))
        else:
            inside.append(keys)
    problems.sort(key=lambda problem: problem.where)
    if inside:
        inside.sort()
        example = " = ".join(inside[0][:3])
        what = f"{len(inside)} groups of files with the same content ({sum(map(len, inside))} files), e.g. {example}"
        problems.append(Problem("copies", "inside a split", what + "; they are always in the same split", warning=True))
    return problems + _patients_across(items, {file for problem in problems for file in problem.files})


def _patients_across(items: Sequence[Item], known: set[str]) -> list[Problem]:
    """Patients with images in two splits, beyond those whose files are equal anyway."""
    first: dict[str, str] = {}
    across: dict[str, set[str]] = defaultdict(set)
    for item in items:
        if item.patient and item.split and item.key not in known:
            before = first.setdefault(item.patient, item.split)
            if before != item.split:
                across[item.patient] |= {before, item.split}
    images: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if item.patient in across:
            images[item.patient].append(item)
    problems = []
    for patient in sorted(across):
        order = _ordered(across[patient])
        mine = sorted(i.key for i in images[patient])
        files = tuple(sorted(i.key for i in images[patient] if i.split != order[-1]))
        what = f"images of one patient in {' and '.join(order)}: {', '.join(mine[:4])}"
        more = f" and {len(mine) - 4} more" if len(mine) > 4 else ""
        problems.append(Problem("patient leak", patient, what + more, files=files))
    return problems


def written_twice(classes: Sequence[str], items: Sequence[Item]) -> list[Problem]:
    """Classes that differ only in how they are written (errors), and patients that probably are one (a warning)."""
    problems = []
    for group in spelling.alike(classes, spelling.class_key):
        names = ", ".join(map(repr, group))
        what = f"{names} differ only in case, spaces, number format, Unicode form or letters that look alike"
        what += ": spell them the same way"
        problems.append(Problem("class written two ways", group[0], what))
    patients = {item.patient for item in items if item.patient}
    if groups := spelling.alike(patients, spelling.patient_key):
        splits: dict[str, set[str]] = defaultdict(set)
        for item in items:
            splits[item.patient].add(item.split)
        across = [group for group in groups if len(set().union(*(splits[patient] for patient in group))) > 1]
        example = " and ".join(map(repr, (across or groups)[0][:3]))
        side = f", {len(across)} of them in two splits (a leak, if each is one patient)" if across else ""
        what = (
            f"{len(groups)} patients are spelled in two ways, e.g. {example}{side}: they are treated as different "
            "patients. Spell each patient the same way"
        )
        problems.append(Problem("patient written two ways", "patients", what, warning=True))
    return problems


def without_images(dataset: Dataset, items: Sequence[Item], quarantined: int) -> list[Problem]:
    """Splits without an image, or without an image of a class: nothing could be chosen or measured there.

    Args:
        dataset: as it was split.
        items: its images, as the source says it of them.
        quarantined: how many files were left out.
    """
    images, problems = dataset.images, []
    given = {item.split for item in items if item.split}
    for split, name in (("train", "training"), ("val", "validation"), ("test", "test")):
        counts = np.bincount(images.labels[images.splits == split], minlength=len(dataset.classes))
        empty = np.flatnonzero(counts == 0).tolist()
        if not empty:
            continue
        first = empty[0]
        mine = images.labels == first
        people = len(set(images.patients[mine]))
        which = "has no image" if not counts.any() else f"has no image of {some([dataset.classes[at] for at in empty])}"
        count = int(mine.sum())
        reason = f"{dataset.classes[first]} has {count} {'image' if count == 1 else 'images'}"
        if dataset.grouped_by == "patient":
            reason += f" of {people} {'patient' if people == 1 else 'patients'}"
        elif people != count:
            reason += f" of {people} different contents"
        if dataset.grouped_by == "patient" and len(set(images.patients)) == 1:
            reason = "all images are of one patient"
        if split in given:
            why = f"{reason}, but none in this split of the source"
        else:
            unit = "patients" if dataset.grouped_by == "patient" else "different images"
            why = f"{reason}. Each class needs at least 3 {unit}, one in each split, since {_NEVER_PARTED}"
        if quarantined:
            why += f" ({quarantined} bad files were left out)"
        problems.append(Problem("empty split", name, f"{which}: {why}"))
    return problems


def emptied(before: Sequence[Item], after: Sequence[Item]) -> list[Problem]:
    """Classes that have no image left once bad files are out."""
    return [
        Problem("empty class", name, "all of its images are bad")
        for name in sorted({i.label for i in before} - {i.label for i in after})
    ]


def one_class(classes: Sequence[str], name: str, hint: str) -> list[Problem]:
    """A data set needs two classes; `hint` says what the source may be instead."""
    if len(classes) >= 2:
        return []
    what = f"has only one class, {classes[0]}: a second one is needed" if classes else "has no class"
    what += f"; {hint}" if hint else ""
    return [Problem("one class", name, what)]


def advice(dataset: Dataset, inspection: Inspection) -> tuple[list[Problem], list[str]]:
    """What one should know about data that can be used: warnings, and sentences that warn of nothing."""
    problems, facts = near_copies.across_splits(dataset, inspection)
    if dataset.grouped_by == "image":
        what = (
            "no patient is known, so the split is by image: images of one patient may be in two splits, and all "
            "metrics may be too optimistic. Name the patients with --patient-regex or a manifest"
        )
        problems.append(Problem("patients", "all splits", what, warning=True))
    images = dataset.images
    sealed = images.splits == "test"
    counts = np.bincount(images.labels[~sealed], minlength=len(dataset.classes))
    most, fewest = int(counts.argmax()), int(counts.argmin())
    if counts[most] > IMBALANCE * counts[fewest]:
        what = (
            f"{counts[most]} images of {dataset.classes[most]}, {counts[fewest]} of {dataset.classes[fewest]}: "
            "the search includes class weights"
        )
        problems.append(Problem("imbalance", "training", what, warning=True))
    unit = "patients" if dataset.grouped_by == "patient" else "images"
    for index, name in enumerate(dataset.classes):
        for part, side in (("training", ~sealed), ("test", sealed)):
            found = len(set(images.patients[side & (images.labels == index)]))
            if found < FEW_PATIENTS:
                what = f"{found} {unit}: too few for reliable metrics (30 or more are recommended)"
                problems.append(Problem("few patients", f"{name}, {part}", what, warning=True))
    return problems, facts


def _ordered(splits: set[str]) -> list[str]:
    return sorted(splits, key=lambda split: _GIVES_WAY.get(split, 3))
