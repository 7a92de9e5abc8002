"""Which patient a film is of, from its file's name.

Known are the names of Kermany's pediatric set (Kaggle "Chest X-Ray Images (Pneumonia)"), seen on all of its files:
`person<ID>_<bacteria|virus>_<n>.jpeg` → (kind, ID); `IM-<ID>-<n>.jpeg` and `NORMAL2-IM-<ID>-<n>.jpeg` → (prefix, ID).
The same ID under another kind is another numbering. Keyed so, official train and test share no patient.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from xraytune.errors import InputError

_PNEUMONIA = re.compile(r"person(\d+)_(bacteria|virus)_\d+(?:_\d+)?$", re.IGNORECASE)
_NORMAL = re.compile(r"(NORMAL2-)?IM-(\d+)(?:-\d+)*$", re.IGNORECASE)

KNOWN_SHARE = 0.9
"""Share of a data set's names that must carry a patient before they are believed: fewer are chance."""


class Subject(NamedTuple):
    """What a name tells."""

    patient: str
    """The patient's key, empty if the name tells none."""

    group: str
    """The subgroup (bacteria, virus), empty if the name tells none."""


def from_name(stem: str) -> Subject:
    """The patient and subgroup that a file's name without its suffix tells; both empty for an unknown pattern."""
    if match := _PNEUMONIA.match(stem):
        kind = match[2].lower()
        return Subject(f"{kind}-{int(match[1])}", kind)
    if match := _NORMAL.match(stem):
        return Subject(f"{(match[1] or '').lower()}im-{int(match[2])}", "")
    return Subject("", "")


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
        raise InputError(f"--patient-regex {pattern!r} is no regular expression: {error}.") from None

    def find(path: str) -> Subject:
        match = compiled.search(path)
        if match is None:
            return Subject("", "")
        named = match.groupdict()
        patient = named.get("patient") or (match[1] if compiled.groups else match[0])
        return Subject(patient or "", named.get("group") or "")

    return find
