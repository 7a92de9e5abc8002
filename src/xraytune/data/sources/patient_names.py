"""Which patient an image is of, from its file's name and folders, as the public data sets write them.

Names that no other set has are recognised one by one. Names that another set may have too (`00000061_012`) are believed
only where every image of the data set has one.

| data set | name | patient |
|---|---|---|
| Kermany (Kaggle) | `person1_bacteria_2`, `IM-0115-0001`, `NORMAL2-IM-0115-0001` | `bacteria-1`, `im-115` … |
| CheXpert | `patient00001/study1/view1_frontal` | `chexpert-1` |
| MIMIC-CXR | `p10/p10000032/s50414267/…` | `mimic-10000032` |
| Shenzhen, Montgomery (one image a patient) | `CHNCXR_0001_0`, `MCUCXR_0001_0` | `shenzhen-1`, `montgomery-1` |
| NIH ChestX-ray8/14 | `00000061_012` (patient, follow-up) | `nih-61` |
| PadChest | `216840111366964013829543166512013338135747880_02-094-102` | none: the study |

CheXpert's and MIMIC-CXR's folders are also recognised where they were written into the file name with `_`. The same
number under another kind of Kermany's names is another numbering: keyed so, its official train and test share no
patient. PadChest's names tell the study, and its patients only by its table; VinDr's names tell nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from xraytune.errors import InputError

_PNEUMONIA = re.compile(r"person(\d+)_(bacteria|virus)_\d+(?:_\d+)?$", re.IGNORECASE)
_NORMAL = re.compile(r"(NORMAL2-)?IM-(\d+)(?:-\d+)*$", re.IGNORECASE)
_OTHERS = (
    ("chexpert", re.compile(r"(?:.*[/_])?patient(\d{5,})[/_]study\d+[/_]view\d+_(?:frontal|lateral)$", re.IGNORECASE)),
    ("mimic", re.compile(r"(?:.*[/_])?p(\d{8})[/_]s\d{8}[/_][^/]+$", re.IGNORECASE)),
    ("shenzhen", re.compile(r"(?:.*/)?CHNCXR_(\d{4})_[01]$", re.IGNORECASE)),
    ("montgomery", re.compile(r"(?:.*/)?MCUCXR_(\d{4})_[01]$", re.IGNORECASE)),
)
_NIH = re.compile(r"(?:.*/)?(\d{8})_(\d{3})$")
_PADCHEST = re.compile(r"(?:.*/)?(\d{28,60})_(?:\d\d-\d{3}-\d{3}|[0-9a-z]{6})$")

KNOWN_SHARE = 0.9
"""Share of a data set's names that must carry a patient before they are believed: fewer are chance."""


class Subject(NamedTuple):
    """What a name tells."""

    patient: str
    """The patient's key, empty if the name tells none."""

    group: str
    """The subgroup (bacteria, virus), empty if the name tells none."""


@dataclass(frozen=True)
class Recognised:
    """What the names of a whole data set tell."""

    subjects: tuple[Subject, ...]
    """One an image; empty where the names are not believed."""

    warning: str = ""
    """What the names of this public data set do not tell; empty where there is nothing to say."""


def from_name(path: str) -> Subject:
    """The patient and subgroup that a path without its suffix tells by itself; both empty for an unknown pattern."""
    name = path.rpartition("/")[2]
    if match := _PNEUMONIA.match(name):
        kind = match[2].lower()
        return Subject(f"{kind}-{int(match[1])}", kind)
    if match := _NORMAL.match(name):
        return Subject(f"{(match[1] or '').lower()}im-{int(match[2])}", "")
    for key, pattern in _OTHERS:
        if match := pattern.match(path):
            return Subject(f"{key}-{int(match[1])}", "")
    return Subject("", "")


def from_names(paths: Sequence[str]) -> Recognised:
    """The patients of a data set from its paths without suffix.

    Args:
        paths: below the data set's root, with `/` between folders.
    """
    subjects = tuple(from_name(path) for path in paths)
    if subjects and sum(bool(subject.patient) for subject in subjects) >= KNOWN_SHARE * len(subjects):
        return Recognised(subjects)
    if found := _all(_NIH, paths):
        return Recognised(tuple(Subject(f"nih-{int(match[1])}", "") for match in found))
    if found := _all(_PADCHEST, paths):
        return Recognised(
            tuple(Subject(f"padchest-study-{match[1]}", "") for match in found),
            "PadChest's file names contain the study, not the patient: images of one study are in one split, but "
            "images of one patient may be in several. Give the patients of PadChest's table in a manifest "
            "(PatientID as the column patient)",
        )
    return Recognised(())


def _all(pattern: re.Pattern[str], paths: Sequence[str]) -> list[re.Match[str]]:
    """The matches where every path matches, else none."""
    found = []
    for path in paths:
        match = pattern.match(path)
        if match is None:
            return []
        found.append(match)
    return found


def by_regex(pattern: str) -> Callable[[str], Subject]:
    """A function like `from_name` from the user's `--patient-regex`.

    The pattern is searched in the path below the data set's root, with `/` between folders; the patient is its group
    `patient`, else its first group, else all that matched. A named group `group` gives the subgroup.

    Raises:
        InputError: the pattern is no regular expression.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"--patient-regex {pattern!r} is not a regular expression: {error}.") from None

    def find(path: str) -> Subject:
        match = compiled.search(path)
        if match is None:
            return Subject("", "")
        named = match.groupdict()
        patient = named.get("patient") or (match[1] if compiled.groups else match[0])
        return Subject(patient or "", named.get("group") or "")

    return find
