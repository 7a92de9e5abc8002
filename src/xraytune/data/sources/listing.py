"""What a source lists before any file is opened. Filled by folder, manifest and the other sources."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from xraytune.data.problems import Problem

MARKER = "DEMONSTRATION.txt"
"""A file of this name lies beside `train/` and `test/` of every folder of synthetic images."""


SITE = "site"
"""The column of `Listing.columns` that names where an image was taken."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image that a source names."""

    key: str
    """The file's path below the source's root, with `/`; unique in the data set."""

    label: str
    """The class's name."""

    split: str = ""
    """train, val or test where the source says so, else empty."""

    patient: str = ""
    """The patient where the source says so, else empty."""

    group: str = ""
    """The subgroup where the source says so, else empty."""


@dataclass
class Listing:
    """Everything a source holds."""

    root: Path
    """Keys are relative to this folder."""

    items: list[Item] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    litter: list[str] = field(default_factory=list)
    """Files and folders that no one wants, such as `__MACOSX`."""

    folders: dict[str, set[str]] = field(default_factory=dict)
    """Class names by split, empty classes included."""

    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    """What else a manifest says of its images, by the column's name: key → value; and `SITE`, of folders too."""

    hint: str = ""
    """What the source may be instead, for the message that it has no two classes."""

    patients_known: bool = False
    """Whether the source itself says who the patients are."""

    label: str = ""
    """The class with the finding that was taken from a public label file by name; empty for every other source."""

    demonstration: bool = False
    """Synthetic images."""

    def error(self, kind: str, where: str, what: str) -> None:
        """Add something that keeps the data from being used."""
        self.problems.append(Problem(kind, where, what))

    def warn(self, kind: str, where: str, what: str) -> None:
        """Add something that one should know."""
        self.problems.append(Problem(kind, where, what, warning=True))
