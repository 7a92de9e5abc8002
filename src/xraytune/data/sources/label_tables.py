"""Label files of public data sets, read as manifests: one finding against the images without it.

| file | columns by which it is recognised | images |
|---|---|---|
| NIH ChestX-ray14's `Data_Entry_2017.csv` | `Image Index`, `Finding Labels`, `Patient ID` | anywhere below it |
| CheXpert's `train.csv`, `valid.csv` | `Path`, `Frontal/Lateral` and a column a finding | as `Path` says |
| RSNA's `stage_2_train_labels.csv` | `patientId`, `Target` | anywhere below it |
| MIMIC-CXR's `mimic-cxr-2.0.0-chexpert.csv` | `subject_id`, `study_id`, a column a finding | `p<subject>/s<study>/` |

NIH's official test images (`test_list.txt` beside the table) stay the test set. Sources: Wang et al., CVPR 2017 (NIH);
Irvin et al., AAAI 2019 (CheXpert: 1 positive, 0 negative, -1 uncertain, blank not mentioned); Shih et al., Radiology:
AI 2019 (RSNA: a row a box); Johnson et al., Scientific Data 2019 (MIMIC-CXR).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from xraytune.data.decoding.image_files import SUFFIXES
from xraytune.data.sources import csv_table
from xraytune.data.sources.csv_table import Table
from xraytune.data.sources.listing import Item, Listing
from xraytune.errors import InputError, SourceError
from xraytune.files import read_named

KNOWN = "NIH's Data_Entry_2017.csv, CheXpert's train.csv, RSNA's stage_2_train_labels.csv, MIMIC-CXR's chexpert.csv"
"""For messages."""

UNCERTAIN = ("ignore", "positive", "negative")
"""What `--uncertain` may be."""

FINDINGS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
"""The columns of CheXpert and MIMIC-CXR."""

_NIH_FINDINGS = (
    "No Finding", "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia",
    "Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip

_MOST_LIST = 64 << 20
"""Bytes of `test_list.txt`; NIH's has 450 KB."""

_LOWER = frozenset(name.lower() for name in FINDINGS)
_STATES = {"1": "yes", "1.0": "yes", "0": "no", "0.0": "no", "": "no", "-1": "uncertain", "-1.0": "uncertain"}


@dataclass(frozen=True)
class Finding:
    """What is taken from a label file.

    Raises:
        InputError: `uncertain` is none of `UNCERTAIN`, or an option has no meaning without `label`.
    """

    label: str | None = None
    """The finding by its name in the file; capitals don't count."""

    negative: str | None = None
    """The label that images of the other class must have; None: every image without the finding."""

    uncertain: str = "ignore"
    """What an uncertain finding counts as; `ignore` leaves the image out."""

    def __post_init__(self) -> None:
        if self.uncertain not in UNCERTAIN:
            raise InputError(f"--uncertain {self.uncertain!r} is not known. There are: {', '.join(UNCERTAIN)}.")
        if self.label is not None and self.negative is not None and self.label.lower() == self.negative.lower():
            raise InputError(f"--label and --negative are both {self.label!r}: they must differ.")

    @property
    def asked(self) -> str:
        """The options that were given, as they are typed; empty where none was."""
        given = [f"--label {self.label!r}"] * bool(self.label) + [f"--negative {self.negative!r}"] * bool(self.negative)
        given += [f"--uncertain {self.uncertain}"] * (self.uncertain != "ignore")
        return " ".join(given)


@dataclass(frozen=True)
class _Image:
    """One row, or several that speak of one image: what the file says of it."""

    keys: tuple[str, ...]
    """Of its files below the table's folder; empty where there are none."""

    states: Mapping[str, str]
    """`yes`, `no` or `uncertain` by finding, in small letters; one that is not there is `no`."""

    patient: str
    row: int
    """Its number in the table."""

    split: str = ""


@dataclass(frozen=True)
class _Kind:
    """One public data set's table."""

    needed: frozenset[str]
    """Columns by which it is recognised, in small letters."""

    read: Callable[[Path, Table], Iterator[_Image]]
    subgroups: tuple[str, ...] = ()
    """Columns that are kept to evaluate by."""

    findings: tuple[str, ...] = FINDINGS
    """What may be asked for, as it is written."""

    label: str | None = None
    """The only finding that it has, None where one is to be named."""


def open_table(path: Path, finding: Finding) -> Listing | None:
    """List the images that have the finding, and those that are without it.

    Args:
        path: a `.csv` file.
        finding: what is asked for.

    Returns:
        The listing, with images of other findings only, uncertain ones and those without a file left out and counted
        in its notes; None where the file is no table of a public data set.

    Raises:
        InputError: the finding is not named, or is not in the table.
        SourceError: it can't be read, or no image of it is there.
    """
    columns = csv_table.read_columns(path)
    kind = next((kind for kind in _KINDS if kind.needed <= columns and "label" not in columns), None)
    if kind is None:
        return None
    label, negative = _chosen(path, kind, finding)
    table = csv_table.read_table(path, sorted(kind.needed))
    images = list(kind.read(path.parent, table))
    listing = Listing(path.parent, patients_known=True, label=label)
    left_out: Counter[str] = Counter()
    rows: dict[str, int] = {}
    without = negative or f"no {label}"
    for image in images:
        named, reason = _class_of(image, label, negative, without, finding.uncertain)
        if not reason and not image.keys:
            reason = "have no file below the table's folder"
        left_out[reason] += bool(reason)
        for key in () if reason else image.keys:
            if key not in rows:
                rows[key] = image.row
                listing.items.append(Item(key, named, image.split, image.patient))
    _report(listing, path, left_out, len(images))
    listing.folders["train"] = {label, without}
    if any(item.split == "test" for item in listing.items):
        listing.folders["test"] = {label, without}
    for name in kind.subgroups:
        if name in table.columns:
            at = table.columns.index(name)
            listing.columns[name] = {key: table.rows[row][1][at] for key, row in rows.items()}
    listing.items.sort(key=lambda item: item.key)
    return listing


def _chosen(path: Path, kind: _Kind, finding: Finding) -> tuple[str, str | None]:
    """The finding and the label of the other class as they are written in the table.

    Raises:
        InputError: the finding is not named, or one of the two is not in the table.
    """
    written = {name.lower(): name for name in kind.findings}
    wanted = finding.label or kind.label
    there = ", ".join(sorted(written.values()))
    if wanted is None:
        raise InputError(f"{path.name} has several findings per image. Name one: --label Pneumonia. It has: {there}.")
    for option, name in (("--label", wanted), ("--negative", finding.negative)):
        if name is not None and name.strip().lower() not in written:
            raise InputError(f"{option} {name!r} is not in {path.name}. It has: {there}.")
    negative = None if finding.negative is None else written[finding.negative.strip().lower()]
    return written[wanted.strip().lower()], negative


def _class_of(image: _Image, label: str, negative: str | None, without: str, uncertain: str) -> tuple[str, str]:
    """An image's class, or why it is left out."""
    state = image.states.get(label.lower(), "no")
    if state == "uncertain":
        if uncertain == "ignore":
            return "", f"are uncertain ({label})"
        state = "yes" if uncertain == "positive" else "no"
    if state == "yes":
        return label, ""
    if negative is not None and image.states.get(negative.lower(), "no") != "yes":
        return "", f"have other findings only (neither {label} nor {negative})"
    return without, ""


def _report(listing: Listing, path: Path, left_out: Counter[str], images: int) -> None:
    """Say how many were left out and why.

    Raises:
        SourceError: nothing is left because no file is there.
    """
    reasons = {reason: count for reason, count in left_out.items() if reason and count}
    if not listing.items:
        said = "; ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        raise SourceError(
            f"{path} names {images:,} images and none can be used: {said}. The images must be below its folder."
        )
    for reason, count in reasons.items():
        listing.notes.append(f"{count:,} of {images:,} entries of {path.name} were left out: they {reason}.")


def _below(root: Path) -> Iterator[str]:
    """The keys of all files below a folder that may be images by their name, sorted."""
    for folder, folders, names in os.walk(root):
        folders.sort()
        prefix = Path(folder).relative_to(root).as_posix()
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith("."):  # noqa: PTH122
                yield name if prefix == "." else f"{prefix}/{name}"


def _by_name(root: Path) -> dict[str, tuple[str, ...]]:
    """Keys by file name without suffix; of several files of one name the first."""
    found: dict[str, tuple[str, ...]] = {}
    for key in _below(root):
        found.setdefault(key.rpartition("/")[2].rpartition(".")[0], (key,))
    return found


def _cells(table: Table, *names: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of these columns, with each row's number."""
    places = [table.columns.index(name) for name in names]
    for number, (_, row) in enumerate(table.rows):
        yield number, [row[at] for at in places]


def _states(table: Table, row: int) -> dict[str, str]:
    """The findings of a row of CheXpert's or MIMIC-CXR's columns."""
    cells = table.rows[row][1]
    return {name: _STATES.get(cells[at], "uncertain") for at, name in enumerate(table.columns) if name in _LOWER}


def _nih(root: Path, table: Table) -> Iterator[_Image]:
    files, tested = _by_name(root), root / "test_list.txt"
    test = set(read_named(tested, _MOST_LIST).decode(errors="replace").split()) if tested.is_file() else set()
    for row, (name, labels, patient) in _cells(table, "image index", "finding labels", "patient id"):
        states = {label.strip().lower(): "yes" for label in labels.split("|") if label.strip()}
        split = ("test" if name in test else "train") if test else ""
        yield _Image(files.get(name.rpartition(".")[0], ()), states, f"nih-{_number(patient)}", row, split)


def _chexpert(root: Path, table: Table) -> Iterator[_Image]:
    for row, (name,) in _cells(table, "path"):
        parts = Path(name.replace("\\", "/")).parts
        # `CheXpert-v1.0-small/train/…` beside or in the folder of that name
        keys = ("/".join(parts), "/".join(parts[1:]))
        key = next((key for key in keys if key and ".." not in parts and (root / key).is_file()), None)
        patient = next((part for part in parts if part.lower().startswith("patient")), name)
        number = _number(patient.lower().removeprefix("patient"))
        yield _Image(() if key is None else (key,), _states(table, row), f"chexpert-{number}", row)


def _rsna(root: Path, table: Table) -> Iterator[_Image]:
    """A row a box: an image with any box has the finding."""
    files, found = _by_name(root), dict[str, tuple[int, str]]()
    for row, (patient, target) in _cells(table, "patientid", "target"):
        state = _STATES.get(target, "uncertain")
        first, before = found.get(patient, (row, "no"))
        found[patient] = (first, state if before == "no" else before)
    for patient, (row, state) in found.items():
        yield _Image(files.get(patient, ()), {"pneumonia": state}, patient, row)


def _mimic(root: Path, table: Table) -> Iterator[_Image]:
    """A row a study, whose images are all files in its folder."""
    studies: dict[tuple[str, str], list[str]] = {}
    for key in _below(root):
        parts = key.split("/")
        if len(parts) > 2 and parts[-2][:1] == "s" and parts[-3][:1] == "p":
            studies.setdefault((parts[-3][1:], parts[-2][1:]), []).append(key)
    for row, (subject, study) in _cells(table, "subject_id", "study_id"):
        keys = tuple(studies.get((subject, study), ()))
        yield _Image(keys, _states(table, row), f"mimic-{_number(subject)}", row)


def _number(text: str) -> str:
    """A number without leading zeros, as `patient_names` writes it; any other text as it is."""
    return str(int(text)) if text.isascii() and text.isdigit() else text


_KINDS = (
    _Kind(
        frozenset({"image index", "finding labels", "patient id"}),
        _nih,
        ("patient age", "patient gender", "view position"),
        _NIH_FINDINGS,
    ),
    _Kind(frozenset({"path", "frontal/lateral"}), _chexpert, ("sex", "age", "frontal/lateral", "ap/pa")),
    _Kind(frozenset({"patientid", "target"}), _rsna, findings=("Pneumonia",), label="Pneumonia"),
    _Kind(frozenset({"subject_id", "study_id", "pneumonia"}), _mimic),
)
