"""What can be wrong with a data set whose files have been read. Each check returns problems. Called by verify."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from xraytune.data import copies
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
        Problem("unreadable", key, reading.problem, files=(key,))
        for key, reading in zip(inspection.keys, inspection.readings, strict=True)
        if reading.problem
    ]


def leaks(items: Sequence[Item], contents: Mapping[str, str]) -> list[Problem]:
    """One file's content in two splits or under two labels, and a patient in two splits; copies inside a split."""
    same: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        same[contents[item.key]].append(item)
    problems, inside = [], []
    for group in same.values():
        if len(group) < 2:
            continue
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
    splits: dict[str, set[str]] = defaultdict(set)
    for item in items:
        if item.patient and item.split and item.key not in known:
            splits[item.patient].add(item.split)
    problems = []
    for patient in sorted(patient for patient, found in splits.items() if len(found) > 1):
        order = _ordered(splits[patient])
        mine = sorted(i.key for i in items if i.patient == patient)
        files = tuple(sorted(i.key for i in items if i.patient == patient and i.split != order[-1]))
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
    counts = Counter(image.label for image in dataset.images if image.split != "test")
    if max(counts.values()) > IMBALANCE * min(counts.values()):
        most, fewest = max(counts, key=lambda c: counts[c]), min(counts, key=lambda c: counts[c])
        what = (
            f"{counts[most]} images of {dataset.classes[most]}, {counts[fewest]} of {dataset.classes[fewest]}: "
            "class weights are searched"
        )
        problems.append(Problem("imbalance", "training", what, warning=True))
    unit = "patients" if dataset.grouped_by == "patient" else "images"
    for index, name in enumerate(dataset.classes):
        for part, splits in (("training", {"train", "val"}), ("test", {"test"})):
            found = len({i.patient for i in dataset.images if i.label == index and i.split in splits})
            if found < FEW_PATIENTS:
                what = f"{found} {unit}: figures on them are anecdotes (30 or more are wanted)"
                problems.append(Problem("few patients", f"{name}, {part}", what, warning=True))
    return problems, facts


def _ordered(splits: set[str]) -> list[str]:
    return sorted(splits, key=lambda split: _GIVES_WAY.get(split, 3))
